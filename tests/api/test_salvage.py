"""Damaged files: which byte ranges are lost, and what --keep-going gets of the rest."""

from __future__ import annotations

import errno
import io
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lmarc
from lmarc.archive import presets, read
from lmarc.archive.decode import ChunkDecoder
from lmarc.archive.presets import Preset
from lmarc.backends import registry
from lmarc.backends.contract import CodecBackend
from lmarc.container.index import Chunk, IndexFrame
from lmarc.errors import BackendMissingError
from tests.cli.program import run
from tests.trees import prose

CHUNK = 1000
TEXT = prose(1, 4500)
SMALL = prose(2, 300)
SPARSE_RUNS = [(8192, prose(3, 4096)), (65536, prose(4, 4096))]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "d").mkdir()
    (root / "d" / "long").write_bytes(TEXT)
    (root / "d" / "small").write_bytes(SMALL)
    with open(root / "sparse", "wb") as file:
        for offset, data in SPARSE_RUNS:
            file.seek(offset)
            file.write(data)
        file.truncate(100_000)
    return root


@pytest.fixture(scope="module")
def whole(tree: Path) -> Iterator[bytes]:
    """The archive of the tree, in chunks of 1000 bytes: the first five hold d/long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PRESETS", {"fast": Preset("store", CHUNK)})
        patch.chdir(tree)
        sink = io.BytesIO()
        lmarc.pack(["d", "sparse"], sink, preset="fast", jobs=1)
        yield sink.getvalue()


def without(whole: bytes, *numbers: int) -> bytes:
    """The archive with a byte changed in each of these chunks."""
    data = bytearray(whole)
    with lmarc.open(io.BytesIO(whole)) as archive:
        for number in numbers:
            data[archive.chunks[number].offset + 40] ^= 1
    return bytes(data)


def without_index(whole: bytes) -> bytes:
    """The archive without its last frame and the trailer."""
    with lmarc.open(io.BytesIO(whole)) as archive:
        return whole[: archive._container.indexes[-1]]


def lost(error: Exception) -> tuple[tuple[int, int], ...]:
    assert isinstance(error, lmarc.DamagedError)
    return tuple(getattr(error, "lost"))  # noqa: B009


def holed(data: bytes, *ranges: tuple[int, int]) -> bytes:
    out = bytearray(data)
    for begin, end in ranges:
        out[begin:end] = bytes(end - begin)
    return bytes(out)


@pytest.mark.parametrize(
    ("broken", "ranges"),
    [
        ([0], ((0, 1000),)),
        ([2], ((2000, 3000),)),
        ([4], ((4000, 4500),)),
        ([1, 2], ((1000, 3000),)),
        ([0, 2, 4], ((0, 1000), (2000, 3000), (4000, 4500))),
        ([0, 1, 2, 3, 4], ((0, 4500),)),
    ],
)
def test_ranges_and_rest(broken: list[int], ranges: tuple[tuple[int, int], ...], whole: bytes, tmp_path: Path) -> None:
    with lmarc.open(io.BytesIO(without(whole, *broken))) as archive:
        assert lost(archive.test()["d/long"]) == ranges
        result = archive.extractall(tmp_path, keep_going=True, check=False)
        assert lost(result.failed[b"d/long"]) == ranges
        assert "lost: bytes " + ", ".join(f"{a}-{b - 1}" for a, b in ranges) + " of 4500" in str(
            result.failed[b"d/long"]
        )
    assert not (tmp_path / "d" / "long").exists()
    if ranges == ((0, 4500),):
        assert result.rests == {} and not (tmp_path / "d" / "long.damaged").exists()
    else:
        assert result.rests == {b"d/long": b"d/long.damaged"}
        assert (tmp_path / "d" / "long.damaged").read_bytes() == holed(TEXT, *ranges)
    # What shares the last chunk goes with it.
    assert (tmp_path / "d" / "small").exists() == (4 not in broken)


def test_without_keep_going_only_whole_files_are_written(whole: bytes, tmp_path: Path) -> None:
    with lmarc.open(io.BytesIO(without(whole, 2))) as archive:
        archive.extractall(tmp_path, check=False)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["small"]


def test_ranges_of_a_file_with_holes(whole: bytes, tree: Path, tmp_path: Path) -> None:
    with lmarc.open(io.BytesIO(whole)) as archive:
        chunks = archive.chunks_of("sparse")
        numbers = [archive.chunks.index(chunk) for chunk in chunks]
        start = archive._regular("sparse").start
    content = (tree / "sparse").read_bytes()
    for number, chunk in zip(numbers, chunks, strict=True):
        with lmarc.open(io.BytesIO(without(whole, number))) as archive:
            result = archive.extractall(tmp_path / str(number), keep_going=True, check=False)
            ranges = lost(result.failed[b"sparse"])
        # What is lost is as much as the chunk has of it, and lies where data is.
        inside = min(chunk.end, start + 8192) - max(chunk.start, start)
        assert sum(end - begin for begin, end in ranges) == inside
        assert all(begin >= 8192 and (end <= 12288 or begin >= 65536) and end <= 69632 for begin, end in ranges)
        rest = tmp_path / str(number) / "sparse.damaged"
        assert rest.read_bytes() == holed(content, *ranges)
        assert rest.stat().st_blocks * 512 < 100_000


def test_content_without_an_index(whole: bytes, tmp_path: Path) -> None:
    with lmarc.open(io.BytesIO(whole)) as archive:
        expected = {f"{chunk.offset:012d}": archive._chunk(chunk) for chunk in archive.chunks}
    with lmarc.open(io.BytesIO(without_index(without(whole, 1)))) as archive:
        assert archive.damage and archive.namelist() == []
        broken = f"{sorted(expected)[1]}"
        result = archive.extractall(tmp_path, keep_going=True, check=False)
    found = {path.name: path.read_bytes() for path in (tmp_path / "lost+found").iterdir()}
    assert found == {name: data for name, data in expected.items() if name != broken}
    assert sorted(result.unnamed) == sorted(b"lost+found/" + name.encode() for name in found)
    assert b"".join(found[name] for name in sorted(found)[:1]) == TEXT[:CHUNK]


def test_named_members_alone_bring_no_unnamed_content(whole: bytes, tmp_path: Path) -> None:
    with lmarc.open(io.BytesIO(whole[:-3])) as archive:
        archive.extractall(tmp_path, ["d/small"], keep_going=True, check=False)
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_a_whole_archive_has_nothing_unnamed(whole: bytes, tmp_path: Path) -> None:
    with lmarc.open(io.BytesIO(whole)) as archive:
        result = archive.extractall(tmp_path, keep_going=True)
    assert (result.rests, result.unnamed) == ({}, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "sparse"]


def test_a_cut_archive_keeps_all_content(tree: Path, tmp_path: Path) -> None:
    """With checkpoints: members of those have names, the rest of the stream has none, and nothing is there twice."""
    from lmarc.archive import pack as packing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "PRESETS", {"fast": Preset("store", CHUNK)})
        patch.setattr(packing, "CHECKPOINT_CONTENT", 3 * CHUNK)
        patch.chdir(tree)
        sink = io.BytesIO()
        lmarc.pack(["sparse", "d"], sink, preset="fast", jobs=1)
    whole = sink.getvalue()
    with lmarc.open(io.BytesIO(whole)) as archive:
        chunks = archive.chunks
        stream = b"".join(archive._chunk(chunk) for chunk in chunks)
        indexes = archive._container.indexes
        assert len(indexes) > 2
    # Cut where an index begins, and behind the first one, where a frame's first bytes may be taken for a trailer.
    with lmarc.open(io.BytesIO(whole)) as archive:
        ends = {at: at + head.total for at, head in archive._container.walk_frames()}
    first = ends[indexes[0]]
    for end in [*indexes[1:], *range(first, first + 9)]:
        target = tmp_path / str(end)
        with lmarc.open(io.BytesIO(whole[:end])) as archive:
            result = archive.extractall(target, keep_going=True, check=False)
            named = {name for name in archive.namelist() if archive.getinfo(name).is_file()}
            kept = sum(archive._regular(name).stored_size for name in named)
            size = sum((target / path.decode()).stat().st_size for path in result.unnamed)
            assert kept + size == sum(chunk.size for chunk in chunks if ends[chunk.offset] <= end)
        for path in result.unnamed:
            assert (target / path.decode()).read_bytes() in stream


def test_hard_links_to_what_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", {"fast": Preset("store", CHUNK)})
    monkeypatch.chdir(tmp_path)
    Path("a").write_bytes(TEXT)
    Path("b").hardlink_to("a")
    sink = io.BytesIO()
    lmarc.pack(["a", "b"], sink, preset="fast")
    with lmarc.open(io.BytesIO(without(sink.getvalue(), 0))) as archive:
        failed = archive.test()
        assert lost(failed["a"]) == lost(failed["b"]) == ((0, 1000),)
        result = archive.extractall("out", keep_going=True, check=False)
        assert set(result.failed) == {b"a", b"b"} and result.rests == {b"a": b"a.damaged"}
        # The link alone stands for the file.
        assert archive.extractall("link", ["b"], keep_going=True, check=False).rests == {b"b": b"b.damaged"}


Pack = Callable[..., bytes]


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Packs files of these contents, by their names, in chunks of 1000 bytes, in a folder that is then the current."""
    monkeypatch.setattr(presets, "PRESETS", {"fast": Preset("store", CHUNK), "cm": Preset("cm", CHUNK)})
    monkeypatch.chdir(tmp_path)

    def packed(files: dict[str, bytes], preset: str = "fast") -> bytes:
        for name, data in files.items():
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(data)
        sink = io.BytesIO()
        lmarc.pack(list(files), sink, preset=preset, jobs=1)
        return sink.getvalue()

    return packed


