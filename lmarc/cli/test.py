"""lmarc test."""

from __future__ import annotations

import typer

from lmarc.cli.options import (
    ArchivePath,
    Jobs,
    Json,
    Key,
    MaxMembers,
    MaxTime,
    Members,
    Models,
    Quiet,
    Verbose,
    seconds_of,
)
from lmarc.errors import exit_code


def test(
    archive: ArchivePath,
    members: Members = None,
    model: Models = None,
    max_time: MaxTime = None,
    jobs: Jobs = None,
    max_members: MaxMembers = None,
    key: Key = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Decode and verify everything without writing it. Exit code 0 means: unpack will give back every byte."""
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.progress import Reporter, summary
    from lmarc.cli.session import opened

    with (
        opened(archive, model, jobs, seconds_of(max_time), max_members, key) as source,
        Reporter("testing", quiet=quiet, verbose=verbose) as reporter,
    ):
        chosen = source.select(members or ())
        failed = source.test(members, jobs=jobs, observer=reporter)
        code = exit_code([*render.damage(source), *failed.values()])
        if json:
            counts = {"ok": code == 0, "tested": len(chosen)}
            render.print_json({**counts, "damage": source.damage, "failed": render.failures(failed)})
        else:
            verdict = "all is well" if code == 0 else f"{len(failed)} members failed"
            summary(f"{escape(archive)}: {len(chosen)} members, {verdict}", quiet=quiet)
    raise typer.Exit(code)
