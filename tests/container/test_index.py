"""The index: what goes in comes out, and what is not a valid one is refused."""

from __future__ import annotations

import random
import stat
from itertools import accumulate
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.container import frames, wire, zframe
from lmarc.container.header import BackendRef
from lmarc.container.index import Chunk, IndexFrame, Member, Owner, parse_index
from lmarc.errors import DamagedError, LimitError, LmarcError, MemberLimitError, UnsupportedError

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


def _read(head_bytes: bytes, body: bytes, most_members: int | None = None) -> IndexFrame:
    head = frames.parse_head(OFFSET, head_bytes)
    frames.verify_body(head, body)
    return parse_index(head, body, 1 << 62, most_members)


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
        (_member("a", 0xFFFF, 0, 0), b"", UnsupportedError),
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


#: What is as large as it may be, and with one more.
EDGES: list[tuple[Any, Any, type[LmarcError]]] = [
    (_member("p" * 65_535, DIR, 0, 0), _member("p" * 65_536, DIR, 0, 0), LimitError),
    (_member("a" + "/a" * 4095, DIR, 0, 0), _member("a" + "/a" * 4096, DIR, 0, 0), LimitError),
    (_member("a", LINK, 0, 0, "p" * 65_535), _member("a", LINK, 0, 0, "p" * 65_536), LimitError),
    (_member("a", DIR, 2**64 - 1, 0), _member("a", DIR, "0", 0), DamagedError),
    (_member("a", DIR, -(2**63), 0), _member("a", DIR, 0, 1), DamagedError),
    (_member("a", stat.S_IFDIR | 0o7777, 0, 0), _member("a", 0, 0, 0), DamagedError),
    (_member("a", 0, 0, 0, "b"), _member("a", 1, 0, 0, "b"), DamagedError),
    ([0, [], [22, 2**26, 0], []], [0, [], [22, 2**26 + 1, 0], []], LimitError),
    ([0, [], [22, 1, 0], []], [0, [], [21, 1, 0], []], DamagedError),
    ([0, [], [22, 1, 2**63 - 1], []], [0, [], [22, 1, 2**63], []], DamagedError),
    ([0, [[2**32 - 1]], [], [["a", DIR, 0, 0]]], [0, [[2**32]], [], [["a", DIR, 0, 0]]], DamagedError),
    ([0, [[1, "u", 2, "g"]], [], [["a", DIR, 0, 0]]], [0, [[1, "u", 1, "u"]], [], [["a", DIR, 0, 0]]], DamagedError),
    ([0, [[0, "", 2, "g"]], [], [["a", DIR, 0, 0]]], [0, [[0, "u", 2, "g"]], [], [["a", DIR, 0, 0]]], DamagedError),
    ([0, [[2, "u", 0, ""]], [], [["a", DIR, 0, 0]]], [0, [[2, "u", 0, "g"]], [], [["a", DIR, 0, 0]]], DamagedError),
    ([0, [[1]], [], [["a", DIR, 0, 0]]], [0, [[1], [2]], [], [["a", DIR, 0, 0]]], DamagedError),
    (
        [0, [[1], [2]], [], [["a", DIR, 0, 0], ["b", DIR, 0, 1]]],
        [0, [[1], [1]], [], [["a", DIR, 0, 0], ["b", DIR, 0, 1]]],
        DamagedError,
    ),
    ([0, [[1]], [], [["a", DIR, 0, 0], ["b", DIR, 0, 0]]], [0, [[1]], [], [["a", DIR, 0, 0]] * 2], DamagedError),
    ([0, [], [], [], {"segments": [1, 1]}], [0, [], [], [], {"segments": [1, 0]}], DamagedError),
    ([0, [], [], [], {"removed": ["a", "b"]}], [0, [], [], [], {"removed": ["a", "a"]}], DamagedError),
    ([0, [], [], [], {"removed": [b"\xff"]}], [0, [], [], [], {"removed": [b"a"]}], DamagedError),
    ([0, [], [], [], {"removed": [""]}], [0, [], [], [], {"removed": []}], DamagedError),
    ([0, [], [], [], {"models": [0, {}]}], [0, [], [], [], {"models": [0]}], DamagedError),
    ([0, [], [], [], {"models": [5, {}, {}]}], [0, [], [], [], {"models": [5, {}, 1]}], DamagedError),
    ([0, [], [], [], {"models": [5, {}]}], [0, [], [], [], {"models": [-1, {}]}], DamagedError),
    ([0, [], [], [], {"backends": [0, ["x", 1]]}], [0, [], [], [], {"backends": [0]}], DamagedError),
    ([0, [], [], [], {"backends": [0, ["x", 1]]}], [0, [], [], [], {"backends": ["x", 1]}], DamagedError),
    ([0, [], [], [], {"backends": [0, ["x", 1]]}], [0, [], [], [], {"backends": [0, ["x", 0]]}], DamagedError),
    ([0, [], [], [], {"backends": [0, ["x", 1]]}], [0, [], [], [], {"backends": {"x": 1}}], DamagedError),
]


