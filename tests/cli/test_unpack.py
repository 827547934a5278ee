"""lmarc unpack: what comes out, where, and what is left alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.cli.program import run
from tests.trees import diff_snapshots, snapshot


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of a small tree, which lies beside it."""
    tree = tmp_path / "tree"
    for path in ("a.txt", "b.py", "sub/c.txt", "sub/deep/d.txt", "sub/[x].txt"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(path.encode() * 10)
    (tree / "link").symlink_to("a.txt")
    os.link(tree / "a.txt", tree / "sub" / "again")
    (tree / "empty").mkdir()
    for path in tree.rglob("*"):
        os.utime(path, ns=(10**18 + 1, 10**18 + 1), follow_symlinks=False)
    run("pack", "tree", "-o", "x.lmarc", "-p", "fast", cwd=tmp_path)
    return tmp_path / "x.lmarc"


def found(folder: Path) -> list[str]:
    """What files and links there are below a directory."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


ALL = ["a.txt", "b.py", "link", "sub/[x].txt", "sub/again", "sub/c.txt", "sub/deep/d.txt"]


def test_into_a_directory_that_is_made(archive: Path, scratch: Path) -> None:
    done = run("unpack", archive, "-C", scratch / "new" / "newer")
    assert diff_snapshots(snapshot(archive.parent / "tree"), snapshot(scratch / "new/newer/tree")) == []
    assert done.out == b""
    assert "11 members" in done.err


def test_into_the_working_directory(archive: Path, scratch: Path) -> None:
    run("unpack", archive, cwd=scratch)
    assert found(scratch / "tree") == ALL


def test_from_stdin(archive: Path, scratch: Path) -> None:
    run("unpack", "-", "-C", scratch, stdin=archive.read_bytes())
    assert found(scratch / "tree") == ALL


@pytest.mark.parametrize(
    ("patterns", "wanted"),
    [
        (["tree/a.txt"], ["a.txt"]),
        (["tree/sub"], [name for name in ALL if name.startswith("sub/")]),
        (["tree/sub/"], [name for name in ALL if name.startswith("sub/")]),
        (["*.txt"], ["a.txt", "sub/[x].txt", "sub/c.txt", "sub/deep/d.txt"]),
        (["tree/?.txt", "*.py"], ["a.txt", "b.py"]),
        (["tree/sub/deep/*"], ["sub/deep/d.txt"]),
        (["tree/sub/[x].txt"], ["sub/[x].txt"]),
        (["*/[ab].*"], ["a.txt", "b.py"]),
        (["*deep"], ["sub/deep/d.txt"]),
        (["tree"], ALL),
    ],
)
def test_globs(patterns: list[str], wanted: list[str], archive: Path, scratch: Path) -> None:
    run("unpack", archive, *patterns, "-C", scratch)
    assert found(scratch / "tree") == wanted
    listed = run("list", "--names", archive, *patterns).lines
    assert [line.removeprefix("tree/") for line in listed if line.removeprefix("tree/") in ALL] == wanted


def test_a_name_that_is_not_there(archive: Path, scratch: Path) -> None:
    for command in ("unpack", "list", "cat", "test"):
        done = run(command, archive, "tree/a.txt", "tree/none", "*.none", code=1, cwd=scratch)
        assert "tree/none" in done.err
        assert "*.none" in done.err
        assert done.out == b""
    assert found(scratch) == []


def test_a_hard_link_without_its_file(archive: Path, scratch: Path) -> None:
    run("unpack", archive, "tree/sub/again", "-C", scratch)
    assert found(scratch) == ["tree/sub/again"]
    assert (scratch / "tree/sub/again").read_bytes() == b"a.txt" * 10
    wanted, got = (folder / "tree/sub/again" for folder in (archive.parent, scratch))
    assert (got.stat().st_mode, got.stat().st_mtime_ns) == (wanted.stat().st_mode, 10**18 + 1)
    run("unpack", archive, "tree/a.txt", "tree/sub/again", "-C", scratch / "both")
    assert (scratch / "both/tree/a.txt").samefile(scratch / "both/tree/sub/again")


def test_existing_files_are_kept_and_nothing_is_written(archive: Path, scratch: Path) -> None:
    (scratch / "tree/sub").mkdir(parents=True)
    (scratch / "tree/sub/c.txt").write_bytes(b"mine")
    done = run("unpack", archive, "-C", scratch, code=1)
    assert "tree/sub/c.txt exists" in done.err
    assert found(scratch) == ["tree/sub/c.txt"]
    assert (scratch / "tree/sub/c.txt").read_bytes() == b"mine"


def test_skip_existing(archive: Path, scratch: Path) -> None:
    (scratch / "tree/sub").mkdir(parents=True)
    (scratch / "tree/sub/c.txt").write_bytes(b"mine")
    (scratch / "tree/link").symlink_to("elsewhere")
    done = run("unpack", archive, "-C", scratch, "--skip-existing", "--json")
    assert done.json["existing"] == 2
    assert found(scratch / "tree") == ALL
    assert (scratch / "tree/sub/c.txt").read_bytes() == b"mine"
    assert os.readlink(scratch / "tree/link") == "elsewhere"


def test_force(archive: Path, scratch: Path) -> None:
    tree = scratch / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub/c.txt").write_bytes(b"mine, and longer than what comes" * 100)
    (tree / "a.txt").symlink_to("/etc/passwd")
    (tree / "b.py").write_bytes(b"x")
    os.link(tree / "b.py", tree / "link")
    (tree / "empty").write_bytes(b"a file where a directory goes")
    (tree / "other").write_bytes(b"not in the archive")
    run("unpack", archive, "-C", scratch, "--force")
    (tree / "other").unlink()
    os.utime(tree, ns=(1, (archive.parent / "tree").stat().st_mtime_ns))
    assert diff_snapshots(snapshot(archive.parent / "tree"), snapshot(tree)) == []
    run("unpack", archive, "-C", scratch, "--force")
    run("diff", archive, scratch)


def test_force_does_not_remove_directories(archive: Path, scratch: Path) -> None:
    (scratch / "tree/a.txt/inside").mkdir(parents=True)
    (scratch / "tree/link").mkdir(parents=True)
    done = run("unpack", archive, "-C", scratch, "--force", code=1)
    assert "tree/a.txt" in done.err and "tree/link" in done.err
    assert (scratch / "tree/a.txt/inside").is_dir()
    assert found(scratch / "tree") == [name for name in ALL if name not in ("a.txt", "link", "sub/again")]
    assert not list(scratch.rglob(".lmarc-*"))


def test_force_and_skip_existing_exclude_each_other(archive: Path, scratch: Path) -> None:
    run("unpack", archive, "-C", scratch, "--force", "--skip-existing", code=2)


def test_dry_run(archive: Path, scratch: Path) -> None:
    done = run("unpack", archive, "-C", scratch / "new", "-n", "*.txt")
    assert done.lines == ["tree/a.txt", "tree/sub/[x].txt", "tree/sub/c.txt", "tree/sub/deep/d.txt"]
    facts = run("unpack", archive, "-C", scratch / "new", "--dry-run", "--json").json
    assert {"tree/" + name for name in ALL} < {row["path"] for row in facts["members"]}
    assert not (scratch / "new").exists()


def test_json(archive: Path, scratch: Path) -> None:
    done = run("unpack", archive, "-C", scratch, "--json")
    assert done.json == {"extracted": 11, "bytes": done.json["bytes"], "existing": 0, "damage": [], "failed": []}


def test_quiet_and_verbose(archive: Path, scratch: Path) -> None:
    quiet = run("unpack", archive, "-C", scratch / "1", "-q")
    assert (quiet.out, quiet.err) == (b"", "")
    verbose = run("unpack", archive, "-C", scratch / "2", "-v").err.splitlines()
    assert {"tree/a.txt", "tree/b.py", "tree/sub/deep/d.txt"} <= set(verbose)


def test_modes_do_not_depend_on_the_umask(archive: Path, scratch: Path) -> None:
    before = os.umask(0o077)
    try:
        run("unpack", archive, "-C", scratch)
    finally:
        os.umask(before)
    assert diff_snapshots(snapshot(archive.parent / "tree"), snapshot(scratch / "tree")) == []


def test_times_are_restored_however_late(archive: Path, scratch: Path) -> None:
    run("unpack", archive, "-C", scratch)
    assert (scratch / "tree" / "sub").stat().st_mtime_ns == 10**18 + 1
    assert (scratch / "tree" / "link").lstat().st_mtime_ns == 10**18 + 1
    assert time.time_ns() > 10**18 + 1


def test_a_target_that_is_a_file(archive: Path, scratch: Path) -> None:
    (scratch / "file").write_bytes(b"x")
    run("unpack", archive, "-C", scratch / "file", code=1)
    run("unpack", archive, "-C", scratch / "file" / "below", code=1)


def test_a_target_that_is_a_link_is_followed(archive: Path, scratch: Path) -> None:
    (scratch / "real").mkdir()
    (scratch / "link").symlink_to("real")
    run("unpack", archive, "-C", scratch / "link")
    assert found(scratch / "real" / "tree") == ALL
