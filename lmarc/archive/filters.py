"""Which sources to take: --exclude, --include and .gitignore files, in gitignore's pattern language."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmarc.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True)
class Filters:
    """Patterns of a pack. `exclude` wins over `include`; `include`, if not empty, limits files, not directories."""

    exclude: Sequence[str] = ()
    include: Sequence[str] = ()
    gitignore: bool = False


class Selector:
    """Decides on member paths, from the root of the archive down."""

    def __init__(self, filters: Filters) -> None:
        self._exclude = _spec(filters.exclude) if filters.exclude else None
        self._include = _spec(filters.include) if filters.include else None

    def takes(self, path: bytes, is_dir: bool, ignores: IgnoreChain | None) -> bool:
        """Whether a member of that path is taken. `ignores` are the .gitignore files above it."""
        name = os.fsdecode(path) + ("/" if is_dir else "")
        if self._exclude and self._exclude.match_file(name):
            return False
        if self._include and not is_dir and not self._include.match_file(name):
            return False
        return ignores is None or not ignores.ignores(path, is_dir)


@dataclass(frozen=True)
class IgnoreChain:
    """The .gitignore files that apply in a directory, the nearest first."""

    directory: bytes
    spec: GitIgnoreSpec | None
    above: IgnoreChain | None

    def below(self, directory: bytes, text: bytes | None) -> IgnoreChain:
        """The chain for a subdirectory, whose own .gitignore has that text, if it has one."""
        return IgnoreChain(directory, None if text is None else _lenient_spec(os.fsdecode(text).splitlines()), self)

    def ignores(self, path: bytes, is_dir: bool) -> bool:
        """Whether git would ignore the path; .git itself is ignored too."""
        if path.rsplit(b"/", 1)[-1] == b".git":
            return True
        link: IgnoreChain | None = self
        while link is not None:
            if link.spec is not None:
                inner = path[len(link.directory) + 1 :] if link.directory else path
                verdict = link.spec.check_file(os.fsdecode(inner) + ("/" if is_dir else "")).include
                if verdict is not None:
                    return bool(verdict)
            link = link.above
        return False


def _spec(lines: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise UsageError(f"a pattern cannot be read: {error}") from error


def _lenient_spec(lines: Sequence[str]) -> GitIgnoreSpec:
    """As git does: a line that means nothing is passed over."""
    try:
        return _spec(lines)
    except UsageError:
        return _spec([line for line in lines if _is_readable(line)])


def _is_readable(line: str) -> bool:
    try:
        _spec([line])
    except UsageError:
        return False
    return True
