"""Frames: self-delimiting, each with its own checks (FORMAT.md section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from lmarc.container import wire
from lmarc.errors import DamagedError, LimitError, UnsupportedError

SYNC = b"\xae\x9b"
CHUNK = 0x43
INDEX = 0x49
OPTIONAL_BIT = 0x20
CHECK_SIZE = 8

INDEX_PLAIN = 0
INDEX_ZSTD = 1

#: No chunk's frame is smaller: a head of one-byte numbers, and the check.
MIN_CHUNK_FRAME = 2 + 1 + 3 + 8 + CHECK_SIZE
#: No head is longer: sync, type, three uvarints, two CRCs.
MAX_HEAD = 2 + 1 + 3 * wire.MAX_UVARINT_BYTES + 8


@dataclass(frozen=True, slots=True)
class FrameHead:
    """A frame's head. `size` is the head's own length, so the body is at offset + size."""

    type: int
    codec: int
    stored: int
    decoded: int
    body_crc: int
    size: int

    @property
    def total(self) -> int:
        """Bytes of head and body."""
        return self.size + self.stored


def pack_frame(offset: int, type_: int, codec: int, decoded: int, body: bytes) -> tuple[bytes, bytes]:
    """Head and body of a frame, to be written one after the other at that offset of the archive."""
    head = b"".join(
        (
            SYNC,
            bytes((type_,)),
            wire.pack_uvarint(codec),
            wire.pack_uvarint(len(body)),
            wire.pack_uvarint(decoded),
            wire.crc32(body).to_bytes(4, "little"),
        )
    )
    return head + _head_crc(offset, head), body


def _head_crc(offset: int, head: bytes) -> bytes:
    return wire.crc32(offset.to_bytes(8, "little") + head).to_bytes(4, "little")


def parse_head(offset: int, data: bytes) -> FrameHead:
    """Parse the head that data, read from that offset, begins with (MAX_HEAD bytes are always enough).

    Raises DamagedError where no valid head stands, LimitError for lengths beyond the format's, UnsupportedError for
    a required frame type this reader does not know.
    """
    if data[:2] != SYNC or len(data) < 3:
        raise DamagedError("no frame where one must begin")
    codec, at = wire.parse_uvarint(data, 3)
    stored, at = wire.parse_uvarint(data, at)
    decoded, at = wire.parse_uvarint(data, at)
    end = at + 8
    if len(data) < end or _head_crc(offset, data[: at + 4]) != data[at + 4 : end]:
        raise DamagedError("a frame head's checksum does not match")
    type_ = data[2]
    largest = {CHUNK: wire.MAX_DECODED, INDEX: largest_index(stored)}.get(type_, decoded)
    if stored > wire.MAX_BODY or decoded > largest:
        raise LimitError(f"a frame of {stored} bytes for {decoded}, more than {wire.MAX_BODY} for {largest}")
    if type_ not in (CHUNK, INDEX) and not type_ & OPTIONAL_BIT:
        raise UnsupportedError(f"frame type 0x{type_:02x} is not known to this lmarc")
    if type_ == CHUNK and (stored < CHECK_SIZE or decoded < 1):
        raise DamagedError("a chunk without content")
    return FrameHead(type_, codec, stored, decoded, int.from_bytes(data[at : at + 4], "little"), end)


def largest_index(stored: int) -> int:
    """The largest index that a frame body of that size may decode to."""
    return min(wire.MAX_INDEX, wire.MAX_INDEX_RATIO * stored + wire.MAX_INDEX_FREE)


def verify_body(head: FrameHead, body: bytes) -> None:
    """Raise DamagedError unless body is the one head was made for."""
    if len(body) != head.stored:
        raise DamagedError("the archive ends within a frame")
    if wire.crc32(body) != head.body_crc:
        raise DamagedError("a frame's checksum does not match")
