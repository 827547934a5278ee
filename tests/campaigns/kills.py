"""SIGKILL at random moments of every command that writes: nothing that is not whole under a final name, what was there
before still readable, and the next run ends as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import lmarc
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.common import Entry, clear, compare, make_tree, prose, scan
from tests.campaigns.counted_pack import JOBS

_LMARC = (sys.executable, "-m", "lmarc")
#: How often the watched file is looked at.
_POLL = 0.0003
#: How long after the last byte the kills of the end fall: fsync, rename and fsync of the directory.
_END = 0.006
_LIMIT = 120


class Job:
    """A command to kill, in a folder of its own: `begin` puts there what it needs."""

    name: ClassVar[str]

    def __init__(self, given: Given, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.archive = folder / "a.lmarc"
        self.partial = folder / ".a.lmarc.partial"
        self.duration = self.writing = 0.0
        self.final = 0
        self.begin()
        self._measure()
        self.result = self.state()

    @property
    def command(self) -> list[str]:
        """What is killed."""
        raise NotImplementedError

    def begin(self) -> None:
        """Make the folder what it is before the command."""
        clear(os.fsencode(self.folder))

    def written(self) -> int:
        """Bytes of what is being written, -1 before that has begun."""
        return _size(self.partial)

    def state(self) -> object:
        """What the command makes; the same after every whole run."""
        return self.archive.read_bytes()

    def check(self, tally: Tally) -> list[str]:
        """What is wrong after a kill."""
        raise NotImplementedError

    def again(self) -> list[str]:
        """The command that goes on after a kill."""
        return self.command

    def strays(self) -> set[str]:
        """What must not be there after the next run."""
        return {path.name for path in self.folder.iterdir()} - {self.archive.name}

    def run(self, command: list[str]) -> tuple[int, str]:
        """Run a command to its end. Its exit code and messages."""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=_LIMIT)
        return done.returncode, done.stderr

    def _measure(self) -> None:
        began, first = time.monotonic(), None
        with self._started() as process:
            while process.poll() is None:
                size = self.written()
                if size >= 0:
                    first = first or time.monotonic()
                    self.final = max(self.final, size)
                time.sleep(_POLL)
        assert process.returncode == 0, f"{self.name} ends with {process.returncode}"
        self.duration = time.monotonic() - began
        self.writing = time.monotonic() - (first or began)

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        with tempfile.TemporaryFile() as errors:
            yield subprocess.Popen(self.command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=errors)

    def kill(self, rng: random.Random, tally: Tally) -> None:
        """Start it and kill it at a random moment."""
        how = rng.choices(("any time", "while writing", "at the end"), (3, 5, 2))[0]
        delay = rng.uniform(0, {"any time": self.duration, "while writing": self.writing}.get(how, _END))
        ready: Callable[[], bool] = {
            "any time": lambda: True,
            "while writing": lambda: self.written() >= 0,
            "at the end": lambda: self.written() >= self.final,
        }[how]
        with self._started() as process:
            while process.poll() is None and not ready():
                time.sleep(_POLL if how == "while writing" else 0)
            until = time.monotonic() + delay
            while process.poll() is None and time.monotonic() < until:
                time.sleep(0 if how == "at the end" else _POLL)
            process.kill()
            process.wait(_LIMIT)
        tally.counts[f"{self.name}: killed {how}"] += process.returncode == -signal.SIGKILL
        tally.counts["killed while running"] += process.returncode == -signal.SIGKILL

    def attempt(self, rng: random.Random, tally: Tally) -> list[str]:
        """One kill, and what is wrong after it."""
        self.begin()
        self.kill(rng, tally)
        faults = self.check(tally)
        code, errors = self.run(self.again())
        if code != 0:
            return [*faults, f"the next run ends with {code}: {errors}"]
        if self.state() != self.result:
            faults.append("the next run makes something else")
        if self.strays():
            faults.append(f"after the next run there is {self.strays()}")
        return faults


class PackFast(Job):
    """Nothing there before."""

    name = "pack"
    preset = "fast"
    before: bytes | None = None

    @property
    def command(self) -> list[str]:
        """Pack the tree."""
        force = [] if self.before is None else ["--force"]
        return [*_LMARC, "pack", str(self.given.tree), "-o", str(self.archive), "--preset", self.preset, *force]

    def begin(self) -> None:
        """With an old archive, or without."""
        super().begin()
        if self.before is not None:
            self.archive.write_bytes(self.before)

    def check(self, tally: Tally) -> list[str]:
        """All or nothing under the final name."""
        now = self.archive.read_bytes() if self.archive.exists() else None
        tally.counts["partial file left"] += self.partial.exists()
        if now == self.result:
            tally.counts["complete in spite of the kill"] += 1
        elif now != self.before:
            return [f"{None if now is None else len(now)} bytes under the final name"]
        left = self.strays() - {self.partial.name}
        return [f"{left} left"] if left else []

    def again(self) -> list[str]:
        """Over what is there now."""
        return self.command if self.before is not None or not self.archive.exists() else [*self.command, "--force"]


class PackOver(PackFast):
    """Over an old archive."""

    name = "pack --force"

    def begin(self) -> None:
        """With an old archive."""
        self.before = self.given.old
        super().begin()


class PackProtected(PackOver):
    """With recovery data."""

    name = "pack --recovery"

    @property
    def command(self) -> list[str]:
        """Pack the tree with parity."""
        return [*super().command, "--recovery", "5%"]


class PackModel(PackOver):
    """By cm."""

    name = "pack by cm"
    preset = "balanced"


class Resume(Job):
    """Packing that keeps what it has coded: the program is a real pack that notes which chunks it codes."""

    name = "pack --resume"

    @property
    def log(self) -> Path:
        """Where the program notes what it codes."""
        return self.folder / "log"

    @property
    def command(self) -> list[str]:
        """Pack text by cm in small chunks."""
        program = [sys.executable, "-m", "tests.campaigns.counted_pack", str(self.log)]
        return [*program, "pack", str(self.given.text), "-o", str(self.archive), "--resume"]

    def run(self, command: list[str]) -> tuple[int, str]:
        """The same, and count what was done twice."""
        before = self.log.read_bytes().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        done = super().run(command)
        self.twice = len(set(before) & set(self.log.read_bytes().split())) if self.log.exists() else 0
        self.log.unlink(missing_ok=True)
        return done

    def check(self, tally: Tally) -> list[str]:
        """Nothing under the final name, or all."""
        now = self.archive.read_bytes() if self.archive.exists() else None
        self.was_complete = now == self.result
        return [] if now in (None, self.result) else [f"{len(now or b'')} bytes under the final name"]

    def again(self) -> list[str]:
        """What goes on may find all done."""
        return [*self.command, "--force"] if self.archive.exists() else self.command

    def strays(self) -> set[str]:
        """But for the log."""
        return super().strays() - {self.log.name}

    def attempt(self, rng: random.Random, tally: Tally) -> list[str]:
        """At most one chunk for each worker is coded twice."""
        faults = super().attempt(rng, tally)
        if not self.was_complete:
            tally.peak("chunks coded twice", self.twice)
            if self.twice > JOBS:
                faults.append(f"{self.twice} chunks coded twice by {JOBS} workers")
        return faults


class Unpack(Job):
    """Extraction into a directory that is not there."""

    name = "unpack"

    @property
    def command(self) -> list[str]:
        """Unpack the archive."""
        return [*_LMARC, "unpack", str(self.given.packed), "-C", "place"]

    def written(self) -> int:
        """Nothing is known of the size: whether there is anything, and whether the last link is there."""
        place = self.folder / "place" / "tree"
        return os.path.lexists(os.fsencode(place) + b"/" + self.given.last) if place.exists() else -1

    def state(self) -> object:
        """Everything as it was packed."""
        found = scan(os.fsencode(self.folder / "place"))
        whole = {path: entry for path, entry in found.items() if not _is_temporary(path)}
        return compare(self.given.expected, whole, self.given.expected) + sorted(
            map(repr, whole.keys() ^ self._paths())
        )

    def _paths(self) -> set[bytes]:
        return set(self.given.expected)

    def check(self, tally: Tally) -> list[str]:
        """What has a member's name is that member, whole."""
        place = self.folder / "place"
        found = scan(os.fsencode(place)) if place.exists() else {}
        whole = {path: entry for path, entry in found.items() if not _is_temporary(path)}
        tally.counts["temporary files left by unpack"] += len(found) - len(whole)
        tally.counts["whole members found"] += len(whole)
        kept = {path for path, entry in whole.items() if entry.kind != "dir"}
        return compare(self.given.expected, whole, kept)

    def again(self) -> list[str]:
        """Over what is there."""
        return [*self.command, "--force"]

    def strays(self) -> set[str]:
        """Temporary files may stay after a kill: they have no member's name."""
        return super().strays() - {"place"}


