"""lmarc list."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lmarc.cli.options import ArchivePath, Json, Key, MaxMembers, Members
from lmarc.errors import exit_code


def list_members(
    archive: ArchivePath,
    members: Members = None,
    names: Annotated[bool, typer.Option("--names", "-1", help="Names only.")] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="Names only, as bytes, each ended by a NUL.")] = False,
    max_members: MaxMembers = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """List members: type and mode, size, time (UTC), name."""
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.session import opened, selected

    with opened(archive, max_members=max_members, key=key) as source:
        chosen = selected(source, members)
        if json:
            found = {"members": [render.member(info) for info in chosen], "damage": source.damage}
            render.print_json(render.header(source) | found)
        elif null:
            sys.stdout.buffer.write(b"".join(os.fsencode(info.name) + b"\0" for info in chosen))
        elif names:
            sys.stdout.writelines(escape(info.name) + "\n" for info in chosen)
        else:
            width = len(str(max((info.size for info in chosen), default=0)))
            sys.stdout.writelines(render.line(info, width) + "\n" for info in chosen)
        raise typer.Exit(exit_code(render.damage(source)))
