"""lmarc compact."""

from __future__ import annotations

from typing import Annotated

import typer

from lmarc.cli.options import Json, Quiet


def compact(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write an archive anew without the chunks that no member needs any more.

    Nothing is decoded or coded anew, so no model is needed; content that was taken out and lies in one chunk with what
    was not stays. Recovery data is not kept.
    """
    from lmarc import changing
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.progress import summary

    result = changing.compact(archive)
    if json:
        render.print_json({"archive": archive, **vars(result)})
        return
    left = f"; {render.size(result.dead)} of what was taken out share chunks with what was not" if result.dead else ""
    summary(f"{escape(archive)}: {render.size(result.before)} → {render.size(result.after)}{left}", quiet=quiet)
