"""lmarc diff."""

from __future__ import annotations

from typing import Annotated

import typer

from lmarc.cli.options import ArchivePath, Json, Key, MaxMembers, Models
from lmarc.errors import exit_code


def diff(
    archive: ArchivePath,
    tree: Annotated[
        str | None, typer.Argument(metavar="[DIR]", help="The packed directory, or the one that holds the members.")
    ] = None,
    directory: Annotated[str, typer.Option("--directory", "-C", metavar="DIR", help="The same, as with unpack.")] = ".",
    model: Models = None,
    max_members: MaxMembers = None,
    key: Key = None,
    json: Json = False,
) -> None:
    """Compare an archive with a tree on disk, by metadata and content hash. Exit code 0: no difference; 1: some."""
    from lmarc.archive.paths import display, escape
    from lmarc.cli import render
    from lmarc.cli.progress import Reporter
    from lmarc.cli.session import opened

    with (
        opened(archive, model, max_members=max_members, key=key) as source,
        Reporter("comparing", quiet=True) as reporter,
    ):
        found = []
        for item in source.diff(tree or directory, observer=reporter):
            found.append(item)
            if not json:
                values = f" (archive {escape(item.archived)}, disk {escape(item.found)})" if item.found else ""
                print(f"{item.what:10} {display(item.path)}{values}")
        if json:
            rows = [{**item._asdict(), "path": item.path.decode(errors="surrogateescape")} for item in found]
            render.print_json({"differences": rows, "damage": source.damage})
        raise typer.Exit(exit_code(render.damage(source)) or (1 if found else 0))
