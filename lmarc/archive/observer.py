"""What the pipeline tells whoever watches. Nothing below the CLI prints; it calls one of these."""

from __future__ import annotations


class Observer:
    """Receives progress and events; every method may be overridden and does nothing by default.

    Paths are member paths as bytes. All calls come from the thread that runs the pipeline.
    """

    def found(self, members: int, size: int) -> None:
        """More sources have been found: so many members with so many bytes of content."""

    def member(self, path: bytes) -> None:
        """A member is being worked on."""

    def progress(self, content: int, stored: int) -> None:
        """So many more bytes of content are done, as so many bytes of archive."""

    def within(self, content: int) -> None:
        """Of the chunk in work, so many bytes are done. May come from another thread; only where a chunk takes long."""

    def preparing(self) -> None:
        """A backend is being made ready, which takes seconds where a model is compiled for the first time."""

    def prepared(self) -> None:
        """It is ready, or could not be made so."""

    def expecting(self, symbols: float, content: float, seconds: float) -> None:
        """A predictor has been measured: symbols and bytes of content in a second, and how long all will take."""

    def notice(self, path: bytes, reason: str) -> None:
        """Something about a member that people should know and that is not an error."""

    def skipped(self, path: bytes, reason: str) -> None:
        """A source could not be packed, or not as it was: the result is incomplete (exit code 3)."""

    def failed(self, path: bytes, error: Exception) -> None:
        """A member could not be read back or written out."""


class CountingObserver(Observer):
    """Passes everything on and counts what was skipped, whoever skipped it."""

    def __init__(self, inner: Observer) -> None:
        self._inner = inner
        self.count = 0

    def found(self, members: int, size: int) -> None:
        """Pass on."""
        self._inner.found(members, size)

    def member(self, path: bytes) -> None:
        """Pass on."""
        self._inner.member(path)

    def progress(self, content: int, stored: int) -> None:
        """Pass on."""
        self._inner.progress(content, stored)

    def within(self, content: int) -> None:
        """Pass on."""
        self._inner.within(content)

    def preparing(self) -> None:
        """Pass on."""
        self._inner.preparing()

    def prepared(self) -> None:
        """Pass on."""
        self._inner.prepared()

    def expecting(self, symbols: float, content: float, seconds: float) -> None:
        """Pass on."""
        self._inner.expecting(symbols, content, seconds)

    def notice(self, path: bytes, reason: str) -> None:
        """Pass on."""
        self._inner.notice(path, reason)

    def skipped(self, path: bytes, reason: str) -> None:
        """Count and pass on."""
        self.count += 1
        self._inner.skipped(path, reason)

    def failed(self, path: bytes, error: Exception) -> None:
        """Pass on."""
        self._inner.failed(path, error)