class _Change(Job):
    """A change in place: read as before or as after."""

    def begin(self) -> None:
        """The archive as it was before."""
        super().begin()
        self.archive.write_bytes(self.given.small)

    def written(self) -> int:
        """Bytes beyond what there was, -1 before there are any."""
        more = _size(self.archive) - len(self.given.small)
        return more if more > 0 else -1

    def state(self) -> object:
        """Names and hashes: a change after an interrupted one need not have the same bytes."""
        return _members(self.archive)

    def check(self, tally: Tally) -> list[str]:
        """The members of before or of after, and every one can be read."""
        with lmarc.open(self.archive) as archive:
            failed = archive.test(jobs=1)
            now = {info.name: info.hash for info in archive}
        more = _size(self.archive) - len(self.given.small)
        tally.counts["unfinished ends"] += 0 < more < self.final
        faults = [f"{name} cannot be read: {error}" for name, error in failed.items()]
        # A long add has checkpoints in between; this one is not that long.
        if now not in (self.given.small_members, self.result):
            faults.append("neither the members of before nor those of after")
        return faults


class Add(_Change):
    """Adding the tree, some MB."""

    name = "add"

    @property
    def command(self) -> list[str]:
        """Add the tree."""
        return [*_LMARC, "add", str(self.archive), str(self.given.tree), "--preset", "fast"]


