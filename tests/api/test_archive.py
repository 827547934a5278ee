"""The archive as an object, in the shape people know from zipfile."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmarc
from lmarc.archive import presets
from lmarc.archive.decode import ChunkDecoder
from lmarc.archive.presets import Preset
from tests.container import build
from tests.trees import KIB, MIB, prose

SMALL_CHUNK = 64 * KIB


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """The working directory, with a tree in it."""
    (tmp_path / "t" / "d").mkdir(parents=True)
    (tmp_path / "t" / "a").write_bytes(b"content of a")
    (tmp_path / "t" / "d" / "b").write_bytes(b"content of b")
    (tmp_path / "t" / "soft").symlink_to("a")
    os.link(tmp_path / "t" / "a", tmp_path / "t" / "hard")
    os.utime(tmp_path / "t" / "a", ns=(0, 1_700_000_000_123_456_789))
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture
def archive(tree: Path) -> Iterator[lmarc.Archive]:
    lmarc.pack(["t"], "x.lmarc", preset="fast")
    with lmarc.open("x.lmarc") as opened:
        yield opened


NAMES = ["t", "t/a", "t/d", "t/d/b", "t/hard", "t/soft"]


def test_names_and_infos(archive: lmarc.Archive) -> None:
    assert archive.namelist() == NAMES
    assert [info.name for info in archive.infolist()] == NAMES
    assert [info.name for info in archive] == NAMES
    assert len(archive) == 6
    assert "t/a" in archive and "t/x" not in archive
    assert archive.damage == []


def test_getinfo(archive: lmarc.Archive, tree: Path) -> None:
    info = archive.getinfo("t/a")
    assert (info.name, info.kind, info.size, info.mtime_ns) == ("t/a", "file", 12, 1_700_000_000_123_456_789)
    assert info.mtime == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert info.is_file() and not info.is_dir()
    assert info.mode == (tree / "t" / "a").stat().st_mode & 0o7777
    assert (info.uid, info.gid) == (os.getuid(), os.getgid())
    hard = archive.getinfo("t/hard")
    assert (hard.kind, hard.target, hard.size, hard.hash, hard.mode) == (
        *("hardlink", "t/a", 12),
        *(info.hash, info.mode),
    )
    assert hard.is_file()
    soft = archive.getinfo("t/soft")
    assert (soft.kind, soft.target, soft.is_file()) == ("symlink", "a", False)
    assert archive.getinfo("t/d").is_dir()


def test_times_beyond_datetime() -> None:
    member = build.directory(b"d")[0]._replace(mtime_ns=2**63 - 1)
    with lmarc.open(io.BytesIO(build.build([(member, b"")]))) as archive:
        assert archive.getinfo("d").mtime_ns == 2**63 - 1
        assert archive.getinfo("d").mtime is None or archive.getinfo("d").mtime is not None


def test_read_and_open(archive: lmarc.Archive) -> None:
    assert archive.read("t/a") == archive.read("t/hard") == b"content of a"
    with archive.open("t/d/b") as file:
        assert file.readable() and file.seekable() and not file.writable()
        assert file.read(7) == b"content"
        assert file.tell() == 7
        assert file.seek(-1, os.SEEK_END) == 11
        assert file.read() == b"b"
        with pytest.raises((OSError, ValueError)):
            file.seek(-1)
        with pytest.raises(ValueError):
            file.seek(0, 77)
    with archive.open("t/d/b") as file:
        assert io.TextIOWrapper(file).read() == "content of b"


def test_members_that_are_not_there(archive: lmarc.Archive, tmp_path: Path) -> None:
    for call in (archive.getinfo, archive.read, archive.open, archive.extract):
        with pytest.raises(lmarc.MemberNotFoundError, match="no member t/x"):
            call("t/x")
    for call in (archive.extractall, archive.test):
        with pytest.raises(KeyError):
            call(names=["t/x"])
    with pytest.raises(lmarc.MemberNotFoundError, match=r"\\x1b"):
        archive.read("\x1b")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["t", "t/d", "t/soft"])
def test_reading_what_is_no_file(name: str, archive: lmarc.Archive) -> None:
    for call in (archive.read, archive.open):
        with pytest.raises(lmarc.LmarcError, match="not a regular file"):
            call(name)


def test_extract(archive: lmarc.Archive, tmp_path: Path) -> None:
    assert archive.extract("t/d/b", tmp_path / "out").members == 1
    assert (tmp_path / "out/t/d/b").read_bytes() == b"content of b"
    archive.extract("t/d", str(tmp_path / "out2"))
    assert sorted(path.name for path in (tmp_path / "out2").rglob("*")) == ["b", "d", "t"]
    with pytest.raises(lmarc.TargetExistsError):
        archive.extract("t/d/b", tmp_path / "out")
    archive.extract("t/d/b", tmp_path / "out", force=True)
    assert archive.extract("t/d/b", tmp_path / "out", skip_existing=True).existing == 1


def test_extract_takes_names_not_globs(tmp_path: Path) -> None:
    entries = [build.file(b"[a]", b"1"), build.file(b"a", b"2"), build.file(b"*", b"3")]
    with lmarc.open(io.BytesIO(build.build(entries))) as archive:
        archive.extract("[a]", tmp_path / "1")
        archive.extract("*", tmp_path / "2")
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["[a]"]
    assert [path.name for path in (tmp_path / "2").iterdir()] == ["*"]


def test_extractall(archive: lmarc.Archive, tmp_path: Path) -> None:
    result = archive.extractall(tmp_path / "out")
    assert (result.members, result.content, result.existing, result.failed) == (6, 24, 0, {})
    assert (tmp_path / "out/t/a").samefile(tmp_path / "out/t/hard")
    archive.extractall(tmp_path / "some", ["*/b", "t/soft"], jobs=1)
    assert sorted(path.name for path in (tmp_path / "some").rglob("*")) == ["b", "d", "soft", "t"]


def test_test(tree: Path, archive: lmarc.Archive) -> None:
    assert archive.test() == {}
    (tree / "s").mkdir()
    (tree / "s" / "a").write_bytes(b"one content")
    lmarc.pack(["s/a", "t/d/b"], "y.lmarc", backend="store")
    data = build.damage((tree / "y.lmarc").read_bytes(), b"one content")
    with lmarc.open(io.BytesIO(data)) as broken:
        failed = broken.test()
        assert set(failed) >= {"s/a"}
        assert all(isinstance(error, lmarc.DamagedError) for error in failed.values())
        with pytest.raises(lmarc.DamagedError):
            broken.read("s/a")


def test_open_takes_paths_and_files(archive: lmarc.Archive, tree: Path) -> None:
    assert archive.size == (tree / "x.lmarc").stat().st_size
    for path in ("x.lmarc", tree / "x.lmarc"):
        with lmarc.open(path) as opened:
            assert opened.namelist() == NAMES
    with (tree / "x.lmarc").open("rb") as file:
        with lmarc.open(file) as opened:
            assert opened.namelist() == NAMES
        assert not file.closed
    with lmarc.open("x.lmarc") as opened:
        pass
    with pytest.raises(ValueError):
        opened.read("t/a")
    with pytest.raises(FileNotFoundError):
        lmarc.open("none")


def test_a_file_that_is_no_archive_is_closed(tree: Path, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(lmarc.NotAnArchiveError):
        lmarc.open("t/a")
    assert [str(warning.message) for warning in recwarn if warning.category is ResourceWarning] == []


def test_is_lmarc(archive: lmarc.Archive, tree: Path) -> None:
    assert lmarc.is_lmarc("x.lmarc") and lmarc.is_lmarc(tree / "x.lmarc")
    assert not lmarc.is_lmarc("t/a")
    file = io.BytesIO(b"1234" + (tree / "x.lmarc").read_bytes())
    assert not lmarc.is_lmarc(file)
    file.seek(4)
    assert lmarc.is_lmarc(file)
    assert file.tell() == 4
    assert not lmarc.is_lmarc(io.BytesIO())


@given(st.binary(max_size=3000), st.sampled_from(["store", "zstd"]))
def test_compress_and_decompress(data: bytes, backend: str) -> None:
    assert lmarc.decompress(lmarc.compress(data, backend=backend)) == data


@given(st.binary(max_size=500))
@settings(max_examples=20)
def test_compress_with_the_default(data: bytes) -> None:
    packed = lmarc.compress(data)
    assert lmarc.decompress(packed) == data
    assert lmarc.compress(data) == packed
    assert len(packed) <= len(data) + 150


def test_decompress_wants_one_file() -> None:
    for entries in ([], [build.file(b"a", b"1"), build.file(b"b", b"2")], [build.directory(b"d")]):
        with pytest.raises(lmarc.UsageError):
            lmarc.decompress(build.build(entries))
    with pytest.raises(lmarc.NotAnArchiveError):
        lmarc.decompress(b"PK")
    with pytest.raises(lmarc.DamagedError):
        lmarc.decompress(lmarc.compress(b"data")[:-1])


def test_the_public_names() -> None:
    for name in lmarc.__all__:
        assert getattr(lmarc, name) is not None
        assert name == "__version__" or getattr(lmarc, name).__doc__
    with pytest.raises(AttributeError):
        _ = lmarc.no_such_name
    codes = {
        lmarc.LmarcError: 1,
        lmarc.TargetExistsError: 1,
        lmarc.MemberNotFoundError: 1,
        lmarc.UsageError: 2,
        lmarc.NotAnArchiveError: 10,
        lmarc.DamagedError: 11,
        lmarc.BackendMissingError: 13,
        lmarc.EnvironmentMismatchError: 14,
        lmarc.UnsupportedError: 15,
        lmarc.UnsafeMemberError: 16,
        lmarc.LimitError: 17,
    }
    assert {error: error.exit_code for error in codes} == codes


# --- a seekable file ---------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 200_000)),
        st.tuples(st.just("read1"), st.integers(1, 100_000)),
        st.tuples(st.just("set"), st.integers(0, 700_000)),
        st.tuples(st.just("cur"), st.integers(-700_000, 700_000)),
        st.tuples(st.just("end"), st.integers(-700_000, 1000)),
        st.tuples(st.just("line"), st.just(0)),
    ),
    max_size=20,
)


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[lmarc.Archive, dict[str, bytes]]]:
    """An archive of many small chunks, with a file over several of them, one with holes, and the contents."""
    folder = tmp_path_factory.mktemp("chunked")
    contents = {"large.txt": prose(1, 500_000), "small.txt": prose(2, 3000), "empty.txt": b""}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    with (folder / "holes.txt").open("wb") as file:
        for at in (0, 200_000, 400_000):
            file.seek(at + 4321)
            file.write(prose(at, 50_000))
        file.truncate(600_000)
    contents["holes.txt"] = (folder / "holes.txt").read_bytes()
    patch = pytest.MonkeyPatch()
    patch.setattr(presets, "PRESETS", {"fast": Preset("zstd", SMALL_CHUNK, {"level": 3})})
    with chdir(folder):
        lmarc.pack(sorted(contents), "x.lmarc", preset="fast")
    patch.undo()
    with lmarc.open(folder / "x.lmarc") as archive:
        yield archive, contents


@given(name=st.sampled_from(["large.txt", "small.txt", "empty.txt", "holes.txt"]), steps=STEPS)
@settings(max_examples=150)
def test_a_member_is_a_file_like_any_other(
    name: str, steps: list[tuple[str, int]], chunked: tuple[lmarc.Archive, dict[str, bytes]]
) -> None:
    archive, contents = chunked
    wanted = io.BytesIO(contents[name])
    with archive.open(name) as got:
        for step, number in steps:
            if step == "read":
                assert got.read(number) == wanted.read(number)
            elif step == "read1":
                # May give less, never other bytes, and nothing only at the end.
                piece = got.read1(number)
                assert wanted.read(len(piece)) == piece
                assert piece or wanted.tell() >= len(contents[name])
            elif step == "line":
                assert got.readline() == wanted.readline()
            else:
                whence = {"set": os.SEEK_SET, "cur": os.SEEK_CUR, "end": os.SEEK_END}[step]
                base = {"set": 0, "cur": wanted.tell(), "end": len(contents[name])}[step]
                if base + number >= 0:
                    assert got.seek(number, whence) == wanted.seek(number, whence)
            assert got.tell() == wanted.tell()


def test_whole_members_of_many_chunks(chunked: tuple[lmarc.Archive, dict[str, bytes]]) -> None:
    archive, contents = chunked
    assert len(archive.chunks) > 8
    assert archive.test() == {}
    for name, data in contents.items():
        assert archive.read(name) == data
        parts: list[bytes] = []
        archive.copy_to(name, parts.append)
        assert b"".join(parts) == data


def test_random_reads_across_threads(chunked: tuple[lmarc.Archive, dict[str, bytes]]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    archive, contents = chunked
    with ThreadPoolExecutor(4) as pool:
        names = [name for _ in range(20) for name in contents]
        assert list(pool.map(archive.read, names)) == [contents[name] for name in names]


# --- random access -----------------------------------------------------------------------------------------


class Counting(io.BytesIO):
    """A file that remembers what was read from where."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ranges: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        at = self.tell()
        data = super().read(size)
        self.ranges.append((at, at + len(data)))
        return data


