"""Progress: a bar on standard error where that is a terminal, nothing of the kind anywhere else."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cli.program import COMMAND, TIMEOUT, environment, run
from tests.plugins.distributions import good, install

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ANY_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A directory with a file of five chunks and a backend that takes its time over each."""
    source = good("slow").replace(
        "        return bytes(byte ^ 0x55 for byte in bytes(data))[:-1]", "        nap()\n        return b''", 1
    )
    source += "\nimport time\ndef nap():\n    time.sleep(0.45)\n"
    install(tmp_path / "plugins", "slow", source)
    (tmp_path / "data.txt").write_bytes(bytes(5 * 4 * 2**20 - 1) + b"\n")
    return tmp_path


def on_terminal(folder: Path, *args: str, env: Mapping[str, str] | None = None, code: int = 0) -> tuple[bytes, str]:
    """Run with standard error on a terminal; return standard output and what the terminal got."""
    leader, follower = pty.openpty()
    extra = {"TERM": "xterm-256color", "COLUMNS": "120", "PYTHONPATH": str(folder / "plugins"), **(env or {})}
    try:
        process = subprocess.Popen(
            [*COMMAND, *args], cwd=folder, env=environment(extra), stdout=subprocess.PIPE, stderr=follower
        )
    finally:
        os.close(follower)
    shown = b""
    end = time.monotonic() + TIMEOUT
    try:
        while time.monotonic() < end:
            if select.select([leader], [], [], 0.1)[0]:
                try:
                    piece = os.read(leader, 65536)
                except OSError:
                    break
                if not piece:
                    break
                shown += piece
    finally:
        os.close(leader)
    out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code, shown
    return out, shown.decode()


PACK = ("pack", "data.txt", "-o", "x.lmarc", "--force", "--backend", "slow", "-j", "1")


def test_a_bar_on_a_terminal(slow: Path) -> None:
    out, shown = on_terminal(slow, *PACK)
    assert out == b""
    plain = ANY_ESCAPE.sub("", shown)
    assert "packing" in plain
    assert re.search(r"\d+%", plain)
    assert re.search(r"\d+(\.\d+)? [kMG]?B/s", plain), "rate"
    assert re.search(r"0:00:0\d", plain), "time left"
    assert re.search(r"\d+\.\d %", plain), "ratio"
    assert COLOUR.search(shown)
    assert "data.txt.lmarc" not in plain
    assert plain.rstrip().splitlines()[-1].startswith("lmarc: x.lmarc: 1 members")


def test_no_colour_where_that_is_asked_for(slow: Path) -> None:
    _, shown = on_terminal(slow, *PACK, env={"NO_COLOR": "1"})
    assert "packing" in shown
    colours = {code for code in COLOUR.findall(shown) if re.search(r"[\[;](3\d|4\d|9\d|10\d)[;m]", code)}
    assert colours == set()


def test_quiet_is_quiet_on_a_terminal(slow: Path) -> None:
    assert on_terminal(slow, *PACK, "--quiet") == (b"", "")


def test_a_dumb_terminal_gets_no_escapes(slow: Path) -> None:
    _, shown = on_terminal(slow, *PACK, env={"TERM": "dumb"})
    assert "\x1b" not in shown


def test_no_bar_on_a_pipe(slow: Path) -> None:
    done = run(*PACK, cwd=slow, env={"PYTHONPATH": str(slow / "plugins"), "TERM": "xterm-256color"})
    assert "\x1b" not in done.err and "\r" not in done.err
    assert len(done.err.splitlines()) == 1


def test_no_bar_for_what_is_soon_done(slow: Path) -> None:
    (slow / "small.txt").write_bytes(b"small")
    out, shown = on_terminal(slow, "pack", "small.txt", "-o", "-", "-p", "fast")
    assert out.startswith(b"\x8eLMAR")
    assert "\x1b" not in shown


def test_an_archive_is_not_written_to_a_terminal(slow: Path) -> None:
    leader, follower = pty.openpty()
    line = [*COMMAND, "pack", "data.txt", "-o", "-", "-p", "fast"]
    done = subprocess.run(
        line, cwd=slow, env=environment(), stdout=follower, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    os.close(follower)
    os.close(leader)
    assert done.returncode == 2
    assert b"terminal" in done.stderr


@pytest.fixture
def compiling(tmp_path: Path) -> Path:
    """A directory with a file and a backend that takes its time once, `late` or `soon`, before the first chunk."""
    for name, seconds in (("late", 2.5), ("soon", 0.1)):
        source = good(name).replace(
            "    def compress", f"    def prepare(self, params):\n        time.sleep({seconds})\n\n    def compress", 1
        )
        install(tmp_path / "plugins", name, source + "\nimport time\n")
    (tmp_path / "data.txt").write_bytes(b"a line\n" * 100)
    return tmp_path


NOTE = re.compile(r"compiling the model, once after installing: [12] s")


@pytest.mark.parametrize("command", [("unpack", "-C", "out"), ("test",), ("cat", "data.txt")])
def test_compiling_is_told_of(command: tuple[str, ...], compiling: Path) -> None:
    _, shown = on_terminal(compiling, "pack", "data.txt", "-o", "x.lmarc", "--backend", "late", "--force")
    assert NOTE.search(ANY_ESCAPE.sub("", shown))
    out, shown = on_terminal(compiling, command[0], "x.lmarc", *command[1:])
    assert NOTE.search(ANY_ESCAPE.sub("", shown))
    assert out == ((b"a line\n" * 100) if command[0] == "cat" else b"")
    assert on_terminal(compiling, "list", "x.lmarc")[1] == ""


def test_what_is_soon_prepared_is_not_told_of(compiling: Path) -> None:
    for args in (
        ("pack", "data.txt", "-o", "x.lmarc", "--backend", "soon"),
        ("test", "x.lmarc"),
        ("cat", "x.lmarc", "data.txt"),
    ):
        assert "compiling" not in on_terminal(compiling, *args)[1]


def test_compiling_is_not_told_of_on_a_pipe(compiling: Path) -> None:
    env = {"PYTHONPATH": str(compiling / "plugins")}
    done = run("pack", "data.txt", "-o", "x.lmarc", "--backend", "late", cwd=compiling, env=env)
    assert len(done.err.splitlines()) == 1