class Remove(_Change):
    """Taking out what is most of it."""

    name = "rm"

    @property
    def command(self) -> list[str]:
        """Take the copies out."""
        return [*_LMARC, "rm", str(self.archive), "text/one"]

    def again(self) -> list[str]:
        """Where it is out already, the same is asked of the state before."""
        if "text/one" not in _members(self.archive):
            self.begin()
        return self.command


class Compact(_Change):
    """Writing anew what is in an archive."""

    name = "compact"

    @property
    def command(self) -> list[str]:
        """Compact it."""
        return [*_LMARC, "compact", str(self.archive)]

    def begin(self) -> None:
        """With something to take out."""
        super().begin()
        self.archive.write_bytes(self.given.large)

    def written(self) -> int:
        """Bytes of the new one."""
        return _size(self.partial)

    def check(self, tally: Tally) -> list[str]:
        """The old or the new one, both with the same members."""
        tally.counts["partial file left"] += self.partial.exists()
        if self.archive.read_bytes() == self.given.large:
            return []
        tally.counts["complete in spite of the kill"] += 1
        return [] if _members(self.archive) == self.result else ["neither the old archive nor the new one"]


class Repair(Job):
    """Mending a damaged archive in its place."""

    name = "repair"

    @property
    def command(self) -> list[str]:
        """Mend it."""
        return [*_LMARC, "repair", str(self.archive)]

    def begin(self) -> None:
        """The damaged archive."""
        super().begin()
        self.archive.write_bytes(self.given.damaged)

    def check(self, tally: Tally) -> list[str]:
        """Damaged as it was, or whole."""
        now = self.archive.read_bytes()
        tally.counts["partial file left"] += self.partial.exists()
        tally.counts["complete in spite of the kill"] += now == self.given.protected
        return [] if now in (self.given.damaged, self.given.protected) else ["neither as it was nor mended"]


