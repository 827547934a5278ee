"""Reading archives that are whole, that have grown, and that end anywhere."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Sequence

import pytest

from lmarc.container import frames, wire
from lmarc.container.header import BackendRef, Header
from lmarc.container.index import Chunk, IndexFrame
from lmarc.container.reader import RECOVERY, ContainerReader
from lmarc.container.writer import TRAILER_SIZE, ContainerWriter, trailer
from lmarc.errors import DamagedError, LimitError, MemberLimitError
from tests.container import build

HEADER = Header("test", (build.STORE,))
START = len(HEADER.to_bytes())
ONE, TWO, THREE = (build.file(name, name * 10) for name in (b"one", b"two", b"three"))


def opened(data: bytes, max_members: int | None = None) -> ContainerReader:
    return ContainerReader.open(io.BytesIO(data), max_members)


def written(
    *parts: Sequence[build.Entry], behind: bytes = b"", removed: Iterable[bytes] = (), is_finished: bool = True
) -> bytes:
    """An archive with a checkpoint after each of these parts, or such a change behind an archive."""
    out = io.BytesIO()
    before = opened(behind).before() if behind else None
    container = ContainerWriter(out, before.header if before else HEADER, before)
    for path in removed:
        container.remove(path)
    for part in parts:
        for member, content in part:
            start = container.stream_end if content else 0
            if content:
                container.add_chunk(0, len(content), build.check(content), content)
            container.add_member(member._replace(start=start))
        container.checkpoint()
    if is_finished:
        container.close()
    return behind + out.getvalue()


def frame(at: int, kind: int, body: bytes, codec: int = 0, decoded: int | None = None) -> bytes:
    return b"".join(frames.pack_frame(at, kind, codec, len(body) if decoded is None else decoded, body))


def ended(data: bytes, *indexes: IndexFrame) -> bytes:
    """What was written so far, with these index frames and a trailer behind it."""
    for index in indexes:
        head, body = index.to_frame(len(data))
        data += head + body
    return data + trailer(len(head) + len(body))


def paths(reader: ContainerReader) -> list[bytes]:
    return [member.path for member in reader.members]


# --- whole archives ----------------------------------------------------------------------------------------


def test_what_was_written_is_read() -> None:
    data = written([ONE, TWO], [THREE])
    reader = opened(data)
    assert (reader.damage, reader.size, reader.frames_start) == ([], len(data), START)
    assert paths(reader) == [b"one", b"two", b"three"]
    assert [reader.read_chunk(chunk) for chunk in reader.chunks] == [
        (build.check(content), content) for _, content in (ONE, TWO, THREE)
    ]
    assert [reader.payload_size(chunk) for chunk in reader.chunks] == [30, 30, 50]


def test_what_one_goes_on_behind() -> None:
    data = written([ONE, TWO], [THREE])
    reader = opened(data)
    before = reader.before()
    assert (before.header, before.end, before.stream_end) == (HEADER, len(data), 110)
    assert before.paths == [b"one", b"two", b"three"]
    heads = [frames.parse_head(at, data[at:]) for at in before.indexes]
    assert [head.type for head in heads] == [frames.INDEX] * 3
    assert before.indexes[2] + heads[2].total + TRAILER_SIZE == len(data)
    assert before.indexes_size == sum(head.decoded for head in heads)
    assert opened(written([build.directory(b"d")])).before().stream_end == 0


def test_a_change_of_a_change() -> None:
    data = written([ONE, TWO])
    data = written([THREE], behind=data, removed=[b"one"])
    data = written([ONE], behind=data, removed=[b"three"])
    reader = opened(data)
    assert (reader.damage, paths(reader)) == ([], [b"two", b"one"])
    assert [chunk.start for chunk in reader.chunks] == [0, 30, 60, 110]
    assert [member.start for member in reader.members] == [30, 110]


def test_the_chunks_of_a_stretch() -> None:
    reader = opened(written([ONE, TWO, THREE]))
    first, second, third = reader.chunks
    assert [(chunk.start, chunk.end) for chunk in reader.chunks] == [(0, 30), (30, 60), (60, 110)]
    assert reader.chunks_of(0, 30) == [first]
    assert reader.chunks_of(29, 31) == [first, second]
    assert reader.chunks_of(30, 60) == [second]
    assert reader.chunks_of(30, 61) == [second, third]
    assert reader.chunks_of(0, 110) == reader.chunks
    assert reader.chunks_of(109, 1000) == [third]
    assert reader.chunks_of(110, 120) == []
    assert opened(written([])).chunks_of(0, 1) == []


def test_a_chunk_that_is_not_the_one_described() -> None:
    reader = opened(written([ONE, TWO]))
    chunk = reader.chunks[0]
    at_index = chunk._replace(offset=reader.indexes[0])
    for other in (chunk._replace(size=31), chunk._replace(codec=1), at_index):
        with pytest.raises(DamagedError):
            reader.read_chunk(other)
    head = frames.parse_head(at_index.offset, reader.read_at(at_index.offset, frames.MAX_HEAD))
    with pytest.raises(DamagedError):
        reader.read_chunk(at_index._replace(size=head.decoded, codec=head.codec))


def test_as_many_members_as_allowed() -> None:
    data = written([ONE, TWO], [THREE])
    changed = written([], behind=data, removed=[b"one", b"two"])
    for archive in (data, data[:-1], changed, changed[:-1]):
        opened(archive, 3)
        with pytest.raises(MemberLimitError):
            opened(archive, 2)


class Counting(io.BytesIO):
    """Knows how many bytes have been read, and how many at most at once."""

    total = most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.total += len(data)
        self.most = max(self.most, len(data))
        return data


def test_no_more_is_read_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmarc.container.reader._SEARCH_BLOCK", 1000)
    large = build.file(b"large", bytes(100_000))
    data = written([large], [TWO], [ONE])
    file = Counting(data)
    reader = ContainerReader.open(file)
    assert [reader.payload_size(chunk) for chunk in reader.chunks] == [100_000, 30, 30]
    assert file.total < 1200
    # Walking, the bodies of chunks are passed over; without a chunk's head, what follows is searched in blocks.
    for broken, most in ((data[:-1], 8000), (data[:START] + b"??" + data[START + 2 : -1], 110_000)):
        file = Counting(broken)
        assert len(ContainerReader.open(file).chunks) == 3
        assert file.total < most
        assert file.most <= 1000


# --- indexes that do not fit together ------------------------------------------------------------------------


def chunk_frame(content: bytes, at: int = START) -> bytes:
    return frame(at, frames.CHUNK, build.check(content) + content, decoded=len(content))


ONE_CHUNK = HEADER.to_bytes() + chunk_frame(ONE[1])
TWO_CHUNKS = ONE_CHUNK + chunk_frame(TWO[1], len(ONE_CHUNK))
FIRST, SECOND = Chunk(START, 30, 0, 0), Chunk(len(ONE_CHUNK), 30, 0, 30)


def test_indexes_made_by_hand_are_read() -> None:
    same, link = ONE[0]._replace(path=b"same"), build.hardlink(b"link", b"one")[0]
    last = IndexFrame(30, [SECOND], [TWO[0]._replace(start=30), same, link], [len(TWO_CHUNKS)])
    reader = opened(ended(TWO_CHUNKS, IndexFrame(0, [FIRST], [ONE[0]]), last))
    assert (reader.damage, reader.chunks) == ([], [FIRST, SECOND])
    assert paths(reader) == [b"one", b"two", b"same", b"link"]


def test_a_chunk_begins_before_the_end() -> None:
    begun = ONE_CHUNK + frame(len(ONE_CHUNK), 0x61, bytes(300))
    size = len(ended(begun, IndexFrame(0, [FIRST._replace(offset=300)], [])))
    for offset in (len(begun) - 1, size, size + 1):
        data = ended(begun, IndexFrame(0, [FIRST._replace(offset=offset)], []))
        assert len(data) == size
        assert bool(opened(data).damage) == (offset >= size)
        # Walking, no chunk is believed that begins behind the end.
        assert bool(opened(data[:-1]).chunks) == (offset < len(begun))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (IndexFrame(0, [FIRST], []), IndexFrame(29, [SECOND._replace(start=29)], [])),
        (IndexFrame(0, [FIRST], []), IndexFrame(31, [SECOND._replace(start=31)], [])),
        (IndexFrame(1, [FIRST._replace(start=1)], []), IndexFrame(31, [], [])),
        (IndexFrame(0, [FIRST], []), IndexFrame(30, [SECOND._replace(codec=1)], [])),
        (IndexFrame(0, [FIRST], []), IndexFrame(30, [], [], removed=[b"one"])),
        (IndexFrame(0, [FIRST], [ONE[0]]), IndexFrame(30, [], [ONE[0]])),
        (IndexFrame(0, [FIRST], [ONE[0]]), IndexFrame(30, [], [build.hardlink(b"h", b"two")[0]])),
        (IndexFrame(0, [FIRST], [build.directory(b"d")[0]]), IndexFrame(30, [], [build.hardlink(b"h", b"d")[0]])),
        (IndexFrame(0, [FIRST], [ONE[0]]), IndexFrame(30, [SECOND], [TWO[0]._replace(start=29)])),
        (IndexFrame(0, [FIRST], [ONE[0]]), IndexFrame(30, [], [TWO[0]._replace(start=30)])),
        (IndexFrame(0, [FIRST._replace(offset=START - 1)], []), IndexFrame(30, [], [])),
        (IndexFrame(0, [FIRST], []), IndexFrame(30, [SECOND._replace(offset=START + 21)], [])),
        (IndexFrame(0, [FIRST], []), IndexFrame(30, [SECOND._replace(offset=1 << 20)], [])),
    ],
)
def test_indexes_that_do_not_fit_together(first: IndexFrame, last: IndexFrame) -> None:
    last = IndexFrame(last.base, last.chunks, last.members, [len(TWO_CHUNKS)], last.removed)
    assert opened(ended(TWO_CHUNKS, first, last)).damage


@pytest.mark.parametrize("at", [START - 1, 1, len(TWO_CHUNKS) + 200, 1 << 40])
def test_a_checkpoint_must_be_before_the_last_index(at: int) -> None:
    assert "outside" in opened(ended(TWO_CHUNKS, IndexFrame(0, [], []), IndexFrame(0, [], [], [at]))).damage[0]


def test_an_index_is_no_checkpoint_of_its_own() -> None:
    data = ended(TWO_CHUNKS, IndexFrame(0, [], []))[:-TRAILER_SIZE]
    assert "outside" in opened(ended(data, IndexFrame(0, [], [], [len(data)]))).damage[0]


def test_what_stands_for_a_checkpoint_must_be_an_index() -> None:
    assert "no index frame" in opened(ended(TWO_CHUNKS, IndexFrame(0, [], [], [START]))).damage[0]


def test_a_checkpoint_names_all_before_it_or_none() -> None:
    first = ended(ONE_CHUNK, IndexFrame(0, [FIRST], []))[:-TRAILER_SIZE]
    second = ended(first, IndexFrame(30, [], []))[:-TRAILER_SIZE]
    both = [len(ONE_CHUNK), len(first)]
    for named, is_whole in (([], True), (both, True), (both[:1], False), (both[1:], False), ([*both, 1000], False)):
        third = ended(second, IndexFrame(30, [], [], named))[:-TRAILER_SIZE]
        reader = opened(ended(third, IndexFrame(30, [], [], [*both, len(second)])))
        assert (not reader.damage) == is_whole


@pytest.mark.parametrize("length", [0, 1, START + 1, 1 << 31])
def test_a_trailer_that_leads_elsewhere(length: int) -> None:
    data = written([ONE])
    reader = opened(data[:-TRAILER_SIZE] + trailer(length))
    assert len(reader.damage) == 1
    assert (paths(reader), len(reader.chunks)) == ([b"one"], 1)


def test_every_bit_of_a_trailer_counts() -> None:
    data = written([ONE])
    for bit in range(8 * TRAILER_SIZE):
        broken = bytearray(data)
        broken[len(data) - TRAILER_SIZE + bit // 8] ^= 1 << bit % 8
        assert opened(bytes(broken)).damage


def test_the_last_index_ends_where_the_trailer_begins() -> None:
    data = written([ONE])
    size = int.from_bytes(data[-TRAILER_SIZE:-2], "little")
    for gap in (b"", b"\0"):
        reader = opened(data[:-TRAILER_SIZE] + gap + trailer(size + len(gap)))
        assert bool(reader.damage) == bool(gap)
        assert paths(reader) == [b"one"]


def test_an_archive_of_a_header_alone() -> None:
    reader = opened(HEADER.to_bytes())
    assert reader.damage == [
        "the archive's end is missing, or that of a change to it",
        "no index is left: nothing can be named",
    ]
    assert (reader.chunks, reader.members) == ([], [])


# --- walking -------------------------------------------------------------------------------------------------


def test_frames_of_every_kind_are_walked() -> None:
    data = written([ONE])
    data += frame(len(data), 0x61, b"to be skipped")
    data += b"no frame" + frame(len(data) + 8, RECOVERY, b"")
    walked = [(offset, head.type) for offset, head in opened(data).walk_frames()]
    assert [kind for _, kind in walked] == [frames.CHUNK, frames.INDEX, frames.INDEX, 0x61, RECOVERY]
    for offset, kind in walked:
        assert data[offset : offset + 3] == frames.SYNC + bytes([kind])


def test_a_head_within_a_body_that_was_cut_off_is_found() -> None:
    """Of a hundred bytes fifty were written, and then other frames."""
    for rest in (b"", b"no frame. " * 20):
        data = HEADER.to_bytes()
        data += frame(START, 0x61, b"." * 100)[:-50]
        at = len(data)
        data += frame(at, 0x61, b"a body") + rest
        found = [offset for offset, _ in opened(data).walk_frames()]
        assert found == ([START, at] if rest else [START])


def test_sync_bytes_across_the_edge_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmarc.container.reader._SEARCH_BLOCK", 16)
    for gap in range(1, 40):
        data = HEADER.to_bytes() + b"." * gap
        data += frame(len(data), 0x61, b"a body")
        assert [offset for offset, _ in opened(data).walk_frames()] == [START + gap]


def test_what_is_known_twice_counts_once_when_walking() -> None:
    data = ended(TWO_CHUNKS, IndexFrame(0, [FIRST], [ONE[0]]), IndexFrame(30, [SECOND], []))
    later = IndexFrame(60, [FIRST._replace(start=60)], [ONE[0]._replace(mode=0o100600)])
    reader = opened(ended(data[:-TRAILER_SIZE], later)[:-1])
    assert reader.chunks == [FIRST, SECOND]
    assert [member.mode for member in reader.members] == [0o100644]
    assert "a path appears twice; the first stands" in reader.damage


def test_chunks_that_cannot_be_are_left_out_when_walking() -> None:
    """One that begins within another, one of a backend that is not there, one whose frame is in no archive."""
    within = IndexFrame(29, [FIRST._replace(offset=START + 5, start=29)], [])
    later = IndexFrame(60, [Chunk(START - 1, 5, 0, 60), Chunk(START + 30, 5, 1, 65), Chunk(START + 60, 5, 0, 70)], [])
    data = TWO_CHUNKS
    for index in (IndexFrame(0, [FIRST], []), within, IndexFrame(30, [SECOND], []), later):
        data = ended(data, index)[:-TRAILER_SIZE]
    assert opened(data).chunks == [FIRST, SECOND, Chunk(START + 60, 5, 0, 70)]


def test_removed_when_walking_too() -> None:
    data = written([THREE], behind=written([ONE, TWO]), removed=[b"one"])
    assert paths(opened(data[:-1])) == [b"two", b"three"]


def test_backends_and_models_are_known_when_walking_too() -> None:
    ref, model = BackendRef("other", 1, {"model": 0}), {"name": "m"}
    first = IndexFrame(0, [FIRST], [], [], [], [ref], [model], 1, 0)
    second = IndexFrame(30, [SECOND._replace(codec=2)], [], [], [], [BackendRef("third", 1)], [], 2)
    data = ended(TWO_CHUNKS, first, second)[:-1]
    reader = opened(data)
    assert reader.chunks == [FIRST, SECOND._replace(codec=2)]
    assert reader.header.backends == (build.STORE, ref, BackendRef("third", 1))
    assert reader.header.models == [model]
    # Without what named the second of three backends, the third is still the third.
    at = len(TWO_CHUNKS)
    reader = opened(data[:at] + b"??" + data[at + 2 :])
    assert reader.header.backends == (build.STORE, BackendRef("lost", 2), BackendRef("third", 1))
    # What cannot be is said, and the rest is taken.
    reader = opened(ended(TWO_CHUNKS, IndexFrame(0, [FIRST], [ONE[0]], [], [], [build.STORE], [], 1))[:-1])
    assert "a backend is listed twice" in reader.damage
    assert (reader.chunks, paths(reader)) == ([FIRST], [b"one"])


def test_heads_within_heads_are_not_looked_at_for_ever() -> None:
    """Every one of twenty heads claims all the rest as its body: read are no more than two archives' worth."""
    data = HEADER.to_bytes()
    for _ in range(20):
        data += frames.pack_frame(len(data), frames.INDEX, 0, 5000, bytes(4000))[0]
    reader = opened(data + b"." * (6000 - len(data)))
    assert reader.damage[-2].startswith("too many index frames")
    assert sum("checksum" in damage for damage in reader.damage) == 3


