"""What extraction makes, keeps, replaces and refuses, and what it says at the end."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import lmarc
from tests.cli.program import run
from tests.container import build
from tests.regressions.streams import Meddler, chunked, opened, temporaries, umask
from tests.trees import snapshot

GOOD = build.file(b"good", b"good")
MINE = 10**18 + 7


# --- directories that no member names ----------------------------------------------------------------------


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o755), (0o027, 0o750), (0o002, 0o775), (0o077, 0o700)])
def test_directories_that_are_no_members_follow_the_umask(mask: int, mode: int, scratch: Path) -> None:
    with umask(mask):
        opened(build.file(b"w/a/b/f", b"f")).extractall(scratch / "1")
        members = [build.directory(path, mode=0o711) for path in (b"w", b"w/a", b"w/a/b")]
        with opened(*members, build.file(b"w/a/b/f", b"f"), build.symlink(b"w/l", b"x")) as archive:
            archive.extractall(scratch / "2", ["w/a/b/f"])
            archive.extractall(scratch / "3", ["w/a/b"])
            archive.extractall(scratch / "4", ["w/l"])
            archive.extractall(scratch / "5")
    made = {str(path.relative_to(scratch)): path.stat().st_mode & 0o7777 for path in scratch.rglob("*/")}
    modes = {name: found for name, found in made.items() if (scratch / name).is_dir()}
    wanted = dict.fromkeys(modes, mode) | {"3/w/a/b": 0o711}
    wanted |= dict.fromkeys(("5/w", "5/w/a", "5/w/a/b"), 0o711)
    assert modes == wanted


def test_directories_that_are_no_members_on_the_command_line(scratch: Path) -> None:
    (scratch / "w/a/b").mkdir(parents=True)
    (scratch / "w/a/b/f").write_bytes(b"f")
    for path in (scratch / "w", scratch / "w/a", scratch / "w/a/b"):
        path.chmod(0o700)
    with umask(0o022):
        run("pack", "-T", "-", "-o", "listed", "-p", "fast", cwd=scratch, stdin=b"w/a/b/f\n")
        run("pack", "w", "-o", "whole", "-p", "fast", cwd=scratch)
        run("unpack", "listed", "-C", "1", cwd=scratch)
        run("unpack", "whole", "w/a/b/f", "-C", "2", cwd=scratch)
    for out in ("1", "2"):
        for path in ("w", "w/a", "w/a/b"):
            assert (scratch / out / path).stat().st_mode & 0o7777 == 0o755


# --- directories that are there ----------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["", "--skip-existing", "--force"])
def test_directories_that_are_there(option: str, scratch: Path) -> None:
    out = scratch / "out"
    for path in ("t/empty", "t/sub"):
        (out / path).mkdir(parents=True)
    for path in ("t/empty", "t/sub", "t"):
        (out / path).chmod(0o2711)
        os.utime(out / path, ns=(MINE, MINE))
    directories = [build.directory(path, mode=0o750) for path in (b"t", b"t/empty", b"t/sub", b"t/new")]
    (scratch / "x").write_bytes(build.build([*directories, build.file(b"t/sub/f", b"f"), build.file(b"t/g", b"g")]))
    run("unpack", "x", "-C", "out", *filter(None, [option]), cwd=scratch)
    assert (out / "t/sub/f").read_bytes() == b"f"
    found = {path: (out / path).stat() for path in ("t", "t/empty", "t/sub", "t/new")}
    modes = {path: info.st_mode & 0o777 for path, info in found.items()}
    times = {path: info.st_mtime_ns for path, info in found.items()}
    if option == "--force":
        assert set(modes.values()) == {0o750}
        assert set(times.values()) == {build.WHEN}
        return
    assert modes == {"t": 0o711, "t/empty": 0o711, "t/sub": 0o711, "t/new": 0o750}
    assert times["t/empty"] == MINE
    assert times["t/new"] == build.WHEN
    # Something was made in these: the system says when, or what it said before stands.
    assert build.WHEN not in (times["t"], times["t/sub"])


def test_the_working_directory_keeps_its_mode(scratch: Path) -> None:
    scratch.chmod(0o711)
    opened(GOOD).extractall(scratch)
    assert scratch.stat().st_mode & 0o777 == 0o711
    scratch.chmod(0o700)


# --- an error at the end -----------------------------------------------------------------------------------


def damaged(*more: build.Entry) -> lmarc.Archive:
    """An archive, open, whose member a is damaged and whose member b is not."""
    entries = [build.file(b"a", b"content of a"), build.file(b"b", b"content of b"), *more]
    return lmarc.open(io.BytesIO(build.damage(build.build(entries), b"content of a")))


def test_extractall_raises_at_the_end(scratch: Path) -> None:
    with pytest.raises(lmarc.IncompleteError) as caught:
        damaged().extractall(scratch)
    assert isinstance(caught.value, lmarc.LmarcError)
    assert caught.value.exit_code == 11
    assert set(caught.value.result.failed) == {b"a"}
    assert isinstance(caught.value.result.failed[b"a"], lmarc.DamagedError)
    assert caught.value.result.members == 1
    assert str(caught.value)
    assert [path.name for path in scratch.iterdir()] == ["b"]


def test_extract_raises_too(scratch: Path) -> None:
    with pytest.raises(lmarc.IncompleteError) as caught:
        damaged().extract("a", scratch)
    assert caught.value.exit_code == 11
    assert damaged().extract("b", scratch).members == 1
    assert set(damaged().extract("a", scratch, check=False).failed) == {b"a"}
    assert [path.name for path in scratch.iterdir()] == ["b"]


def test_check_false_returns_what_came_of_it(scratch: Path) -> None:
    result = damaged(build.directory(b"d")).extractall(scratch, check=False)
    assert set(result.failed) == {b"a"}
    assert result.members == 2
    assert sorted(path.name for path in scratch.iterdir()) == ["b", "d"]


def test_the_exit_code_says_what_went_wrong(scratch: Path) -> None:
    with pytest.raises(lmarc.IncompleteError) as caught:
        opened(GOOD, build.file(b"../evil", b"evil")).extractall(scratch / "1")
    assert caught.value.exit_code == 16
    with pytest.raises(lmarc.IncompleteError) as caught:
        damaged(build.file(b"../evil", b"evil")).extractall(scratch / "2")
    assert caught.value.exit_code == 11
    (scratch / "3" / "good").mkdir(parents=True)
    with pytest.raises(lmarc.IncompleteError) as caught:
        opened(GOOD).extractall(scratch / "3", force=True)
    assert caught.value.exit_code == 1
    assert opened(GOOD).extractall(scratch / "4").failed == {}
    assert lmarc.IncompleteError.__doc__
    assert "IncompleteError" in lmarc.__all__


# --- unsafe members chosen alone ---------------------------------------------------------------------------

UNSAFE = {
    "h": [build.file(b"../evil", b"evil"), build.hardlink(b"h", b"../evil")],
    "l/evil": [build.symlink(b"l", b".."), build.file(b"l/evil", b"evil")],
    "l/d": [build.symlink(b"l", b".."), build.directory(b"l/d")],
    "f/evil": [build.file(b"f", b"f"), build.file(b"f/evil", b"evil")],
    "g": [build.symlink(b"l", b".."), build.file(b"l/evil", b"evil"), build.hardlink(b"g", b"l/evil")],
    "../evil": [build.file(b"../evil", b"evil")],
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_member_alone_is_refused(name: str, scratch: Path) -> None:
    (scratch / "target").mkdir()
    with pytest.raises(lmarc.IncompleteError) as caught:
        opened(GOOD, *UNSAFE[name]).extractall(scratch / "target", [name])
    assert caught.value.exit_code == 16
    assert set(caught.value.result.failed) == {name.encode()}
    with pytest.raises(lmarc.IncompleteError):
        opened(GOOD, *UNSAFE[name]).extract(name, scratch / "target", force=True)
    assert [*scratch.rglob("*")] == [scratch / "target"]


@pytest.mark.parametrize("name", ["h", "l/evil"])
def test_an_unsafe_member_alone_on_the_command_line(name: str, scratch: Path) -> None:
    (scratch / "x").write_bytes(build.build([GOOD, *UNSAFE[name]]))
    done = run("unpack", "x", name, "-C", "target", cwd=scratch, code=16)
    assert f"{name}: refused" in done.err
    assert [path for path in scratch.rglob("*") if path.name not in ("x", "target")] == []


# --- what appears while extraction is at it ----------------------------------------------------------------

MANY = chunked(
    {b"short": b"theirs", b"long": b"theirs" * 1000, b"d/inside": b"theirs too", b"last": b"theirs as well"},
    1000,
    (build.hardlink(b"hard", b"last"), build.symlink(b"soft", b"theirs"), build.file(b"none")),
)
APPEAR = ["short", "long", "d/inside", "hard", "soft"]


@pytest.mark.parametrize("kind", ["file", "symlink"])
@pytest.mark.parametrize("name", APPEAR)
def test_what_appears_meanwhile_is_kept(name: str, kind: str, scratch: Path) -> None:
    def appear() -> None:
        (scratch / name).parent.mkdir(exist_ok=True)
        if kind == "file":
            (scratch / name).write_bytes(b"mine")
        else:
            (scratch / name).symlink_to("mine")

    with pytest.raises(lmarc.IncompleteError) as caught:
        lmarc.open(io.BytesIO(MANY)).extractall(scratch, jobs=2, observer=Meddler(appear))
    failed = caught.value.result.failed
    assert set(failed) == {name.encode()}
    assert isinstance(failed[name.encode()], lmarc.TargetExistsError)
    assert caught.value.exit_code == 1
    assert (scratch / name).read_bytes() == b"mine" if kind == "file" else os.readlink(scratch / name) == "mine"
    assert temporaries(scratch) == []
    assert (scratch / "last").read_bytes() == b"theirs as well"


def test_what_appears_meanwhile_is_kept_where_what_exists_is(scratch: Path) -> None:
    def appear() -> None:
        (scratch / "short").write_bytes(b"mine")

    archive = lmarc.open(io.BytesIO(MANY))
    archive.extractall(scratch, skip_existing=True, observer=Meddler(appear), check=False)
    assert (scratch / "short").read_bytes() == b"mine"
    assert (scratch / "long").read_bytes() == b"theirs" * 1000
    assert temporaries(scratch) == []


def test_what_appears_meanwhile_is_replaced_on_request(scratch: Path) -> None:
    def appear() -> None:
        for name in ("short", "long", "hard", "soft"):
            (scratch / name).write_bytes(b"mine")

    assert lmarc.open(io.BytesIO(MANY)).extractall(scratch, force=True, observer=Meddler(appear)).failed == {}
    assert (scratch / "short").read_bytes() == b"theirs"
    assert (scratch / "hard").samefile(scratch / "last")
    assert os.readlink(scratch / "soft") == "theirs"
    assert temporaries(scratch) == []


@pytest.mark.parametrize("first", [b"n" * 300, b"link/f", b"taken"])
def test_copies_do_not_share_the_fate_of_a_name(first: bytes, scratch: Path) -> None:
    content = b"one content" * 1000
    data = chunked({first: content, b"y": content, b"z": content}, 1000)
    (scratch / "elsewhere").mkdir()
    (scratch / "out" / "taken").mkdir(parents=True)
    (scratch / "out" / "link").symlink_to("../elsewhere")
    result = lmarc.open(io.BytesIO(data)).extractall(scratch / "out", force=True, check=False)
    assert set(result.failed) == {first}
    for name in ("y", "z"):
        assert (scratch / "out" / name).read_bytes() == content
    assert [*(scratch / "elsewhere").iterdir()] == []
    assert temporaries(scratch) == []


# --- names that cannot be given ----------------------------------------------------------------------------


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", ["h", "l", "f"])
def test_nothing_remains_where_a_directory_stands_in_the_way(name: str, full: bool, scratch: Path) -> None:
    (scratch / "out" / name).mkdir(parents=True)
    if full:
        (scratch / "out" / name / "inside").write_bytes(b"mine")
    entries = [GOOD, build.file(b"f", b"f"), build.hardlink(b"h", b"good"), build.symlink(b"l", b"good")]
    (scratch / "x").write_bytes(build.build(entries))
    before = snapshot(scratch / "out" / name)
    done = run("unpack", "x", "-C", "out", "--force", cwd=scratch, code=1)
    assert f"{name}: " in done.err
    assert temporaries(scratch) == []
    assert sorted(path.name for path in (scratch / "out").iterdir()) == ["f", "good", "h", "l"]
    assert snapshot(scratch / "out" / name) == before