@pytest.mark.parametrize(("allowed", "refused", "error"), EDGES)
def test_up_to_the_edge_and_no_further(allowed: Any, refused: Any, error: type[LmarcError]) -> None:
    assert _read(*_parse(allowed).to_frame(OFFSET)) == _parse(allowed)
    with pytest.raises(error) as caught:
        _parse(refused)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "owner",
    [
        *([], 0, "a", [-1], ["1"], [2**32], [0, 1], [1, b"a"], [0, "root"], [1, ""]),
        *([1, "a", 2], [1, "a", 1, "a"], [1, "a", 2, b"b"], [1, "a", -2, "b"], [1, "a", 2, "b", 3]),
    ],
    ids=str,
)
def test_owners_that_are_refused(owner: Any) -> None:
    with pytest.raises(DamagedError):
        _parse([0, [owner], [], [["a", DIR, 0, 0]]])


def test_what_the_numbers_of_an_index_mean() -> None:
    options = {"backends": [3, ["x", 1]], "models": [4, {"a": 1}], "removed": ["gone"], "segments": [7, 5]}
    rows = [
        ["d", DIR, 5, 1],
        ["f", FILE, 6, 0, 100, 20],
        ["g", FILE, 7, 0, 90, 30, {"sparse": [5, 10, 20, 30]}],
        ["h", 0, 8, 1, "f"],
        ["l", LINK, 9, 0, b"\xff"],
    ]
    hashes = [bytes([number]) * 32 for number in (1, 2)]
    index = _parse([10, [[1, "u", 2, "g"], [3]], [50, 7, 1, 40, 8, 2], rows, options], b"".join(hashes))
    first, second = Owner(1, 2, b"u", b"g"), Owner(3, 3, b"", b"")
    assert index == IndexFrame(
        10,
        [Chunk(50, 7, 1, 10), Chunk(90, 8, 2, 17)],
        [
            Member(b"d", DIR, 5, second),
            Member(b"f", FILE, 6, first, 100, 20, hash=hashes[0]),
            Member(b"g", FILE, 7, first, 90, 30, hash=hashes[1], sparse=(5, 10, 20, 30)),
            Member(b"h", 0, 8, second, target=b"f"),
            Member(b"l", LINK, 9, first, target=b"\xff"),
        ],
        [7, 12],
        [b"gone"],
        [BackendRef("x", 1)],
        [{"a": 1}],
        3,
        4,
    )
    _, plain, sparse, *_ = index.members
    assert (plain.kind, plain.stored_size, plain.end, list(plain.data_runs())) == ("file", 100, 120, [(0, 100)])
    assert (sparse.stored_size, sparse.end, list(sparse.data_runs())) == (40, 70, [(5, 10), (35, 30)])
    assert [member.kind for member in index.members] == ["dir", "file", "file", "hardlink", "symlink"]


