"""Changing archives, the public functions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from lmarc.archive import recovery
from lmarc.archive.change import Change, check_written, locked
from lmarc.archive.compact import CompactResult
from lmarc.archive.filters import Filters
from lmarc.archive.observer import Observer
from lmarc.archive.pack import PackResult
from lmarc.archive.paths import Patterns, escape
from lmarc.archive.presets import DEFAULT_PRESET
from lmarc.archive.recovery import RepairResult
from lmarc.archive.save import SaveFile
from lmarc.archive.walk import Roots
from lmarc.container.writer import ContainerWriter
from lmarc.errors import LmarcError, MemberNotFoundError
from lmarc.packing import find_sources, new_packer


def add(
    archive: str | os.PathLike[str],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    preset: str = DEFAULT_PRESET,
    backend: str | None = None,
    model: str | None = None,
    settings: Mapping[str, int | str] | None = None,
    jobs: int | None = None,
    exclude: Iterable[str] = (),
    include: Iterable[str] = (),
    gitignore: bool = False,
    listed: Iterable[bytes] = (),
    observer: Observer | None = None,
) -> PackResult:
    """Add what pack() would pack to an archive that is there; members of the same path are replaced.

    What is new goes behind the archive's end: wherever that is cut short, what was in the archive before is readable.
    Content that the archive has already is not stored again. Raises DamagedError for a damaged archive, UsageError for
    what cannot be in one archive with its members.
    """
    given = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    filters = Filters(tuple(exclude), tuple(include), gitignore)
    with Change(os.path.realpath(archive)) as change, Roots() as roots:
        packer = new_packer(
            change, preset, backend, jobs, observer or Observer(), model, settings=settings, change=change
        )
        try:
            packer.pack(find_sources(roots, given, listed, filters, packer.observer, [change.identity]))
            if packer.observer.count and not packer.result.members:
                raise LmarcError("nothing could be added")
            return packer.finish()
        except BaseException:
            packer.abandon()
            raise


def remove(archive: str | os.PathLike[str], patterns: Iterable[str]) -> int:
    """Take members out of an archive, by names and globs; returns how many.

    Their content stays in the file until compact(). Raises MemberNotFoundError for a pattern that names nothing.
    """
    with Change(os.path.realpath(archive)) as change:
        matches = Patterns(list(patterns), change.members.keys())
        chosen = sorted(path for path in change.members if matches(path)) if matches.patterns else []
        if matches.unmatched():
            raise MemberNotFoundError(f"no member {', '.join(escape(pattern) for pattern in matches.unmatched())}")
        gone = set(chosen)
        writer = ContainerWriter(change, change.before.header, change.before)
        for heir in list(change.heirs(gone)):
            writer.add_member(heir)
        for path in chosen:
            writer.remove(path)
        writer.close(change.sync)
        return len(chosen)


def repair(archive: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> RepairResult:
    """Put an archive right by its recovery data, in its place or to a new file, if there is anything to be put right.

    Raises DamagedError where there is more damage than recovery data can mend; nothing is written then.
    """
    path = os.path.realpath(archive)
    if output is not None:
        with SaveFile(os.path.realpath(output)) as target:
            return recovery.repair(path, target)
    with locked(path), suppress(_UnchangedError), SaveFile(path, replace=True) as target:
        result = recovery.repair(path, target)
        if not result.changed:
            raise _UnchangedError
    return result


class _UnchangedError(Exception):
    """What would be written is there already."""


def compact(archive: str | os.PathLike[str]) -> CompactResult:
    """Write an archive anew without the content that no member has any more, as far as whole chunks hold it.

    Nothing is coded anew. The archive is replaced when that is done. Raises DamagedError for a damaged one.
    """
    from lmarc.archive.compact import compact as write

    path = os.path.realpath(archive)
    with Change(path) as change, SaveFile(path, replace=True) as target:
        result = write(change.reader, target)
        check_written(target.fileno(), len(change.members))
        return result