def nested(at: int, depth: int) -> bytes:
    """An index frame, whole and valid where it stands, with another one in a member's path."""
    inner = nested(0, depth - 1) if depth else random.Random(1).randbytes(3000)
    for _ in range(2):
        body = IndexFrame(0, [], [build.directory(inner)[0]]).to_bytes()
        head, _ = frames.pack_frame(at, frames.INDEX, frames.INDEX_PLAIN, len(body), body)
        if depth:
            inner = nested(at + len(head) + body.index(inner), depth - 1)
    return head + body


@pytest.mark.parametrize("depth", range(5))
def test_indexes_within_indexes_are_not_read_for_ever(depth: int) -> None:
    data = HEADER.to_bytes() + nested(START, depth) + b"no frame"
    reader = opened(data)
    read = min(depth, 1) + 1
    assert (len(reader.members), len(reader.damage)) == (read, 1 + (depth > 1))
    assert (reader.last_whole() is None) == (depth > 1)


def test_a_frame_within_another_is_not_taken_for_one() -> None:
    """As long as one follows the other, or the archive ends."""
    data = HEADER.to_bytes()
    for tail in (frame(0, 0x61, b""), b"", trailer(7), b"??"):
        outer_head = len(frame(START, 0x61, bytes(100))) - 100
        inner = frame(START + outer_head, 0x62, b"inner")
        outer = frame(START, 0x61, inner + bytes(100 - len(inner)))
        walked = list(opened(data + outer + tail).walk_frames())
        assert [head.type for _, head in walked] == [0x61]
    walked = list(opened(data + outer + b"no frame").walk_frames())
    assert [head.type for _, head in walked] == [0x61, 0x62]


