"""From files to the content stream: reading, hashing, storing identical content once, cutting chunks."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from blake3 import blake3

from lmarc.archive import fs
from lmarc.archive.walk import Source
from lmarc.container.index import Member
from lmarc.container.wire import MAX_RUNS

_BLOCK = 1 << 20
#: st_blocks counts these.
_STAT_BLOCK = 512

#: Offset and length of a run of data in a file.
Run = tuple[int, int]


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
        self._unverified: dict[bytes, Member] = {}
        self._large_sizes: Counter[int] = Counter()
        self.duplicates = 0

    def know(self, members: Iterable[Member], is_sound: Callable[[Member], bool]) -> None:
        """Files whose content is in the stream already; before it is relied on, `is_sound` says whether it is that."""
        self._is_sound = is_sound
        for member in members:
            if member.stored_size:
                self._unverified[member.hash] = member
                self.expect_large(member.size)

    def _start_of(self, digest: bytes) -> int | None:
        """Where content with that hash is in the stream, if it is."""
        member = self._unverified.pop(digest, None)
        if member is not None and self._is_sound(member):
            self._known.setdefault(digest, member.start)
        return self._known.get(digest)

    def expect_large(self, size: int) -> None:
        """Announce a file that may be too large to be read whole, so that duplicates among such are noticed."""
        if size > self._whole_limit:
            self._large_sizes[size] += 1

    def read(self, source: Source) -> Content:
        """Read one regular file. Raises OSError if it cannot be read, or is none any more."""
        fd = fs.open_file(source.root, source.location)
        try:
            before = os.fstat(fd)
            if not os.path.samestat(before, source.stat):
                # Replaced since it was found: by a new version of itself, or a directory above by a link elsewhere.
                os.close(fd)
                fd = -1
                fd = fs.open_file_strictly(source.root, source.location, source.given)
                before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode):
                raise OSError(errno.ESTALE, "is no longer a regular file")
            size, start, digest, sparse = self._take(fd, before)
            after = os.fstat(fd)
        finally:
            if fd >= 0:
                os.close(fd)
        changed = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        # Ended early, though nothing says why. In sysfs, where files say a page and take no blocks, that is usual.
        changed |= size != after.st_size and after.st_blocks > 0
        return Content(before, size, start, digest, sparse, changed)

    def add_bytes(self, data: bytes) -> tuple[int, bytes]:
        """Add content from memory; return its start and hash."""
        digest = blake3(data).digest()
        return self._add_whole(data, digest), digest

    def read_stream(self, fd: int, first: bytes = b"") -> tuple[int, int, bytes]:
        """Read a pipe to its end, `first` before it; return size, start and hash of what came."""
        hasher, start, size = blake3(), self._chunker.position, 0
        while block := first or os.read(fd, _BLOCK):
            first = b""
            hasher.update(block)
            self._chunker.append(block)
            size += len(block)
        return size, (start if size else 0), hasher.digest()

    def _take(self, fd: int, info: os.stat_result) -> tuple[int, int, bytes, tuple[int, ...] | None]:
        """Size, start, hash and holes of an open file, its stored content added to the stream unless it is known."""
        size = info.st_size
        holes = _data_runs(fd, size) if info.st_blocks * _STAT_BLOCK < size else None
        runs = [(0, size)] if holes is None else holes
        if sum(length for _, length in runs) <= self._whole_limit:
            data, done = _read_runs(fd, runs)
            if size == 0 and (first := os.read(fd, _BLOCK)):
                # What /proc and its like hold has no size beforehand.
                return *self.read_stream(fd, first), None
            digest = blake3(data).digest()
            start = self._add_whole(data, digest)
        else:
            start, digest, done = self._add_large(fd, runs, is_maybe_known=self._large_sizes[size] > 1)
        if done != runs and size:
            # It has become shorter: it ends where reading did.
            size = sum(done[-1]) if done else 0
        return size, start, digest, None if holes is None else _sparse(done)

    def _add_whole(self, data: bytes, digest: bytes) -> int:
        if not data:
            return 0
        start = self._start_of(digest)
        if start is None:
            self._chunker.make_room(len(data))
            start = self._known[digest] = self._chunker.position
            self._chunker.append(data)
        else:
            self.duplicates += 1
        return start

    def _add_large(self, fd: int, runs: list[Run], *, is_maybe_known: bool) -> tuple[int, bytes, list[Run]]:
        if is_maybe_known:
            # Reading twice is cheaper than coding twice.
            digest, done = _hash_runs(fd, runs, lambda block: None)
            known = self._start_of(digest)
            if known is not None:
                self.duplicates += 1
                return known, digest, done
        start = self._chunker.position
        digest, done = _hash_runs(fd, runs, self._chunker.append)
        if self._chunker.position == start:
            return 0, digest, done
        return self._known.setdefault(digest, start), digest, done


def _sparse(runs: list[Run]) -> tuple[int, ...]:
    """Runs of data as the index has them: the hole before each, and its length."""
    out: list[int] = []
    position = 0
    for offset, length in runs:
        out += (offset - position, length)
        position = offset + length
    return tuple(out)


def _data_runs(fd: int, size: int) -> list[Run] | None:
    """The runs of data in a file with holes; None if there are no holes after all."""
    runs: list[Run] = []
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
    return None if runs == [(0, size)] else _joined(runs)


def _joined(runs: list[Run]) -> list[Run]:
    """At most MAX_RUNS runs: where there are more, the smallest holes between them become data."""
    if len(runs) <= MAX_RUNS:
        return runs
    gaps = sorted(range(1, len(runs)), key=lambda i: runs[i][0] - sum(runs[i - 1]), reverse=True)
    begins = [0, *sorted(gaps[: MAX_RUNS - 1]), len(runs)]
    return [(runs[i][0], sum(runs[j - 1]) - runs[i][0]) for i, j in pairwise(begins)]


def _read_runs(fd: int, runs: list[Run]) -> tuple[bytes, list[Run]]:
    """The joined data of runs, and the runs as far as they could be read."""
    if len(runs) == 1:
        # Most files: one read, nothing joined.
        offset, length = runs[0]
        data = os.pread(fd, length, offset) if length else b""
        if len(data) == length:
            return data, runs
    parts: list[bytes] = []
    done = _read_into(fd, runs, parts.append)
    return b"".join(parts), done


def _hash_runs(fd: int, runs: list[Run], take: Callable[[bytes], None]) -> tuple[bytes, list[Run]]:
    """Hash of the joined data of runs, each block of it handed on, and the runs as far as they could be read."""
    hasher = blake3()

    def both(block: bytes) -> None:
        hasher.update(block)
        take(block)

    done = _read_into(fd, runs, both)
    return hasher.digest(), done


def _read_into(fd: int, runs: list[Run], take: Callable[[bytes], None]) -> list[Run]:
    done: list[Run] = []
    for offset, length in runs:
        got = 0
        for block in _blocks(fd, offset, length):
            take(block)
            got += len(block)
        if got:
            done.append((offset, got))
        if got < length:
            break
    return done


def _blocks(fd: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        block = os.pread(fd, min(_BLOCK, end - offset), offset)
        if not block:
            return
        offset += len(block)
        yield block