def broken_in(archive: bytes, *names: str) -> bytes:
    """The archive with a byte changed in the first chunk of each of these files."""
    with lmarc.open(io.BytesIO(archive)) as opened:
        return without(archive, *(opened.chunks.index(opened.chunks_of(name)[0]) for name in names))


def test_names_that_are_taken(pack: Pack) -> None:
    long = "n" * 255
    files = {"a": prose(1, 2500), "a.damaged": prose(2, 2500), "b": prose(3, 2500), "b.damaged/x": SMALL, long: TEXT}
    data = broken_in(pack(files), "a", "a.damaged", "b", long)
    expected = {
        b"a": b"a.damaged-2",
        b"a.damaged": b"a.damaged.damaged",
        b"b": b"b.damaged-2",
        long.encode(): b"n" * 247 + b".damaged",
    }
    for number, options in enumerate(({}, {"force": True}, {"resume": True}, {"skip_existing": True})):
        with lmarc.open(io.BytesIO(data)) as archive:
            for _ in range(2 if options else 1):
                result = archive.extractall(f"out{number}", keep_going=True, check=False, **options)
                assert result.rests == expected and result.unwritten == {}
        for name, rest in expected.items():
            ranges = lost(result.failed[name])
            assert Path(f"out{number}", rest.decode()).read_bytes() == holed(files[name.decode()], *ranges)


