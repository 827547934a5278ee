"""What is left of files that are not whole, and of content that no name is left for (`unpack --keep-going`)."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from lmarc.archive.decode import ChunkCache, ChunkDecoder, MemberSink
from lmarc.archive.lost import Range
from lmarc.archive.observer import Observer
from lmarc.archive.paths import display
from lmarc.container.index import Chunk, Member, Owner
from lmarc.container.reader import ContainerReader
from lmarc.errors import DamagedError, LmarcError, LostContentError, TargetExistsError

#: What the file that has the rest of a damaged one is called behind its name, and where content without a name goes.
SUFFIX = b".damaged"
FOLDER = b"lost+found"
#: What file systems allow of a name.
_MOST_NAME = 255


@dataclass(frozen=True)
class Piece:
    """Content that no member names: bytes begin to end of what a chunk decodes to."""

    chunk: Chunk
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of it."""
        return self.end - self.begin

    @property
    def path(self) -> bytes:
        """What it is called: where the chunk is in the archive, and its first and last byte there if it is a part."""
        part = f".{self.begin}-{self.end - 1}" if self.size < self.chunk.size else ""
        return FOLDER + f"/{self.chunk.offset:012d}{part}".encode()


def unnamed(container: ContainerReader) -> Iterator[Piece]:
    """Content of a damaged archive that no member names, in the order of the archive.

    Where all index frames are there, nothing of what they know has lost its name.
    """
    if not container.is_index_whole:
        named = _merged((member.start, member.end) for member in container.members if member.kind == "file")
        at = 0
        for chunk in container.chunks:
            position = chunk.start
            while at < len(named) and named[at][1] <= position:
                at += 1
            for begin, end in (*_until(named, at, chunk.end), (chunk.end, chunk.end)):
                if position < begin:
                    yield Piece(chunk, position - chunk.start, begin - chunk.start)
                position = max(position, end)
    known = {chunk.offset for chunk in container.chunks}
    for chunk in container.walked_chunks:
        if chunk.offset not in known:
            yield Piece(chunk, 0, chunk.size)


def _merged(ranges: Iterable[Range]) -> list[Range]:
    out: list[Range] = []
    for begin, end in sorted(ranges):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        elif begin < end:
            out.append((begin, end))
    return out


def _until(ranges: list[Range], at: int, end: int) -> Iterator[Range]:
    """The ranges from the at-th on that begin before end."""
    while at < len(ranges) and ranges[at][0] < end:
        yield ranges[at]
        at += 1


