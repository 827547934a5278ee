"""lmarc pack."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmarc.cli.options import (
    BackendName,
    Exclude,
    GitIgnore,
    Include,
    Jobs,
    Json,
    MaxTime,
    PackModel,
    PresetName,
    Quiet,
    Setting,
    Verbose,
    seconds_of,
    settings_of,
)
from lmarc.errors import EXIT_SKIPPED, UsageError

if TYPE_CHECKING:
    from lmarc.archive.secret import Lock

_STDIN = "-"
_EXTENSION = ".lmarc"


def pack(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Files and directories; - packs standard input.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="The archive [default: PATH.lmarc]; - is standard output.")
    ] = None,
    preset: PresetName = "balanced",
    backend: BackendName = None,
    model: PackModel = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Decode what the model coded in a fresh process before relying on it.")
    ] = False,
    setting: Setting = None,
    floating: Annotated[bool, typer.Option("--float", help="The same as --set mode=float.")] = False,
    online: Annotated[bool, typer.Option("--online", help="The same as --set mode=online.")] = False,
    max_time: MaxTime = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what an interrupted pack has coded, and keep what is coded.")
    ] = False,
    exclude: Exclude = None,
    include: Include = None,
    gitignore: GitIgnore = False,
    files_from: Annotated[
        str | None, typer.Option("--files-from", "-T", metavar="FILE", help="Paths, a line each; - is standard input.")
    ] = None,
    files_from0: Annotated[
        str | None, typer.Option("--files-from0", metavar="FILE", help="The same, each ended by a NUL byte.")
    ] = None,
    stdin_name: Annotated[
        str, typer.Option("--stdin-name", metavar="NAME", help="Member name for standard input.")
    ] = "stdin",
    recovery: Annotated[
        str | None,
        typer.Option("--recovery", metavar="PERCENT", help="Add so much parity, with which lmarc repair mends damage."),
    ] = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Encrypt with a passphrase: LMARC_PASSPHRASE, or asked for.")
    ] = False,
    recipient: Annotated[
        list[str] | None,
        typer.Option("--recipient", "-r", metavar="KEY", help="Encrypt for an age recipient or an SSH public key."),
    ] = None,
    jobs: Jobs = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the archive if it exists.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be packed; write nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Pack files and directories into an archive.

    Relative paths are stored as given, absolute ones from their last component. Listed paths (--files-from) are taken
    as they are, directories without what is in them.
    """
    from lmarc import packing
    from lmarc.archive.filters import Filters
    from lmarc.archive.paths import escape
    from lmarc.archive.recovery import percent_of
    from lmarc.cli import render
    from lmarc.cli.progress import Reporter, ratio, summary

    given = list(paths or [])
    if not given and files_from is None and files_from0 is None:
        raise UsageError("nothing to pack: give paths, - or --files-from")
    if given.count(_STDIN) + (files_from == _STDIN) + (files_from0 == _STDIN) > 1:
        raise UsageError("standard input can be used once only")
    target = output or (_STDIN if dry_run else _default_output(given))
    options: dict[str, Any] = {
        "paths": [path for path in given if path != _STDIN],
        "listed": _listed(files_from, files_from0),
        "stream": (os.fsencode(stdin_name), 0, time.time_ns()) if _STDIN in given else None,
        "filters": Filters(tuple(exclude or ()), tuple(include or ()), gitignore),
    }
    with Reporter("packing", quiet=quiet, verbose=verbose) as reporter:
        if dry_run:
            skipped = _show_plan(options, reporter, json)
            raise typer.Exit(EXIT_SKIPPED if skipped else 0)
        if target == _STDIN and sys.stdout.isatty():
            raise UsageError("an archive is not written to a terminal: give -o FILE")
        destination = _Stdout() if target == _STDIN else target
        result = packing.pack_sources(
            **options,
            output=destination,
            preset=preset,
            backend=backend,
            model=model,
            verify=verify,
            max_time=seconds_of(max_time),
            settings=settings_of([*(setting or ()), *["mode=float"] * floating, *["mode=online"] * online]),
            resume=resume,
            jobs=jobs,
            force=force,
            recovery=percent_of(recovery) if recovery is not None else None,
            lock=_lock(encrypt, recipient),
            observer=reporter,
        )
    if result.unverified:
        note = f"{result.unverified} groups did not decode in a fresh process and are coded without the model"
        print(f"lmarc: warning: {note}", file=sys.stderr)
    if json and target != _STDIN:
        render.print_json({"archive": target, **vars(result)})
    else:
        sizes = ratio(result.content, result.stored)
        more = f", {result.skipped} skipped" if result.skipped else ""
        summary(
            f"{escape(target)}: {result.members} members, {sizes}, {render.duration(reporter.elapsed)}{more}",
            quiet=quiet,
        )
    if result.skipped:
        raise typer.Exit(EXIT_SKIPPED)


def _lock(encrypt: bool, recipients: list[str] | None) -> Lock | None:
    """What to encrypt with. Raises UsageError."""
    from lmarc.archive.secret import Lock
    from lmarc.cli.session import new_passphrase

    if encrypt and recipients:
        raise UsageError("--encrypt and --recipient exclude each other: a passphrase, or keys")
    if recipients:
        return Lock(recipients)
    return Lock(passphrase=new_passphrase()) if encrypt else None


class _Stdout:
    """Standard output as a sink that writes all or raises."""

    def fileno(self) -> int:
        """The descriptor."""
        return sys.stdout.fileno()

    def write(self, data: bytes) -> None:
        """Write all of data."""
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _default_output(paths: list[str]) -> str:
    if paths == [_STDIN]:
        return _STDIN
    if len(paths) != 1:
        raise UsageError("several sources need a name for the archive: -o FILE")
    path = os.path.normpath(paths[0])
    if os.path.basename(path) in ("", ".", ".."):
        name = os.path.basename(os.path.realpath(path))
        if not name:
            raise UsageError("this needs a name for the archive: -o FILE")
        return name + _EXTENSION
    return path + _EXTENSION


def _listed(lines: str | None, nuls: str | None) -> Iterator[bytes]:
    for source, separator in ((lines, b"\n"), (nuls, b"\0")):
        if source is not None:
            yield from _split(source, separator)


def _split(source: str, separator: bytes) -> Iterator[bytes]:
    with open(0 if source == _STDIN else source, "rb", closefd=source != _STDIN) as file:
        rest = b""
        while block := file.read(1 << 16):
            *whole, rest = (rest + block).split(separator)
            yield from filter(None, whole)
        if rest:
            yield rest


def _show_plan(options: dict[str, Any], reporter: Any, json: bool) -> int:
    from lmarc import packing
    from lmarc.archive.observer import CountingObserver
    from lmarc.archive.paths import display
    from lmarc.archive.walk import Roots
    from lmarc.cli import render

    rows = []
    counting = CountingObserver(reporter)
    with Roots() as roots:
        for source in packing.find_sources(roots, options["paths"], options["listed"], options["filters"], counting):
            if json:
                rows.append({"path": os.fsdecode(source.path), "size": source.stat.st_size})
            else:
                print(display(source.path))
    if json:
        render.print_json({"members": rows, "skipped": counting.count})
    return counting.count
