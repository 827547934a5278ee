"""Control-C: exit code 130, a word on how to go on, and nothing incomplete left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.program import COMMAND, TIMEOUT, environment, run
from tests.plugins.distributions import good, install


@contextmanager
def started(folder: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program at work, its standard input open."""
    env = environment({"PYTHONPATH": str(folder / "plugins")})
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *args], cwd=folder, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait for something the program does."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes], number: signal.Signals) -> str:
    """Send a signal and return what is said."""
    process.send_signal(number)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    return err.decode()


def install_slow(folder: Path) -> None:
    """A backend that takes three seconds for each chunk, in both directions, and says when it begins."""
    nap = "import time\n        open('begun', 'w').close()\n        time.sleep(3)\n        "
    source = good("slow").replace("return bytes(byte", nap + "return bytes(byte")
    install(folder / "plugins", "slow", source)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_waiting_for_data(number: signal.Signals, tmp_path: Path) -> None:
    with started(tmp_path, "pack", "-", "-o", "x.lmarc", "-p", "fast") as process:
        wait_until(lambda: list(tmp_path.iterdir()), process)
        assert process.stdin is not None
        process.stdin.write(os.urandom(10_000))
        process.stdin.flush()
        assert "interrupted" in stop(process, number)
    assert list(tmp_path.iterdir()) == []


def test_while_coding(tmp_path: Path) -> None:
    install_slow(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"text\n" * 10)
    (tmp_path / "x.lmarc").write_bytes(b"the archive that was")
    with started(tmp_path, "pack", "a.txt", "-o", "x.lmarc", "--force", "-b", "slow") as process:
        wait_until((tmp_path / "begun").exists, process)
        assert "interrupted" in stop(process, signal.SIGINT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "begun", "plugins", "x.lmarc"]
    assert (tmp_path / "x.lmarc").read_bytes() == b"the archive that was"
    # The same command starts again.
    run("pack", "a.txt", "-o", "x.lmarc", "--force", "-p", "fast", cwd=tmp_path)


def test_while_compiling(tmp_path: Path) -> None:
    source = good("late").replace(
        "    def compress", "    def prepare(self, params):\n        begin()\n\n    def compress", 1
    )
    source += "\nimport time\ndef begin():\n    open('begun', 'w').close()\n    time.sleep(60)\n"
    install(tmp_path / "plugins", "late", source)
    (tmp_path / "a.txt").write_bytes(b"text\n" * 10)
    with started(tmp_path, "pack", "a.txt", "-o", "x.lmarc", "-b", "late") as process:
        wait_until((tmp_path / "begun").exists, process)
        began = time.monotonic()
        assert "interrupted" in stop(process, signal.SIGINT)
        assert time.monotonic() - began < 30
    assert not (tmp_path / "x.lmarc").exists()


def test_while_unpacking(tmp_path: Path) -> None:
    install_slow(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"text\n" * 10)
    run("pack", "a.txt", "-o", "x.lmarc", "-b", "slow", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "plugins")})
    (tmp_path / "begun").unlink()
    with started(tmp_path, "unpack", "x.lmarc", "-C", "out") as process:
        wait_until((tmp_path / "begun").exists, process)
        assert "interrupted" in stop(process, signal.SIGINT)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_to_standard_output(tmp_path: Path) -> None:
    install_slow(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"text\n" * 10)
    with started(tmp_path, "pack", "a.txt", "-o", "-", "-b", "slow") as process:
        wait_until((tmp_path / "begun").exists, process)
        stop(process, signal.SIGINT)


def test_two_packs_to_one_name(tmp_path: Path) -> None:
    with started(tmp_path, "pack", "-", "-o", "x.lmarc", "-p", "fast") as process:
        wait_until(lambda: list(tmp_path.iterdir()), process)
        assert "another process" in run("pack", "-", "-o", "x.lmarc", stdin=b"x", cwd=tmp_path, code=1).err
        process.communicate(b"first", timeout=TIMEOUT)
    assert process.returncode == 0
    assert run("cat", "x.lmarc", "stdin", cwd=tmp_path).out == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["x.lmarc"]


def test_what_a_killed_pack_left_does_not_disturb_the_next(tmp_path: Path) -> None:
    with started(tmp_path, "pack", "-", "-o", "x.lmarc", "-p", "fast") as process:
        wait_until(lambda: list(tmp_path.iterdir()), process)
        process.kill()
    assert not (tmp_path / "x.lmarc").exists()
    run("pack", "-", "-o", "x.lmarc", "-p", "fast", stdin=b"next", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.lmarc"]
