"""What is packed: named files, files of no size, links, and what is exchanged between walk and read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

import lmarc
from lmarc.archive import presets
from lmarc.archive.presets import Preset
from tests.cli.program import names, run
from tests.regressions.streams import Meddler
from tests.trees import KIB


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The working directory."""
    with chdir(tmp_path):
        yield tmp_path


def packed(path: str, observer: lmarc.Observer) -> tuple[lmarc.PackResult, lmarc.Archive]:
    """The result of packing, and the archive, open."""
    sink = io.BytesIO()
    result = lmarc.pack([path], sink, preset="fast", jobs=1, observer=observer)
    return result, lmarc.open(sink)


# --- exchanged between walk and read -----------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["d", "d/e", ""])
@pytest.mark.parametrize("kind", ["relative", "absolute"])
def test_a_directory_that_becomes_a_link_is_not_followed(kind: str, inner: str, here: Path) -> None:
    for top in ("t", "elsewhere"):
        (here / top / "d" / "e").mkdir(parents=True)
    (here / "t" / "d" / "e" / "f").write_bytes(b"mine")
    (here / "elsewhere" / "d" / "e" / "f").write_bytes(b"not mine")
    (here / "t" / "other").write_bytes(b"other")

    def swap() -> None:
        (here / "t" / inner).rename(here / "gone")
        link, target = here / "t" / inner, here / "elsewhere" / inner
        link.symlink_to(target if kind == "absolute" else os.path.relpath(target, link.parent))

    meddler = Meddler(swap)
    result, archive = packed("t", meddler)
    assert b"t/d/e/f" in meddler.skips
    assert result.skipped == len(meddler.skips)
    assert "t/d/e/f" not in archive
    assert archive.test() == {}
    if inner:
        assert archive.read("t/other") == b"other"


def test_a_directory_that_becomes_a_link_during_the_walk_is_not_followed(here: Path) -> None:
    for top in ("t", "elsewhere"):
        (here / top / "d" / "e").mkdir(parents=True)
        for name in ("e/f", "f", "g"):
            (here / top / "d" / name).write_bytes(top.encode())
    # Special files are told of during the walk, which is when another process may strike.
    os.mkfifo(here / "t" / "d" / "a")

    class Swapper(lmarc.Observer):
        def notice(self, path: bytes, reason: str) -> None:
            (here / "t" / "d").rename(here / "gone")
            (here / "t" / "d").symlink_to("../elsewhere/d")

    _, archive = packed("t", Swapper())
    for name in ("t/d/e/f", "t/d/f", "t/d/g"):
        assert name not in archive or archive.read(name) == b"t"


def test_a_file_that_is_replaced_is_packed(here: Path) -> None:
    (here / "t" / "d").mkdir(parents=True)
    for name in ("a", "d/b"):
        (here / "t" / name).write_bytes(b"old")

    def replace() -> None:
        for name in ("a", "d/b"):
            (here / "new").write_bytes(b"new content of " + name.encode())
            (here / "new").replace(here / "t" / name)

    result, archive = packed("t", Meddler(replace))
    assert result.skipped == 0
    assert archive.read("t/a") == b"new content of a"
    assert archive.read("t/d/b") == b"new content of d/b"


def test_a_file_below_a_link_that_was_named_is_packed(here: Path) -> None:
    (here / "real" / "d").mkdir(parents=True)
    (here / "real" / "d" / "f").write_bytes(b"f")
    (here / "link").symlink_to("real")
    for path, name in (("link/d/f", "link/d/f"), ("link/d", "link/d/f"), ("link/", "link/d/f")):
        _, archive = packed(path, lmarc.Observer())
        assert archive.read(name) == b"f"


# --- hard links --------------------------------------------------------------------------------------------


