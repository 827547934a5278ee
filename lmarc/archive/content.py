"""From files to the content stream: reading, hashing, storing identical content once, cutting chunks."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from blake3 import blake3

from lmarc.archive import fs
from lmarc.archive.walk import Source

_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)
#: st_blocks counts these.
_STAT_BLOCK = 512


class Chunker:
    """Cuts the content stream into chunks of at most chunk_size bytes and hands each, in pieces, to `emit`.

    A file of at most half a chunk is never split: the chunk before it ends early instead, so that getting one small
    file out takes one chunk.
    """

    def __init__(self, chunk_size: int, emit: Callable[[list[bytes]], None]) -> None:
        self.position = 0
        self._size = chunk_size
        self._emit = emit
        self._pieces: list[bytes] = []
        self._filled = 0

    def make_room(self, size: int) -> None:
        """Prepare for a file of that size."""
        if size <= self._size // 2 and self._filled + size > self._size:
            self.flush()

    def append(self, data: bytes) -> None:
        """Add data to the stream. It is kept, not copied: joining the pieces is the worker's part."""
        self.position += len(data)
        room = self._size - self._filled
        while len(data) >= room:
            self._pieces.append(data[:room])
            self._filled += room
            self.flush()
            data = data[room:]
            room = self._size
        if data:
            self._pieces.append(data)
            self._filled += len(data)

    def flush(self) -> None:
        """End the current chunk."""
        if self._pieces:
            self._emit(self._pieces)
            self._pieces = []
            self._filled = 0


class Content(NamedTuple):
    """Where a file's content went, and what is known of it. `sparse` as in Member."""

    stat: os.stat_result
    size: int
    start: int
    hash: bytes
    sparse: tuple[int, ...] | None
    changed: bool


class ContentReader:
    """Reads files into the content stream of `chunker`, identical ones once."""

    def __init__(self, chunker: Chunker, whole_limit: int) -> None:
        self._chunker = chunker
        self._whole_limit = whole_limit
        self._known: dict[bytes, int] = {}
        self._large_sizes: Counter[int] = Counter()
        self.duplicates = 0

    def expect_large(self, size: int) -> None:
        """Announce a file that may be too large to be read whole, so that duplicates among such are noticed."""
        if size > self._whole_limit:
            self._large_sizes[size] += 1

    def read(self, source: Source) -> Content:
        """Read one regular file. Raises OSError if it cannot be read, or is none any more."""
        fd = fs.open_file(source.root, source.location)
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise OSError(errno.ESTALE, "is no longer a regular file")
            size, start, digest, sparse = self._take(fd, before)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or size != after.st_size
        return Content(before, size, start, digest, sparse, changed)

    def add_bytes(self, data: bytes) -> tuple[int, bytes]:
        """Add content from memory; return its start and hash."""
        digest = blake3(data).digest()
        return self._add_whole(data, digest), digest

    def read_stream(self, fd: int) -> tuple[int, int, bytes]:
        """Read a pipe to its end; return size, start and hash of what came."""
        hasher, start, size = blake3(), self._chunker.position, 0
        while block := os.read(fd, _BLOCK):
            hasher.update(block)
            self._chunker.append(block)
            size += len(block)
        return size, (start if size else 0), hasher.digest()

    def _take(self, fd: int, info: os.stat_result) -> tuple[int, int, bytes, tuple[int, ...] | None]:
        size = info.st_size
        runs = _data_runs(fd, size) if info.st_blocks * _STAT_BLOCK < size else None
        if runs is None and size <= self._whole_limit:
            data = _read_exactly(fd, size)
            digest = blake3(data).digest()
            return len(data), self._add_whole(data, digest), digest, None
        if self._large_sizes[size] > 1:
            digest = _hash_file(fd, size, runs)
            known = self._known.get(_key(digest, runs))
            if known is not None:
                self.duplicates += 1
                return size, known, digest, _sparse(runs)
        return self._add_large(fd, size, runs)

    def _add_whole(self, data: bytes, digest: bytes) -> int:
        if not data:
            return 0
        start = self._known.get(digest)
        if start is None:
            self._chunker.make_room(len(data))
            start = self._known[digest] = self._chunker.position
            self._chunker.append(data)
        else:
            self.duplicates += 1
        return start

    def _add_large(
        self, fd: int, size: int, runs: list[tuple[int, int]] | None
    ) -> tuple[int, int, bytes, tuple[int, ...] | None]:
        self._chunker.make_room(size if runs is None else sum(length for _, length in runs))
        start = self._chunker.position
        hasher = blake3()
        done: list[tuple[int, int]] = []
        position = 0
        for offset, length in [(0, size)] if runs is None else runs:
            hash_zeros(hasher, offset - position)
            got = 0
            for block in _blocks(fd, offset, length):
                hasher.update(block)
                self._chunker.append(block)
                got += len(block)
            position = offset + got
            if got:
                done.append((offset, got))
            if got < length:
                size = position
                break
        hash_zeros(hasher, size - position)
        if runs is not None:
            runs = done
        digest = hasher.digest()
        if self._chunker.position == start:
            start = 0
        else:
            self._known.setdefault(_key(digest, runs), start)
        return size, start, digest, _sparse(runs)


def _key(digest: bytes, runs: list[tuple[int, int]] | None) -> bytes:
    """What identifies stored content: the hash, and for a file with holes also where they are."""
    return digest if runs is None else digest + repr(runs).encode()


def _sparse(runs: list[tuple[int, int]] | None) -> tuple[int, ...] | None:
    if runs is None:
        return None
    out: list[int] = []
    position = 0
    for offset, length in runs:
        out += (offset - position, length)
        position = offset + length
    return tuple(out)


def _data_runs(fd: int, size: int) -> list[tuple[int, int]] | None:
    """Offset and length of each run of data in a file with holes; None if there are no holes after all."""
    runs: list[tuple[int, int]] = []
    position = 0
    try:
        while position < size:
            try:
                start = os.lseek(fd, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    break
                raise
            end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            if start >= size:
                break
            runs.append((start, end - start))
            position = end
    except OSError:
        return None
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return None if runs == [(0, size)] else runs


def _read_exactly(fd: int, size: int) -> bytes:
    """Up to size bytes; fewer only if the file has become shorter."""
    data = os.read(fd, size) if size else b""
    if len(data) < size:
        parts = [data]
        missing = size - len(data)
        while missing and (data := os.read(fd, missing)):
            parts.append(data)
            missing -= len(data)
        data = b"".join(parts)
    return data


def _blocks(fd: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        block = os.pread(fd, min(_BLOCK, end - offset), offset)
        if not block:
            return
        offset += len(block)
        yield block


def hash_zeros(hasher: blake3, count: int) -> None:
    """Feed so many zero bytes to a hasher."""
    while count > 0:
        step = min(count, _BLOCK)
        hasher.update(_ZEROS if step == _BLOCK else _ZEROS[:step])
        count -= step


def _hash_file(fd: int, size: int, runs: list[tuple[int, int]] | None) -> bytes:
    hasher = blake3()
    position = 0
    for offset, length in [(0, size)] if runs is None else runs:
        hash_zeros(hasher, offset - position)
        for block in _blocks(fd, offset, length):
            hasher.update(block)
        position = offset + length
    hash_zeros(hasher, size - position)
    return hasher.digest()
