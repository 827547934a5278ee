"""Archives of which a test needs to decide how content lies in chunks; and a few things to watch with."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import lmarc
from lmarc.container.header import Header
from lmarc.container.writer import ContainerWriter
from tests.container import build


def chunked(contents: Mapping[bytes, bytes], size: int, others: tuple[build.Entry, ...] = ()) -> bytes:
    """An archive of files in chunks of `size` bytes, contents that are one object stored once, and other members."""
    starts: dict[int, int] = {}
    stream = bytearray()
    for content in contents.values():
        if content and id(content) not in starts:
            starts[id(content)] = len(stream)
            stream += content
    out = io.BytesIO()
    container = ContainerWriter(out, Header("test", (build.STORE,)))
    for at in range(0, len(stream), size):
        piece = bytes(stream[at : at + size])
        container.add_chunk(0, len(piece), build.check(piece), piece)
    for path, content in contents.items():
        container.add_member(build.file(path, content)[0]._replace(start=starts.get(id(content), 0)))
    for member, _ in others:
        container.add_member(member)
    container.close()
    return out.getvalue()


def hole(path: bytes, size: int) -> build.Entry:
    """A file that is one hole."""
    return build.file(path)[0]._replace(size=size, sparse=()), b""


def opened(*entries: build.Entry) -> lmarc.Archive:
    """An open archive of these."""
    return lmarc.open(io.BytesIO(build.build(entries)))


def temporaries(folder: Path) -> list[Path]:
    """Unfinished files that extraction has left."""
    return list(folder.rglob(".lmarc-*"))


class Meddler(lmarc.Observer):
    """Does something once: when it is known what there is to do, and nothing is done yet."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action: Callable[[], object] | None = action
        self.skips: list[bytes] = []

    def found(self, members: int, size: int) -> None:
        if self._action is not None:
            action, self._action = self._action, None
            action()

    def skipped(self, path: bytes, reason: str) -> None:
        self.skips.append(path)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Another umask, for the programs started meanwhile too."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
