"""lmarc rm."""

from __future__ import annotations

from typing import Annotated

import typer

from lmarc.cli.options import Json, Quiet


def rm(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive.")],
    members: Annotated[
        list[str], typer.Argument(metavar="MEMBER...", help="Names or globs; a directory means all below it.")
    ],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take members out of an archive. Their content stays in the file until lmarc compact.

    A file that hard links of the archive lead to becomes the first of them.
    """
    from lmarc import changing
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.progress import summary

    count = changing.remove(archive, members)
    if json:
        render.print_json({"archive": archive, "removed": count})
    else:
        summary(f"{escape(archive)}: {count} members taken out", quiet=quiet)
