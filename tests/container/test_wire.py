"""Primitives: numbers, canonical msgpack, names."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmarc.container import wire
from lmarc.errors import DamagedError

UINTS = st.integers(0, 2**63 - 1)
SCALARS = st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40) | st.binary(max_size=300)


def _ordered(pairs: dict[str, Any]) -> dict[str, Any]:
    return {key: pairs[key] for key in sorted(pairs, key=str.encode)}


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20).map(_ordered),
    max_leaves=30,
)


@given(UINTS, st.binary(max_size=3), st.binary(max_size=3))
def test_uvarint_round_trip(value: int, before: bytes, after: bytes) -> None:
    packed = wire.pack_uvarint(value)
    assert len(packed) <= wire.MAX_UVARINT_BYTES
    assert wire.parse_uvarint(before + packed + after, len(before)) == (value, len(before) + len(packed))


@given(st.binary(max_size=12))
def test_uvarint_is_the_shortest_form_or_refused(data: bytes) -> None:
    try:
        value, end = wire.parse_uvarint(data, 0)
    except DamagedError:
        return
    assert wire.pack_uvarint(value) == data[:end]
    assert value < 2**63


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 9, b"\xff" * 9 + b"\x01", b"\x81\x80\x00"])
def test_bad_uvarint(data: bytes) -> None:
    with pytest.raises(DamagedError):
        wire.parse_uvarint(data, 0)


@pytest.mark.parametrize(
    ("value", "packed"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**63 - 1, "ffffffffffffffff7f")]
)
def test_uvarint_bytes(value: int, packed: str) -> None:
    assert wire.pack_uvarint(value).hex() == packed


@given(VALUES, st.binary(max_size=5))
def test_msgpack_round_trip(value: Any, rest: bytes) -> None:
    packed = wire.pack_msgpack(value)
    assert wire.parse_msgpack(packed) == value
    assert wire.parse_msgpack_prefix(packed + rest) == (value, rest)


@given(st.binary(max_size=40))
def test_msgpack_is_canonical_or_refused(data: bytes) -> None:
    try:
        value, rest = wire.parse_msgpack_prefix(data)
    except DamagedError:
        return
    assert wire.pack_msgpack(value) + rest == data


def _nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x00"


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("nothing", b""),
        ("an integer one byte too long", b"\xcc\x01"),
        ("a positive integer in a signed form", b"\xd0\x01"),
        ("a string one byte too long", b"\xd9\x01a"),
        ("bytes with a 16-bit length", b"\xc5\x00\x01a"),
        ("an array with a 16-bit length", b"\xdc\x00\x01\x00"),
        ("a map with a 16-bit length", b"\xde\x00\x01\xa1a\x00"),
        ("a map in a map's value out of order", b"\x81\xa1a\x82\xa1b\x00\xa1a\x00"),
        ("unsorted keys", b"\x82\xa1b\x00\xa1a\x00"),
        ("a key twice", b"\x82\xa1a\x00\xa1a\x00"),
        ("a key that is a number", b"\x81\x01\x00"),
        ("a key that is bytes", b"\x81\xc4\x01a\x00"),
        ("text that is not UTF-8", b"\xa1\xff"),
        ("text that is a surrogate", b"\xa3\xed\xa0\x80"),
        ("nil in a map", b"\x81\xa1a\xc0"),
        ("a bool in a map", b"\x81\xa1a\xc3"),
        ("a float in a list in a map", b"\x81\xa1a\x91" + msgpack.packb(1.5)),
        ("an extension", b"\xd4\x05a"),
        ("a timestamp", b"\xd6\xff\x00\x00\x00\x00"),
        ("seventeen levels", _nested(17)),
        ("a thousand levels", _nested(1000)),
        ("a hundred thousand levels", _nested(100_000)),
        ("a list that is cut off", b"\x92\x00"),
        ("a list of four billion that is cut off", b"\xdd\xff\xff\xff\xff\x00"),
        ("bytes of four billion that are cut off", b"\xc6\xff\xff\xff\xff\x00"),
        ("a map of four billion that is cut off", b"\xdf\xff\xff\xff\xff\xa1a"),
        ("bytes that begin nothing", b"\xc1"),
        ("two values", b"\x00\x00"),
    ],
)
def test_what_msgpack_is_refused(what: str, data: bytes) -> None:
    with pytest.raises(DamagedError):
        wire.parse_msgpack(data)


def test_sixteen_levels_are_read() -> None:
    assert wire.parse_msgpack(_nested(16)) == [[[[[[[[[[[[[[[[0]]]]]]]]]]]]]]]]


@given(st.binary(max_size=30) | st.text(max_size=10).map(str.encode))
def test_names_round_trip(name: bytes) -> None:
    value = wire.to_text_or_bytes(name)
    assert wire.from_text_or_bytes(value) == name
    assert isinstance(value, str) == (name.decode(errors="replace").encode() == name)


@pytest.mark.parametrize("value", [b"text", b"", 1, None, [b"a"], True])
def test_names_have_one_form(value: Any) -> None:
    with pytest.raises(DamagedError):
        wire.from_text_or_bytes(value)


@pytest.mark.parametrize("value", [-1, 2**63, True, False, 1.0, None, "1", b"1"])
def test_what_is_no_uint(value: Any) -> None:
    assert not wire.is_uint(value)


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1])
def test_what_is_a_uint(value: int) -> None:
    assert wire.is_uint(value)


def test_maps_count_as_levels() -> None:
    assert wire.parse_msgpack(b"\x81\xa1a" * 16 + b"\x00")
    assert wire.parse_msgpack(b"\x91\x81\xa1a" * 8 + b"\x00")
    for data in (b"\x81\xa1a" * 17 + b"\x00", b"\x91\x81\xa1a" * 8 + b"\x90"):
        with pytest.raises(DamagedError, match="nested more than 16 deep"):
            wire.parse_msgpack(data)
    # Beside a deep one, others of any depth.
    assert wire.parse_msgpack(b"\x92" + b"\x91" * 15 + b"\x00" + b"\x91" * 15 + b"\x00")


def test_large_values_are_read() -> None:
    value = ["text" * 100_000, bytes(2_000_000), list(range(100_000))]
    packed = wire.pack_msgpack(value)
    assert wire.parse_msgpack_prefix(packed + b"rest") == (value, b"rest")