def test_indexes_of_too_many_bytes_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written([ONE], [TWO])
    size = opened(data).indexes_size
    monkeypatch.setattr(wire, "MAX_ALL_INDEXES", size)
    assert opened(data).indexes_size == size
    reader = opened(data[:-1])
    assert (paths(reader), len(reader.damage)) == ([b"one", b"two"], 1)
    monkeypatch.setattr(wire, "MAX_ALL_INDEXES", size - 1)
    with pytest.raises(LimitError):
        opened(data)
    assert any(damage.startswith("too many index frames") for damage in opened(data[:-1]).damage)


def test_places_that_only_look_like_frames() -> None:
    """Ten thousand are passed over, and one for each 4096 bytes; of more, the rest of the archive is not looked at."""
    for number, is_found in ((10_004, True), (10_005, False)):
        data = HEADER.to_bytes() + frames.SYNC * number
        data += frame(len(data), 0x61, b"a body")
        assert len(data) >> 12 == 4
        reader = opened(data)
        assert bool(list(reader.walk_frames())) == is_found
        assert any(damage.startswith("too many places") for damage in reader.damage) != is_found


# --- what a change can go on behind --------------------------------------------------------------------------


def test_what_was_not_finished_is_left_out_wherever_it_ends() -> None:
    """Up to each checkpoint the archive is one again once a trailer is there, and nothing before it is lost."""
    whole = written([ONE], [TWO])
    changed = written([THREE], [build.file(b"four", b"4" * 9)], behind=whole, removed=[b"one"])
    ends = {len(whole) - TRAILER_SIZE: [b"one", b"two"]}
    first, second, _ = opened(changed).indexes[3:]
    for at, names in ((first, [b"two", b"three"]), (second, [b"two", b"three", b"four"])):
        ends[at + frames.parse_head(at, changed[at:]).total] = names
    for cut in range(len(whole) - 2, opened(changed).indexes[-1] + 5):
        end = max(end for end in ends if end <= cut)
        last = opened(changed[:cut]).last_whole()
        assert last is not None
        assert (paths(last), last.size, last.damage) == (ends[end], end + TRAILER_SIZE, [])
        again = opened(changed[:end] + last.trailer)
        assert again.damage == [] or end > len(whole)
        assert (last.chunks, last.header) == (opened(changed[:cut]).chunks[: len(last.chunks)], HEADER)
        assert [head.type for head in (last._head_at(at) for at in last.indexes)] == [frames.INDEX] * len(last.indexes)
        assert last.indexes_size == sum(last._head_at(at).decoded for at in last.indexes)
        more = written([], behind=changed[:end] + last.trailer) if end <= len(whole) else b""
        assert not more or opened(more).damage == []


