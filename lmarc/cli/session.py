"""Opening archives for commands: from a path or from standard input, with what is wrong said once."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from lmarc.archive.paths import escape
from lmarc.archive.read import Archive, MemberInfo


@contextmanager
def opened(
    path: str,
    models: list[str] | None = None,
    threads: int | None = None,
    max_time: float | None = None,
    max_members: int | None = None,
) -> Iterator[Archive]:
    """The archive at path; - reads standard input to a temporary file first, since reading needs to seek."""
    import lmarc
    from lmarc.archive.read import MAX_MEMBERS

    most = MAX_MEMBERS if max_members is None else max_members
    if path != "-":
        with lmarc.open(path, models=models or (), threads=threads, max_time=max_time, max_members=most) as archive:
            _say_damage(archive, path)
            yield archive
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
        with lmarc.open(spool, models=models or (), threads=threads, max_time=max_time, max_members=most) as archive:
            _say_damage(archive, "standard input")
            yield archive


def selected(archive: Archive, patterns: list[str] | None) -> list[MemberInfo]:
    """Members that the patterns name; all without patterns. Raises MemberNotFoundError for one that names none."""
    return [archive.getinfo(os.fsdecode(member.path)) for member in archive.select(patterns or ())]


def _say_damage(archive: Archive, name: str) -> None:
    for text in archive.damage:
        print(f"lmarc: {escape(name)}: damaged: {text}", file=sys.stderr)
