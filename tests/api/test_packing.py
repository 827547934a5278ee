"""lmarc.pack(): content stored once, sources that change under its hands, sinks, chunks."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lmarc
from lmarc.archive import presets
from lmarc.archive.content import Chunker
from lmarc.archive.presets import Preset
from tests.trees import KIB, MIB, prose

CHUNK = 64 * KIB


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory; the preset `small` has small chunks."""
    monkeypatch.setattr(presets, "PRESETS", {**presets.PRESETS, "small": Preset("zstd", CHUNK, {"level": 3})})
    (tmp_path / "t").mkdir()
    with chdir(tmp_path):
        yield tmp_path


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def pack(*paths: str, preset: str = "small", observer: lmarc.Observer | None = None) -> lmarc.PackResult:
    """Pack into x.lmarc."""
    return lmarc.pack(paths or ["t"], "x.lmarc", preset=preset, jobs=1, force=True, observer=observer)


def stored() -> int:
    """Bytes of the content stream of x.lmarc, which is whole."""
    with lmarc.open("x.lmarc") as archive:
        assert archive.damage == []
        assert archive.test() == {}
        return sum(chunk.size for chunk in archive.chunks)


# --- stored once -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7])
def test_identical_files_are_stored_once(size: int, here: Path) -> None:
    (here / "t" / "sub").mkdir()
    data, other = noise(1, size), noise(2, size)
    for name, content in (("a", data), ("b.txt", data), ("sub/c.png", data), ("d", other), ("e", other[:-1])):
        (here / "t" / name).write_bytes(content)
    result = pack()
    assert stored() == 3 * size - 1
    assert result.duplicates == 2
    with lmarc.open("x.lmarc") as archive:
        assert archive.read("t/sub/c.png") == data
        assert archive.read("t/d") == other


def sparse(path: Path, *runs: tuple[int, bytes], size: int) -> None:
    with path.open("wb") as file:
        for at, data in runs:
            file.seek(at)
            file.write(data)
        file.truncate(size)


@pytest.mark.parametrize("length", [4 * KIB, CHUNK - KIB * 4, 4 * CHUNK])
def test_identical_sparse_files_are_stored_once(length: int, here: Path) -> None:
    data = noise(1, length)
    for name in ("a", "b", "c"):
        sparse(here / "t" / name, (MIB, data), size=3 * MIB)
    # The same data elsewhere in the file, and in a file without holes.
    sparse(here / "t" / "moved", (2 * MIB, data), size=3 * MIB)
    (here / "t" / "dense").write_bytes(data)
    pack()
    # Of two sizes, so that nothing says beforehand that the dense one may be known.
    assert stored() <= 2 * length
    with lmarc.open("x.lmarc") as archive:
        assert archive.read("t/c") == bytes(MIB) + data + bytes(2 * MIB - length)
        assert archive.read("t/moved") == bytes(2 * MIB) + data + bytes(MIB - length)
        assert archive.read("t/dense") == data


def test_large_files_of_one_size_that_differ(here: Path) -> None:
    for number in range(3):
        (here / "t" / f"{number}").write_bytes(noise(number, 3 * CHUNK))
    (here / "t" / "late difference").write_bytes(noise(0, 3 * CHUNK)[:-1] + b"x")
    pack()
    assert stored() == 12 * CHUNK
    with lmarc.open("x.lmarc") as archive:
        assert archive.read("t/2") == noise(2, 3 * CHUNK)


def test_hard_links_take_nothing(here: Path) -> None:
    (here / "t" / "a").write_bytes(noise(1, CHUNK * 2))
    for name in ("b", "c"):
        os.link(here / "t" / "a", here / "t" / name)
    (here / "t" / "copy").write_bytes(noise(1, CHUNK * 2))
    pack()
    assert stored() == 2 * CHUNK


def test_empty_files_take_nothing(here: Path) -> None:
    for number in range(10):
        (here / "t" / f"{number}").touch()
    sparse(here / "t" / "all hole", size=10 * MIB)
    result = pack()
    assert stored() == 0
    assert result.chunks == {}
    with lmarc.open("x.lmarc") as archive:
        assert archive.read("t/all hole") == bytes(10 * MIB)


# --- sources that change -----------------------------------------------------------------------------------


