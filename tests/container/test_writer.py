"""Writing: what goes out when, and what is said of it meanwhile."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest

from lmarc.container import frames, wire
from lmarc.container.header import BackendRef, Header
from lmarc.container.reader import ContainerReader
from lmarc.container.writer import Before, ContainerWriter, trailer
from lmarc.errors import LimitError
from tests.container import build

HEADER = Header("test", (build.STORE,))
ONE, TWO = build.file(b"one", b"one" * 10)[0], build.file(b"other", b"two" * 10)[0]


def add(container: ContainerWriter, content: bytes) -> None:
    container.add_chunk(0, len(content), build.check(content), content)


def test_the_order_of_an_archive() -> None:
    out = io.BytesIO()
    container = ContainerWriter(out, HEADER)
    assert out.getvalue() == HEADER.to_bytes()
    add(container, b"one" * 10)
    container.add_member(ONE)
    written = out.getvalue()
    assert written[len(HEADER.to_bytes()) :] == b"".join(
        frames.pack_frame(len(HEADER.to_bytes()), frames.CHUNK, 0, 30, build.check(b"one" * 10) + b"one" * 10)
    )
    before_trailer: list[bytes] = []
    container.close(lambda: before_trailer.append(out.getvalue()))
    (without,) = before_trailer
    assert out.getvalue() == without + trailer(len(without) - len(written))
    assert container.offset == len(out.getvalue())


def test_a_trailer() -> None:
    assert trailer(0x01020304) == b"\x04\x03\x02\x01\x8eZ"


def test_a_checkpoint_of_nothing_is_not_written() -> None:
    out = io.BytesIO()
    container = ContainerWriter(out, HEADER)
    container.checkpoint()
    assert out.getvalue() == HEADER.to_bytes()
    container.add_member(build.directory(b"d")[0])
    container.checkpoint()
    size = len(out.getvalue())
    container.checkpoint()
    assert len(out.getvalue()) == size
    add(container, b"content")
    container.checkpoint()
    container.close()
    reader = ContainerReader.open(io.BytesIO(out.getvalue()))
    assert (reader.damage, len(reader.indexes)) == ([], 3)


def test_a_checkpoint_of_what_was_removed() -> None:
    whole = build.build([build.directory(b"d"), build.directory(b"e")])
    out = io.BytesIO()
    container = ContainerWriter(out, HEADER, ContainerReader.open(io.BytesIO(whole)).before())
    container.remove(b"d")
    container.checkpoint()
    assert out.getvalue()[:3] == frames.SYNC + bytes([frames.INDEX])
    container.close()
    reader = ContainerReader.open(io.BytesIO(whole + out.getvalue()))
    assert (reader.damage, [member.path for member in reader.members]) == ([], [b"e"])


def test_what_is_in_no_checkpoint_yet() -> None:
    container = ContainerWriter(io.BytesIO(), HEADER, Before(HEADER, 1000, 50, [900], 40, [b"one", b"gone", b"twice"]))
    assert (container.offset, container.stream_end) == (1000, 50)
    assert (container.pending_content, container.pending_index) == (0, 0)
    add(container, b"content")
    assert (container.pending_content, container.pending_index) == (7, 27)
    add(container, b"more")
    assert (container.pending_content, container.pending_index) == (11, 54)
    container.remove(b"gone")
    assert container.pending_index == 54 + 9 + 4
    container.remove(b"twice")
    assert container.pending_index == 54 + 9 + 4 + 9 + 5
    sizes = [container.pending_index]
    link = build.symlink(b"link", b"target")[0]
    for member in (TWO, link, TWO._replace(path=b"holes", sparse=(1, 2, 3, 4)), ONE):
        container.add_member(member)
        sizes.append(container.pending_index)
    grown = [after - before for before, after in pairwise(sizes)]
    assert grown == [128 + 5, 128 + 4 + 6, 128 + 5 + 4 * 9, 128 + 3 + 9 + 3]
    container.checkpoint()
    assert (container.pending_content, container.pending_index) == (0, 0)
    add(container, b"again")
    assert (container.pending_content, container.pending_index) == (5, 27)


def test_a_member_takes_the_place_of_one_in_a_checkpoint() -> None:
    whole = build.build([build.directory(b"d")])
    out = io.BytesIO()
    container = ContainerWriter(out, HEADER, ContainerReader.open(io.BytesIO(whole)).before())
    for mode in (0o700, 0o711, 0o755):
        container.add_member(build.directory(b"d", mode=mode)[0])
        container.checkpoint()
    container.close()
    reader = ContainerReader.open(io.BytesIO(whole + out.getvalue()))
    assert (reader.damage, [member.mode & 0o777 for member in reader.members]) == ([], [0o755])


def test_a_new_backend_is_named_once() -> None:
    whole = build.build([build.directory(b"d")], options={"models": [{"name": "m"}]})
    before = ContainerReader.open(io.BytesIO(whole)).before()
    refs = [BackendRef("other", 1, {"model": 0})]
    header, places = before.header.joined(refs, [{"name": "n"}])
    assert places == [1]
    out = io.BytesIO()
    container = ContainerWriter(out, header, before)
    for name in (b"a", b"b"):
        container.add_member(build.directory(name)[0])
        container.checkpoint()
    container.close()
    reader = ContainerReader.open(io.BytesIO(whole + out.getvalue()))
    assert (reader.damage, reader.header) == ([], header)
    assert reader.header.backends == (build.STORE, BackendRef("other", 1, {"model": 1}))
    assert reader.header.models == [{"name": "m"}, {"name": "n"}]
    assert out.getvalue().count(b"other") == 1


def test_no_more_index_than_a_reader_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All index frames together, those that were there before too."""
    data = build.build([build.file(b"a", b"content")])
    before = ContainerReader.open(io.BytesIO(data)).before()

    def written(behind: Before | None) -> bytes:
        out = io.BytesIO()
        container = ContainerWriter(out, HEADER, behind)
        container.add_member(build.directory(b"d")[0])
        container.checkpoint()
        container.close()
        return out.getvalue()

    for behind in (before, None):
        size = ContainerReader.open(io.BytesIO((data if behind else b"") + written(behind))).indexes_size
        with monkeypatch.context() as patch:
            patch.setattr(wire, "MAX_ALL_INDEXES", size)
            written(behind)
            patch.setattr(wire, "MAX_ALL_INDEXES", size - 1)
            with pytest.raises(LimitError):
                written(behind)
