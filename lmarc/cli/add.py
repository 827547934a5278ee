"""lmarc add."""

from __future__ import annotations

from typing import Annotated

import typer

from lmarc.cli.options import Jobs, Json, Quiet, Verbose, settings_of
from lmarc.errors import EXIT_SKIPPED


def add(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive, which is there already.")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and directories.")],
    preset: Annotated[str, typer.Option("--preset", "-p", help="fast (zstd), balanced or best (cm).")] = "balanced",
    backend: Annotated[
        str | None, typer.Option("--backend", "-b", help="A backend by name; see lmarc backends.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model file that predicts: a path, a hash, hf://ORG/REPO/FILE."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="How to run the model, as pack has it.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", "-x", metavar="PATTERN", help="Leave out, as in .gitignore.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", "-i", metavar="PATTERN", help="Of files, take only these.")
    ] = None,
    gitignore: Annotated[
        bool, typer.Option("--gitignore", help="Leave out .git and what .gitignore files name.")
    ] = False,
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