def test_hard_links_say_of_the_file_what_it_says_itself(here: Path) -> None:
    (here / "t").mkdir()
    (here / "t" / "a").write_bytes(b"linked")
    for name in ("b", "c"):
        os.link(here / "t" / "a", here / "t" / name)

    def change() -> None:
        os.utime(here / "t" / "a", ns=(1, 1_234_567_890_123_456_789))
        if os.geteuid() == 0:
            os.chown(here / "t" / "a", 12_345, 54_321)

    _, archive = packed("t", Meddler(change))
    file = archive.getinfo("t/a")
    assert file.mtime_ns == 1_234_567_890_123_456_789
    for name in ("t/b", "t/c"):
        link = archive.getinfo(name)
        assert link.kind == "hardlink"
        assert (link.mtime_ns, link.uid, link.gid, link.uname) == (file.mtime_ns, file.uid, file.gid, file.uname)


# --- files of no size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/proc/version", "/proc/kallsyms"])
@pytest.mark.parametrize("small", [False, True])
def test_a_file_that_says_it_is_empty(path: str, small: bool, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        content = Path(path).read_bytes()
    except OSError:
        content = b""
    if not content or os.stat(path).st_size:
        pytest.skip(f"no {path} here")
    if small:
        monkeypatch.setattr(presets, "PRESETS", {"fast": Preset("store", 64 * KIB)})
    result, archive = packed(path, lmarc.Observer())
    if Path(path).read_bytes() != content:
        pytest.skip(f"{path} changes")
    name = Path(path).name
    assert (result.skipped, archive.namelist()) == (0, [name])
    assert archive.read(name) == content
    assert archive.getinfo(name).size == len(content) == result.content
    assert archive.test() == {}


def test_a_file_that_says_it_is_empty_on_the_command_line(here: Path) -> None:
    if not Path("/proc/version").exists():
        pytest.skip("no /proc here")
    said = run("pack", "/proc/version", "-o", "x.lmarc", "-p", "fast", cwd=here).err
    assert len(said.splitlines()) == 1
    assert run("cat", "x.lmarc", "version", cwd=here).out == Path("/proc/version").read_bytes()


# --- the command line --------------------------------------------------------------------------------------


def test_exclude_leaves_out_named_files_too(here: Path) -> None:
    for name in ("x.o", "f", "d/y.o", "d/g"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(name.encode())
    run("pack", "x.o", "f", "-x", "*.o", "-o", "1", "-p", "fast", cwd=here)
    assert names(here / "1") == [b"f"]
    run("pack", "d/y.o", "d/g", "f", "-x", "*.o", "-o", "2", "-p", "fast", cwd=here)
    assert names(here / "2") == [b"d/g", b"f"]
    assert run("pack", "-n", "x.o", "f", "-x", "*.o", cwd=here).lines == ["f"]


def test_a_dry_run_needs_no_name_for_the_archive(here: Path) -> None:
    for name in ("a", "b"):
        (here / name).write_bytes(name.encode())
    assert run("pack", "-n", "a", "b", cwd=here).lines == ["a", "b"]
    rows = run("pack", "-n", "--json", "a", "b", cwd=here).json["members"]
    assert [row["path"] for row in rows] == ["a", "b"]
    assert sorted(path.name for path in here.iterdir()) == ["a", "b"]
    run("pack", "a", "b", cwd=here, code=2)


def test_verbose_names_every_member(here: Path) -> None:
    (here / "t" / "d" / "empty").mkdir(parents=True)
    (here / "t" / "none").write_bytes(b"")
    (here / "t" / "d" / "f").write_bytes(b"f" * 1000)
    (here / "t" / "soft").symlink_to("none")
    os.link(here / "t" / "d" / "f", here / "t" / "hard")
    with (here / "t" / "hole").open("wb") as file:
        file.truncate(100_000)
    said = run("pack", "t", "-v", "-o", "x.lmarc", "-p", "fast", cwd=here).err.splitlines()
    every = {name.decode() for name in names(here / "x.lmarc")}
    assert len(every) == 8
    assert every - set(said) == set()
    for args in ((), ("-f",), ("-j", "1", "-f")):
        said = run("unpack", "x.lmarc", "-v", "-C", "out", *args, cwd=here).err.splitlines()
        assert every - set(said) == set()
    said = run("test", "x.lmarc", "-v", cwd=here).err.splitlines()
    assert {"t/d/f", "t/none", "t/hole"} - set(said) == set()
