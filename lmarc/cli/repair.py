"""lmarc repair."""

from __future__ import annotations

from typing import Annotated

import typer

from lmarc.cli.options import Json, Quiet


def repair(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Leave it, and write what is mended there.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Mend a damaged archive by the recovery data that pack --recovery gave it.

    Every byte is then as it was, which is verified; where there is more damage than that, nothing is written (exit code
    11), and unpack extracts what is whole.
    """
    from lmarc import changing
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.progress import summary

    result = changing.repair(archive, output)
    if json:
        render.print_json({"archive": archive, **vars(result)})
    elif result.changed:
        summary(f"{escape(archive)}: mended, {result.blocks} blocks of content or index were damaged", quiet=quiet)
    else:
        summary(f"{escape(archive)}: nothing that recovery data covers was damaged", quiet=quiet)
