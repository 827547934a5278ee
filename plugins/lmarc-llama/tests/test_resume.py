"""What is interrupted goes on with --resume, and loses no more than the group in work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lmarc
from tests.cli import program

Paths = dict[str, Path]

GROUP = 8192
#: The program with groups that a test can wait for, and which says of each that it is being coded or decoded.
_SMALL_GROUPS = f"""
from lmarc.archive import presets
from lmarc.backends.predicted import PredictorCodec
presets.GROUP_SIZE = {GROUP}
presets.ChunkCoder._model = lambda coder, cm, data: ("store", data)
def told(method, word):
    def tell(self, *args):
        with open("log", "a") as log:
            print(word, file=log)
        return method(self, *args)
    return tell
PredictorCodec.compress = told(PredictorCodec.compress, "coded")
PredictorCodec.decompress = told(PredictorCodec.decompress, "decoded")
from lmarc.cli.main import main
main()
"""
#: Long contexts take a small model most of its time.
QUICK = ("-j", "1", "--set", "context=128")
COMMAND = (sys.executable, "-c", _SMALL_GROUPS)


def text(seed: int, size: int) -> bytes:
    words = b"the old harbour was quiet in the morning and nobody spoke of the storm that had come".split()
    return b" ".join(words[(index * index + seed * index) % 17 % len(words)] for index in range(size // 3))[:size]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a tree to pack: a file of several groups, one of its own, links and a closed directory."""
    (tmp_path / "tree" / "closed").mkdir(parents=True)
    (tmp_path / "tree" / "long.txt").write_bytes(text(3, 4 * GROUP + 100))
    (tmp_path / "tree" / "closed" / "short.txt").write_bytes(text(5, 3000))
    (tmp_path / "tree" / "closed" / "link").symlink_to("short.txt")
    os.link(tmp_path / "tree" / "closed" / "short.txt", tmp_path / "tree" / "same.txt")
    (tmp_path / "tree" / "closed").chmod(0o555)
    return tmp_path


def counted(folder: Path, word: str) -> int:
    return (folder / "log").read_text().split().count(word) if (folder / "log").exists() else 0


@contextmanager
def started(folder: Path, *args: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    env = program.environment()
    with subprocess.Popen([*COMMAND, *args], cwd=folder, env=env, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + program.TIMEOUT
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.005)


def test_pack(models: Paths, folder: Path) -> None:
    args = ("pack", *QUICK, "-m", models["bpe"], "tree", "-o")
    program.run(*args, "whole.lmarc", cwd=folder, command=COMMAND)
    groups = counted(folder, "coded")
    assert groups >= 5
    with started(folder, *args, "x.lmarc") as process:
        wait_until(lambda: counted(folder, "coded") >= groups + 3, process)
        process.kill()
    assert not (folder / "x.lmarc").exists()
    # What is there is not thrown away by mistake.
    assert "--resume" in program.run(*args, "x.lmarc", cwd=folder, command=COMMAND, code=1).err
    before = counted(folder, "coded")
    program.run(*args, "x.lmarc", "--resume", cwd=folder, command=COMMAND)
    # Of those that had begun, all but the last need not be coded again.
    assert before - groups - 1 <= groups - (counted(folder, "coded") - before)
    assert (folder / "x.lmarc").read_bytes() == (folder / "whole.lmarc").read_bytes()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_unpack(models: Paths, folder: Path) -> None:
    program.run("pack", *QUICK, "-m", models["bpe"], "tree", "-o", "x.lmarc", cwd=folder, command=COMMAND)
    with lmarc.open(folder / "x.lmarc") as archive:
        groups = len(archive.chunks)
    args = ("unpack", "-j", "1", "-m", models["bpe"], "x.lmarc", "-C", "out")
    with started(folder, *args) as process:
        wait_until(lambda: counted(folder, "decoded") >= 4, process)
        process.send_signal(signal.SIGINT)
        assert "--resume goes on" in process.communicate(timeout=program.TIMEOUT)[1].decode()
    assert not (folder / "out" / "tree" / "long.txt").exists()
    assert "--resume" in program.run(*args, cwd=folder, command=COMMAND, code=1).err
    before = counted(folder, "decoded")
    program.run(*args, "--resume", cwd=folder, command=COMMAND)
    assert counted(folder, "decoded") - before <= groups - 3
    program.run("diff", "x.lmarc", "-C", "out", cwd=folder, command=COMMAND)
    assert (folder / "out" / "tree" / "long.txt").read_bytes() == text(3, 4 * GROUP + 100)
    assert [path.name for path in (folder / "out").iterdir()] == ["tree"]


def test_what_changed_meanwhile_is_coded_anew(models: Paths, folder: Path) -> None:
    args = ("pack", *QUICK, "-m", models["bpe"], "tree", "-o", "x.lmarc")
    with started(folder, *args) as process:
        wait_until(lambda: counted(folder, "coded") >= 3, process)
        process.send_signal(signal.SIGINT)
        assert "--resume goes on" in process.communicate(timeout=program.TIMEOUT)[1].decode()
    changed = b"Something else. " + text(7, 2 * GROUP)
    (folder / "tree" / "long.txt").write_bytes(changed)
    program.run(*args, "--resume", cwd=folder, command=COMMAND)
    with lmarc.open(folder / "x.lmarc", models=[str(models["bpe"])]) as archive:
        assert archive.read("tree/long.txt") == changed


def test_the_archive_gets_no_name(models: Paths, folder: Path) -> None:
    """All is coded, and then something stands where the archive should go."""
    args = ("pack", *QUICK, "-m", models["bpe"], "tree", "-o", "x.lmarc")
    with started(folder, *args) as process:
        wait_until(lambda: counted(folder, "coded") >= 2, process)
        (folder / "x.lmarc").write_bytes(b"precious")
        assert "--resume goes on" in process.communicate(timeout=program.TIMEOUT)[1].decode()
    assert (folder / "x.lmarc").read_bytes() == b"precious"
    before = counted(folder, "coded")
    (folder / "x.lmarc").unlink()
    program.run(*args, "--resume", cwd=folder, command=COMMAND)
    assert counted(folder, "coded") == before


def test_unpack_in_parts(models: Paths, folder: Path) -> None:
    """What is kept stays until all that the archive has is there; what is in the way is not touched meanwhile."""
    program.run("pack", *QUICK, "-m", models["bpe"], "tree", "-o", "x.lmarc", cwd=folder, command=COMMAND)
    args = ("unpack", "-j", "1", "x.lmarc", "-C", "out")
    with started(folder, *args, "-m", models["bpe"]) as process:
        wait_until(lambda: counted(folder, "decoded") >= 4, process)
        process.kill()
    kept = [path for path in (folder / "out").iterdir() if path.name.endswith(".kept")]
    assert len(kept) == 1
    # Not even a model is here.
    program.run(*args, "--resume", cwd=folder, command=COMMAND, code=13)
    assert kept[0].exists()
    program.run(*args, "--resume", "-m", models["bpe"], "tree/same.txt", cwd=folder, command=COMMAND)
    assert kept[0].exists()
    (folder / "out" / "tree" / "long.txt").write_bytes(b"mine")
    assert "exists" in program.run(*args, "--resume", "-m", models["bpe"], cwd=folder, command=COMMAND, code=1).err
    assert kept[0].exists()
    before = counted(folder, "decoded")
    program.run(*args, "--resume", "--force", "-m", models["bpe"], cwd=folder, command=COMMAND)
    assert counted(folder, "decoded") - before <= 3
    assert not kept[0].exists()
    program.run("diff", "x.lmarc", "-C", "out", cwd=folder, command=COMMAND)