def test_nothing_can_go_on_behind_nothing() -> None:
    assert opened(HEADER.to_bytes()).last_whole() is None
    assert opened(ONE_CHUNK).last_whole() is None


def test_of_a_trailer_that_is_wrong_the_archive_before_it_is_whole() -> None:
    data = written([ONE])
    last = opened(data[:-TRAILER_SIZE] + trailer(7)).last_whole()
    assert last is not None
    assert (last.size, data[:-TRAILER_SIZE] + last.trailer) == (len(data), data)


def test_a_finished_change_that_is_damaged_is_not_left_out() -> None:
    whole = written([ONE])
    changed = written([TWO], behind=whole)
    for at in opened(changed).indexes[-2:]:
        for place in (at, at + frames.parse_head(at, changed[at:]).size + 3):
            damaged = changed[:place] + bytes([changed[place] ^ 1]) + changed[place + 1 :]
            assert opened(damaged).damage
            assert opened(damaged).last_whole() is None


def test_a_checkpoint_that_is_lost_is_not_left_out() -> None:
    data = written([ONE], [TWO])
    at = opened(data).indexes[0]
    reader = opened(data[:at] + b"??" + data[at + 2 : -1])
    assert paths(reader) == [b"two"]
    assert reader.last_whole() is None


def test_recovery_data_at_the_end_is_not_left_out() -> None:
    data = written([ONE])[:-TRAILER_SIZE]
    protected = data + frame(len(data), RECOVERY, b"parity")
    other = protected + frame(len(protected), 0x61, b"something else")
    for archive in (protected, other):
        assert opened(archive).last_whole() is None
    index = IndexFrame(30, [], [], opened(written([ONE])).indexes)
    head, body = index.to_frame(len(other))
    last = opened(other + head + body).last_whole()
    assert last is not None
    assert (last.size, last.trailer) == (len(other + head + body) + TRAILER_SIZE, trailer(len(head + body)))
