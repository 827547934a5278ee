"""lmarc cat."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lmarc.cli.options import ArchivePath, Json, Key, MaxMembers, Models
from lmarc.errors import LmarcError, exit_code

#: What a member may hold at most to go into JSON, in bytes.
_MAX_JSON = 1 << 28


def cat(
    archive: ArchivePath,
    members: Annotated[list[str], typer.Argument(metavar="MEMBER...", help="Names or globs.")],
    model: Models = None,
    max_members: MaxMembers = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Write the content of regular files to standard output, one after the other. With --json, base64 in JSON."""
    from lmarc.cli import render
    from lmarc.cli.progress import Reporter
    from lmarc.cli.session import opened, selected

    with opened(archive, model, max_members=max_members, key=key) as source:
        chosen = selected(source, members)
        named = {name.rstrip("/") for name in members}
        for info in chosen:
            if info.name in named and not info.is_file():
                raise LmarcError(f"{info.name} is not a regular file but a {info.kind}")
        files = [info for info in chosen if info.is_file()]
        with Reporter("reading") as reporter:
            source.prepare([info.name for info in files], observer=reporter)
        if json:
            import base64

            rows = [
                render.member(info)
                | {"content_base64": base64.b64encode(source.read(info.name, max_size=_MAX_JSON)).decode()}
                for info in files
            ]
            render.print_json(render.header(source) | {"members": rows})
        else:
            for info in files:
                source.copy_to(info.name, sys.stdout.buffer.write)
            sys.stdout.buffer.flush()
        raise typer.Exit(exit_code(render.damage(source)))
