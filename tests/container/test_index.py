"""The index: what goes in comes out, and what is not a valid one is refused."""

from __future__ import annotations

import stat
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.container import frames, wire, zframe
from lmarc.container.header import BackendRef
from lmarc.container.index import Chunk, IndexFrame, Member, Owner, parse_index
from lmarc.errors import DamagedError, LimitError, LmarcError, UnsupportedError

UINTS = st.integers(0, 2**63 - 1)
SMALL = st.integers(0, 2**40)
NAMES = st.binary(max_size=12) | st.text(max_size=12).map(str.encode)
HASHES = st.binary(min_size=32, max_size=32)
TIMES = st.integers(-(2**63), 2**64 - 1)
NUMBERS = st.integers(1, 2**32 - 1)
OWNERS = (
    st.builds(Owner, NUMBERS, NUMBERS, NAMES, NAMES)
    | st.builds(lambda number, name: Owner(number, number, name, name), NUMBERS, NAMES)
    | st.builds(lambda number, name: Owner(0, number, b"", name), NUMBERS, NAMES)
    | st.just(Owner(0, 0, b"", b""))
)
PERMISSIONS = st.integers(0, 0o7777)


@st.composite
def _files(draw: st.DrawFn) -> Member:
    sparse = draw(st.none() | st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 2**40)), max_size=4))
    if sparse and draw(st.booleans()):
        sparse[0] = (0, sparse[0][1])
    start = draw(SMALL)
    if sparse is None:
        size, runs = draw(SMALL), None
        stored = size
    else:
        runs = tuple(number for pair in sparse for number in pair)
        size = sum(runs) + draw(SMALL)
        stored = sum(runs[1::2])
    mode = stat.S_IFREG | draw(PERMISSIONS)
    place = start if stored else 0
    return Member(draw(NAMES), mode, draw(TIMES), draw(OWNERS), size, place, hash=draw(HASHES), sparse=runs)


DIRECTORIES = st.builds(
    lambda path, mode, *rest: Member(path, stat.S_IFDIR | mode, *rest), NAMES, PERMISSIONS, TIMES, OWNERS
)
SYMLINKS = st.builds(
    lambda path, mode, when, owner, target: Member(path, stat.S_IFLNK | mode, when, owner, target=target),
    *(NAMES, PERMISSIONS, TIMES, OWNERS, NAMES),
)
HARDLINKS = st.builds(
    lambda path, when, owner, target: Member(path, 0, when, owner, target=target), NAMES, TIMES, OWNERS, NAMES
)
MEMBERS = _files() | DIRECTORIES | SYMLINKS | HARDLINKS


@st.composite
def _indexes(draw: st.DrawFn) -> IndexFrame:
    base = start = draw(SMALL)
    offset = 0
    chunks = []
    for step, size, codec in draw(
        st.lists(st.tuples(st.integers(22, 2**40), st.integers(1, 2**26), UINTS), max_size=5)
    ):
        offset += step
        chunks.append(Chunk(offset, size, codec, start))
        start += size
    steps = draw(st.lists(st.integers(1, 2**40), max_size=4))
    segments = list(accumulate(steps))
    members = draw(st.lists(MEMBERS, max_size=6, unique_by=lambda member: member.path))
    removed = draw(st.lists(NAMES, max_size=3, unique=True))
    backends = draw(st.lists(st.builds(BackendRef, st.sampled_from(["cm", "x-1"]), st.integers(1, 300)), max_size=2))
    models = draw(st.lists(st.fixed_dictionaries({"size": SMALL}), max_size=2))
    first = [draw(SMALL) if part else 0 for part in (backends, models)]
    return IndexFrame(base, chunks, members, segments, removed, backends, models, *first)


OFFSET = 123


def _read(head_bytes: bytes, body: bytes) -> IndexFrame:
    head = frames.parse_head(OFFSET, head_bytes)
    frames.verify_body(head, body)
    return parse_index(head, body, 1 << 62)


@given(_indexes())
def test_round_trip(index: IndexFrame) -> None:
    assert _read(*index.to_frame(OFFSET)) == index


