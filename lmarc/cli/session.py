"""Opening archives for commands: from a path or from standard input, with what is wrong said once."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lmarc.archive.paths import escape
from lmarc.archive.read import Archive, MemberInfo
from lmarc.archive.secret import keys_from
from lmarc.errors import UsageError

#: The variable that has a passphrase.
PASSPHRASE = "LMARC_PASSPHRASE"


@contextmanager
def opened(
    path: str,
    models: list[str] | None = None,
    threads: int | None = None,
    max_time: float | None = None,
    max_members: int | None = None,
    key: list[str] | None = None,
) -> Iterator[Archive]:
    """The archive at path; - reads standard input to a temporary file first, since reading needs to seek."""
    import lmarc

    keys = keys_from(key or [], _ask)
    if os.environ.get(PASSPHRASE) and not keys.passphrase:
        keys = replace(keys, passphrase=os.environ[PASSPHRASE])
    how: dict[str, Any] = {"models": models or (), "threads": threads, "max_time": max_time}
    how |= {"max_members": max_members, "keys": keys}
    if path != "-":
        with lmarc.open(path, **how) as archive:
            _say_damage(archive, path)
            yield archive
        return
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
        with lmarc.open(spool, **how) as archive:
            _say_damage(archive, "standard input")
            yield archive


def _ask() -> str:
    """The passphrase that somebody types; "" where nobody can."""
    import getpass

    return getpass.getpass("Passphrase: ") if sys.stdin.isatty() else ""


def new_passphrase() -> str:
    """The passphrase to encrypt with. Raises UsageError where there is none."""
    import getpass

    if os.environ.get(PASSPHRASE):
        return os.environ[PASSPHRASE]
    if not sys.stdin.isatty():
        raise UsageError(f"no passphrase: nobody is there to type one, and {PASSPHRASE} is not set")
    found = getpass.getpass("New passphrase: ")
    if not found or getpass.getpass("Once more: ") != found:
        raise UsageError("no passphrase, or not the same twice")
    return found


def selected(archive: Archive, patterns: list[str] | None) -> list[MemberInfo]:
    """Members that the patterns name; all without patterns. Raises MemberNotFoundError for one that names none."""
    return [archive.getinfo(os.fsdecode(member.path)) for member in archive.select(patterns or ())]


def _say_damage(archive: Archive, name: str) -> None:
    for text in archive.damage:
        print(f"lmarc: {escape(name)}: damaged: {text}", file=sys.stderr)
