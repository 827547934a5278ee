"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ArchivePath = Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive; - reads it from standard input.")]
Members = Annotated[
    list[str] | None, typer.Argument(metavar="[MEMBER]...", help="Names or globs; a directory means all below it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Threads [default: the processors there are].")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary; errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Name each member on standard error.")]
