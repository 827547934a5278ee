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


def test_the_largest_header() -> None:
    """One of as many bytes as the limit is written and read, one of a byte more is neither."""
    room = wire.MAX_HEADER - len(wire.pack_msgpack(["w" * 2**16, []])) + 2**16
    data = Header("w" * room, ()).to_bytes()
    assert data[6:9] == wire.pack_uvarint(2**20)
    assert read_header(io.BytesIO(data)) == (Header("w" * room, ()), len(data))
    with pytest.raises(LimitError):
        Header("w" * (room + 1), ()).to_bytes()


def test_a_header_ends_where_it_says() -> None:
    data = Header("writer", (BackendRef("store", 1),)).to_bytes()
    for cut in range(len(data)):
        with pytest.raises(NotAnArchiveError if cut < len(wire.MAGIC) else DamagedError):
            read_header(io.BytesIO(data[:cut]))
    file = io.BytesIO(data + bytes(100))
    read_header(file)
    assert file.tell() == len(data)


NAMED, OTHER = {"name": "m"}, {"name": "n"}
FIRST = Header("w", (BackendRef("store", 1),), {"models": [NAMED], "later": 1})


def test_the_properties_of_a_backend() -> None:
    assert (BackendRef("x", 1).promise, BackendRef("x", 1).params) == ("portable", {})
    ref = BackendRef("x", 1, {"promise": "matching", "params": {"a": 1}})
    assert (ref.promise, ref.params) == ("matching", {"a": 1})
    assert ref.to_row() == ["x", 1, {"params": {"a": 1}, "promise": "matching"}]
    assert BackendRef("x", 1).to_row() == ["x", 1]
    assert BackendRef.from_row(ref.to_row()) == ref


def test_maps_are_sorted_throughout() -> None:
    ref = BackendRef("x", 1, {"b": [{"d": 1, "c": ({"f": 2, "e": 3},)}], "a": 4})
    assert list(ref.to_row()[2]) == ["a", "b"]
    assert list(ref.to_row()[2]["b"][0]) == ["c", "d"]
    assert list(ref.to_row()[2]["b"][0]["c"][0]) == ["e", "f"]
    header = Header("w", (), {"b": {"d": 1, "c": 2}, "a": 3})
    assert read_header(io.BytesIO(header.to_bytes()))[0] == header


def test_backends_are_joined_to_those_there() -> None:
    refs = [BackendRef("cm", 1, {"model": number, "z": 5}) for number in (0, 1, 0)]
    header, places = FIRST.joined([refs[0], BackendRef("store", 1), *refs[1:]], [OTHER, NAMED])
    assert places == [1, 0, 2, 1]
    assert header.backends == (
        BackendRef("store", 1),
        BackendRef("cm", 1, {"model": 1, "z": 5}),
        BackendRef("cm", 1, {"model": 0, "z": 5}),
    )
    assert header.models == [NAMED, OTHER]
    assert (header.writer, header.options["later"]) == ("w", 1)
    again, places = header.joined(refs, [OTHER, NAMED])
    assert (again, places) == (header, [1, 2, 1])


def test_nothing_joined_is_the_same_header() -> None:
    assert FIRST.joined([BackendRef("store", 1)], []) == (FIRST, [0])
    assert FIRST.extended([], [], 7, 7) is FIRST
    assert Header("w", ()).joined([BackendRef("store", 1)], [])[0].options == {}


def test_what_is_lost_of_a_header_is_filled_in() -> None:
    filled = FIRST.filled(3, 2)
    assert filled.backends == (BackendRef("store", 1), BackendRef("lost", 2), BackendRef("lost", 3))
    assert filled.models == [NAMED, {}]
    assert (filled.writer, filled.options["later"]) == ("w", 1)
    assert FIRST.filled(0, 0) == FIRST.filled(1, 1) == FIRST
    assert Header("w", ()).filled(1, 0).options == {}
    assert (len(FIRST.filled(4096, 0).backends), len(FIRST.filled(0, 4096).models)) == (4096, 4096)
    for backends, models in ((4097, 0), (0, 4097)):
        with pytest.raises(LimitError):
            FIRST.filled(backends, models)


def test_as_many_backends_and_models_as_allowed() -> None:
    many = [BackendRef("x", number + 1) for number in range(4096)]
    assert len(FIRST.extended(many[:4095], [], 1, 0).backends) == 4096
    with pytest.raises(LimitError):
        FIRST.extended(many, [], 1, 0)
    assert len(FIRST.extended([], [OTHER] * 4095, 0, 1).models) == 4096
    with pytest.raises(LimitError):
        FIRST.extended([], [OTHER] * 4096, 0, 1)