def test_what_stands_there_stays(pack: Pack) -> None:
    data = broken_in(pack({"a": TEXT}), "a")
    Path("out").mkdir()
    Path("out/a.damaged").write_bytes(b"mine")
    with lmarc.open(io.BytesIO(data)) as archive:
        result = archive.extractall("out", keep_going=True, check=False)
        assert result.rests == {} and isinstance(result.unwritten[b"a.damaged"], lmarc.TargetExistsError)
        with pytest.raises(lmarc.IncompleteError):
            archive.extractall("out", keep_going=True)
    assert Path("out/a.damaged").read_bytes() == b"mine"
    Path("x.lmarc").write_bytes(data)
    facts = run("unpack", "--keep-going", "--json", "x.lmarc", "-C", "out", code=11).json
    assert [row["path"] for row in facts["unwritten"]] == ["a.damaged"]


def test_content_without_a_name_never_replaces_a_member(pack: Pack) -> None:
    noise = random.Random(1)
    with lmarc.open(io.BytesIO(pack({"x": noise.randbytes(CHUNK), "y": noise.randbytes(CHUNK)}))) as archive:
        at = archive.chunks[1].offset
    member = f"lost+found/{at:012d}"
    first, second = noise.randbytes(CHUNK), noise.randbytes(CHUNK)
    whole = pack({member: first, "y": second})
    with lmarc.open(io.BytesIO(whole)) as archive:
        assert archive.chunks[1].offset == at
        head, tail = whole[: archive.chunks[1].offset], whole[archive.chunks[1].offset :]
    # An index that names the first chunk alone, in the place of the last one.
    with lmarc.open(io.BytesIO(whole)) as archive:
        frame = archive._container._head_at(at).total
        index = IndexFrame(0, archive.chunks[:1], archive.members[:1])
    data = head + tail[:frame] + b"".join(index.to_frame(at + frame))
    for options in ({}, {"force": True}, {"force": True, "resume": True}):
        with lmarc.open(io.BytesIO(data)) as archive:
            for _ in range(2 if options else 1):
                result = archive.extractall("out" + str(len(options)), keep_going=True, check=False, **options)
                assert result.unnamed == [f"{member}-2".encode()] and not result.failed and not result.unwritten
        assert Path("out" + str(len(options)), member).read_bytes() == first
        assert Path("out" + str(len(options)), member + "-2").read_bytes() == second


