"""What is packed comes back, and the same tree gives the same bytes."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest

import lmarc
from tests.cli.program import run
from tests.trees import MIB, diff_snapshots, prose, snapshot

IS_ROOT = os.geteuid() == 0


#: What `cm` need not show again that `zstd` has shown; it is a hundred times slower.
LARGE = (b"sizes/1048575", b"sizes/1048576", b"sizes/1048577", b"contents/large", b"contents/copies/large")
LARGE += (b"contents/one byte over and over", b"contents/one line over and over", b"contents/random")


@pytest.fixture(scope="module")
def packed(hostile_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The hostile tree, packed fast and balanced, with two jobs."""
    folder = tmp_path_factory.mktemp("packed")
    out = {preset: folder / f"{preset}.lmarc" for preset in ("fast", "balanced")}
    filters = [arg for path in LARGE for arg in ("-x", b"/tree/" + path)]
    for preset, path in out.items():
        left_out = filters if preset == "balanced" else []
        done = run("pack", "tree", "-o", path, "--preset", preset, "-j", "2", *left_out, cwd=hostile_tree.parent)
        assert "special/fifo: FIFO left out" in done.err
        assert "special/socket: socket left out" in done.err
        assert "skipped" not in done.err
    return out


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_hostile_tree(preset: str, packed: dict[str, Path], hostile_tree: Path, scratch: Path) -> None:
    options = ["--owner"] if IS_ROOT else []
    run("unpack", packed[preset], "-C", scratch, *options)
    wanted = snapshot(hostile_tree, holes=True, with_root=True, owners=IS_ROOT)
    if preset == "balanced":
        wanted = {path: entry for path, entry in wanted.items() if path not in LARGE}
    assert diff_snapshots(wanted, snapshot(scratch / "tree", holes=True, with_root=True, owners=IS_ROOT)) == []
    run("diff", packed[preset], scratch)


def test_owners_and_set_id_bits_are_left_alone(packed: dict[str, Path], scratch: Path) -> None:
    run("unpack", packed["fast"], "tree/owners", "tree/modes", "-C", scratch)
    found = snapshot(scratch, full_mode=True, owners=True)
    assert {entry.owner for entry in found.values()} == {(os.geteuid(), os.getegid())}
    assert not [path for path, entry in found.items() if entry.mode & 0o6000]
    assert found[b"tree/modes/dir 1777"].mode == 0o1777


def test_the_hostile_archive_is_whole(packed: dict[str, Path], hostile_tree: Path) -> None:
    assert "all is well" in run("test", packed["fast"]).err
    facts = run("info", "--json", packed["fast"]).json
    assert facts["damage"] == []
    members = snapshot(hostile_tree, with_root=True)
    assert sum(facts["members"].values()) == len(members)
    assert run("diff", packed["fast"], hostile_tree.parent).out == b""


def test_two_packs_are_the_same(packed: dict[str, Path], hostile_tree: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.lmarc"
    run("pack", "tree", "-o", again, "--preset", "fast", "-j", "1", cwd=hostile_tree.parent)
    assert again.read_bytes() == packed["fast"].read_bytes()


def test_jobs_do_not_show_in_many_chunks(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(40):
        (tree / f"{number}.bin").write_bytes(os.urandom(MIB) + prose(number, 9000))
    for jobs in ("1", "2", "7"):
        run("pack", tree, "-o", tmp_path / jobs, "--preset", "fast", "-j", jobs)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes() == (tmp_path / "7").read_bytes()


def test_cm_is_the_same_with_one_job_and_two(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_bytes(prose(number, 30_000))
    for jobs in ("1", "2"):
        run("pack", "0.txt", "1.txt", "2.txt", "-o", jobs, "-j", jobs, cwd=tmp_path)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_copy_of_the_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    # Other inodes, another order in the directories, another order of the arguments.
    for folder, order in (("a", range(50)), ("b", reversed(range(50)))):
        for number in order:
            path = tmp_path / folder / "t" / f"{number % 7}" / f"file {number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(prose(number, 500))
        for path in (tmp_path / folder).rglob("*"):
            os.utime(path, ns=(1, 1))
        run("pack", "t", "-o", tmp_path / f"{folder}.lmarc", "--preset", "fast", cwd=tmp_path / folder)
    assert (tmp_path / "a.lmarc").read_bytes() == (tmp_path / "b.lmarc").read_bytes()


def test_source_date_epoch(tmp_path: Path) -> None:
    tree = tmp_path / "t"
    tree.mkdir()
    (tree / "old").write_bytes(b"old")
    (tree / "new").write_bytes(b"new")
    (tree / "link").symlink_to("old")
    archives = []
    for number, when in enumerate((2_000_000_000, 2_000_000_777)):
        os.utime(tree / "old", ns=(7, 7))
        for path in (tree / "new", tree / "link", tree):
            os.utime(path, (when, when), follow_symlinks=False)
        path = tmp_path / f"{number}.lmarc"
        run("pack", "t", "-o", path, env={"SOURCE_DATE_EPOCH": "1000000000"}, cwd=tmp_path)
        archives.append(path.read_bytes())
        with lmarc.open(path) as archive:
            times = {info.name: info.mtime_ns for info in archive}
        assert times == {"t": 10**18, "t/link": 10**18, "t/new": 10**18, "t/old": 7}
    assert archives[0] == archives[1]
    data = [run("pack", "-", env={"SOURCE_DATE_EPOCH": "5"}, stdin=b"piped").out for _ in range(2)]
    assert data[0] == data[1]
    refused = run("pack", "t", "-o", "x.lmarc", env={"SOURCE_DATE_EPOCH": "today"}, cwd=tmp_path, code=2)
    assert "SOURCE_DATE_EPOCH" in refused.err
    assert not (tmp_path / "x.lmarc").exists()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_the_standard_library(preset: str, scratch: Path) -> None:
    tree = Path(sysconfig.get_path("stdlib"))
    run("pack", tree, "-o", scratch / "x.lmarc", "--preset", preset, "-x", "site-packages", "-x", "__pycache__")
    run("unpack", scratch / "x.lmarc", "-C", scratch)
    wanted = snapshot(tree)
    for part in (b"site-packages", b"__pycache__"):
        wanted = {path: entry for path, entry in wanted.items() if part not in path.split(b"/")}
    wanted = {path: entry._replace(links=()) for path, entry in wanted.items()}
    assert diff_snapshots(wanted, snapshot(scratch / tree.name)) == []