def test_the_holes_of_a_file() -> None:
    """Data before the first hole, behind the last one, none at all; and as many runs as are allowed."""
    for sparse in ([], [0, 9], [0, 1, 1, 1], [4, 5], [1] * 8):
        assert _parse(_member("a", FILE, 0, 0, 9, 0, {"sparse": sparse}), HASH).members[0].sparse == tuple(sparse)
    for sparse in ([4, 6], [1, 0, 1, 1], [0, 1, 1, 0], [5], [1, 1, 1], [1, "1"], [2**63, 1]):
        with pytest.raises(DamagedError):
            _parse(_member("a", FILE, 0, 0, 9, 0, {"sparse": sparse}), HASH)
    for runs, is_allowed in ((32_768, True), (32_769, False)):
        value = _member("a", FILE, 0, 0, 2**20, 0, {"sparse": [1] * 2 * runs})
        if is_allowed:
            assert _parse(value, HASH).members[0].stored_size == runs
        else:
            with pytest.raises(LimitError):
                _parse(value, HASH)


def test_the_place_of_a_file() -> None:
    assert _parse(_member("a", FILE, 0, 0, 1, 2**63 - 1), HASH).members[0].start == 2**63 - 1
    assert _parse(_member("a", FILE, 0, 0, 0, 0), HASH).members[0].end == 0
    for size, start in ((0, 1), (1, 2**63), (2**63, 0)):
        with pytest.raises(DamagedError):
            _parse(_member("a", FILE, 0, 0, size, start), HASH)


def test_as_many_members_as_allowed() -> None:
    index = IndexFrame(0, [], [Member(b"%d" % number, DIR, 0, Owner(0, 0, b"", b"")) for number in range(5)], [])
    for most in (None, 5, 6):
        assert _read(*index.to_frame(OFFSET), most) == index
    for most in (4, 0):
        with pytest.raises(MemberLimitError):
            _read(*index.to_frame(OFFSET), most)


def test_an_index_is_plain_or_zstd() -> None:
    index = IndexFrame(0, [], [], [1])
    plain = index.to_bytes()
    packed, size = zframe.compress(plain, 3), len(plain)
    for coding, body in ((0, plain), (1, packed)):
        assert _read(*frames.pack_frame(OFFSET, frames.INDEX, coding, size, body)) == index
    for coding, decoded, body in (
        *((2, size, plain), (0, size + 1, plain), (0, size - 1, plain)),
        *((1, size, plain), (1, size + 1, packed)),
    ):
        with pytest.raises(DamagedError):
            _read(*frames.pack_frame(OFFSET, frames.INDEX, coding, decoded, body))


def test_the_form_of_an_index() -> None:
    """Owners in the order of their members, options only where there are any, the smaller of two forms."""
    one, two = Owner(5, 5, b"u", b"u"), Owner(6, 7, b"u", b"u")
    members = [Member(name, DIR, 0, owner) for name, owner in ((b"a", two), (b"b", one), (b"c", two))]
    assert wire.parse_msgpack(IndexFrame(9, [], members).to_bytes()) == [
        *(9, [[6, "u", 7, "u"], [5, "u"]], []),
        [["a", DIR, 0, 0], ["b", DIR, 0, 1], ["c", DIR, 0, 0]],
    ]
    small, body = IndexFrame(0, [], []).to_frame(OFFSET)
    head = frames.parse_head(OFFSET, small)
    assert (head.codec, head.decoded, body) == (frames.INDEX_PLAIN, len(body), IndexFrame(0, [], []).to_bytes())
    large = IndexFrame(0, [], [Member(b"%d" % number, DIR, 0, one) for number in range(50)])
    head_bytes, body = large.to_frame(OFFSET)
    head = frames.parse_head(OFFSET, head_bytes)
    assert (head.codec, head.decoded) == (frames.INDEX_ZSTD, len(large.to_bytes()))
    assert zframe.decompress(body, head.decoded) == large.to_bytes()


