"""Damaged files: which byte ranges are lost, and what --keep-going gets of the rest."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmarc
from lmarc.archive import presets, read
from lmarc.archive.presets import Preset
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
    for end in indexes[1:]:
        target = tmp_path / str(end)
        with lmarc.open(io.BytesIO(whole[:end])) as archive:
            result = archive.extractall(target, keep_going=True, check=False)
            named = {name for name in archive.namelist() if archive.getinfo(name).is_file()}
            kept = sum(archive._regular(name).stored_size for name in named)
            size = sum((target / path.decode()).stat().st_size for path in result.unnamed)
            assert kept + size == sum(chunk.size for chunk in chunks if chunk.offset < end)
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


def test_names_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "PRESETS", {"fast": Preset("store", CHUNK)})
    monkeypatch.chdir(tmp_path)
    Path("a").write_bytes(TEXT)
    Path("a.damaged").write_bytes(SMALL)
    sink = io.BytesIO()
    lmarc.pack(["a", "a.damaged"], sink, preset="fast")
    with lmarc.open(io.BytesIO(without(sink.getvalue(), 0))) as archive:
        result = archive.extractall("out", keep_going=True, check=False)
        assert result.rests == {b"a": b"a.damaged.damaged"}
        assert Path("out/a.damaged").read_bytes() == SMALL
        # Something else stands there: it stays, and that is said.
        Path("other").mkdir()
        Path("other/a.damaged.damaged").write_bytes(b"mine")
        result = archive.extractall("other", keep_going=True, check=False)
        assert result.rests == {} and Path("other/a.damaged.damaged").read_bytes() == b"mine"


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