def test_backends_of_as_many_bytes_as_allowed() -> None:
    room = wire.MAX_HEADER - len(wire.pack_msgpack(["store", 1]))
    room -= len(wire.pack_msgpack(["x", 1, {"params": {"a": bytes(2**16)}}])) - 2**16
    for size, is_allowed in ((room, True), (room + 1, False)):
        ref = BackendRef("x", 1, {"params": {"a": bytes(size)}})
        if is_allowed:
            extended = FIRST.extended([ref], [], 1, 0)
            with pytest.raises(LimitError):
                extended.extended([BackendRef("y", 1)], [], 2, 0)
        else:
            with pytest.raises(LimitError):
                FIRST.extended([ref], [], 1, 0)


@pytest.mark.parametrize(
    ("backends", "models", "first_backend", "first_model"),
    [
        ([BackendRef("x", 1)], [], 0, 0),
        ([BackendRef("x", 1)], [], 2, 0),
        ([], [OTHER], 0, 0),
        ([], [OTHER], 0, 2),
        ([BackendRef("x", 1)], [OTHER], 1, 0),
        ([BackendRef("x", 1)], [OTHER], 0, 1),
        ([BackendRef("store", 1)], [], 1, 0),
        ([BackendRef("x", 1)] * 2, [], 1, 0),
        ([BackendRef("x", 1, {"model": 1})], [], 1, 0),
        ([BackendRef("x", 1, {"model": 2})], [OTHER], 1, 1),
    ],
)
def test_what_cannot_follow(
    backends: list[BackendRef], models: list[dict[str, Any]], first_backend: int, first_model: int
) -> None:
    with pytest.raises(DamagedError):
        FIRST.extended(backends, models, first_backend, first_model)


def test_models_may_follow_alone_or_with_what_needs_them() -> None:
    assert FIRST.extended([BackendRef("x", 1, {"model": 0})], [], 1, 9).backends[1].properties == {"model": 0}
    extended = FIRST.extended([BackendRef("x", 1, {"model": 1})], [OTHER], 1, 1)
    assert extended.models == [NAMED, OTHER]
    with pytest.raises(DamagedError):
        extended.extended([BackendRef("x", 1, {"model": 1})], [], 2, 0)


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


def _head(kind: int, codec: int, stored: int, decoded: int, sync: bytes = frames.SYNC) -> bytes:
    numbers = b"".join(map(wire.pack_uvarint, (codec, stored, decoded)))
    head = sync + bytes([kind]) + numbers + bytes(4)
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
        (_head(frames.CHUNK, 0, 8, 1, b"\xae\x9a"), DamagedError),
        (_head(frames.CHUNK, 0, 8, 1, b"\xaf\x9b"), DamagedError),
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


@pytest.mark.parametrize(
    ("kind", "stored", "decoded"),
    [
        (frames.CHUNK, 8, 1),
        (frames.CHUNK, 2**26 + 2**16, 2**26),
        (frames.INDEX, 0, 0),
        (frames.INDEX, 0, 2**16),
        (frames.INDEX, 3, 2**16 + 3 * 64),
        (frames.INDEX, 2**20, 2**23),
        (0x61, 2**26 + 2**16, 0),
        (0x61, 0, 2**63 - 1),
    ],
)
def test_the_largest_and_smallest_frames(kind: int, stored: int, decoded: int) -> None:
    head = frames.parse_head(0, _head(kind, 7, stored, decoded))
    assert (head.type, head.codec, head.stored, head.decoded) == (kind, 7, stored, decoded)


@pytest.mark.parametrize(
    ("kind", "stored", "decoded"),
    [(frames.INDEX, 0, 2**16 + 1), (frames.INDEX, 3, 2**16 + 3 * 64 + 1), (frames.INDEX, 2**20, 2**23 + 1)],
)
def test_an_index_is_no_larger_than_its_frame_allows(kind: int, stored: int, decoded: int) -> None:
    with pytest.raises(LimitError):
        frames.parse_head(0, _head(kind, 0, stored, decoded))


def test_a_head_that_is_cut_off() -> None:
    head = _head(frames.CHUNK, 1, 300, 70_000)
    assert frames.parse_head(0, head).size == len(head)
    for cut in range(len(head)):
        with pytest.raises(DamagedError):
            frames.parse_head(0, head[:cut])


def test_a_body_that_is_cut_off_or_too_long() -> None:
    data, body = frames.pack_frame(0, frames.CHUNK, 0, 8, b"12345678 and a payload")
    head = frames.parse_head(0, data)
    assert (data[-8:-4], head.body_crc) == (wire.crc32(body).to_bytes(4, "little"), wire.crc32(body))
    for other in (body[:-1], body + b"\0"):
        with pytest.raises(DamagedError, match="ends within"):
            frames.verify_body(head, other)