def test_a_large_index_is_compressed() -> None:
    member = Member(b"", stat.S_IFDIR | 0o755, 0, Owner(0, 0, b"", b""))
    index = IndexFrame(0, [], [member._replace(path=b"%d" % number) for number in range(10_000)], [])
    head, body = index.to_frame(OFFSET)
    assert len(body) < len(index.to_bytes()) / 2
    assert _read(head, body) == index


def _parse(value: Any, hashes: bytes = b"") -> IndexFrame:
    body = (value if isinstance(value, bytes) else wire.pack_msgpack(value)) + hashes
    return _read(*frames.pack_frame(OFFSET, frames.INDEX, frames.INDEX_PLAIN, len(body), body))


FILE, DIR, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
HASH = bytes(32)


def _member(*row: Any) -> list[Any]:
    return [0, [[0]], [], [list(row)]]


@pytest.mark.parametrize(
    ("value", "hashes", "error"),
    [
        ([0, [], []], b"", DamagedError),
        ([0, [], [], [], {}], b"", DamagedError),
        ([0, [], [], [], []], b"", DamagedError),
        ([0, [], [], [], {"a": 1}, 1], b"", DamagedError),
        ([-1, [], [], []], b"", DamagedError),
        (["0", [], [], []], b"", DamagedError),
        ([0, {}, [], []], b"", DamagedError),
        ([0, [], {}, []], b"", DamagedError),
        ([0, [], [], {}], b"", DamagedError),
        ({"a": 1}, b"", DamagedError),
        ([0, [], [1, 1], []], b"", DamagedError),
        ([0, [], [0, 1, 0], []], b"", DamagedError),
        ([0, [], [1, 0, 0], []], b"", DamagedError),
        ([0, [], [1, 2**26 + 1, 0], []], b"", LimitError),
        ([0, [], [1, 1, -1], []], b"", DamagedError),
        ([0, [], [1, 1, "0"], []], b"", DamagedError),
        ([0, [[]], [], []], b"", DamagedError),
        ([0, [0], [], []], b"", DamagedError),
        ([0, [[0, "a", 0]], [], []], b"", DamagedError),
        ([0, [[-1]], [], []], b"", DamagedError),
        ([0, [[0, 1]], [], []], b"", DamagedError),
        ([0, [[1, b"a"]], [], []], b"", DamagedError),
        ([0, [[2**32]], [], []], b"", DamagedError),
        ([0, [[0, "root"]], [], []], b"", DamagedError),
        ([0, [[1, ""]], [], []], b"", DamagedError),
        ([0, [[1, "a", 1, "a"]], [], []], b"", DamagedError),
        ([0, [], [], [], {"segments": []}], b"", DamagedError),
        ([0, [], [], [], {"segments": [0]}], b"", DamagedError),
        ([0, [], [], [], {"segments": ["1"]}], b"", DamagedError),
        ([0, [], [], [], {"segments": 1}], b"", DamagedError),
        (_member("a", DIR, 0), b"", DamagedError),
        (_member("a", DIR, 0, 1), b"", DamagedError),
        (_member("a", DIR, 0, -1), b"", DamagedError),
        (_member("a", DIR, 0, "0"), b"", DamagedError),
        (_member("a", DIR, "0", 0), b"", DamagedError),
        (_member("a", 2**16, 0, 0), b"", DamagedError),
        (_member("a", -1, 0, 0), b"", DamagedError),
        (_member(b"a", DIR, 0, 0), b"", DamagedError),
        (_member(1, DIR, 0, 0), b"", DamagedError),
        (_member("a", DIR, 0, 0, {}), b"", DamagedError),
        (_member("a", DIR, 0, 0, 1), b"", DamagedError),
        (_member("a", DIR, 0, 0, {"b": 1}, 1), b"", DamagedError),
        (_member("a", LINK, 0, 0), b"", DamagedError),
        (_member("a", LINK, 0, 0, 1), b"", DamagedError),
        (_member("a", 0o644, 0, 0, "b"), b"", DamagedError),
        (_member("a", FILE, 0, 0, 1), HASH, DamagedError),
        (_member("a", FILE, 0, 0, -1, 0), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 1, "0"), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 0, 1), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 1, 0), b"", DamagedError),
        (_member("a", FILE, 0, 0, 1, 0), HASH[1:], DamagedError),
        (_member("a", FILE, 0, 0, 1, 0), HASH * 2, DamagedError),
        (_member("a", DIR, 0, 0), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 0, {"sparse": [1]}), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 0, {"sparse": [1, 0]}), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 0, {"sparse": [1, 9]}), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 0, {"sparse": [1, 1, 0, 1]}), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 0, {"sparse": [-1, 1]}), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 1, {"sparse": []}), HASH, DamagedError),
        (_member("a", FILE, 0, 0, 9, 0, {"sparse": 1}), HASH, DamagedError),
        (_member("p" * 65_536, DIR, 0, 0), b"", LimitError),
        (_member("a", LINK, 0, 0, "p" * 65_536), b"", LimitError),
        (_member("a", stat.S_IFIFO, 0, 0), b"", UnsupportedError),
        (_member("a", 0o170000, 0, 0), b"", UnsupportedError),
    ],
)
def test_indexes_that_are_refused(value: Any, hashes: bytes, error: type[LmarcError]) -> None:
    with pytest.raises(error) as caught:
        _parse(value, hashes)
    assert type(caught.value) is error