JOBS_TO_KILL: tuple[type[Job], ...] = (
    *(PackFast, PackOver, PackProtected, PackModel, Resume),
    *(Unpack, Add, Add, Remove, Compact, Repair, Repair),
)


class Given:
    """What the commands work on, the same for all processes."""

    def __init__(self, folder: Path, seed: int) -> None:
        rng = random.Random(seed)
        self.tree, self.text = folder / "tree", folder / "text"
        # Every kind of member, some MB that do not compress, some text, and many small files.
        make_tree(self.tree, seed, noise=6 << 20, text=60_000)
        for i in range(300):
            (self.tree / "notes" / f"small {i}").write_bytes(prose(rng, rng.randrange(1, 100)))
        os.utime(self.tree / "notes", ns=(10**18, 10**18))
        self.text.mkdir()
        for name in ("one", "two"):
            (self.text / name).write_bytes(prose(rng, 400_000))
        self.old = lmarc.compress(b"the archive that was there before" * 40, preset="fast")
        self.packed = folder / "packed.lmarc"
        lmarc.pack([self.tree], self.packed, preset="fast")
        self.expected = {b"tree/" + path: entry for path, entry in scan(bytes(self.tree)).items()}
        info = self.tree.stat()
        self.expected[b"tree"] = Entry("dir", info.st_mode & 0o7777, info.st_mtime_ns, b"", info.st_ino)
        self.last = max(path for path, entry in self.expected.items() if entry.kind == "symlink")[len(b"tree/") :]
        self.small = self._made(folder, [self.text])
        self.small_members = _members(folder / "made.lmarc")
        lmarc.add(folder / "made.lmarc", [self.tree], preset="fast")
        lmarc.remove(folder / "made.lmarc", ["text/one"])
        self.large = (folder / "made.lmarc").read_bytes()
        (folder / "made.lmarc").unlink()
        self.protected = self._made(folder, [self.tree], recovery=5.0)
        at = len(self.protected) // 3
        self.damaged = self.protected[:at] + bytes(60_000) + self.protected[at + 60_000 :]

    def _made(self, folder: Path, what: list[Path], recovery: float | None = None) -> bytes:
        made = folder / "made.lmarc"
        lmarc.pack(what, made, preset="fast", force=True, recovery=recovery)
        return made.read_bytes()


class Kills(Campaign):
    """Commands in turn."""

    name = "kills"
    what = "SIGKILL at random moments of pack, pack --resume, unpack, add, rm, compact and repair"
    cases = 1200
    part = 24

    def prepare(self, folder: Path) -> int:
        """Make what the commands work on."""
        self.given = Given(folder, self.seed)
        return self.cases

    def run(self, numbers: range) -> Tally:
        """Kill."""
        tally, made = Tally(), {}
        with tempfile.TemporaryDirectory(prefix="lmarc-kills-") as place:
            for number in numbers:
                kind = JOBS_TO_KILL[number % len(JOBS_TO_KILL)]
                if kind not in made:
                    folder = Path(place) / kind.__name__
                    folder.mkdir()
                    made[kind] = kind(self.given, folder)
                faults = made[kind].attempt(self.rng(number), tally)
                tally.cases += 1
                tally.faults += [f"{kind.name}, kill {number}: {fault}" for fault in faults]
            # Directories without write permission are in the way of removing them.
            for folder in Path(place).iterdir():
                clear(os.fsencode(folder))
        return tally


def _members(archive: Path) -> dict[str, bytes]:
    with lmarc.open(archive) as opened:
        return {info.name: info.hash for info in opened}


def _is_temporary(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(b".lmarc-")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