class Salvage:
    """Writes what can still be decoded, under names that no member has.

    `open_sink` makes a file of a member's name, holes where nothing is put; `read_back` gives the stored content of a
    file, by its layout, from what has been written under a path. `taken` are the paths of all members. With
    `keep_existing` what stands where something should go is taken for that, from an earlier run.
    """

    def __init__(
        self,
        decoder: ChunkDecoder,
        open_sink: Callable[[Member], MemberSink],
        read_back: Callable[[Member], Iterator[memoryview]],
        observer: Observer,
        taken: Iterable[bytes],
        *,
        keep_existing: bool,
    ) -> None:
        self._decoder = decoder
        self._open_sink = open_sink
        self._read_back = read_back
        self._observer = observer
        self._keep_existing = keep_existing
        self._taken = set(taken)
        for path in list(self._taken):
            while b"/" in path:
                path = path.rpartition(b"/")[0]
                self._taken.add(path)
        self._cache = ChunkCache(decoder)
        #: Paths written by the path of the damaged file; of content without a name; and what could not be written.
        self.rests: dict[bytes, bytes] = {}
        self.unnamed: list[bytes] = []
        self.unwritten: dict[bytes, Exception] = {}

    def run(self, files: Iterable[Member], failed: Mapping[bytes, Exception], pieces: Iterable[Piece]) -> None:
        """Write what is left of the files that failed because content of theirs is lost, and the pieces."""
        rests = [member for member in files if _has_rest(member, failed.get(member.path))]
        rests.sort(key=lambda member: (member.start, member.end))
        pieces = list(pieces)
        self._announce(rests, pieces)
        first: Member | None = None
        for member in rests:
            path = self._free(member.path, SUFFIX)
            rest = member._replace(path=path)
            parts = self._parts_of(member)
            if first is not None and _layout(first) == _layout(member):
                # The same content, which may be of many files: decoding it again for each would take as many times.
                parts = self._copy_of(first)
            if self._write(rest, parts):
                first = rest
                self.rests[member.path] = path
                self._observer.notice(member.path, f"what is left of it is in {display(path)}, zeros for what is not")
        for piece in pieces:
            owner = Owner(os.geteuid(), os.getegid(), b"", b"")
            member = Member(self._free(piece.path, b""), stat.S_IFREG | 0o600, time.time_ns(), owner, piece.size)
            if self._write(member, self._part_of(piece)):
                self.unnamed.append(member.path)

    def _announce(self, rests: list[Member], pieces: list[Piece]) -> None:
        """Make ready what decoding takes, and say how much it is."""
        container = self._decoder.container
        chunks = {chunk.offset: chunk for rest in rests for chunk in container.chunks_of(rest.start, rest.end)}
        chunks |= {piece.chunk.offset: piece.chunk for piece in pieces if self._is_decodable(piece.chunk)}
        wanted = [chunk for offset, chunk in chunks.items() if offset not in self._decoder.broken]
        size = sum(rest.stored_size for rest in rests) + sum(piece.size for piece in pieces)
        self._observer.found(len(rests) + len(pieces), size)
        self._decoder.prepare(wanted, self._observer)

    def _is_decodable(self, chunk: Chunk) -> bool:
        return chunk.codec < len(self._decoder.container.header.backends)

    def _free(self, path: bytes, suffix: bytes) -> bytes:
        """A path that begins like this one and that nothing of the archive has, short enough."""
        above, slash, name = path.rpartition(b"/")
        for number in count(1):
            end = suffix + (b"-%d" % number if number > 1 else b"")
            free = above + slash + name[: _MOST_NAME - len(end)] + end
            if free not in self._taken:
                break
        self._taken.add(free)
        return free

    def _parts_of(self, member: Member) -> Iterator[tuple[int, memoryview]]:
        """What is whole of a file's content, with the offset in the file where it belongs."""
        container, broken = self._decoder.container, self._decoder.broken
        runs, start = [], member.start
        for offset, length in member.data_runs():
            runs.append((start, start + length, offset - start))
            start += length
        at = 0
        for chunk in container.chunks_of(member.start, member.end):
            if chunk.offset in broken:
                continue
            data = memoryview(self._cache.decode(chunk))
            while at and runs[at - 1][1] > chunk.start:
                at -= 1
            while at < len(runs) and runs[at][0] < chunk.end:
                begin, end, shift = runs[at]
                begin, end = max(begin, chunk.start), min(end, chunk.end)
                if begin < end:
                    yield begin + shift, data[begin - chunk.start : end - chunk.start]
                at += 1

    def _copy_of(self, rest: Member) -> Iterator[tuple[int, memoryview]]:
        blocks = self._read_back(rest)
        for offset, length in rest.data_runs():
            position = offset
            while position < offset + length:
                block = next(blocks, None)
                if block is None:
                    return
                # Zeros may be what is lost: a hole is as good.
                if any(block):
                    yield position, block
                position += len(block)

    def _part_of(self, piece: Piece) -> Iterator[tuple[int, memoryview]]:
        if not self._is_decodable(piece.chunk):
            raise DamagedError("the backend that coded it was named by an index that is lost")
        yield 0, memoryview(self._cache.decode(piece.chunk))[piece.begin : piece.end]

    def _write(self, member: Member, parts: Iterator[tuple[int, memoryview]]) -> bool:
        """Write a file of these parts. What keeps one from it is told and noted, and is no reason to stop."""
        self._observer.member(member.path)
        sink: MemberSink | None = None
        try:
            for offset, data in parts:
                # With holes in any case: those of the file, and for what is lost.
                sink = sink or self._open_sink(member._replace(sparse=()))
                sink.put(data, offset)
            if sink is None:
                return False
            sink.commit()
        except TargetExistsError as error:
            if not self._keep_existing:
                self._fail(sink, member.path, TargetExistsError(f"{error} (--force replaces it)"))
            return self._keep_existing
        except (LmarcError, OSError) as error:
            self._fail(sink, member.path, error)
            return False
        except BaseException:
            if sink is not None:
                sink.discard()
            raise
        finally:
            self._observer.progress(member.stored_size, 0)
        return True

    def _fail(self, sink: MemberSink | None, path: bytes, error: Exception) -> None:
        if sink is not None:
            sink.discard()
        self.unwritten[path] = error
        self._observer.failed(path, error)


def _has_rest(member: Member, error: Exception | None) -> bool:
    return isinstance(error, LostContentError) and error.lost != ((0, member.size),)


def _layout(member: Member) -> tuple[int, int, tuple[int, ...] | None]:
    return member.start, member.size, member.sparse
