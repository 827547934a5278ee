"""Reading an archive: by its trailer where it is whole, by walking its frames where it is not (FORMAT.md section 5)."""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from lmarc.container import frames, wire
from lmarc.container.header import Header, read_header
from lmarc.container.index import Chunk, IndexFrame, Member, parse_index
from lmarc.container.writer import TRAILER_MAGIC, TRAILER_SIZE, Before, trailer
from lmarc.errors import DamagedError, LimitError, LmarcError, MemberLimitError, UnsupportedError

_SEARCH_BLOCK = 1 << 20
#: What a disk cannot read is at least of that size.
_PAGE = 4096
#: Frames of recovery data (FORMAT.md section 6.2).
RECOVERY = 0x72


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
    #: Offsets of the index frames of a whole archive, in file order, and how many bytes they decode to.
    indexes: list[int] = field(default_factory=list)
    indexes_size: int = 0
    max_members: int | None = None
    #: What must stand at the end, where `last_whole` has found that.
    trailer: bytes = b""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        #: How many members index frames may still have, also such as are none any more.
        self._members_left = self.max_members
        #: Without what index frames add to it; and the offsets of those found by walking.
        self._first_header = self.header
        self._walked: list[int] = []
        #: Of an archive that had to be walked: its chunks' frames, which no index need name (`start` is 0), and whether
        #: all of its index frames are there.
        self.walked_chunks: list[Chunk] = []
        self.is_index_whole = True
        self._starts: list[int] = []
        self._search_block = _SEARCH_BLOCK
        self._block_start = 0
        self._block = b""

    @classmethod
    def open(cls, file: BinaryIO, max_members: int | None = None) -> ContainerReader:
        """Read header and index of a seekable file, of at most so many members.

        Raises NotAnArchiveError, UnsupportedError, LimitError, or DamagedError where not even a list can be had.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        header, start = read_header(file)
        reader = cls(file, header, size, start, max_members=max_members)
        try:
            reader._take(reader._indexes_by_trailer(size))
        except DamagedError as error:
            reader.damage.append(str(error))
            reader._take_walked()
        return reader

    def before(self) -> Before:
        """The archive, which is complete, as something to go on behind."""
        stream_end = self.chunks[-1].end if self.chunks else 0
        paths = [member.path for member in self.members]
        return Before(self.header, self.size, stream_end, self.indexes, self.indexes_size, paths)

    def last_whole(self) -> ContainerReader | None:
        """The archive up to the last index frame that is left, if all frames up to that one are whole and there is no
        recovery data behind it: what a change can go on behind. None otherwise.

        A change that was not finished has no trailer, and perhaps checkpoints; one whose end is damaged has lost what
        its last index frame named in any case.
        """
        last = ContainerReader(
            self.file, self._first_header, self.size, self.frames_start, max_members=self.max_members
        )
        left: list[IndexFrame] = []
        end, total, is_protected = self.frames_start, 0, False
        budget = 2 * self.size
        for offset, head in last.walk_frames():
            # What ends behind the archive's end was not finished.
            if offset + head.total > self.size:
                continue
            is_protected |= head.type == RECOVERY
            if head.type != frames.INDEX:
                continue
            budget -= head.stored
            if budget < 0:
                return None
            try:
                left.append(last._index_at(offset, head))
            except DamagedError:
                return None
            last._walked.append(offset)
            end, total, is_protected = offset + head.total, head.total, False
        # A trailer at the end is of a change that was finished, and has been damaged since.
        is_ended = self.read_at(self.size - len(TRAILER_MAGIC), len(TRAILER_MAGIC)) == TRAILER_MAGIC
        if not left or is_protected or last.damage or (is_ended and end + TRAILER_SIZE != self.size):
            return None
        for number, frame in enumerate(left):
            # One that was the last names all before it: none of those is lost.
            if frame.segments and list(frame.segments) != last._walked[:number]:
                return None
        try:
            last._take(left)
        except LmarcError:
            return None
        last.size = end + TRAILER_SIZE
        last.trailer = trailer(total)
        last.indexes = list(last._walked)
        last.indexes_size = sum(self._head_at(at).decoded for at in last._walked)
        return last

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to size bytes from offset. Safe from several threads. Raises DamagedError where the disk cannot read."""
        try:
            with self._lock:
                self.file.seek(offset)
                return self.file.read(size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedError(f"it cannot be read at {offset}: {error.strerror}") from error

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
        try:
            index = parse_index(head, body, offset, self._members_left)
        except MemberLimitError:
            raise MemberLimitError(f"more than {self.max_members} members: --max-members N allows N") from None
        if self._members_left is not None:
            self._members_left -= len(index.members)
        return index

    def _indexes_by_trailer(self, size: int) -> list[IndexFrame]:
        """The index frames, in file order, of an archive of that size."""
        self._members_left = self.max_members
        end = size - TRAILER_SIZE
        trailer = self.read_at(max(end, 0), TRAILER_SIZE)
        if end < self.frames_start or trailer[4:] != TRAILER_MAGIC:
            raise DamagedError("the archive's end is missing, or that of a change to it")
        offset = end - int.from_bytes(trailer[:4], "little")
        if offset < self.frames_start:
            raise DamagedError("the trailer does not lead to an index")
        head = self._index_head(offset)
        if offset + head.total != end:
            raise DamagedError("no index frame where one must stand")
        last = self._index_at(offset, head)
        segments: list[IndexFrame] = []
        budget = wire.MAX_ALL_INDEXES - head.decoded
        for at in last.segments:
            if not self.frames_start <= at < offset:
                raise DamagedError("an index names a checkpoint outside the archive")
            head = self._index_head(at)
            budget -= head.decoded
            if budget < 0:
                raise LimitError(f"an index of more than {wire.MAX_ALL_INDEXES} bytes")
            segment = self._index_at(at, head)
            # One that was the last has them itself: all that were before it.
            if segment.segments and list(segment.segments) != list(last.segments[: len(segments)]):
                raise DamagedError("a checkpoint names other checkpoints")
            segments.append(segment)
        self.indexes = [*last.segments, offset]
        self.indexes_size = wire.MAX_ALL_INDEXES - budget
        return [*segments, last]

    def _take(self, indexes: list[IndexFrame]) -> None:
        """Accept the indexes of a whole archive, or raise DamagedError."""
        chunks = [chunk for index in indexes for chunk in index.chunks]
        header = self.header
        by_path: dict[bytes, Member] = {}
        offset, start = self.frames_start - frames.MIN_CHUNK_FRAME, 0
        for index in indexes:
            if index.base != start:
                raise DamagedError("the parts of the index do not follow one another")
            for chunk in index.chunks:
                if not offset + frames.MIN_CHUNK_FRAME <= chunk.offset < self.size:
                    raise DamagedError("the index's chunks do not follow one another")
                offset, start = chunk.offset, chunk.end
            header = header.extended(index.backends, index.models, index.first_backend, index.first_model)
            if any(chunk.codec >= len(header.backends) for chunk in index.chunks):
                raise DamagedError("a chunk's backend is not in the header")
            for path in index.removed:
                if by_path.pop(path, None) is None:
                    raise DamagedError("a path is removed that is none of a member")
            for member in index.members:
                if by_path.setdefault(member.path, member) is not member:
                    raise DamagedError("a path appears twice in the index")
        members = list(by_path.values())
        check_members(members, start)
        self.chunks, self.members, self.header = chunks, members, header

    def _take_walked(self) -> None:
        indexes = self._walk()
        self.is_index_whole = bool(indexes) and self._was_last(indexes[-1])
        for index in indexes:
            try:
                header = self.header.filled(index.first_backend, index.first_model)
                self.header = header.extended(index.backends, index.models, index.first_backend, index.first_model)
            except LmarcError as error:
                self.damage.append(str(error))
        seen: set[int] = set()
        for index in sorted(indexes, key=lambda index: index.base):
            for chunk in index.chunks:
                known = self.chunks[-1].end if self.chunks else 0
                is_inside = self.frames_start <= chunk.offset < self.size and chunk.codec < len(self.header.backends)
                if is_inside and chunk.start >= known and chunk.offset not in seen:
                    seen.add(chunk.offset)
                    self.chunks.append(chunk)
        by_path: dict[bytes, Member] = {}
        for index in indexes:
            for path in index.removed:
                by_path.pop(path, None)
            for member in index.members:
                if by_path.setdefault(member.path, member) is not member:
                    self.damage.append("a path appears twice; the first stands")
        self.members = list(by_path.values())
        if not indexes:
            self.damage.append("no index is left: nothing can be named")

    def _was_last(self, index: IndexFrame) -> bool:
        """Whether the last index frame found names all before it, and what stands behind it is or may be a trailer."""
        at = self._walked[-1]
        total = self._head_at(at).total
        behind = self.read_at(at + total, TRAILER_SIZE)
        is_frame = frames.SYNC.startswith(behind[: len(frames.SYNC)])
        is_ended = trailer(total).startswith(behind) or at + total + TRAILER_SIZE == self.size
        return list(index.segments) == self._walked[:-1] and is_ended and not is_frame

    def _walk(self) -> list[IndexFrame]:
        """All valid index frames, by walking frames and searching for the next one where the chain breaks."""
        out = []
        self._walked = []
        self._members_left = self.max_members
        # Heads made to overlap would have the same bytes checked again and again.
        budget = 2 * self.size
        decoded = 0
        for offset, head in self.walk_frames():
            budget -= head.stored
            if head.type == frames.CHUNK and budget >= 0:
                self.walked_chunks.append(Chunk(offset, head.decoded, head.codec, 0))
            if head.type != frames.INDEX:
                continue
            decoded += head.decoded
            if budget < 0 or decoded > wire.MAX_ALL_INDEXES:
                self.damage.append("too many index frames for an archive of this size; the rest is not looked at")
                break
            try:
                out.append(self._index_at(offset, head))
                self._walked.append(offset)
            except MemberLimitError:
                raise
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
            if self._is_sync(after):
                at = after
            else:
                # A body that was cut short may have the next frame in it.
                at = self._next_sync(after if after + TRAILER_SIZE >= self.size else at + head.size)

    def _is_sync(self, at: int) -> bool:
        """Whether a frame may begin at a place."""
        try:
            return self.read_at(at, 2) == frames.SYNC
        except DamagedError:
            return False

    def _next_sync(self, at: int) -> int | None:
        while at < self.size:
            # The block is kept: where sync bytes are dense, each search would read it again.
            if not self._block_start <= at < self._block_start + len(self._block) - 1:
                size = self._search_block - at % self._search_block
                try:
                    self._block_start, self._block = at, self.read_at(at, max(size, 2))
                except DamagedError:
                    # Of a disk that has begun to fail, page by page.
                    at += size if self._search_block == _PAGE else 0
                    self._search_block = _PAGE
                    continue
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
