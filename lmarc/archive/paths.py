"""Member paths: which are safe to extract, and matching them with globs."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from fnmatch import translate
from itertools import chain

from lmarc.container.index import Member


def why_unsafe(path: bytes) -> str | None:
    """What makes a member path unsafe to extract (FORMAT.md section 4.1); None if nothing does."""
    if not path:
        return "its path is empty"
    if b"\0" in path:
        return "its path has a NUL byte"
    if path.startswith(b"/"):
        return "its path is absolute"
    for part in path.split(b"/"):
        if part in (b"", b".", b".."):
            return f"its path has a component {os.fsdecode(part)!r}"
    return None


def parents(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the nearest first."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def unsafe_members(members: Iterable[Member]) -> dict[bytes, str]:
    """Of all members of an archive, those that must not be extracted, and why (FORMAT.md section 4.1)."""
    members = list(members)
    others = {member.path for member in members if member.kind != "dir"}
    blocked: dict[bytes, bool] = {b"": False}
    out: dict[bytes, str] = {}
    for member in members:
        reason = why_unsafe(member.path)
        if member.kind == "symlink" and (not member.target or b"\0" in member.target):
            reason = "its target is empty or has a NUL byte"
        if reason is None and _is_blocked(member.path.rpartition(b"/")[0], others, blocked):
            reason = "it lies below a member that is not a directory"
        if reason is not None:
            out[member.path] = reason
    for member in members:
        if member.kind == "hardlink" and member.target in out:
            out.setdefault(member.path, "the file it links to is refused")
    return out


def _is_blocked(directory: bytes, others: set[bytes], known: dict[bytes, bool]) -> bool:
    verdict = False
    for path in chain((directory,), parents(directory)):
        # Mostly the directory above is known. Only the one asked for is noted: a hostile path may have thousands above.
        if path in known:
            verdict = known[path]
            break
        if path in others:
            verdict = True
            break
    known[directory] = verdict
    return verdict


class Patterns:
    """Names and globs that select members. `*` and `?` match `/` too; a directory selects all below it.

    What is the name of a member (`names`) means that member, whatever it would mean as a glob.
    """

    def __init__(self, patterns: Sequence[str], names: Collection[bytes]) -> None:
        self.patterns = [pattern.rstrip("/") or pattern for pattern in patterns]
        self._plain = {os.fsencode(pattern) for pattern in self.patterns}
        globs = [p for p in self.patterns if any(char in p for char in "*?[") and os.fsencode(p) not in names]
        self._globs = [(os.fsencode(pattern), re.compile(translate(pattern))) for pattern in globs]
        self._used: set[bytes] = set()
        self._known: dict[bytes, bool] = {b"": False}

    def __call__(self, path: bytes) -> bool:
        """Whether the path, or a directory above it, matches."""
        if not self.patterns:
            return True
        above = path.rpartition(b"/")[0]
        if above not in self._known:
            # All are tried, not the first that matches: every pattern that names something must be known to.
            self._known[above] = sum(map(self._matches, chain((above,), parents(above)))) > 0
        return self._matches(path) or self._known[above]

    def _matches(self, path: bytes) -> bool:
        found = {path} & self._plain
        found.update(pattern for pattern, regex in self._globs if regex.match(os.fsdecode(path)))
        self._used |= found
        return bool(found)

    def unmatched(self) -> list[str]:
        """Patterns that have matched nothing so far."""
        return [pattern for pattern in self.patterns if os.fsencode(pattern) not in self._used]


def escape(text: str) -> str:
    """Text safe for a terminal: control characters and bytes that are not UTF-8 as backslash escapes."""
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(char) for char in text)


def _escaped(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    simple = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return simple or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def display(path: bytes) -> str:
    """A member path as people see it."""
    return escape(os.fsdecode(path))
