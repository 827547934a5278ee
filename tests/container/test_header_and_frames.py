"""The header and the frames."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmarc.container import frames, wire
from lmarc.container.header import BackendRef, Header, read_header
from lmarc.errors import DamagedError, LimitError, LmarcError, NotAnArchiveError, UnsupportedError

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=64)
PLAIN = st.integers(0, 2**63 - 1) | st.text(max_size=10) | st.binary(max_size=10)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "promise": st.just("matching"),
        "params": st.dictionaries(st.text(max_size=5), PLAIN, max_size=3),
        "later": PLAIN,
    },
)
BACKENDS = st.builds(BackendRef, NAMES, st.integers(1, 2**63 - 1), PROPERTIES)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "requires": st.just([]),
        "chunking": st.dictionaries(st.text(max_size=5), st.integers(0, 9)),
        "later": PLAIN,
    },
)


def _file(value: Any, *, magic: bytes = wire.MAGIC + b"\x01", length: int | None = None, tail: bytes = b"") -> bytes:
    packed = value if isinstance(value, bytes) else wire.pack_msgpack(value)
    head = magic + wire.pack_uvarint(len(packed) if length is None else length) + packed
    return head + wire.crc32(head).to_bytes(4, "little") + tail


@given(
    st.text(max_size=20),
    st.lists(BACKENDS, max_size=4, unique_by=lambda ref: (ref.name, ref.version)),
    OPTIONS,
    st.binary(max_size=30),
)
def test_header_round_trip(writer: str, backends: list[BackendRef], options: dict[str, Any], rest: bytes) -> None:
    header = Header(writer, tuple(backends), options)
    data = header.to_bytes()
    assert read_header(io.BytesIO(data + rest)) == (header, len(data))


@given(st.text(max_size=5), st.lists(BACKENDS, max_size=2), st.data())
def test_every_change_of_a_header_is_noticed(writer: str, backends: list[BackendRef], data: st.DataObject) -> None:
    whole = Header(writer, tuple(backends)).to_bytes()
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    broken = bytearray(whole)
    broken[at // 8] ^= 1 << at % 8
    with pytest.raises(LmarcError):
        read_header(io.BytesIO(bytes(broken)))
    with pytest.raises(LmarcError):
        read_header(io.BytesIO(whole[: at // 8]))


@given(st.binary(max_size=60))
def test_a_header_of_any_msgpack_is_read_or_refused(packed: bytes) -> None:
    try:
        header, _ = read_header(io.BytesIO(_file(packed)))
    except (DamagedError, UnsupportedError):
        return
    assert header.to_bytes() == _file(packed)


STORE = ["store", 1]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnArchiveError),
        (b"\x8eLMA", NotAnArchiveError),
        (b"PK\x03\x04" + bytes(100), NotAnArchiveError),
        (b"\x8elMAR\x01", NotAnArchiveError),
        (b"\x8eLMAR", DamagedError),
        (b"\x8eLMAR\x01", DamagedError),
        (b"\x8eLMAR\x00", UnsupportedError),
        (_file(["w", [STORE]], magic=wire.MAGIC + b"\x02"), UnsupportedError),
        (_file(["w", [STORE]], length=2**20 + 1), LimitError),
        (_file(["w", [STORE]], length=2**62), LimitError),
        (_file(["w", [STORE]], length=2**20), DamagedError),
        (_file(["w", [STORE], {"requires": ["telepathy"]}]), UnsupportedError),
        (_file(["w", [STORE], {"requires": "telepathy"}]), DamagedError),
        (_file(["w", [STORE], {"requires": [1]}]), DamagedError),
        (_file(["w", [STORE], {}]), DamagedError),
        (_file(["w", [STORE], []]), DamagedError),
        (_file(["w", [STORE], {"a": 1}, 1]), DamagedError),
        (_file(["w"]), DamagedError),
        (_file([b"\xff", [STORE]]), DamagedError),
        (_file([1, [STORE]]), DamagedError),
        (_file(["w", STORE]), DamagedError),
        (_file(["w", [STORE, STORE]]), DamagedError),
        (_file(["w", [["Store", 1]]]), DamagedError),
        (_file(["w", [["", 1]]]), DamagedError),
        (_file(["w", [["s" * 65, 1]]]), DamagedError),
        (_file(["w", [["store\n", 1]]]), DamagedError),
        (_file(["w", [["store", 0]]]), DamagedError),
        (_file(["w", [["store", "1"]]]), DamagedError),
        (_file(["w", [["store", True]]]), DamagedError),
        (_file(["w", [["store"]]]), DamagedError),
        (_file(["w", [["store", 1, {}]]]), DamagedError),
        (_file(["w", [["store", 1, {"promise": "portable"}]]]), DamagedError),
        (_file(["w", [["store", 1, {"params": []}]]]), DamagedError),
        (_file(["w", [["store", 1, {"later": 1}, 2]]]), DamagedError),
        (_file(["w", [], {"x": 1.5}]), DamagedError),
        (_file({"w": 1}), DamagedError),
    ],
)
def test_headers_that_are_refused(data: bytes, error: type[LmarcError]) -> None:
    with pytest.raises(error) as caught:
        read_header(io.BytesIO(data))
    assert type(caught.value) is error


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(UnsupportedError, match="telepathy"):
        read_header(io.BytesIO(_file(["w", [], {"requires": ["telepathy"]}])))


def test_a_header_beyond_the_limit_is_not_written() -> None:
    with pytest.raises(LimitError):
        Header("w" * 2**20, ()).to_bytes()


@given(
    st.sampled_from([frames.CHUNK, frames.INDEX, 0x61]), st.integers(0, 2**63 - 1), st.integers(1, wire.MAX_INDEX_FREE)
)
def test_frame_round_trip(kind: int, codec: int, decoded: int) -> None:
    head_bytes, body = frames.pack_frame(70, kind, codec, decoded, b"12345678 and a payload")
    head = frames.parse_head(70, head_bytes + body)
    assert (head.type, head.codec, head.decoded, head.stored) == (kind, codec, decoded, len(body))
    assert (head.size, head.total) == (len(head_bytes), len(head_bytes) + len(body))
    assert len(head_bytes) <= frames.MAX_HEAD
    frames.verify_body(head, body)


@given(st.data())
def test_every_bit_of_a_frame_is_checked(data: st.DataObject) -> None:
    head_bytes, body = frames.pack_frame(2**40, frames.CHUNK, 3, 70_000, b"12345678 and a payload")
    whole = bytearray(head_bytes + body)
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    with pytest.raises(DamagedError):
        head = frames.parse_head(2**40, bytes(whole))
        frames.verify_body(head, bytes(whole[head.size :]))


@given(st.binary(max_size=50) | st.binary(max_size=50).map(lambda data: frames.SYNC + data))
def test_any_bytes_as_a_head(data: bytes) -> None:
    with pytest.raises((DamagedError, LimitError, UnsupportedError)):
        frames.parse_head(0, data)


def _head(kind: int, codec: int, stored: int, decoded: int) -> bytes:
    numbers = b"".join(map(wire.pack_uvarint, (codec, stored, decoded)))
    head = frames.SYNC + bytes([kind]) + numbers + bytes(4)
    return head + wire.crc32(bytes(8) + head).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (_head(frames.CHUNK, 0, 2**26 + 2**16 + 1, 1), LimitError),
        (_head(frames.CHUNK, 0, 8, 2**26 + 1), LimitError),
        (_head(frames.INDEX, 0, 2**62, 1), LimitError),
        (_head(frames.INDEX, 0, 8, 2**24 + 1), LimitError),
        (_head(0x61, 0, 2**62, 1), LimitError),
        (_head(0x41, 0, 8, 1), UnsupportedError),
        (_head(0xFF & ~0x20, 0, 8, 1), UnsupportedError),
        (_head(frames.CHUNK, 0, 7, 1), DamagedError),
        (_head(frames.CHUNK, 0, 8, 0), DamagedError),
    ],
)
def test_heads_that_are_refused(head: bytes, error: type[LmarcError]) -> None:
    with pytest.raises(error) as caught:
        frames.parse_head(0, head)
    assert type(caught.value) is error


@pytest.mark.parametrize("kind", [0x61, 0x7A, 0xFF])
def test_a_frame_that_may_be_skipped_is_read(kind: int) -> None:
    assert frames.parse_head(0, _head(kind, 0, 8, 2**62)).type == kind


def test_a_frame_belongs_to_its_place() -> None:
    head, body = frames.pack_frame(1000, frames.CHUNK, 0, 8, b"12345678 and a payload")
    with pytest.raises(DamagedError):
        frames.parse_head(1001, head + body)
