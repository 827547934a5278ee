"""Writing an archive front to back, without seeking (FORMAT.md section 2)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lmarc.container import frames, wire
from lmarc.container.header import Header
from lmarc.container.index import Chunk, IndexFrame, Member
from lmarc.errors import LimitError

TRAILER_MAGIC = b"\x8eZ"
TRAILER_SIZE = 6
#: What a number takes at most in msgpack, and a row besides its names, its hash and most owners included.
_NUMBER_BYTES = 9
_ROW_BYTES = 128


def trailer(size: int) -> bytes:
    """What ends an archive whose last index frame has that size, head and body."""
    return size.to_bytes(4, "little") + TRAILER_MAGIC


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of data."""
        ...


@dataclass(frozen=True)
class Before:
    """A complete archive behind whose end one goes on: its header with all that was added to it, its size, where its
    content stream ends, the offsets of its index frames and the bytes they decode to, and the paths of its members."""

    header: Header
    end: int
    stream_end: int
    indexes: Sequence[int]
    indexes_size: int
    paths: Collection[bytes]


class ContainerWriter:
    """Writes header, chunks, checkpoints, index and trailer in that order.

    Chunks and members are kept until the next checkpoint, which writes them out and forgets them.
    """

    def __init__(self, sink: Sink, header: Header, after: Before | None = None) -> None:
        """Begin an archive, or go on behind the end of one that is complete."""
        self._sink = sink
        self._after = after or Before(header, 0, 0, (), 0, frozenset())
        self.offset, self.stream_end, self._base = self._after.end, self._after.stream_end, self._after.stream_end
        self._is_change = after is not None
        self._live = set(self._after.paths)
        self._chunks: list[Chunk] = []
        self._members: dict[bytes, Member] = {}
        self._removed: list[bytes] = []
        self._segments: list[int] = [*self._after.indexes]
        self._index_bytes = 0
        self._all_indexes = self._after.indexes_size
        #: What frames written so far name; what is in `header` beyond that goes into the next index frame.
        self._named = self._after.header
        self._header = header
        if after is None:
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
        """Add a member, whose content, if it has any, is in chunks written by the time it is checkpointed.

        It takes the place of one of that path.
        """
        if member.path in self._live:
            self.remove(member.path)
        self._members[member.path] = member
        runs = len(member.sparse or ())
        self._index_bytes += _ROW_BYTES + len(member.path) + len(member.target) + _NUMBER_BYTES * runs

    def remove(self, path: bytes) -> None:
        """Take away a member of the archive as it was before."""
        self._live.remove(path)
        self._removed.append(path)
        self._index_bytes += _NUMBER_BYTES + len(path)

    def checkpoint(self) -> None:
        """Write what has come since the last checkpoint as an index frame."""
        if not self._chunks and not self._members and not self._removed:
            return
        self._segments.append(self.offset)
        self._write_index(())

    def close(self, before_trailer: Callable[[], object] = lambda: None) -> None:
        """Write the last index frame, and after that call the trailer. The sink stays open."""
        size = self._write_index(self._segments)
        before_trailer()
        self._write(trailer(size))

    def _write_index(self, segments: list[int] | tuple[int, ...]) -> int:
        more: dict[str, Any] = {}
        if self._header is not self._named:
            first_backend, first_model = len(self._named.backends), len(self._named.models)
            more = {"backends": self._header.backends[first_backend:], "first_backend": first_backend}
            more |= {"models": self._header.models[first_model:], "first_model": first_model}
        index = IndexFrame(
            self._base, self._chunks, list(self._members.values()), segments, removed=self._removed, **more
        )
        head, body = index.to_frame(self.offset)
        self._all_indexes += frames.parse_head(self.offset, head).decoded
        if self._all_indexes > wire.MAX_ALL_INDEXES:
            raise LimitError(f"an index of more than {wire.MAX_ALL_INDEXES} bytes: too many members for one archive")
        self._write(head)
        self._write(body)
        self._base = self.stream_end
        self._named = self._header
        if self._is_change:
            self._live.update(self._members)
        self._chunks, self._members, self._removed, self._index_bytes = [], {}, [], 0
        return len(head) + len(body)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self.offset += len(data)