def test_unknown_options_are_skipped() -> None:
    member = _parse([0, [[0]], [], [["a", DIR, 0, 0, {"later": 1}]], {"later": [1, {"a": "b"}]}]).members[0]
    assert (member.path, member.kind) == (b"a", "dir")


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_any_msgpack_is_an_index_or_refused(body: bytes) -> None:
    with pytest.raises(LmarcError):
        _parse(body)


#: Values of the right kind in the wrong measure, for every place of an index.
PLACES = (
    st.sampled_from([0, 1, 2, 3, 32, 2**26, 2**63 - 1, 2**63, 2**64 - 1, -1, -(2**63), FILE, DIR, LINK, 0o020644])
    | st.sampled_from(["", "a", "a/b", "../a", "/a", "\0", b"\xff", b"a", True, None, 1.5])
    | st.lists(st.integers(-1, 3), max_size=4)
    | st.fixed_dictionaries({}, optional={"segments": st.lists(UINTS), "sparse": st.lists(UINTS)})
)
SHAPED = st.tuples(
    UINTS | PLACES,
    st.lists(st.lists(PLACES, max_size=4), max_size=2) | PLACES,
    st.lists(UINTS | PLACES, max_size=6) | PLACES,
    st.lists(st.lists(PLACES, min_size=3, max_size=8) | PLACES, max_size=4) | PLACES,
).map(list) | st.lists(PLACES, max_size=6)


@given(SHAPED, st.integers(0, 3))
@settings(max_examples=500)
def test_anything_in_the_shape_of_an_index(value: Any, hashes: int) -> None:
    try:
        index = _parse(value, HASH * hashes)
    except LmarcError:
        return
    assert _read(*index.to_frame(OFFSET)) == index


@pytest.mark.parametrize(
    "body",
    [
        b"",
        zframe.compress(b"x" * 9, 3),
        zframe.compress(b"x" * 10, 3) + b"y",
        zframe.compress(b"x" * 10, 3)[:-1],
        zframe.compress(b"x" * 10, 3) * 2,
        b"x" * 10,
    ],
)
def test_a_zstd_frame_must_be_just_what_it_says(body: bytes) -> None:
    with pytest.raises(DamagedError):
        zframe.decompress(body, 10)


def test_a_zstd_frame_that_declares_terabytes_allocates_nothing() -> None:
    # Magic, a descriptor for an 8-byte content size in a single segment, 2**50, one empty last block.
    bomb = bytes.fromhex("28b52ffd e0") + (2**50).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises((DamagedError, LimitError)):
        zframe.decompress(bomb, 2**50)
    with pytest.raises(DamagedError):
        zframe.decompress(bomb, 10)
