"""Whatever the bytes: lmarc.open() and all that follows give data, a list of damage, or an LmarcError. Nothing else."""

from __future__ import annotations

import io
import stat
import tempfile
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

import lmarc
from lmarc.container import frames, wire
from lmarc.container.header import BackendRef, Header
from lmarc.container.writer import TRAILER_MAGIC
from tests.container import build

WHOLE = build.build(
    [
        build.directory(b"d"),
        build.file(b"d/one", b"one " * 30),
        build.file(b"d/two", b"two " * 40),
        build.hardlink(b"d/again", b"d/one"),
        build.symlink(b"d/link", b"one"),
        build.file(b"empty"),
    ]
)
ONE = b"one " * 30


def exercise(data: bytes, *, extract: bool = False) -> lmarc.Archive | None:
    """Do everything one can do with an archive; content that comes back is content that was asked for."""
    try:
        archive = lmarc.open(io.BytesIO(data))
    except lmarc.LmarcError:
        return None
    assert archive.namelist() == [info.name for info in archive.infolist()]
    failed = archive.test(jobs=1)
    for info in archive:
        if info.size > 2**30:
            continue
        try:
            content = archive.read(info.name)
        except lmarc.LmarcError:
            continue
        assert len(content) == info.size
        assert not isinstance(failed.get(info.name, lmarc.UnsafeMemberError()), lmarc.DamagedError)
    assert archive.decode_memory() is None or not archive.chunks or archive.decode_memory() >= 0
    for chunk in archive.chunks:
        with suppress(lmarc.LmarcError):
            archive.payload_size(chunk)
    if extract:
        with tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder, jobs=1, check=False, max_size=1 << 62)
    return archive


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    assert exercise(data) is None or data[:5] == wire.MAGIC


@given(st.binary(max_size=200))
def test_any_bytes_behind_a_header(data: bytes) -> None:
    archive = exercise(Header("w", (build.STORE,)).to_bytes() + data)
    assert archive is None or archive.damage


@given(st.data())
@settings(max_examples=300)
def test_a_whole_archive_with_a_few_changes(data: st.DataObject) -> None:
    broken = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(broken) - 1, 0)))
        match data.draw(st.sampled_from(["change", "remove", "insert", "cut", "double"])):
            case "change":
                broken[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case "remove":
                del broken[at : at + data.draw(st.integers(1, 40))]
            case "insert":
                broken[at:at] = data.draw(st.binary(min_size=1, max_size=20))
            case "cut":
                del broken[at:]
            case _:
                broken[at:at] = broken[at : at + data.draw(st.integers(1, 200))]
    archive = exercise(bytes(broken))
    if archive is not None and not archive.damage and not archive.test():
        assert archive.read("d/one") == ONE
    with suppress(lmarc.LmarcError):
        lmarc.decompress(bytes(broken))


def assemble(value: Any, hashes: bytes, *, chunk: bytes = b"", trailer: bool = True) -> bytes:
    """An archive with one chunk of `store` and an index of that value, all checksums right."""
    out = Header("w", (build.STORE, BackendRef("none", 1))).to_bytes()
    if chunk:
        out += b"".join(frames.pack_frame(len(out), frames.CHUNK, 0, len(chunk), build.check(chunk) + chunk))
    body = wire.pack_msgpack(value) + hashes
    index = b"".join(frames.pack_frame(len(out), frames.INDEX, frames.INDEX_PLAIN, len(body), body))
    return out + index + (len(index).to_bytes(4, "little") + TRAILER_MAGIC if trailer else b"")


START = len(Header("w", (build.STORE, BackendRef("none", 1))).to_bytes())
CHUNK = b"a chunk of 20 bytes."
HASH = build.file(b"", CHUNK)[0].hash
FILE, DIR, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777

PATHS = st.sampled_from(["a", "a/b", "a/b/c", "b", "..", "../x", "/x", "a//b", "", "a\0b", b"\xff", "x" * 300])
NUMBERS = st.sampled_from([0, 0, 0, 1, 5, 20, 21, 2**31, 2**62, 2**63 - 1])
ROWS = st.one_of(
    st.tuples(PATHS, st.just(FILE), NUMBERS, st.just(0), st.sampled_from([0, 5, 20, 20, 21, 2**40]), NUMBERS),
    st.tuples(PATHS, st.just(DIR), st.sampled_from([0, -(2**63), 2**63 - 1]), st.just(0)),
    st.tuples(PATHS, st.just(LINK), NUMBERS, st.just(0), PATHS),
    st.tuples(PATHS, st.just(0), NUMBERS, st.just(0), PATHS),
    st.tuples(
        *(PATHS, st.just(FILE), NUMBERS, st.just(0), st.sampled_from([20, 30, 2**20])),
        *(st.just(0), st.sampled_from([{"sparse": []}, {"sparse": [0, 20]}, {"sparse": [5, 10, 5, 10]}])),
    ),
)
CHUNKS = st.sampled_from(
    [
        *([], [START, 20, 0], [START, 20, 1], [START, 20, 2], [START, 21, 0], [START, 19, 0], [1, 20, 0]),
        *([2**63 - 1, 20, 0], [2**63 - 1, 20, 0, 2**63 - 1, 20, 0], [START, 20, 0, 1, 20, 0], [START, 20, 2**63 - 1]),
    ]
)


@given(
    st.sampled_from([0, 0, 0, 1, 2**62]),
    CHUNKS,
    st.lists(ROWS, max_size=4),
    st.booleans(),
    st.sampled_from([[[0]], [[2**32 - 1]], [[5, "a\0b"]]]),
)
@settings(max_examples=400)
@example(0, [2**63 - 1, 20, 0, 2**63 - 1, 20, 0], [("a", FILE, 0, 0, 20, 0)], False, [[0]])
@example(0, [], [("a", LINK, 0, 0, "b\0c")], True, [[0]])
@example(0, [], [("a", LINK, 0, 0, "")], True, [[0]])
@example(0, [], [("a", DIR, 2**63 - 1, 0), ("b", DIR, -(2**63), 0)], True, [[0]])
def test_any_index(base: int, chunks: list[int], rows: list[Any], trailer: bool, owners: list[Any]) -> None:
    hashes = b"".join(HASH for row in rows if row[1] == FILE)
    data = assemble([base, owners, chunks, [list(row) for row in rows]], hashes, chunk=CHUNK, trailer=trailer)
    exercise(data, extract=True)


@given(st.sampled_from([[0], [1], [2**31], [2**32 - 1], [7, "root"], [7, "a\0b"], [7, b"\xff"], [7, "no such one"]]))
def test_any_owner(owner: list[Any]) -> None:
    rows = [["a", FILE, 0, 0, 20, 0], ["d", DIR, 0, 0], ["l", LINK, 0, 0, "a"]]
    data = assemble([0, [owner], [START, 20, 0], rows], HASH, chunk=CHUNK)
    with tempfile.TemporaryDirectory() as folder, lmarc.open(io.BytesIO(data)) as archive:
        assert not archive.damage
        archive.extractall(folder, owner=True, check=False, max_size=1 << 62)


@given(st.integers(0, 2**63 - 1), st.integers(1, 2**26), st.booleans())
def test_a_header_alone_names_no_end_to_memory(offset: int, size: int, trailer: bool) -> None:
    exercise(assemble([0, [[0]], [max(offset, 1), size, 0], []], b"", trailer=trailer))
