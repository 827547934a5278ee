"""Writing an archive front to back, without seeking (FORMAT.md section 2)."""

from __future__ import annotations

from typing import Protocol

from lmarc.container import frames, wire
from lmarc.container.header import Header
from lmarc.container.index import Chunk, IndexFrame, Member
from lmarc.errors import LimitError

TRAILER_MAGIC = b"\x8eZ"
TRAILER_SIZE = 6
#: What a number takes at most in msgpack, and a row besides its names, its hash and most owners included.
_NUMBER_BYTES = 9
_ROW_BYTES = 128


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of data."""
        ...


class ContainerWriter:
    """Writes header, chunks, checkpoints, index and trailer in that order.

    Chunks and members are kept until the next checkpoint, which writes them out and forgets them.
    """

    def __init__(self, sink: Sink, header: Header) -> None:
        self._sink = sink
        self.offset = 0
        self.stream_end = 0
        self._base = 0
        self._chunks: list[Chunk] = []
        self._members: list[Member] = []
        self._segments: list[int] = []
        self._index_bytes = 0
        self._all_indexes = 0
        self._write(header.to_bytes())

    @property
    def pending_index(self) -> int:
        """About how many bytes the index takes of what is in no checkpoint yet."""
        return self._index_bytes

    @property
    def pending_content(self) -> int:
        """Bytes of the content stream whose chunks are in no checkpoint yet."""
        return self.stream_end - self._base

    def add_chunk(self, codec: int, size: int, check: bytes, payload: bytes) -> Chunk:
        """Write a chunk of size decoded bytes, coded by the backend at position codec."""
        chunk = Chunk(self.offset, size, codec, self.stream_end)
        head, body = frames.pack_frame(self.offset, frames.CHUNK, codec, size, check + payload)
        self._write(head)
        self._write(body)
        self._chunks.append(chunk)
        self._index_bytes += 3 * _NUMBER_BYTES
        self.stream_end += size
        return chunk

    def add_member(self, member: Member) -> None:
        """Add a member, whose content, if it has any, is in chunks written by the time it is checkpointed."""
        self._members.append(member)
        runs = len(member.sparse or ())
        self._index_bytes += _ROW_BYTES + len(member.path) + len(member.target) + _NUMBER_BYTES * runs

    def checkpoint(self) -> None:
        """Write what has come since the last checkpoint as an index frame."""
        if not self._chunks and not self._members:
            return
        self._segments.append(self.offset)
        self._write_index(())

    def close(self) -> None:
        """Write the last index frame and the trailer. The sink stays open."""
        size = self._write_index(self._segments)
        self._write(size.to_bytes(4, "little") + TRAILER_MAGIC)

    def _write_index(self, segments: list[int] | tuple[int, ...]) -> int:
        index = IndexFrame(self._base, self._chunks, self._members, segments)
        head, body = index.to_frame(self.offset)
        self._all_indexes += frames.parse_head(self.offset, head).decoded
        if self._all_indexes > wire.MAX_ALL_INDEXES:
            raise LimitError(f"an index of more than {wire.MAX_ALL_INDEXES} bytes: too many members for one archive")
        self._write(head)
        self._write(body)
        self._base = self.stream_end
        self._chunks, self._members, self._index_bytes = [], [], 0
        return len(head) + len(body)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self.offset += len(data)
