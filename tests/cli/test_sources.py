"""Sources that change, vanish, cannot be read or are no files: reported, the rest packed, exit code 3."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

import lmarc
from tests.cli.nobody import COMMAND_AS_NOBODY, open_to_all
from tests.cli.program import names, run
from tests.trees import MIB


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with open_to_all() as folder:
        yield folder


def test_what_cannot_be_read(open_folder: Path) -> None:
    tree = open_folder / "t"
    for path in ("open", "closed", "dir/closed too", "locked/inside", "unsearchable/inside", "z"):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(path.encode())
    (tree / "closed").chmod(0)
    (tree / "dir" / "closed too").chmod(0)
    (tree / "locked").chmod(0)
    (tree / "unsearchable").chmod(0o444)
    args = ("pack", "t", "-o", "x.lmarc", "--preset", "fast")
    done = run(*args, cwd=open_folder, command=COMMAND_AS_NOBODY, code=3)
    said = done.err.splitlines()
    for path in ("t/closed", "t/dir/closed too", "t/locked", "t/unsearchable/inside"):
        assert f"lmarc: {path}: Permission denied" in said
    assert said[-1].endswith("4 skipped")
    assert names(open_folder / "x.lmarc") == [
        *(b"t", b"t/dir", b"t/locked", b"t/open", b"t/unsearchable", b"t/z"),
    ]
    run("test", open_folder / "x.lmarc")
    assert run("cat", open_folder / "x.lmarc", "t/z").out == b"z"
    facts = run(*args, "-f", "--json", "-q", cwd=open_folder, command=COMMAND_AS_NOBODY, code=3)
    assert facts.json["skipped"] == 4
    assert len(facts.err.splitlines()) == 4


def test_a_hard_link_cannot_be_read_under_any_name(open_folder: Path) -> None:
    (open_folder / "a").write_bytes(b"x" * 100)
    os.link(open_folder / "a", open_folder / "b")
    (open_folder / "a").chmod(0)
    (open_folder / "c").write_bytes(b"c")
    done = run("pack", "a", "b", "c", "-o", "x", "-p", "fast", cwd=open_folder, command=COMMAND_AS_NOBODY, code=3)
    assert done.err.count("Permission denied") == 2
    assert names(open_folder / "x") == [b"c"]


def test_a_directory_that_cannot_be_written(open_folder: Path) -> None:
    (open_folder / "a").write_bytes(b"a")
    (open_folder / "closed").mkdir(mode=0o555)
    done = run("pack", "a", "-o", "closed/x", cwd=open_folder, command=COMMAND_AS_NOBODY, code=1)
    assert "Permission denied" in done.err


def test_an_unpacked_tree_may_be_read_only(open_folder: Path) -> None:
    inner = open_folder / "t" / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "f").write_bytes(b"f")
    for path in (inner / "f", inner, inner.parent, inner.parent.parent):
        path.chmod(path.stat().st_mode & 0o555)
    out = open_folder / "out"
    out.mkdir()
    out.chmod(0o777)
    run("pack", "t", "-o", "x.lmarc", "-p", "fast", cwd=open_folder)
    for _ in range(2):
        run("unpack", "x.lmarc", "-C", "out", "--force", cwd=open_folder, command=COMMAND_AS_NOBODY)
        assert (out / "t/a/b/f").read_bytes() == b"f"
        assert (out / "t/a").stat().st_mode & 0o777 == 0o555
        for path in (out / "t", out / "t/a", out / "t/a/b"):
            path.chmod(0o755)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    done = run("pack", "a", "gone", "-o", "x", "-p", "fast", cwd=tmp_path, code=3)
    assert "lmarc: gone: No such file or directory" in done.err
    assert names(tmp_path / "x") == [b"a"]
    run("pack", "a/b", "-o", "y", "-p", "fast", cwd=tmp_path, code=1)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "growing.bin"
    path.write_bytes(os.urandom(48 * MIB))
    (tmp_path / "quiet.txt").write_bytes(b"quiet")
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.0005):
                file.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        done = run("pack", "growing.bin", "quiet.txt", "-o", "x", "-b", "store", cwd=tmp_path, code=3)
    finally:
        stop.set()
        thread.join()
    assert "growing.bin: changed while it was read" in done.err
    with lmarc.open(tmp_path / "x") as archive:
        assert archive.test() == {}
        assert archive.read("quiet.txt") == b"quiet"
        whole = path.read_bytes()
        got = archive.read("growing.bin")
        assert len(got) >= 48 * MIB
        assert whole.startswith(got)


def test_special_files_are_left_out(tmp_path: Path) -> None:
    tree = tmp_path / "t"
    tree.mkdir()
    (tree / "file").write_bytes(b"x")
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as listener, chdir(tree):
        listener.bind("socket")
    done = run("pack", "t", "/dev/null", "-o", "x", "-p", "fast", cwd=tmp_path)
    for line in ("t/fifo: FIFO left out", "t/socket: socket left out", "null: device left out"):
        assert f"lmarc: {line}" in done.err.splitlines()
    assert names(tmp_path / "x") == [b"t", b"t/file"]
    run("pack", "t/fifo", "-o", "y", "-p", "fast", cwd=tmp_path)
    assert names(tmp_path / "y") == []
