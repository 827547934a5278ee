"""lmarc unpack."""

from __future__ import annotations

import os
from typing import Annotated

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
    bytes_of,
    seconds_of,
)
from lmarc.errors import UsageError, exit_code


def unpack(
    archive: ArchivePath,
    members: Members = None,
    directory: Annotated[
        str, typer.Option("--directory", "-C", metavar="DIR", help="Where to; made if missing.")
    ] = ".",
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace what exists.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", "-k", help="Keep what exists.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what an interrupted unpack has done.")] = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going",
            help="Of a damaged archive, also write what is left of files (NAME.damaged) and content without a name "
            "(lost+found).",
        ),
    ] = False,
    owner: Annotated[bool, typer.Option("--owner", help="Restore owners, by name where known.")] = False,
    model: Models = None,
    max_time: MaxTime = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Refuse to write more: bytes, or 500M, 20G.  [default: 1000 times the archive, or 4 GiB]",
        ),
    ] = None,
    max_members: MaxMembers = None,
    key: Key = None,
    jobs: Jobs = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be extracted.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Extract members from an archive. Each is verified before it gets its name.

    Nothing existing is replaced unless --force says so. From a damaged archive, what is whole is extracted and what is
    lost is named, with its byte ranges.
    """
    from lmarc.archive.paths import escape
    from lmarc.cli import render
    from lmarc.cli.progress import Reporter, summary
    from lmarc.cli.session import opened, selected

    if force and skip_existing:
        raise UsageError("--force and --skip-existing exclude each other")
    with (
        opened(archive, model, jobs, seconds_of(max_time), max_members, key) as source,
        Reporter("unpacking", quiet=quiet, verbose=verbose) as reporter,
    ):
        if dry_run:
            infos = selected(source, members)
            if json:
                render.print_json(render.header(source) | {"members": [render.member(info) for info in infos]})
            else:
                for info in infos:
                    print(escape(info.name))
            raise typer.Exit(exit_code(render.damage(source)))
        result = source.extractall(
            directory,
            members,
            force=force,
            skip_existing=skip_existing,
            resume=resume,
            owner=owner,
            keep_going=keep_going,
            jobs=jobs,
            observer=reporter,
            check=False,
            max_size=bytes_of(max_size),
        )
        failed = {os.fsdecode(path): error for path, error in result.failed.items()}
        unwritten = {os.fsdecode(path): error for path, error in result.unwritten.items()}
        code = exit_code([*render.damage(source), *failed.values(), *unwritten.values()])
        if json:
            counts = {"extracted": result.members, "bytes": result.content, "existing": result.existing}
            rests = {os.fsdecode(path): os.fsdecode(rest) for path, rest in result.rests.items()}
            unnamed = [os.fsdecode(path) for path in result.unnamed]
            left = {"rests": rests, "unnamed": unnamed, "unwritten": render.failures(unwritten)} if keep_going else {}
            render.print_json({**counts, "damage": source.damage, "failed": render.failures(failed), **left})
        else:
            more = f", {result.existing} kept as they were" if result.existing else ""
            lost = f", {len(failed)} not extracted" if failed else ""
            if result.unnamed:
                lost += f", content without a name in lost+found: {len(result.unnamed)}"
            rate = f"{render.size(result.content)}, {render.duration(reporter.elapsed)}"
            summary(f"{escape(archive)}: {result.members} members, {rate}{more}{lost}", quiet=quiet)
    raise typer.Exit(code)
