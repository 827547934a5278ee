"""Reading an archive: by its trailer where it is whole, by walking its frames where it is not (FORMAT.md section 5)."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from lmarc.container import frames, wire
from lmarc.container.header import Header, read_header
from lmarc.container.index import Chunk, IndexFrame, Member, parse_index
from lmarc.container.writer import TRAILER_MAGIC, TRAILER_SIZE
from lmarc.errors import DamagedError, LimitError, LmarcError, UnsupportedError

_SEARCH_BLOCK = 1 << 20


@dataclass
class ContainerReader:
    """An open archive: header, chunks in stream order, members in archive order, and what is wrong with it.

    `damage` is empty for a whole archive; otherwise chunks and members are what could be recovered.
    """

    file: BinaryIO
    header: Header
    size: int
    frames_start: int
    chunks: list[Chunk] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._starts: list[int] = []
        self._block_start = 0
        self._block = b""

    @classmethod
    def open(cls, file: BinaryIO) -> ContainerReader:
        """Read header and index of a seekable file.

        Raises NotAnArchiveError, UnsupportedError, LimitError, or DamagedError where not even a list can be had.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        header, start = read_header(file)
        reader = cls(file, header, size, start)
        try:
            indexes = reader._indexes_by_trailer()
            reader._take(indexes)
        except DamagedError as error:
            reader.damage.append(str(error))
            reader._take_walked()
        return reader

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to size bytes from offset. Safe from several threads."""
        with self._lock:
            self.file.seek(offset)
            return self.file.read(size)

    def read_chunk(self, chunk: Chunk) -> tuple[bytes, memoryview]:
        """The check and the payload of a chunk, its frame verified. Raises DamagedError."""
        head = self._head_at(chunk.offset)
        if head.type != frames.CHUNK or head.decoded != chunk.size or head.codec != chunk.codec:
            raise DamagedError("a chunk's frame is not the one the index describes")
        body = self.read_at(chunk.offset + head.size, head.stored)
        frames.verify_body(head, body)
        return body[: frames.CHECK_SIZE], memoryview(body)[frames.CHECK_SIZE :]

    def chunks_of(self, start: int, end: int) -> list[Chunk]:
        """The chunks that hold the content stream from start to end, as far as they are known."""
        if not self._starts:
            self._starts = [chunk.start for chunk in self.chunks]
        out = []
        for i in range(max(bisect_right(self._starts, start) - 1, 0), len(self.chunks)):
            chunk = self.chunks[i]
            if chunk.start >= end:
                break
            if chunk.end > start:
                out.append(chunk)
        return out

    def payload_size(self, chunk: Chunk) -> int:
        """Bytes of a chunk's payload, from its frame's head. Raises DamagedError."""
        return self._head_at(chunk.offset).stored - frames.CHECK_SIZE

    def _head_at(self, offset: int) -> frames.FrameHead:
        return frames.parse_head(offset, self.read_at(offset, frames.MAX_HEAD))

    def _index_head(self, offset: int) -> frames.FrameHead:
        head = self._head_at(offset)
        if head.type != frames.INDEX:
            raise DamagedError("no index frame where one must stand")
        return head

    def _index_at(self, offset: int, head: frames.FrameHead) -> IndexFrame:
        body = self.read_at(offset + head.size, head.stored)
        frames.verify_body(head, body)
        return parse_index(head, body)

    def _indexes_by_trailer(self) -> list[IndexFrame]:
        end = self.size - TRAILER_SIZE
        trailer = self.read_at(max(end, 0), TRAILER_SIZE)
        if end < self.frames_start or trailer[4:] != TRAILER_MAGIC:
            raise DamagedError("the archive's end is missing")
        offset = end - int.from_bytes(trailer[:4], "little")
        if offset < self.frames_start:
            raise DamagedError("the trailer does not lead to an index")
        head = self._index_head(offset)
        if offset + head.total != end:
            raise DamagedError("no index frame where one must stand")
        last = self._index_at(offset, head)
        segments = []
        budget = wire.MAX_ALL_INDEXES - head.decoded
        for at in last.segments:
            if not self.frames_start <= at < offset:
                raise DamagedError("an index names a checkpoint outside the archive")
            head = self._index_head(at)
            budget -= head.decoded
            if budget < 0:
                raise LimitError(f"an index of more than {wire.MAX_ALL_INDEXES} bytes")
            segment = self._index_at(at, head)
            if segment.segments:
                raise DamagedError("a checkpoint names checkpoints")
            segments.append(segment)
        return [*segments, last]

    def _take(self, indexes: list[IndexFrame]) -> None:
        """Accept the indexes of a whole archive, or raise DamagedError."""
        chunks = [chunk for index in indexes for chunk in index.chunks]
        members = [member for index in indexes for member in index.members]
        offset, start = self.frames_start - frames.MIN_CHUNK_FRAME, 0
        for index in indexes:
            if index.base != start:
                raise DamagedError("the parts of the index do not follow one another")
            for chunk in index.chunks:
                if not offset + frames.MIN_CHUNK_FRAME <= chunk.offset < self.size:
                    raise DamagedError("the index's chunks do not follow one another")
                offset, start = chunk.offset, chunk.end
        if any(chunk.codec >= len(self.header.backends) for chunk in chunks):
            raise DamagedError("a chunk's backend is not in the header")
        check_members(members, start)
        self.chunks, self.members = chunks, members

    def _take_walked(self) -> None:
        indexes = self._walk()
        seen: set[int] = set()
        for index in sorted(indexes, key=lambda index: index.base):
            for chunk in index.chunks:
                known = self.chunks[-1].end if self.chunks else 0
                is_inside = self.frames_start <= chunk.offset < self.size and chunk.codec < len(self.header.backends)
                if is_inside and chunk.start >= known and chunk.offset not in seen:
                    seen.add(chunk.offset)
                    self.chunks.append(chunk)
        paths: set[bytes] = set()
        for index in indexes:
            for member in index.members:
                if member.path in paths:
                    self.damage.append("a path appears twice; the first stands")
                else:
                    paths.add(member.path)
                    self.members.append(member)
        if not indexes:
            self.damage.append("no index is left: nothing can be named")

    def _walk(self) -> list[IndexFrame]:
        """All valid index frames, by walking frames and searching for the next one where the chain breaks."""
        out = []
        # Heads made to overlap would have the same bytes checked again and again.
        budget = 2 * self.size
        decoded = 0
        for offset, head in self.walk_frames():
            if head.type != frames.INDEX:
                continue
            budget -= head.stored
            decoded += head.decoded
            if budget < 0 or decoded > wire.MAX_ALL_INDEXES:
                self.damage.append("too many index frames for an archive of this size; the rest is not looked at")
                break
            try:
                out.append(self._index_at(offset, head))
            except LmarcError as error:
                self.damage.append(f"index frame at {offset}: {error}")
        return out

    def walk_frames(self) -> Iterator[tuple[int, frames.FrameHead]]:
        """Every frame with a valid head, in file order, found without the index."""
        at: int | None = self.frames_start
        # By chance, sync bytes stand in 65,536 bytes once. Many more were put there to keep a reader busy.
        false_syncs = 10_000 + (self.size >> 12)
        while at is not None:
            try:
                head = self._head_at(at)
            except (DamagedError, LimitError, UnsupportedError):
                false_syncs -= 1
                if false_syncs < 0:
                    self.damage.append("too many places that look like frames and are none; the rest is not looked at")
                    return
                at = self._next_sync(at + 1)
                continue
            yield at, head
            after = at + head.total
            # A body that was cut or grown moves what follows: look for the next head from inside it then.
            if self.read_at(after, 2) not in (frames.SYNC, b"") and after + TRAILER_SIZE < self.size:
                after = at + head.size
            at = self._next_sync(after)

    def _next_sync(self, at: int) -> int | None:
        while at < self.size:
            # The block is kept: where sync bytes are dense, each search would read it again.
            if not self._block_start <= at < self._block_start + len(self._block) - 1:
                self._block_start, self._block = at, self.read_at(at, _SEARCH_BLOCK)
            found = self._block.find(frames.SYNC, at - self._block_start)
            if found >= 0:
                return self._block_start + found
            at = self._block_start + max(len(self._block) - 1, 1)
        return None


def check_members(members: list[Member], stream_end: int) -> None:
    """Raise DamagedError unless paths are unique, runs are equal or apart and inside the stream, links have targets."""
    by_path = {member.path: member for member in members}
    if len(by_path) != len(members):
        raise DamagedError("a path appears twice in the index")
    runs = sorted({(member.start, member.end) for member in members if member.kind == "file" and member.stored_size})
    end = 0
    for run in runs:
        if run[0] < end:
            raise DamagedError("two files overlap in the content stream")
        end = run[1]
    if end > stream_end:
        raise DamagedError("a file lies outside the content stream")
    for member in members:
        if member.kind == "hardlink":
            target = by_path.get(member.target)
            if target is None or target.kind != "file":
                raise DamagedError("a hard link's target is not a file of the archive")
