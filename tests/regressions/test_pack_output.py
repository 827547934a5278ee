"""Where an archive goes: what stands there, what stands beside it, and what appears there meanwhile."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

import lmarc
from tests.cli.program import COMMAND, Result, environment, names, run
from tests.regressions.streams import Meddler


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a tree in it."""
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").write_bytes(b"content of a")
    (tmp_path / "b").write_bytes(b"content of b")
    return tmp_path


def pack(here: Path, *args: str, code: int | None = 0) -> Result:
    return run("pack", "-p", "fast", *args, cwd=here, code=code)


# --- nothing to pack ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [("typo",), ("typo", "another"), ("-T", "list")])
def test_a_typo_never_costs_an_archive(args: tuple[str, ...], here: Path) -> None:
    (here / "list").write_bytes(b"typo\n")
    (here / "good.lmarc").write_bytes(b"precious")
    before = sorted(here.iterdir())
    done = pack(here, *args, "-f", "-o", "good.lmarc", code=1)
    assert done.out == b""
    assert done.err.splitlines()[0].startswith("lmarc: typo: ")
    assert (here / "good.lmarc").read_bytes() == b"precious"
    pack(here, *args, "-o", "new.lmarc", code=1)
    pack(here, *args, "-o", "new.lmarc", "--json", code=1)
    assert sorted(here.iterdir()) == before


def test_a_typo_is_told_in_a_line(here: Path) -> None:
    said = pack(here, "typo", "-o", "new.lmarc", code=1).err.splitlines()
    assert len(said) <= 2
    assert "typo" in said[0]


def test_a_typo_in_the_api(here: Path) -> None:
    (here / "good.lmarc").write_bytes(b"precious")
    with pytest.raises(lmarc.LmarcError) as caught:
        lmarc.pack([here / "typo"], here / "good.lmarc", force=True)
    assert caught.value.exit_code == 1
    assert (here / "good.lmarc").read_bytes() == b"precious"


def test_one_path_need_not_be_a_list(here: Path) -> None:
    with chdir(here):
        for path in ("t", Path("t"), here / "t"):
            lmarc.pack(path, "x.lmarc", preset="fast", force=True)
            assert names(here / "x.lmarc") == [b"t", b"t/a"]


# --- the archive itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [("x.lmarc",), ("t", "x.lmarc"), ("./x.lmarc", "t"), ("t", "../{}/x.lmarc")])
def test_the_output_as_a_source(args: tuple[str, ...], here: Path) -> None:
    pack(here, "t", "-o", "x.lmarc")
    before = (here / "x.lmarc").read_bytes()
    done = pack(here, *(arg.format(here.name) for arg in args), "-o", "x.lmarc", "-f", code=2)
    assert "x.lmarc" in done.err
    assert (here / "x.lmarc").read_bytes() == before
    assert sorted(path.name for path in here.iterdir()) == ["b", "t", "x.lmarc"]


def test_the_output_inside_what_is_packed(here: Path) -> None:
    pack(here, ".", "-o", "x.lmarc")
    done = pack(here, ".", "-o", "x.lmarc", "-f")
    assert [line for line in done.err.splitlines() if line.startswith("lmarc: x.lmarc: ") and "left out" in line]
    assert names(here / "x.lmarc") == [b"b", b"t", b"t/a"]


def to_stdout(here: Path, name: str, *args: str) -> tuple[int, str]:
    """lmarc pack ARGS -o - > NAME"""
    with (here / name).open("wb") as file:
        line = [*COMMAND, "pack", "-p", "fast", *args, "-o", "-"]
        done = subprocess.run(line, cwd=here, env=environment(), stdout=file, stderr=subprocess.PIPE, timeout=60)
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stderr.decode()


def test_standard_output_inside_what_is_packed(here: Path) -> None:
    code, said = to_stdout(here, "self.lmarc", ".")
    assert code == 0
    assert "self.lmarc" in said and "left out" in said
    assert names(here / "self.lmarc") == [b"b", b"t", b"t/a"]


def test_standard_output_as_a_source(here: Path) -> None:
    assert to_stdout(here, "self.lmarc", "self.lmarc")[0] == 2


# --- what appears there meanwhile --------------------------------------------------------------------------


def test_an_archive_that_appears_meanwhile_is_kept(here: Path) -> None:
    path = here / "x.lmarc"
    with chdir(here), pytest.raises(lmarc.TargetExistsError):
        lmarc.pack(["t"], path, preset="fast", observer=Meddler(lambda: path.write_bytes(b"another's")))
    assert path.read_bytes() == b"another's"
    assert sorted(item.name for item in here.iterdir()) == ["b", "t", "x.lmarc"]


def test_an_archive_that_appears_at_the_last_moment_is_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here / "x.lmarc"
    for name in ("link", "rename", "replace"):
        call = getattr(os, name)

        def late(source: str, target: str, *args: object, call: Callable[..., None] = call, **options: object) -> None:
            path.write_bytes(b"another's")
            call(source, target, *args, **options)

        monkeypatch.setattr(os, name, late)
    with chdir(here), pytest.raises(lmarc.TargetExistsError):
        lmarc.pack(["t"], path, preset="fast")
    assert path.read_bytes() == b"another's"
    assert sorted(item.name for item in here.iterdir()) == ["b", "t", "x.lmarc"]


# --- what stands there -------------------------------------------------------------------------------------


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["hard link", "symlink", "dangling"])
def test_what_stands_under_the_working_name_is_not_written_to(kind: str, force: bool, here: Path) -> None:
    partial = here / ".x.lmarc.partial"
    if kind == "hard link":
        os.link(here / "b", partial)
    else:
        partial.symlink_to("b" if kind == "symlink" else "new")
    done = pack(here, "t", "-o", "x.lmarc", *(["-f"] if force else []), code=None)
    assert done.code in (0, 1), done.err
    assert (here / "b").read_bytes() == b"content of b"
    assert not (here / "new").exists()
    assert (here / "x.lmarc").exists() == (done.code == 0)
    if done.code == 0:
        assert not (here / "x.lmarc").is_symlink()
        assert not (here / "x.lmarc").samefile(here / "b")
        assert names(here / "x.lmarc") == [b"t", b"t/a"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_an_archive_that_is_replaced_keeps_its_mode(mode: int, here: Path) -> None:
    path = here / "x.lmarc"
    path.write_bytes(b"old")
    path.chmod(mode)
    modes = []
    with chdir(here):
        partial = here / ".x.lmarc.partial"
        observer = Meddler(lambda: modes.extend(item.stat().st_mode & 0o777 for item in [partial] if item.exists()))
        lmarc.pack(["t"], path, preset="fast", force=True, observer=observer)
    assert path.stat().st_mode & 0o777 == mode
    # Nobody may read it while it is written who may not afterwards.
    assert all(now & ~mode == 0 for now in modes)
    assert lmarc.is_lmarc(path)


def test_a_directory_as_output_is_refused_at_once(here: Path) -> None:
    (here / "dir").mkdir()
    line = [*COMMAND, "pack", "-", "-p", "fast", "-o", "dir", "-f"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, cwd=here, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stderr is not None
        try:
            # Its standard input stays open: it ends without having read it, or never.
            assert process.wait(20) == 1
        finally:
            process.kill()
        said = process.stderr.read().decode()
    assert "Traceback" not in said
    assert "dir" in said and "directory" in said
    assert len(said.splitlines()) == 1
    assert sorted(path.name for path in here.iterdir()) == ["b", "dir", "t"]
