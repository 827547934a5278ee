"""What is left of files that are not whole, and of content that no name is left for (`unpack --keep-going`)."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lmarc.archive.decode import ChunkDecoder, MemberSink
from lmarc.archive.lost import Range
from lmarc.archive.observer import Observer
from lmarc.archive.paths import display
from lmarc.container import frames
from lmarc.container.index import Chunk, Member, Owner
from lmarc.container.reader import ContainerReader
from lmarc.errors import LmarcError, LostContentError

#: What the file that has the rest of a damaged one is called behind its name, and where content without a name goes.
SUFFIX = b".damaged"
FOLDER = b"lost+found"


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
        """What it is called: where the chunk is in the archive, and which part it is if not all."""
        part = f".{self.begin}-{self.end - 1}" if self.size < self.chunk.size else ""
        return FOLDER + f"/{self.chunk.offset:012d}{part}".encode()


def unnamed(container: ContainerReader) -> Iterator[Piece]:
    """Content of a damaged archive that no member names, in the order of the archive."""
    known = {chunk.offset for chunk in container.chunks}
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
    for offset, head in list(container.walk_frames()):
        if head.type == frames.CHUNK and offset not in known and head.codec < len(container.header.backends):
            yield Piece(Chunk(offset, head.decoded, head.codec, 0), 0, head.decoded)


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
    """Writes what can still be decoded. `open_sink` makes a file of a member's name, holes where nothing is put."""

    def __init__(self, decoder: ChunkDecoder, open_sink: Callable[[Member], MemberSink], observer: Observer) -> None:
        self._decoder = decoder
        self._open_sink = open_sink
        self._observer = observer
        #: Paths written by the path of the damaged file, and of content without a name.
        self.rests: dict[bytes, bytes] = {}
        self.unnamed: list[bytes] = []

    def rests_of(self, files: Iterable[Member], failed: Mapping[bytes, Exception], taken: Iterable[bytes]) -> None:
        """Write what is left of the files whose content is lost in part, each beside its place."""
        taken = set(taken)
        for member in files:
            error = failed.get(member.path)
            if not isinstance(error, LostContentError) or error.lost == ((0, member.size),):
                continue
            path = member.path + SUFFIX
            while path in taken:
                path += SUFFIX
            # With holes in any case: those of the file, and for what is lost.
            if self._write(member._replace(path=path, sparse=()), self._parts_of(member)):
                self.rests[member.path] = path
                self._observer.notice(member.path, f"what is left of it is in {display(path)}, zeros for what is not")

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
            data = memoryview(self._decoder.decode(chunk))
            while at and runs[at - 1][1] > chunk.start:
                at -= 1
            while at < len(runs) and runs[at][0] < chunk.end:
                begin, end, shift = runs[at]
                begin, end = max(begin, chunk.start), min(end, chunk.end)
                if begin < end:
                    yield begin + shift, data[begin - chunk.start : end - chunk.start]
                at += 1

    def pieces(self, pieces: Iterable[Piece]) -> None:
        """Write content that has no name."""
        for piece in pieces:
            owner = Owner(os.geteuid(), os.getegid(), b"", b"")
            mode = stat.S_IFREG | 0o600
            member = Member(piece.path, mode, time.time_ns(), owner, piece.size, sparse=())
            if self._write(member, self._part_of(piece)):
                self.unnamed.append(piece.path)

    def _part_of(self, piece: Piece) -> Iterator[tuple[int, memoryview]]:
        yield 0, memoryview(self._decoder.decode(piece.chunk))[piece.begin : piece.end]

    def _write(self, member: Member, parts: Iterator[tuple[int, memoryview]]) -> bool:
        sink: MemberSink | None = None
        try:
            for offset, data in parts:
                sink = sink or self._open_sink(member)
                sink.put(data, offset)
            if sink is None:
                return False
            sink.commit()
        except (LmarcError, OSError) as error:
            if sink is not None:
                sink.discard()
            self._observer.failed(member.path, error)
            return False
        except BaseException:
            if sink is not None:
                sink.discard()
            raise
        return True
