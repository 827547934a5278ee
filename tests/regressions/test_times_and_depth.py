"""Times at the ends of what can be told, and trees deeper than the format names."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmarc
from tests.cli.program import names, run

SECOND = 10**9
FIRST, LAST = -(2**63), 2**64 - 1
LATE = {"year-2286": 10_000_000_000 * SECOND + 123_456_789, "year-2400": 13_569_465_600 * SECOND + 1}
COMPONENTS = 4096


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory on a file system that stores any time, if there is one."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield Path(folder)


def touch(path: Path, when: int) -> None:
    """Give a file a time, or skip the test where that cannot be stored."""
    path.write_bytes(path.name.encode())
    try:
        os.utime(path, ns=(0, when))
    except (OSError, OverflowError):
        pytest.skip("this system has no such time")
    if path.stat().st_mtime_ns != when:
        pytest.skip("this file system stores no such time")


def test_late_times_come_back(place: Path) -> None:
    (place / "t").mkdir()
    for name, when in LATE.items():
        touch(place / "t" / name, when)
    os.utime(place / "t", ns=(0, LATE["year-2400"]))
    run("pack", "t", "-o", "x.lmarc", "-p", "fast", cwd=place)
    rows = {row["path"]: row["mtime_ns"] for row in run("list", "--json", "x.lmarc", cwd=place).json["members"]}
    assert rows == {"t": LATE["year-2400"], **{f"t/{name}": when for name, when in LATE.items()}}
    assert "2400-01-01" in run("list", "x.lmarc", "t/year-2400", cwd=place).text
    run("unpack", "x.lmarc", "-C", "out", cwd=place)
    for name, when in LATE.items():
        assert (place / "out" / "t" / name).stat().st_mtime_ns == when
    assert (place / "out" / "t").stat().st_mtime_ns == LATE["year-2400"]
    run("diff", "x.lmarc", "out", cwd=place)


@pytest.mark.parametrize(
    ("when", "stored"),
    [
        (LAST, LAST),
        (LAST + 1, LAST),
        (2**40 * SECOND, LAST),
        (FIRST, FIRST),
        (FIRST - 1, FIRST),
        (-(2**40) * SECOND, FIRST),
    ],
)
def test_times_beyond_are_clamped(when: int, stored: int, place: Path) -> None:
    touch(place / "f", when)
    lmarc.pack([place / "f"], place / "x.lmarc", preset="fast")
    with lmarc.open(place / "x.lmarc") as archive:
        assert archive.damage == []
        assert archive.getinfo("f").mtime_ns == stored
        archive.extractall(place / "out")
    assert (place / "out" / "f").read_bytes() == b"f"
    assert (place / "out" / "f").stat().st_mtime_ns == stored


def test_times_beyond_on_the_command_line(place: Path) -> None:
    touch(place / "f", 2**40 * SECOND)
    run("pack", "f", "-o", "x.lmarc", "-p", "fast", cwd=place)
    assert run("list", "-1", "x.lmarc", cwd=place).lines == ["f"]
    run("list", "x.lmarc", cwd=place)
    run("diff", "x.lmarc", cwd=place, code=None)


@pytest.mark.parametrize("epoch", ["-99999999999999", "99999999999999999999", "-9223372037"])
def test_a_source_date_epoch_beyond(epoch: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    done = run("pack", "f", "-o", "x", "-p", "fast", cwd=tmp_path, env={"SOURCE_DATE_EPOCH": epoch}, code=None)
    assert done.code in (0, 2), done.err
    if done.code == 0:
        with lmarc.open(tmp_path / "x") as archive:
            assert FIRST <= archive.getinfo("f").mtime_ns <= (tmp_path / "f").stat().st_mtime_ns
            assert archive.damage == []
    else:
        assert "SOURCE_DATE_EPOCH" in done.err
        assert not (tmp_path / "x").exists()


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A directory of directories in each other, a few more than can be named, a file in each of the last."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    for level in range(COMPONENTS + 3):
        os.mkdir("t" if level == 0 else "d", dir_fd=fd)
        inner = os.open("t" if level == 0 else "d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = inner
        if level + 1 >= COMPONENTS - 1:
            os.close(os.open("f", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd))
    os.close(fd)
    yield tmp_path
    # What recurses for each level stops long before.
    subprocess.run(["rm", "-rf", tmp_path / "t"], check=True)


def test_what_is_too_deep_is_skipped(deep: Path) -> None:
    done = run("pack", "t", "-o", "x.lmarc", "-p", "fast", "--json", cwd=deep, code=3)
    assert done.json["skipped"] >= 1
    # A path this long, told for each level below, would fill the screen many times.
    assert 1 <= len(done.err.splitlines()) <= 10
    got = names(deep / "x.lmarc")
    assert got[0] == b"t"
    # Down to the last level that has a name: its directory, and a file beside it.
    assert len(got) == COMPONENTS + 1
    assert max(name.count(b"/") + 1 for name in got) == COMPONENTS
    with lmarc.open(deep / "x.lmarc") as archive:
        assert archive.damage == []
        began = time.process_time()
        assert archive.test() == {}
        assert time.process_time() - began < 5