def test_many_files_of_one_content_are_decoded_once(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    data = broken_in(pack({f"f{number}": TEXT for number in range(20)}), "f0")
    decoded = []
    inner = ChunkDecoder.decode

    def counting(decoder: ChunkDecoder, chunk: Chunk) -> bytes:
        decoded.append(chunk.offset)
        return inner(decoder, chunk)

    monkeypatch.setattr(ChunkDecoder, "decode", counting)
    with lmarc.open(io.BytesIO(data)) as archive:
        result = archive.extractall("out", keep_going=True, check=False)
    assert len(result.rests) == 20 and len(decoded) <= 10
    for rest in result.rests.values():
        assert Path("out", rest.decode()).read_bytes() == holed(TEXT, (0, 1000))


def test_a_backend_that_is_not_here_is_no_loss(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has coded is neither called lost nor written."""
    text = prose(7, 2000)
    data = pack({"f": text[:1000] + random.Random(1).randbytes(1000) + text[1000:]}, preset="cm")
    inner = registry.codec

    def without_cm(name: str, version: int | None = None) -> CodecBackend:
        if name == "cm":
            raise BackendMissingError("cm is not here")
        return inner(name, version)

    with lmarc.open(io.BytesIO(data)) as archive:
        assert [archive.header.backends[chunk.codec].name for chunk in archive.chunks] == ["cm", "store", "cm"]
    with lmarc.open(io.BytesIO(without(data, 1))) as archive:
        with monkeypatch.context() as patch:
            patch.setattr(registry, "codec", without_cm)
            assert lost(archive.test()["f"]) == ((1000, 2000),)
            result = archive.extractall("less", keep_going=True, check=False)
            assert lost(result.failed[b"f"]) == ((1000, 2000),) and result.rests == {}
        # It has come: what could not be decoded before is there.
        result = archive.extractall("more", keep_going=True, check=False)
        assert lost(result.failed[b"f"]) == ((1000, 2000),)
        assert Path("more/f.damaged").read_bytes() == text[:1000] + bytes(1000) + text[1000:]
    with lmarc.open(io.BytesIO(data)) as archive:
        with monkeypatch.context() as patch:
            patch.setattr(registry, "codec", without_cm)
            result = archive.extractall("none", keep_going=True, check=False)
            assert isinstance(result.failed[b"f"], BackendMissingError) and result.rests == {}
        assert archive.test() == {}


class FailingDisk(io.BytesIO):
    """A file that cannot be read at one place."""

    def __init__(self, data: bytes, bad: range) -> None:
        super().__init__(data)
        self._bad = bad

    def read(self, size: int | None = -1) -> bytes:
        begin = self.tell()
        data = super().read(size)
        if begin < self._bad.stop and begin + len(data) > self._bad.start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return data


def test_a_disk_that_cannot_read_a_sector(pack: Pack) -> None:
    noise = random.Random(3)
    files = {f"f{number}": noise.randbytes(6000) for number in range(10)}
    data = pack(files)
    with lmarc.open(io.BytesIO(data)) as archive:
        chunk = archive.chunks[20]
        index = archive._container.indexes[-1]
    for bad, cut in ((chunk.offset + 100, len(data)), (chunk.offset + 100, len(data) - 1), (index + 5, len(data))):
        disk = FailingDisk(data[:cut], range(bad, bad + 512))
        with lmarc.open(disk) as archive:
            result = archive.extractall(f"out{bad}{cut}", keep_going=True, check=False)
        target = Path(f"out{bad}{cut}")
        found = [path.read_bytes() for path in target.rglob("*") if path.is_file()]
        if bad == index + 5:
            assert len(result.unnamed) == 60 and sorted(found) == sorted(
                data[at : at + 1000] for data in files.values() for at in range(0, 6000, 1000)
            )
        else:
            assert set(result.failed) == set(result.rests) == {b"f3"}
            assert "cannot be read" in str(result.failed[b"f3"])
            assert holed(files["f3"], *lost(result.failed[b"f3"])) in found and len(found) == 10


def test_what_was_taken_out_has_not_lost_its_name(pack: Pack) -> None:
    Path("x.lmarc").write_bytes(pack({"a": TEXT, "b": SMALL}))
    lmarc.remove("x.lmarc", ["a"])
    data = Path("x.lmarc").read_bytes()
    for cut in (1, 5):
        with lmarc.open(io.BytesIO(data[:-cut])) as archive:
            assert archive.damage
            assert archive.extractall(f"out{cut}", keep_going=True, check=False).unnamed == []
    # The end may have gone on: nobody knows what it named.
    with lmarc.open(io.BytesIO(data[:-6])) as archive:
        assert archive.extractall("out", keep_going=True, check=False).unnamed != []


def test_a_backend_whose_name_is_lost(pack: Pack) -> None:
    Path("x.lmarc").write_bytes(pack({"a": SMALL}))
    Path("b").write_bytes(prose(8, 900))
    lmarc.add("x.lmarc", ["b"], preset="cm")
    data = bytearray(Path("x.lmarc").read_bytes())
    with lmarc.open("x.lmarc") as archive:
        at, chunk = archive._container.indexes[-1], archive.chunks[-1]
        assert archive.header.backends[chunk.codec].name == "cm"
    data[at + 3] ^= 1
    with lmarc.open(io.BytesIO(bytes(data))) as archive:
        result = archive.extractall("out", keep_going=True, check=False)
    assert "named by an index that is lost" in str(result.unwritten[f"lost+found/{chunk.offset:012d}".encode()])


def test_resuming_restores_a_file_whose_link_is_not_asked_for(pack: Pack) -> None:
    Path("f").write_bytes(SMALL)
    Path("f").chmod(0o640)
    Path("h").hardlink_to("f")
    sink = io.BytesIO()
    lmarc.pack(["f", "h"], sink, preset="fast")
    with lmarc.open(sink) as archive:
        archive.extractall("out")
        Path("out/f").chmod(0o600)
        archive.extractall("out", ["f"], resume=True)
        assert Path("out/f").stat().st_mode & 0o777 == 0o640


def test_forcing_links_that_were_of_another_file(pack: Pack) -> None:
    for name in "fg":
        Path(name).write_bytes(name.encode() * 100)
    Path("h1").hardlink_to("f")
    Path("h2").hardlink_to("g")
    sink = io.BytesIO()
    lmarc.pack(["f", "g", "h1", "h2"], sink, preset="fast")
    with lmarc.open(sink) as archive:
        archive.extractall("out")
        Path("out/h1").unlink()
        Path("out/h2").unlink()
        Path("out/h2").hardlink_to("out/f")
        assert not archive.extractall("out", force=True, resume=True).failed
        assert Path("out/h2").samefile("out/g") and Path("out/h1").samefile("out/f")


def test_unnamed_content_counts_for_max_size(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_FREE", 100)
    monkeypatch.setattr(read, "MAX_RATIO", 0)
    with lmarc.open(io.BytesIO(without_index(whole))) as archive:
        with pytest.raises(lmarc.LimitError):
            archive.extractall(tmp_path, keep_going=True, check=False)
        assert list(tmp_path.iterdir()) == []
        archive.extractall(tmp_path, keep_going=True, check=False, max_size=20_000)
        assert len(list((tmp_path / "lost+found").iterdir())) == 14


def test_a_link_called_lost_and_found_is_not_followed(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lost+found").symlink_to("../outside")
    with lmarc.open(io.BytesIO(without_index(whole))) as archive:
        assert archive.extractall(tmp_path / "out", keep_going=True, check=False).unnamed == []
    assert list((tmp_path / "outside").iterdir()) == []


def test_the_command_line(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.lmarc").write_bytes(without(whole, 1, 3))
    said = run("test", "x.lmarc", cwd=tmp_path, code=11).err
    assert said.count("d/long: ") == 1 and "lost: bytes 1000-1999, 3000-3999 of 4500" in said
    facts = run("test", "--json", "x.lmarc", cwd=tmp_path, code=11).json
    assert [(row["path"], row["lost"]) for row in facts["failed"]] == [("d/long", [[1000, 2000], [3000, 4000]])]
    done = run("unpack", "--keep-going", "x.lmarc", "-C", "out", cwd=tmp_path, code=11)
    assert "d/long: what is left of it is in d/long.damaged, zeros for what is not" in done.err
    facts = run("unpack", "--keep-going", "--json", "x.lmarc", "-C", "out2", cwd=tmp_path, code=11).json
    assert facts["rests"] == {"d/long": "d/long.damaged"} and facts["unnamed"] == []
    (tmp_path / "y.lmarc").write_bytes(without_index(whole))
    done = run("unpack", "--keep-going", "y.lmarc", "-C", "out3", cwd=tmp_path, code=11)
    assert "content without a name in lost+found: 14" in done.err
