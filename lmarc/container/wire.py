"""Primitives of the format: uvarints, canonical msgpack, bytes-or-text, limits (FORMAT.md section 1)."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import msgpack

from lmarc.errors import DamagedError

MAGIC = b"\x8eLMAR"
FORMAT_VERSION = 1

MAX_HEADER = 1 << 20
MAX_DECODED = 1 << 26
MAX_INDEX = 1 << 23
MAX_INDEX_RATIO = 64
MAX_INDEX_FREE = 1 << 16
MAX_ALL_INDEXES = 1 << 30
MAX_BODY = MAX_DECODED + (1 << 16)
MAX_PATH = 65_535
MAX_BACKENDS = 4096
MAX_COMPONENTS = 4096
MAX_RUNS = 32_768
MAX_ZSTD_WINDOW = 1 << 27
MAX_UVARINT_BYTES = 9
MAX_NESTING = 16
_SCALARS = frozenset({int, str, bytes})
_UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException)
_MOST_ARRAY_HEADER = 5
#: Values of a large array that are made at a time.
_BATCH = 1024

crc32 = zlib.crc32


def pack_uvarint(value: int) -> bytes:
    """Encode 0 <= value < 2**63 as LEB128, shortest form."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_uvarint(data: bytes, at: int) -> tuple[int, int]:
    """Decode the uvarint at data[at:]; return its value and the position behind it.

    Raises DamagedError if it is cut off, too long or not the shortest form.
    """
    value = 0
    for i, byte in enumerate(data[at : at + MAX_UVARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0 and i:
                raise DamagedError("a number is not in its shortest form")
            return value, at + i + 1
    raise DamagedError("a number is cut off or too long")


def pack_msgpack(value: Any) -> bytes:
    """Encode as canonical msgpack. Maps must come with sorted keys."""
    return bytes(msgpack.packb(value, use_bin_type=True))


def parse_msgpack(data: bytes) -> Any:
    """Decode canonical msgpack that fills data. Raises DamagedError for anything else."""
    value, rest = parse_msgpack_prefix(data)
    if rest:
        raise DamagedError("bytes behind the end of a msgpack value")
    return value


def parse_msgpack_prefix(data: bytes) -> tuple[Any, bytes]:
    """Decode the canonical msgpack value data begins with; return it and the bytes behind it."""
    try:
        unpacker = _unpacker(data)
        value = unpacker.unpack()
        end = unpacker.tell()
        _check_types((value,), 0)
        if msgpack.packb(value, use_bin_type=True) != data[:end]:
            raise DamagedError("a msgpack value is not canonical")
    except _UNREADABLE as error:
        raise DamagedError("a msgpack value cannot be read") from error
    return value, data[end:]


class ValueReader:
    """Canonical msgpack, value by value, for what is large: nothing of it is made before what precedes it is accepted.

    All methods raise DamagedError where there is something else.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._unpacker = _unpacker(data)

    @property
    def rest(self) -> bytes:
        """What has not been read."""
        return self._data[self._unpacker.tell() :]

    def array(self) -> int:
        """How many values an array has, which then follow."""
        start = self._unpacker.tell()
        try:
            size = int(self._unpacker.read_array_header())
        except _UNREADABLE as error:
            raise DamagedError("a msgpack value is not the array that must stand here") from error
        self._expect_canonical(start, _array_header(size))
        return size

    def skip_array(self) -> int:
        """Pass over an array, which is not looked at, and return how many values it has."""
        at = self._unpacker.tell()
        try:
            size = int(_unpacker(self._data[at : at + _MOST_ARRAY_HEADER]).read_array_header())
        except _UNREADABLE as error:
            raise DamagedError("a msgpack value is not the array that must stand here") from error
        self.skip()
        return size

    def skip(self) -> None:
        """Pass over a value, which is not looked at."""
        try:
            self._unpacker.skip()
        except _UNREADABLE as error:
            raise DamagedError("a msgpack value cannot be read") from error

    def value(self, depth: int) -> Any:
        """The next value, which is nested so deep."""
        return next(self.values(1, depth))

    def values(self, count: int, depth: int) -> Iterator[Any]:
        """The next so many values, which are nested so deep."""
        while count:
            start = self._unpacker.tell()
            try:
                batch = [self._unpacker.unpack() for _ in range(min(count, _BATCH))]
                _check_types(batch, depth)
                packed = msgpack.packb(batch, use_bin_type=True)
            except _UNREADABLE as error:
                raise DamagedError("a msgpack value cannot be read") from error
            self._expect_canonical(start, packed[len(_array_header(len(batch))) :])
            count -= len(batch)
            yield from batch

    def _expect_canonical(self, start: int, packed: bytes) -> None:
        if self._data[start : self._unpacker.tell()] != packed:
            raise DamagedError("a msgpack value is not canonical")


def _unpacker(data: bytes) -> msgpack.Unpacker:
    unpacker = msgpack.Unpacker(
        None,
        max_buffer_size=max(len(data), 1),
        object_pairs_hook=_sorted_map,
        ext_hook=_no_extension,
        strict_map_key=True,
    )
    unpacker.feed(data)
    return unpacker


def _array_header(size: int) -> bytes:
    return bytes(msgpack.Packer().pack_array_header(size))


def _sorted_map(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if not all(isinstance(key, str) for key in keys):
        raise DamagedError("a map key is not text")
    encoded = [key.encode() for key in keys]
    if any(a >= b for a, b in pairwise(encoded)):
        raise DamagedError("map keys are not sorted")
    return dict(pairs)


def _no_extension(code: int, _data: bytes) -> None:
    raise DamagedError(f"msgpack extension type {code}")


def _check_types(items: Iterable[Any], depth: int) -> None:
    """Raise DamagedError unless all is int, str, bytes, list or dict and at most MAX_NESTING deep."""
    for item in items:
        kind = type(item)
        if kind is list or kind is dict:
            if depth == MAX_NESTING:
                raise DamagedError(f"a msgpack value is nested more than {MAX_NESTING} deep")
            _check_types(item if kind is list else item.values(), depth + 1)
        elif kind not in _SCALARS:
            raise DamagedError("a msgpack value of a type the format does not use")


def to_text_or_bytes(value: bytes) -> str | bytes:
    """A bytes-or-text value as it goes into msgpack: str where it is valid UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def from_text_or_bytes(value: Any) -> bytes:
    """The bytes of a bytes-or-text value. Raises DamagedError where the form is not canonical."""
    if type(value) is str:
        return value.encode()
    if type(value) is bytes and type(to_text_or_bytes(value)) is bytes:
        return value
    raise DamagedError("a name is neither text nor bytes in canonical form")


def is_uint(value: Any) -> bool:
    """True for an integer in 0 .. 2**63 - 1 (not a bool)."""
    return type(value) is int and 0 <= value < 1 << 63