class Meddler(lmarc.Observer):
    """Does something to the sources when packing comes to a member, or has coded its first chunk."""

    def __init__(self, path: bytes | None, action: Callable[[], object]) -> None:
        self._path = path
        self._action: Callable[[], object] | None = action
        self.told: list[tuple[bytes, str]] = []

    def _act(self) -> None:
        if self._action:
            action, self._action = self._action, None
            action()

    def member(self, path: bytes) -> None:
        if path == self._path:
            self._act()

    def progress(self, content: int, stored: int) -> None:
        if self._path is None and stored:
            self._act()

    def skipped(self, path: bytes, reason: str) -> None:
        self.told.append((path, reason))


def replaced(path: Path, by: Callable[[Path], object]) -> Callable[[], object]:
    def action() -> None:
        path.unlink()
        by(path)

    return action


@pytest.mark.parametrize(
    ("by", "reason"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "no longer a regular file"),
        (os.mkfifo, "no longer a regular file"),
        (lambda path: path.symlink_to("a"), "symbolic link"),
    ],
)
def test_a_file_that_is_gone_when_its_turn_comes(by: Callable[[Path], object], reason: str, here: Path) -> None:
    for name in "abc":
        (here / "t" / name).write_bytes(name.encode())
    meddler = Meddler(b"t/a", replaced(here / "t" / "b", by))
    result = pack(observer=meddler)
    assert [path for path, _ in meddler.told] == [b"t/b"]
    assert reason in meddler.told[0][1]
    assert (result.skipped, result.members) == (1, 3)
    with lmarc.open("x.lmarc") as archive:
        assert archive.namelist() == ["t", "t/a", "t/c"]
        assert archive.test() == {}


def test_a_directory_that_is_gone_when_its_turn_comes(here: Path) -> None:
    (here / "t" / "d" / "e").mkdir(parents=True)
    (here / "t" / "d" / "e" / "f").write_bytes(b"f")
    (here / "t" / "a").write_bytes(b"a")
    meddler = Meddler(b"t/a", lambda: (here / "t" / "d").rename(here / "elsewhere"))
    pack(observer=meddler)
    assert [path for path, _ in meddler.told] == [b"t/d/e/f"]


def test_a_file_that_changed_before_its_turn_is_packed_as_it_is(here: Path) -> None:
    for name in "abc":
        (here / "t" / name).write_bytes(name.encode())
    for change in (b"longer than before", b""):
        meddler = Meddler(b"t/a", lambda change=change: (here / "t" / "b").write_bytes(change))
        result = pack(observer=meddler)
        assert result.skipped == 0
        with lmarc.open("x.lmarc") as archive:
            assert archive.read("t/b") == change
            assert archive.getinfo("t/b").mtime_ns == (here / "t" / "b").stat().st_mtime_ns
            assert archive.test() == {}


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more" * 1000)


@pytest.mark.parametrize(
    "change",
    [
        grow,
        lambda path: os.truncate(path, 60 * CHUNK),
        lambda path: os.truncate(path, 0),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.open("r+b").write(b"another beginning"),
    ],
)
def test_a_file_that_changes_while_it_is_read(change: Callable[[Path], object], here: Path) -> None:
    data = prose(1, 100 * CHUNK + 5)
    (here / "t" / "a.txt").write_bytes(data)
    (here / "t" / "b.txt").write_bytes(b"the next")
    meddler = Meddler(None, lambda: change(here / "t" / "a.txt"))
    result = pack(observer=meddler)
    assert [path for path, _ in meddler.told] == [b"t/a.txt"]
    assert "changed" in meddler.told[0][1]
    assert (result.skipped, result.members) == (1, 3)
    with lmarc.open("x.lmarc") as archive:
        assert archive.test() == {}
        assert archive.damage == []
        assert archive.read("t/b.txt") == b"the next"
        content = archive.read("t/a.txt")
        assert data.startswith(content)
        assert len(content) >= 2 * CHUNK


def test_a_sparse_file_that_shrinks_while_it_is_read(here: Path) -> None:
    data = prose(1, 100 * CHUNK)
    sparse(here / "t" / "a.txt", (MIB, data), (20 * MIB, data), size=30 * MIB)
    meddler = Meddler(None, lambda: os.truncate(here / "t" / "a.txt", MIB + 50 * CHUNK))
    pack(observer=meddler)
    assert [path for path, _ in meddler.told] == [b"t/a.txt"]
    with lmarc.open("x.lmarc") as archive:
        assert archive.damage == [] and archive.test() == {}
        content = archive.read("t/a.txt")
        assert (bytes(MIB) + data).startswith(content)


