"""lmarc add."""

from __future__ import annotations

from typing import Annotated

import typer

from lmarc.cli.options import (
    BackendName,
    Exclude,
    GitIgnore,
    Include,
    Jobs,
    Json,
    PackModel,
    PresetName,
    Quiet,
    Setting,
    Verbose,
    settings_of,
)
from lmarc.errors import EXIT_SKIPPED


def add(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive, which is there already.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and directories.")],
    preset: PresetName = "balanced",
    backend: BackendName = None,
    model: PackModel = None,
    setting: Setting = None,
    exclude: Exclude = None,
    include: Include = None,
    gitignore: GitIgnore = False,
    jobs: Jobs = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Add files and directories to an archive, in the place of members of the same path.

    What is new is written behind the archive's end: wherever that is cut short, what was there before can be read, and
    the next change takes away what was not finished.
    """
    from lmarc import changing
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.progress import Reporter, ratio, summary

    with Reporter("adding", quiet=quiet, verbose=verbose) as reporter:
        result = changing.add(
            archive,
            paths,
            preset=preset,
            backend=backend,
            model=model,
            settings=settings_of(setting or ()),
            jobs=jobs,
            exclude=exclude or (),
            include=include or (),
            gitignore=gitignore,
            observer=reporter,
        )
    if json:
        render.print_json({"archive": archive, **vars(result)})
    else:
        more = f", {result.skipped} skipped" if result.skipped else ""
        sizes = ratio(result.content, result.stored)
        summary(
            f"{escape(archive)}: {result.members} members added, {sizes}, {render.duration(reporter.elapsed)}{more}",
            quiet=quiet,
        )
    if result.skipped:
        raise typer.Exit(EXIT_SKIPPED)