def test_the_largest_index(monkeypatch: pytest.MonkeyPatch) -> None:
    index = IndexFrame(0, [], [Member(b"a", FILE, 0, Owner(0, 0, b"", b""), 5, hash=HASH)])
    monkeypatch.setattr(wire, "MAX_INDEX", len(index.to_bytes()))
    index.to_frame(OFFSET)
    monkeypatch.setattr(wire, "MAX_INDEX", len(index.to_bytes()) - 1)
    with pytest.raises(LimitError):
        index.to_frame(OFFSET)


@pytest.mark.parametrize("length", [300, 1000])
def test_an_index_that_compresses_too_well_is_compressed_less(length: int) -> None:
    """A reader would take it for a bomb; it is not left as it is either."""
    owner = Owner(0, 0, b"", b"")
    index = IndexFrame(0, [], [Member(b"a" * length + b"%d" % number, DIR, 0, owner) for number in range(1500)], [])
    plain = index.to_bytes()
    assert len(plain) > frames.largest_index(len(zframe.compress(plain, 3)))
    head_bytes, body = index.to_frame(OFFSET)
    assert len(body) < len(plain) / 5
    assert _read(head_bytes, body) == index


def test_the_window_of_a_zstd_frame_is_limited() -> None:
    """Both frames say 10 bytes and have a window of their own: 2**27 bytes, and an eighth more."""
    block = zframe.compress(b"x" * 10, 3)[6:]
    for exponent, error in ((0x88, None), (0x89, LimitError)):
        # Magic, a descriptor for a 4-byte content size and no single segment, the window, the size, one block.
        frame = bytes.fromhex("28b52ffd 80") + bytes([exponent]) + (10).to_bytes(4, "little") + block
        if error is None:
            assert zframe.decompress(frame, 10) == b"x" * 10
        else:
            with pytest.raises(error):
                zframe.decompress(frame, 10)


def test_zstd_frames_have_no_checksum_and_say_their_size() -> None:
    data = bytes(range(256)) * 50
    for distant in (False, True):
        packed = zframe.compress(data, 3, distant=distant)
        parameters = zstandard.get_frame_parameters(packed)
        assert (parameters.content_size, parameters.has_checksum, parameters.dict_id) == (len(data), False, 0)
        assert zframe.decompress(packed, len(data)) == data


def test_a_zstd_frame_of_one_byte() -> None:
    assert zframe.decompress(zframe.compress(b"x", 3), 1) == b"x"
    with pytest.raises(DamagedError):
        zframe.decompress(zframe.compress(b"", 3), 0)


def test_repetitions_are_seen_from_afar() -> None:
    piece = random.Random(1).randbytes(300_000)
    data = piece + random.Random(2).randbytes(3_000_000) + piece
    packed = zframe.compress(data, 1, distant=True)
    assert len(packed) < 3_310_000 < 3_590_000 < len(zframe.compress(data, 1))
    assert zframe.decompress(packed, len(data)) == data
    far = zframe.compress(bytes(2**24 + 1), 1, distant=True)
    assert zstandard.get_frame_parameters(far).window_size == 2**24


def test_a_chunk_stands_before_its_index() -> None:
    head_bytes, body = IndexFrame(0, [Chunk(50, 1, 0, 0), Chunk(100, 1, 0, 1)], []).to_frame(OFFSET)
    head = frames.parse_head(OFFSET, head_bytes)
    assert len(parse_index(head, body, 101).chunks) == 2
    with pytest.raises(DamagedError, match="behind itself"):
        parse_index(head, body, 100)


@pytest.mark.parametrize("levels", [16, 17])
def test_an_index_is_no_deeper_than_any_value(levels: int) -> None:
    """In all, the index itself and what the value is in counted."""

    def nested(depth: int) -> Any:
        return [nested(depth - 1)] if depth else 0

    for value in (
        [0, [], [], [], {"later": nested(levels - 2)}],
        [0, [[0]], [], [["a", DIR, 0, 0, {"later": nested(levels - 4)}]]],
    ):
        if levels == 16:
            _parse(value)
        else:
            with pytest.raises(DamagedError, match="nested"):
                _parse(value)
