"""What a command shows while it works: events on standard error, and a bar where that is a terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from lmarc.archive.observer import Observer
from lmarc.archive.paths import display
from lmarc.cli import render

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID

#: Work that ends sooner shows no bar, in seconds.
_DELAY = 1.0
#: Work that a model makes long, in seconds, is announced.
_WORTH_SAYING = 10.0
_PREPARING = "compiling the model, once after installing"


class Reporter(Observer):
    """An observer for the command line, and a context manager around the work.

    The bar is drawn by a thread of its own, so that it lives while the pipeline waits for a slow chunk or the
    model's kernels are compiled for the first time.
    """

    def __init__(self, verb: str, *, quiet: bool = False, verbose: bool = False) -> None:
        self._verb = verb
        self._quiet = quiet
        self._verbose = verbose
        self._timer = threading.Timer(_DELAY, self._start_bar) if not quiet and sys.stderr.isatty() else None
        self._lock = threading.Lock()
        self._closed = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total = 0
        self._done = 0
        self._within = 0
        self._stored = 0
        self._last_named = b""
        self._preparing_since: float | None = None
        self.started = time.monotonic()

    def __enter__(self) -> Reporter:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
            if self._bar is not None:
                self._bar.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.started

    def found(self, members: int, size: int) -> None:
        """Add to the total."""
        self._total += size
        self._refresh()

    def member(self, path: bytes) -> None:
        """Name the member where that was asked for."""
        if self._verbose and path != self._last_named:
            self._last_named = path
            self._say(display(path))

    def progress(self, content: int, stored: int) -> None:
        """Advance."""
        self._done += content
        self._stored += stored
        self._within = 0
        self._refresh()

    def within(self, content: int) -> None:
        """Advance within a chunk."""
        self._within = content
        self._refresh()

    def preparing(self) -> None:
        """The bar will say so, if it takes longer than loading what was compiled before."""
        self._preparing_since = time.monotonic()

    def prepared(self) -> None:
        """Go on."""
        self._preparing_since = None

    def expecting(self, symbols: float, content: float, seconds: float) -> None:
        """Say it, if it takes a while."""
        if not self._quiet and seconds > _WORTH_SAYING:
            rate = f"{symbols:.0f} tokens/s, {render.size(int(content))}/s"
            self._say(f"lmarc: the model does about {rate}: {self._verb} will take about {render.duration(seconds)}")

    def notice(self, path: bytes, reason: str) -> None:
        """Say it."""
        if not self._quiet:
            self._say(f"lmarc: {display(path)}: {reason}")

    def skipped(self, path: bytes, reason: str) -> None:
        """Say it."""
        self._say(f"lmarc: {display(path)}: {reason}")

    def failed(self, path: bytes, error: Exception) -> None:
        """Say it."""
        self._say(f"lmarc: {_describe(path, error)}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr)

    def _start_bar(self) -> None:
        bar = _new_bar(self._preparation)
        with self._lock:
            if not self._closed:
                self._task = bar.add_task(self._verb, total=None, ratio="")
                bar.start()
                self._bar = bar
        self._refresh()

    def _preparation(self) -> str:
        """What stands in place of the bar: nothing, or what takes so long before the work can begin."""
        since = self._preparing_since
        seconds = 0.0 if since is None else time.monotonic() - since
        return "" if seconds < _DELAY else f"{_PREPARING}: {int(seconds)} s"

    def _refresh(self) -> None:
        if self._bar is None or self._task is None:
            return
        ratio = f"{100 * self._stored / self._done:.1f} %" if self._stored and self._done else ""
        self._bar.update(self._task, completed=self._done + self._within, total=self._total or None, ratio=ratio)


def _new_bar(instead: Callable[[], str]) -> Progress:
    """A bar; at each redrawing, what `instead` says takes its place."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class Bar(Progress):
        def get_renderables(self) -> Iterable[RenderableType]:
            text = instead()
            return [Text(text, no_wrap=True)] if text else super().get_renderables()

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[ratio]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _describe(path: bytes, error: Exception) -> str:
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return f"{display(path)}: {reason}"


def summary(text: str, *, quiet: bool) -> None:
    """A closing line on standard error."""
    if not quiet:
        print(f"lmarc: {text}", file=sys.stderr)


def ratio(content: int, stored: int) -> str:
    """Sizes before and after, and their ratio."""
    share = f" ({100 * stored / content:.1f} %)" if content else ""
    return f"{render.size(content)} → {render.size(stored)}{share}"