def test_one_small_member_takes_only_its_own_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scratch: Path
) -> None:
    monkeypatch.setattr(presets, "PRESETS", {"fast": Preset("zstd", SMALL_CHUNK, {"level": 3})})
    wanted = {}
    for number in range(300):
        wanted[f"f{number:03}.txt"] = prose(number, 10 * KIB)
        (tmp_path / f"f{number:03}.txt").write_bytes(wanted[f"f{number:03}.txt"])
    (tmp_path / "large.bin").write_bytes(os.urandom(8 * MIB))
    with chdir(tmp_path):
        lmarc.pack([*wanted, "large.bin"], "x.lmarc", preset="fast")
    data = (tmp_path / "x.lmarc").read_bytes()
    decoded: list[int] = []
    decode = ChunkDecoder.decode

    def count(self: object, chunk: object, *rest: object) -> object:
        decoded.append(chunk.offset)  # type: ignore[attr-defined]
        return decode(self, chunk, *rest)

    monkeypatch.setattr(ChunkDecoder, "decode", count)
    for name in ("f000.txt", "f150.txt", "f299.txt"):
        file = Counting(data)
        with lmarc.open(file) as archive:
            opening = sum(end - start for start, end in file.ranges)
            own = archive.chunks_of(name)
            assert len(own) == 1, "a file of at most half a chunk is not split"
            for use in (archive.read, lambda n, a=archive: a.extract(n, scratch / n), lambda n, a=archive: a.test([n])):
                file.ranges.clear()
                decoded.clear()
                use(name)
                assert set(decoded) <= {chunk.offset for chunk in own}
                limit = sum(archive.payload_size(chunk) for chunk in own) + 200
                assert sum(end - start for start, end in file.ranges[: len(file.ranges) - len(own)]) <= limit
                first, last = own[0].offset, own[-1].offset + SMALL_CHUNK + 200
                assert all(first <= start and end <= last for start, end in file.ranges)
        assert opening < 40 * KIB
        assert (scratch / name / name).read_bytes() == wanted[name]