def test_what_grows_without_end_ends(here: Path) -> None:
    path = here / "t" / "a.txt"
    path.write_bytes(prose(1, 10 * CHUNK))

    class Grower(lmarc.Observer):
        def progress(self, content: int, stored: int) -> None:
            with path.open("ab") as file:
                file.write(bytes(2 * content))

    assert pack(observer=Grower()).skipped == 1
    assert stored() <= 12 * CHUNK


def test_a_hard_link_whose_first_name_is_gone(here: Path) -> None:
    (here / "t" / "a").write_bytes(b"linked")
    os.link(here / "t" / "a", here / "t" / "b")
    (here / "t" / "0").write_bytes(b"0")
    pack(observer=Meddler(b"t/0", (here / "t" / "a").unlink))
    with lmarc.open("x.lmarc") as archive:
        assert archive.namelist() == ["t", "t/0", "t/b"]
        assert archive.read("t/b") == b"linked"


def test_an_observer_that_raises_stops_the_pack(here: Path) -> None:
    (here / "t" / "a").write_bytes(b"a")

    def stop() -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        pack(observer=Meddler(b"t/a", stop))
    assert sorted(path.name for path in here.iterdir()) == ["t"]


# --- where to ----------------------------------------------------------------------------------------------


def test_sinks_and_options(here: Path) -> None:
    for name in ("a.txt", "b.py", "c.log"):
        (here / "t" / name).write_bytes(name.encode() * 100)
    (here / "t" / ".gitignore").write_bytes(b"*.log\n")
    sink = io.BytesIO()
    result = lmarc.pack([here / "t"], sink, exclude=["*.py"], gitignore=True, backend="store", jobs=2)
    assert result.stored == len(sink.getvalue())
    assert result.chunks == {"store": 1}
    with lmarc.open(sink) as archive:
        assert archive.namelist() == ["t", "t/.gitignore", "t/a.txt"]
    lmarc.pack(["t"], here / "y.lmarc", include=["*.py"], preset="fast")
    with pytest.raises(lmarc.TargetExistsError):
        lmarc.pack(["t"], here / "y.lmarc")
    with lmarc.open(here / "y.lmarc") as archive:
        assert archive.namelist() == ["t", "t/b.py"]
    for bad in ({"preset": "none"}, {"jobs": -1}):
        with pytest.raises((lmarc.UsageError, ValueError)):
            lmarc.pack(["t"], "z.lmarc", **bad)  # type: ignore[arg-type]
    with pytest.raises(lmarc.BackendMissingError):
        lmarc.pack(["t"], "z.lmarc", backend="none")
    assert not (here / "z.lmarc").exists()


def test_a_sink_that_fails(here: Path) -> None:
    (here / "t" / "a").write_bytes(noise(1, 10 * CHUNK))

    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        lmarc.pack(["t"], Full(), preset="small")


def test_nothing_at_all(here: Path) -> None:
    result = lmarc.pack([], "x.lmarc")
    assert (result.members, result.chunks) == (0, {})
    with lmarc.open("x.lmarc") as archive:
        assert archive.namelist() == [] and archive.test() == {}
    assert (here / "x.lmarc").stat().st_size < 60


def test_like_data_shares_a_chunk(here: Path) -> None:
    for number in range(6):
        (here / "t" / f"{number}.txt").write_bytes(prose(number, 1000))
        (here / "t" / f"{number}.png").write_bytes(noise(number, 1000))
    pack()
    with lmarc.open("x.lmarc") as archive:
        texts = {archive.chunks_of(f"t/{number}.txt")[0].offset for number in range(6)}
        pictures = {archive.chunks_of(f"t/{number}.png")[0].offset for number in range(6)}
        assert len(texts) == len(pictures) == 1
        assert texts != pictures
        assert {ref.name for ref in archive.header.backends} == {"store", "zstd"}


# --- chunks ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 300), max_size=30), st.integers(1, 100))
def test_chunks_are_cut_right(sizes: list[int], limit: int) -> None:
    chunks: list[bytes] = []
    chunker = Chunker(limit, lambda pieces: chunks.append(b"".join(pieces)))
    stream = b""
    places = []
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        if number % 2:
            chunker.make_room(size)
        places.append((chunker.position, size, number % 2))
        for at in range(0, size, 70):
            chunker.append(data[at : at + 70])
        stream += data
        assert chunker.position == len(stream)
    chunker.flush()
    assert b"".join(chunks) == stream
    assert all(0 < len(chunk) <= limit for chunk in chunks)
    ends = [sum(map(len, chunks[: i + 1])) for i in range(len(chunks))]
    for start, size, whole in places:
        if whole and size <= limit // 2:
            assert not [end for end in ends if start < end < start + size], "a small file is never split"
