"""SIGKILL at random moments: nothing that is not whole under a final name, and the next run works."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lmarc
from tests.campaigns.common import Entry, compare, make_tree, prose, scan

SEED = 20260102
_LMARC = (sys.executable, "-m", "lmarc")
#: How often the watched file is looked at.
_POLL = 0.0003
#: How long after the last byte the kills of the end fall: fsync, rename and fsync of the directory.
_END = 0.006
_LIMIT = 120


@dataclass
class Job:
    """A command to kill: `appeared` tells that it has begun to write, `full` that it has written the last byte."""

    command: list[str]
    appeared: Callable[[], bool]
    full: Callable[[], bool]
    duration: float = 0.0
    writing: float = 0.0

    def kill(self, rng: random.Random) -> tuple[str, bool]:
        """Start it and kill it at a random moment; tell how the moment was chosen and whether it was running."""
        how = rng.choices(("any time", "while writing", "at the end"), (3, 5, 2))[0]
        watch = {"any time": lambda: True, "while writing": self.appeared, "at the end": self.full}[how]
        delay = rng.uniform(0, {"any time": self.duration, "while writing": self.writing}.get(how, _END))
        process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not watch():
            time.sleep(_POLL if how == "while writing" else 0)
        until = time.monotonic() + delay
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0 if how == "at the end" else _POLL)
        process.kill()
        process.wait(_LIMIT)
        return how, process.returncode == -signal.SIGKILL

    def run(self, *more: str) -> tuple[int, str]:
        """Run it to its end, and take from it how long that is and how long it writes. Its exit code and messages."""
        with tempfile.TemporaryFile("w+") as errors:
            began, fresh = time.monotonic(), not self.appeared()
            process = subprocess.Popen([*self.command, *more], stdout=subprocess.DEVNULL, stderr=errors)
            first = None
            while process.poll() is None:
                first = first or (time.monotonic() if self.appeared() else None)
                time.sleep(_POLL)
            self.duration = time.monotonic() - began
            if fresh:
                self.writing = time.monotonic() - (first or began)
            errors.seek(0)
            return process.returncode, errors.read()


@dataclass
class Figures:
    """What a campaign has seen."""

    kills: int = 0
    hits: int = 0
    found: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        self.found[what] = self.found.get(what, 0) + number

    def report(self, capsys: pytest.CaptureFixture[str], what: str, began: float) -> None:
        """Print the line of figures and fail if there are faults."""
        found = ", ".join(f"{name}: {count}" for name, count in sorted(self.found.items()))
        with capsys.disabled():
            print(
                f"\nkill, {what}: {self.kills} kills, {self.hits} while running ({found}), "
                f"{len(self.faults)} faults, {time.monotonic() - began:.0f} s"
            )
        assert not self.faults, "\n".join(self.faults[:20])


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """Every kind of member, some MB that do not compress, some text, and many small files."""
    rng, root = random.Random(SEED), tmp_path / "tree"
    make_tree(root, SEED, noise=6 << 20, text=60_000)
    for i in range(300):
        (root / "notes" / f"small {i}").write_bytes(prose(rng, rng.randrange(1, 100)))
    os.utime(root / "notes", ns=(10**18, 10**18))
    yield root
    shutil.rmtree(tmp_path, ignore_errors=True)


def pack_campaign(tree: Path, preset: str, force: bool, kills: int) -> Figures:
    figures, rng = Figures(), random.Random(f"{SEED} {preset} {force}")
    folder = tree.parent / "out"
    folder.mkdir()
    archive, partial = folder / "a.lmarc", folder / ".a.lmarc.partial"
    old = lmarc.compress(b"the archive that was there before" * 40, preset="fast")
    command = [*_LMARC, "pack", str(tree), "-o", str(archive), "--preset", preset, *(["--force"] if force else [])]

    def reset() -> None:
        archive.unlink(missing_ok=True)
        if force:
            archive.write_bytes(old)

    reset()
    job = Job(command, partial.exists, lambda: False)
    assert job.run()[0] == 0
    whole = archive.read_bytes()
    with lmarc.open(archive) as opened:
        assert not opened.damage and not opened.test()
    job.full = lambda: _size(partial) == len(whole)
    before = old if force else None
    while figures.hits < kills and figures.kills < 2 * kills:
        reset()
        how, hit = job.kill(rng)
        figures.kills += 1
        figures.hits += hit
        figures.count(f"killed {how}", hit)
        case = f"{preset}, force={force}, kill {figures.kills} {how}"
        figures.count("partial file left", partial.exists())
        now = archive.read_bytes() if archive.exists() else None
        if now == whole:
            figures.count("final name complete")
        elif now != before:
            figures.faults.append(f"{case}: {None if now is None else len(now)} bytes under the final name")
        strays = {path.name for path in folder.iterdir()} - {archive.name, partial.name}
        if strays:
            figures.faults.append(f"{case}: {strays} left")
        code, errors = job.run(*([] if force or now is None else ["--force"]))
        if code != 0:
            figures.faults.append(f"{case}: the next run ends with {code}: {errors}")
        elif archive.read_bytes() != whole:
            figures.faults.append(f"{case}: the next run gives other bytes")
        if [path.name for path in folder.iterdir()] != [archive.name]:
            figures.faults.append(f"{case}: after the next run there is {sorted(p.name for p in folder.iterdir())}")
    return figures


def unpack_campaign(tree: Path, kills: int) -> Figures:
    figures, rng = Figures(), random.Random(f"{SEED} unpack")
    archive, place = tree.parent / "a.lmarc", tree.parent / "place"
    lmarc.pack([tree], archive, preset="fast")
    expected = {b"tree/" + path: entry for path, entry in scan(bytes(tree)).items()}
    info = tree.stat()
    expected[b"tree"] = Entry("dir", info.st_mode & 0o7777, info.st_mtime_ns, b"", info.st_ino)
    last = max(path for path, entry in expected.items() if entry.kind == "symlink")

    def reset() -> None:
        shutil.rmtree(place, ignore_errors=True)

    job = Job(
        [*_LMARC, "unpack", str(archive), "-C", str(place)],
        (place / "tree").exists,
        lambda: os.path.lexists(bytes(place) + b"/" + last),
    )
    assert job.run()[0] == 0
    while figures.hits < kills and figures.kills < 2 * kills:
        reset()
        how, hit = job.kill(rng)
        figures.kills += 1
        figures.hits += hit
        figures.count(f"killed {how}", hit)
        case = f"unpack, kill {figures.kills} {how}"
        found = scan(bytes(place)) if place.exists() else {}
        strays = {path for path in found if path.rpartition(b"/")[2].startswith(b".lmarc-")}
        figures.count("temporary files left", len(strays))
        figures.count("kills that left a part", 0 < len(found) < len(expected))
        whole = {path: entry for path, entry in found.items() if path not in strays}
        figures.count("whole members found", len(whole))
        kept = {path for path, entry in whole.items() if entry.kind != "dir"}
        figures.faults += [f"{case}: {fault}" for fault in compare(expected, whole, kept)]
        code, errors = job.run("--force")
        if code != 0:
            figures.faults.append(f"{case}: unpack --force ends with {code}: {errors}")
        found = {path: entry for path, entry in scan(bytes(place)).items() if path not in strays}
        figures.faults += [f"{case}, then --force: {fault}" for fault in compare(expected, found, expected)]
    return figures


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def test_a_few_kills_of_pack(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    pack_campaign(tree, "fast", True, 3).report(capsys, "pack fast over an old archive", began)


def test_a_few_kills_of_unpack(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    unpack_campaign(tree, 3).report(capsys, "unpack", began)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "force"), [("fast", False), ("fast", True), ("balanced", False), ("balanced", True)]
)
def test_kills_of_pack(tree: Path, preset: str, force: bool, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    figures = pack_campaign(tree, preset, force, 60 if preset == "fast" else 30)
    figures.report(capsys, f"pack {preset}{' over an old archive' if force else ''}", began)
    assert figures.hits >= figures.kills // 3


@pytest.mark.slow
def test_kills_of_unpack(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    figures = unpack_campaign(tree, 100)
    figures.report(capsys, "unpack", began)
    assert figures.hits >= figures.kills // 3
