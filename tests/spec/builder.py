"""A second writer of the format, written from FORMAT.md alone and meant to be told to write what is wrong.

Every part is bytes that a test may change before it is joined; nothing is checked here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import blake3
import msgpack
import zstandard

MAGIC = b"\x8eLMAR\x01"
FILE, DIR, LINK, HARD = 0o100644, 0o040755, 0o120777, 0
MTIME = 1_700_000_000_000_000_000


def uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def canonical(value: Any) -> Any:
    """Sorts maps and turns bytes that are UTF-8 into str; use `Bin` for a bin that shall stay one."""
    if isinstance(value, Bin):
        return bytes(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    return [canonical(item) for item in value] if isinstance(value, (list, tuple)) else value


class Bin(bytes):
    pass


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(canonical(value), use_bin_type=True))


def digest(content: bytes) -> bytes:
    return blake3.blake3(content).digest()


def zstd(content: bytes, level: int = 3, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(level=level, **options).compress(content)


def crc(data: bytes) -> bytes:
    return struct.pack("<I", zlib.crc32(data))


def header(backends: Any = None, options: dict[str, Any] | None = None, writer: Any = "test") -> bytes:
    row = [writer, [["store", 1], ["zstd", 1]] if backends is None else backends]
    return header_of(pack([*row, options] if options else row))


def header_of(body: bytes) -> bytes:
    head = MAGIC + uvarint(len(body)) + body
    return head + crc(head)


Part = Callable[[int], bytes]  # the bytes of what will stand at an offset


def frame(kind: str, codec: int, decoded: int, body: bytes, stored: int | None = None) -> Part:
    start = b"\xae\x9b" + kind.encode("latin-1") + uvarint(codec) + uvarint(len(body) if stored is None else stored)
    return framed(start + uvarint(decoded) + crc(body), body)


def framed(head: bytes, body: bytes) -> Part:
    return lambda at: head + crc(struct.pack("<Q", at) + head) + body


def chunk(content: bytes, codec: int = 0, coded: bytes | None = None, decoded: int | None = None) -> Part:
    coded = coded if coded is not None else zstd(content) if codec == 1 else content
    return frame("C", codec, len(content) if decoded is None else decoded, digest(content)[:8] + coded)


def trailer(size: int) -> bytes:
    return struct.pack("<I", size) + b"\x8e\x5a"


@dataclass
class Index:
    """One index frame, and the chunks before it."""

    base: int = 0
    owners: list[Any] = field(default_factory=lambda: [[0]])
    chunks: list[int] = field(default_factory=list)
    members: list[Any] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def value(self) -> list[Any]:
        row: list[Any] = [self.base, self.owners, self.chunks, self.members]
        return [*row, self.options] if self.options else row

    def encode(self) -> bytes:
        return pack(self.value()) + b"".join(self.hashes)


class Builder:
    """Joins parts and keeps the index. `edit`, given to `finish`, changes the last index before it is encoded."""

    def __init__(self, head: bytes | None = None) -> None:
        self.data = header() if head is None else head
        self.index = Index()
        self.total = 0
        self.last_chunk = 0
        self.segments: list[int] = []

    def raw(self, data: bytes | Part) -> Builder:
        self.data += data if isinstance(data, bytes) else data(len(self.data))
        return self

    def chunk(
        self, content: bytes, codec: int = 0, data: bytes | Part | None = None, decoded: int | None = None
    ) -> int:
        """Appends a chunk, or `data` in its place; returns where it begins in the content stream."""
        size = len(content) if decoded is None else decoded
        self.index.chunks += [len(self.data) - self.last_chunk, size, codec]
        self.last_chunk = len(self.data)
        self.raw(chunk(content, codec) if data is None else data)
        self.total += size
        return self.total - size

    def file(
        self, path: Any, content: bytes, start: int = 0, mode: int = FILE, mtime: int = MTIME, owner: int = 0
    ) -> None:
        self.member(path, mode, len(content), start, mtime=mtime, owner=owner, content=content)

    def member(
        self, path: Any, mode: int, *more: Any, mtime: int = MTIME, owner: int = 0, content: bytes | None = None
    ) -> None:
        self.index.members.append([path, mode, mtime, owner, *more])
        if content is not None:
            self.index.hashes.append(digest(content))

    def checkpoint(self) -> None:
        self.segments.append(len(self.data))
        body = self.index.encode()
        self.raw(frame("I", 0, len(body), body))
        self.index = Index(base=self.total)
        self.last_chunk = 0

    def finish(
        self,
        edit: Callable[[Index], None] = lambda index: None,
        encode: Callable[[Index], bytes] = Index.encode,
        frame_of: Callable[[bytes], Part] = lambda body: frame("I", 0, len(body), body),
    ) -> bytes:
        if self.segments:
            self.index.options["segments"] = deltas(self.segments)
        edit(self.index)
        last = frame_of(encode(self.index))(len(self.data))
        return self.data + last + trailer(len(last))


def deltas(numbers: Iterable[int]) -> list[int]:
    numbers = list(numbers)
    return [b - a for a, b in zip([0, *numbers], numbers, strict=False)]
