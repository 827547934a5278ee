"""Injected faults: at each call that changes a file or opens one, the system says no, writes a part, or is interrupted.

A small library (faults.c) is preloaded into a process that has lmarc imported, and that forks for each case: the child
runs the command as the command line does, and the call whose turn it is fails. Afterwards the same command runs once
more without a fault.
"""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import lmarc
from lmarc.archive.paths import display
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.common import Entry, clear, compare, make_tree, prose, scan, workplace

_ROOT = Path(__file__).parents[2]
_LIBRARY = "faults.so"
_LIMIT = 60
_RECORDS = 8192
#: What commands may end with: lmarc --help.
_CODES = frozenset({0, 1, 2, 3, *range(10, 18)})
_WARNING = "lmarc: warning: "
_PLACE = "the place"
_PRELOAD = "LD_PRELOAD"

#: As the library counts them.
_KINDS = (
    "open",
    "create",
    "write",
    "sync",
    "rename",
    "link",
    "unlink",
    "truncate",
    "mkdir",
    "symlink",
    "mode",
    "times",
)
_GROWING = ("create", "write", "sync", "rename", "link", "mkdir", "symlink")


@dataclass(frozen=True)
class Fault:
    """What goes wrong with calls of these kinds: at one of them, or (`lasts`) from there on with all of them.

    With `harmless` a command must succeed all the same.
    """

    name: str
    error: int
    kinds: tuple[str, ...] = _KINDS
    lasts: bool = False
    is_short: bool = False
    harmless: bool = False


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("EIO", errno.EIO),
        Fault("ENOSPC", errno.ENOSPC, _GROWING),
        Fault("EINTR", errno.EINTR, ("open", "create", "write", "sync", "truncate"), harmless=True),
        Fault("short write", 0, ("write",), is_short=True, harmless=True),
        Fault("full disk", errno.ENOSPC, _GROWING, lasts=True, is_short=True),
        Fault("dead disk", errno.EIO, lasts=True),
        Fault("no hard links", errno.EPERM, ("link",), lasts=True),
    )
}


class Case(NamedTuple):
    """A fault at the n-th call (from 1) of a command, in its main thread (0) or in the others (1)."""

    command: str
    thread: int
    number: int
    fault: str

    def __str__(self) -> str:
        return f"{self.command}: {self.fault} at call {self.number}{' of another thread' * self.thread}"


@dataclass(frozen=True)
class Command:
    """A command line, of which {place} is where it writes and {made} where what it reads is.

    What is in `start`, a folder made by `_make`, is there before. `target` is what it makes or changes: an archive, or
    the folder `out`. `again` are the words that a second run needs more, those in `over` where the target is there.
    """

    words: str
    target: str = "a.lmarc"
    start: str = ""
    over: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    #: What may stay after an error, and goes with the next run.
    keeps: tuple[str, ...] = ()
    plugin: str = ""

    @property
    def changes(self) -> bool:
        """Whether it changes the members of an archive that is there, or the archive they are in."""
        return self.words.split()[0] in ("add", "rm", "compact")


_PACK = "pack {made}/tree -o {place}/a.lmarc --preset fast"
_CM = "pack {made}/tree -o {place}/a.lmarc --preset balanced --resume"
_UNPACK = "unpack {made}/whole/a.lmarc -C {place}/out"
_FORCE, _RESUME = ("--force",), ("--resume",)
COMMANDS = {
    "pack": Command(_PACK, over=_FORCE),
    "pack --force": Command(_PACK + " --force", start="old"),
    "pack over what a kill left": Command(_PACK, start="partial", over=_FORCE),
    "pack --recovery": Command(_PACK + " --recovery 10%", over=_FORCE),
    "pack, keeping chunks": Command(_CM, over=_FORCE, keeps=(".a.lmarc.kept",)),
    "pack --resume": Command(_CM, start="kept", over=_FORCE, keeps=(".a.lmarc.kept",)),
    "add": Command("add {place}/a.lmarc {made}/more/tree --preset fast", start="whole"),
    "add behind a killed add": Command("add {place}/a.lmarc {made}/more/tree --preset fast", start="cut"),
    "rm": Command("rm {place}/a.lmarc tree/notes", start="whole"),
    "rm behind a killed add": Command("rm {place}/a.lmarc tree/notes", start="cut"),
    "compact": Command("compact {place}/a.lmarc", start="removed"),
    "repair": Command("repair {place}/a.lmarc", start="damaged"),
    "repair -o": Command("repair {made}/damaged/a.lmarc -o {place}/a.lmarc"),
    "unpack": Command(_UNPACK, "out", again=_FORCE),
    "unpack, then --resume": Command(_UNPACK, "out", again=_RESUME),
    "unpack --force": Command(_UNPACK + " --force", "out", "outdated"),
    "unpack --resume": Command(_UNPACK + " --resume", "out", "begun"),
    "unpack, keeping chunks": Command(
        "unpack {made}/slow/a.lmarc -C {place}/out", "out", again=_RESUME, keeps=("kept",), plugin="order2"
    ),
}


class Log(ctypes.Structure):
    """A call, as the library has it."""

    _fields_: ClassVar = [
        ("kind", ctypes.c_int),
        ("thread", ctypes.c_int),
        ("failed", ctypes.c_int),
        ("name", ctypes.c_char * 52),
    ]


class State(ctypes.Structure):
    """What the library is to do, and what it has seen."""

    _fields_: ClassVar = [
        *((name, ctypes.c_int) for name in ("armed", "thread", "at", "error", "is_short", "lasts", "mask")),
        ("tripped", ctypes.c_int),
        ("counted", ctypes.c_int * 2),
        ("records", ctypes.c_int),
        ("root", ctypes.c_char * 4096),
        ("log", Log * _RECORDS),
    ]


class Call(NamedTuple):
    """A call that a command made, and whether it was made to fail."""

    kind: str
    thread: int
    failed: bool
    name: str


@dataclass
class Outcome:
    """How a command ended: exit code (None: it was killed), standard error, and its calls."""

    code: int | None
    errors: str
    calls: list[Call]

    @property
    def lines(self) -> list[str]:
        """Standard error without warnings."""
        return [line for line in self.errors.splitlines() if not line.startswith(_WARNING)]

    def failed(self, *kinds: str) -> list[Call]:
        """The calls of these kinds that were made to fail, all without kinds."""
        return [call for call in self.calls if call.failed and (not kinds or call.kind in kinds)]


@dataclass
class Ground:
    """What is there before and after a command, by path below the place, and what is in archives by the same name."""

    before: dict[bytes, Entry]
    after: dict[bytes, Entry]
    rows: list[dict[bytes, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


class Bench:
    """Runs commands of lmarc in children of this process, which has the library preloaded."""

    def __init__(self, made: Path, place: bytes) -> None:
        self._made, self.place = made, place
        self._library = ctypes.CDLL(str(made / _LIBRARY))
        self._library.faults_state.restype = ctypes.POINTER(State)
        self._state: State = self._library.faults_state().contents
        self._state.root = os.path.realpath(place)
        self._errors = made / f"errors {os.getpid()}"
        self._grounds: dict[str, Ground] = {}
        _prepare()

    def run(self, words: Iterable[str], case: Case | None = None) -> Outcome:
        """Run a command, with a fault if a case says so."""
        state = self._state
        state.thread, state.at, state.error, state.is_short, state.lasts, state.mask = 0, 0, 0, 0, 0, 0
        state.tripped, state.records, state.counted[0], state.counted[1] = 0, 0, 0, 0
        if case is not None:
            fault = FAULTS[case.fault]
            state.thread, state.at, state.error = case.thread, case.number, fault.error
            state.is_short, state.lasts = fault.is_short, fault.lasts
            state.mask = sum(1 << _KINDS.index(kind) for kind in fault.kinds)
        # What the parent does below the place is not counted: it waits.
        state.armed = 1
        child = os.fork()
        if not child:
            _become([*words], self._errors)
        _, status = os.waitpid(child, 0)
        state.armed = 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        log = state.log[: min(state.records, _RECORDS)]
        calls = [Call(_KINDS[one.kind], one.thread, bool(one.failed), os.fsdecode(one.name)) for one in log]
        return Outcome(code, self._errors.read_text(errors="backslashreplace"), calls)

    def words(self, name: str, *more: str) -> list[str]:
        """The words of a command."""
        command, place = COMMANDS[name], os.fsdecode(self.place)
        words = [word.format(made=self._made, place=place) for word in command.words.split()]
        jobs = ["--jobs", "1"] if words[0] in ("pack", "add", "unpack") else []
        return [*words, *jobs, "--quiet", *more]

    def reset(self, name: str) -> None:
        """Put what a command finds before it where it finds it."""
        clear(self.place)
        start = COMMANDS[name].start
        if start:
            shutil.copytree(self._made / start, os.fsdecode(self.place), symlinks=True, dirs_exist_ok=True)

    def ground(self, name: str) -> Ground:
        """What a command does when nothing fails. Raises AssertionError if that is not what it should do."""
        if name not in self._grounds:
            self._grounds[name] = self._survey(name)
        return self._grounds[name]

    def _survey(self, name: str) -> Ground:
        command = COMMANDS[name]
        self.reset(name)
        before = scan(self.place)
        outcome = self.run(self.words(name))
        assert outcome.code == 0 and not outcome.lines, f"{name} ends with {outcome.code}: {outcome.errors}"
        assert len(outcome.calls) < _RECORDS
        after = scan(self.place)
        ground = Ground(before, after, calls=outcome.calls)
        target = command.target.encode()
        if command.target == "out":
            tree = {b"out/" + path: entry for path, entry in self._expected(command).items()}
            found = {path: entry for path, entry in after.items() if path != target}
            faults = compare(tree, found, tree)
            assert not faults, faults[:5]
            ground.after = {target: after[target], **tree}
        else:
            assert [*after] == [target], f"{name} leaves {[*after]}"
            if command.changes:
                ground.rows = [_rows(before[target].data, whole=command.start != "cut"), _rows(after[target].data)]
        return ground

    def _expected(self, command: Command) -> dict[bytes, Entry]:
        """What an unpack must give."""
        tree = self._made / ("small" if command.plugin else "") / "tree"
        info = tree.stat()
        found = {b"tree/" + path: entry for path, entry in scan(os.fsencode(tree)).items()}
        return {b"tree": Entry("dir", info.st_mode & 0o7777, info.st_mtime_ns, b"", info.st_ino), **found}

    def judge(self, case: Case, tally: Tally) -> None:
        """Try a case, and note what is wrong."""
        ground = self.ground(case.command)
        self.reset(case.command)
        outcome = self.run(self.words(case.command), case)
        tally.cases += 1
        tally.counts[case.fault] += 1
        tally.counts["killed" if outcome.code is None else f"exit {outcome.code}"] += 1
        faults = _judge_end(case, outcome)
        found = scan(self.place)
        is_tree = COMMANDS[case.command].target == "out"
        if is_tree:
            faults += _judge_tree(ground, found, outcome)
        else:
            faults += _judge_archive(case, ground, found, outcome)
        faults += _strays(case, ground, found, outcome)
        tally.counts["as it would be without"] += _is_after(ground, found, is_tree)
        faults += [f"next run: {fault}" for fault in self._again(case, ground, found)]
        hit = next((f" ({call.kind} {call.name})" for call in outcome.calls if call.failed), "")
        tally.faults += [f"{case}{hit}: {fault}" for fault in faults]

    def _again(self, case: Case, ground: Ground, found: dict[bytes, Entry]) -> list[str]:
        """Run the same command once more; return what is wrong with that."""
        command = COMMANDS[case.command]
        is_tree, is_there = command.target == "out", command.target.encode() in found
        if case.command == "repair -o" and is_there:
            # The name is taken, and that is no command that replaces.
            return []
        if case.command.startswith("rm") and _rows(found[b"a.lmarc"].data, whole=False) == ground.rows[-1]:
            # There is nothing to be taken out any more.
            return []
        outcome = self.run(self.words(case.command, *command.again, *(command.over if is_there else ())))
        if outcome.code != 0 or outcome.lines:
            return [f"ends with {outcome.code}: {outcome.errors.strip()}"]
        now = scan(self.place)
        if is_tree:
            strays = [path for path in found if _is_temporary(path)]
            whole = {path: entry for path, entry in now.items() if path not in strays or not _is_temporary(path)}
            whole.pop(b"out", None)
            tree = {path: entry for path, entry in ground.after.items() if path != b"out"}
            return compare(tree, whole, tree)
        if [*now] != [command.target.encode()]:
            return [f"leaves {sorted(now)}"]
        data = now[command.target.encode()].data
        if data == ground.after[command.target.encode()].data:
            return []
        if case.command.startswith(("pack", "repair")):
            return ["gives other bytes"]
        return [] if _rows(data) == ground.rows[-1] else ["gives other members"]


def _judge_end(case: Case, outcome: Outcome) -> list[str]:
    """What is wrong with how a command ended."""
    faults, fault = [], FAULTS[case.fault]
    # Only members that are hard links need them.
    harmless = fault.harmless or (fault.kinds == ("link",) and COMMANDS[case.command].target != "out")
    if outcome.code not in _CODES:
        faults.append(f"ends with {outcome.code}: {outcome.errors[-300:]}")
    if "Traceback" in outcome.errors:
        faults.append(f"a traceback: {outcome.errors[-300:]}")
    if not outcome.failed():
        faults.append("the call was not made")
    if outcome.code != 0:
        if harmless:
            faults.append(f"ends with {outcome.code}: {outcome.errors.strip()}")
        if not outcome.lines:
            faults.append("fails without a word")
        if COMMANDS[case.command].target != "out":
            if len(outcome.lines) > 1:
                faults.append(f"says more than one thing: {outcome.errors}")
            if not all(_PLACE in line and os.strerror(fault.error) in line for line in outcome.lines):
                faults.append(f"does not say what failed, and why: {outcome.errors}")
    else:
        if outcome.lines:
            faults.append(f"succeeds, but says {outcome.lines}")
        # What is kept to go on with is no promise: a warning is enough.
        if not harmless and any(not call.name.endswith(".kept") for call in outcome.failed("sync")):
            faults.append("a sync failed, and the command succeeds")
    faults += [f"says {line!r}" for line in outcome.errors.splitlines() if not line.startswith("lmarc: ")]
    return faults


def _judge_archive(case: Case, ground: Ground, found: dict[bytes, Entry], outcome: Outcome) -> list[str]:
    """What is wrong with the archive that is there now."""
    is_cut = COMMANDS[case.command].start == "cut"
    target = next(iter(ground.after))
    now, before, after = (entries.get(target) for entries in (found, ground.before, ground.after))
    assert after is not None
    if outcome.code == 0 and (now is None or now.data != after.data):
        return ["succeeds, but does not give what it should"]
    if now is None:
        return ["the archive is gone"] if before is not None else []
    if now.data == after.data:
        return []
    if before is None:
        return [f"a part under the final name: {len(now.data)} of {len(after.data)} bytes"]
    if now.data == before.data:
        return []
    if not ground.rows:
        return ["neither the old archive nor the new one"]
    try:
        rows = _rows(now.data, whole=not is_cut and not outcome.failed("truncate"))
    except (lmarc.LmarcError, AssertionError) as error:
        return [f"the archive cannot be read: {error}"]
    if rows in ground.rows:
        return []
    if outcome.failed("truncate") and all(
        row in [rows.get(path) for rows in ground.rows] for path, row in rows.items()
    ):
        # Up to a checkpoint of what could not be taken away again.
        return []
    return ["the archive has neither the members it had nor those it gets"]


def _judge_tree(ground: Ground, found: dict[bytes, Entry], outcome: Outcome) -> list[str]:
    """What is wrong with what was extracted."""
    old = {path for path, entry in found.items() if entry[:4] == ground.before.get(path, entry._replace(kind=""))[:4]}
    tree = {path: entry for path, entry in ground.after.items() if path != b"out"}
    right = {path for path in found.keys() & tree.keys() if found[path][:4] == tree[path][:4]}
    new = {
        path: found[path] for path in found if path != b"out" and not _is_temporary(path) and path not in old - right
    }
    if outcome.code == 0:
        return compare(tree, new, tree)
    # What was there and right has not been looked at, and need not be a link to what it is in the archive.
    new = {path: entry for path, entry in new.items() if path not in old}
    faults = compare(tree, new, {path for path in new if new[path].kind != "dir"})
    lost = [path for path in tree if tree[path].kind != "dir" and path not in right]
    unnamed = [path for path in lost if display(path.removeprefix(b"out/")) not in outcome.errors]
    # Nothing is replaced without leave: that ends it, whatever has failed before.
    if unnamed and len(outcome.lines) > 1 and "exists already" not in outcome.lines[-1]:
        faults.append(f"not extracted, and not named: {unnamed[:5]}; it says {outcome.errors}")
    return faults


def _strays(case: Case, ground: Ground, found: dict[bytes, Entry], outcome: Outcome) -> list[str]:
    """What lies about that should not."""
    if outcome.failed("unlink"):
        return []
    command = COMMANDS[case.command]
    new = found.keys() - ground.before.keys()
    strays = {path for path in new if _is_temporary(path)} if command.target == "out" else new - ground.after.keys()
    keeps = command.keeps if outcome.code != 0 else ()
    return [f"{path!r} is left" for path in strays if not (keeps and os.fsdecode(path).endswith(keeps))]


def _is_after(ground: Ground, found: dict[bytes, Entry], is_tree: bool) -> bool:
    """Whether all is as it is without a fault."""
    if not is_tree:
        return {path: entry.data for path, entry in found.items()} == {p: e.data for p, e in ground.after.items()}
    return all(path in found and found[path][:4] == ground.after[path][:4] for path in ground.after if path != b"out")


def _is_temporary(path: bytes) -> bool:
    return path.rpartition(b"/")[2].startswith(b".lmarc-")


def _rows(data: bytes, *, whole: bool = True) -> dict[bytes, Any]:
    """The members of an archive, all of them verified. Raises LmarcError, AssertionError."""
    with lmarc.open(io.BytesIO(data)) as archive:
        if whole:
            assert not archive.damage, archive.damage
        failed = archive.test(jobs=1)
        assert not failed, failed
        # A hard link may have become the file, or have got another one to link to: what it reads as is the same.
        by_path = {member.path: member for member in archive.members}
        read = {path: by_path.get(member.target, member) for path, member in by_path.items()}
        return {path: (m.mode, m.mtime_ns, m.size, m.hash, os.path.basename(m.target)) for path, m in read.items()}


def _become(words: list[str], errors: Path) -> None:
    """Be the command line."""
    code = 70
    try:
        signal.alarm(_LIMIT)
        for fd, name, flags in ((1, os.devnull, os.O_WRONLY), (2, errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)):
            os.dup2(os.open(name, flags, 0o600), fd)
        sys.argv = ["lmarc", *words]
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        from lmarc.cli.main import main

        main()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _prepare() -> None:
    """Import what commands import, compile what they compile, and make chunks and checkpoints small."""
    from lmarc.archive import compact, pack, presets
    from lmarc.cli import main

    main.add_commands(())
    main.app.registered_commands.clear()
    main.app.registered_groups.clear()
    pack.CHECKPOINT_CONTENT = compact.CHECKPOINT_CONTENT = 10_000
    presets.GROUP_SIZE = 3000
    presets.PRESETS["fast"] = presets.Preset("zstd", 3000, {"level": 3})  # type: ignore[index]
    presets.PRESETS["balanced"] = presets.Preset("cm", 3000)  # type: ignore[index]
    text = prose(Faults().rng(0), 2000)
    for preset in ("fast", "balanced"):
        lmarc.decompress(lmarc.compress(text, preset=preset))
    if "order2" in _plugins():
        lmarc.decompress(lmarc.compress(text, backend="order2"))
    # What forks has no other threads.
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()


def _make(made: Path) -> None:
    """Make what the commands find: in a process of its own, without faults."""
    _prepare()
    rng = Faults().rng(1)
    make_tree(made / "tree", 1, noise=16_000, text=12_000)
    (made / "more").mkdir()
    make_tree(made / "more" / "tree", 2, noise=12_000, text=9_000)
    (made / "more" / "tree" / "extra").write_bytes(prose(rng, 500))
    (made / "more" / "tree" / "data" / "again.bin").write_bytes((made / "tree" / "data" / "2.bin").read_bytes())
    (made / "small").mkdir()
    make_tree(made / "small" / "tree", 3, noise=400, text=1200, files=2)
    for name in ("old", "partial", "kept", "whole", "cut", "removed", "damaged", "slow"):
        (made / name).mkdir()
    with chdir(made):
        lmarc.pack("tree", "whole/a.lmarc", preset="fast", jobs=1)
        whole = Path("whole/a.lmarc").read_bytes()
        Path("old/a.lmarc").write_bytes(lmarc.compress(b"the archive that was there before" * 40, preset="fast"))
        Path("partial/.a.lmarc.partial").write_bytes(whole[: len(whole) // 3])
        lmarc.pack("tree", "damaged/a.lmarc", preset="fast", jobs=1, recovery=10)
        protected = bytearray(Path("damaged/a.lmarc").read_bytes())
        protected[5000:5600] = bytes(600)
        Path("damaged/a.lmarc").write_bytes(protected)
        for name in ("cut", "removed"):
            shutil.copy("whole/a.lmarc", name)
        lmarc.remove("removed/a.lmarc", ["tree/data"])
        lmarc.add("cut/a.lmarc", "more/tree", preset="fast", jobs=1)
        _cut(Path("cut/a.lmarc"), len(whole), b"\0not a frame" * 20)
        _outdate(made, rng.randbytes(700))
        if "order2" in _plugins():
            with chdir("small"):
                lmarc.pack("tree", "../slow/a.lmarc", backend="order2", jobs=1)


def _cut(path: Path, size: int, more: bytes) -> None:
    """Leave of what was added to an archive of that size some bytes that no index names."""
    data = path.read_bytes()
    path.write_bytes(data[: size + 1500] + more)


def _outdate(made: Path, data: bytes) -> None:
    """An older tree in the way, and one that an interrupted unpack has begun."""
    for name in ("outdated", "begun"):
        lmarc.open(made / "whole" / "a.lmarc").extractall(made / name / "out", jobs=1)
    tree = made / "outdated" / "out" / "tree"
    for path in ("notes/1.txt", "data/1.bin", "empty"):
        (tree / path).write_bytes(data)
    (tree / "link").unlink()
    (tree / "link").write_bytes(data)
    (tree / "dangling").unlink()
    (tree / "data" / "hard.txt").unlink()
    (tree / "notes").chmod(0o700)
    tree = made / "begun" / "out" / "tree"
    for path in ("notes/0.txt", "data/hard.txt", "data/2.bin", "link", "sparse.bin"):
        (tree / path).unlink()
    (tree / "notes").chmod(0o700)
    (tree / "data" / "1.bin").chmod(0o600)
    os.utime(tree / "notes" / "3.txt", ns=(0, 0))


def _plugins() -> list[str]:
    from lmarc.backends import registry

    return [*registry.found()]


def _keep_chunks(bench: Bench, made: Path) -> None:
    """Take for `pack --resume` what an interrupted run has kept, the last chunk of it not whole."""
    name = "pack, keeping chunks"
    bench.reset(name)
    calls = bench.run(bench.words(name)).calls
    last = max(i for i, call in enumerate(calls) if call.name == ".a.lmarc.partial" and call.kind == "sync")
    number = sum(not call.thread for call in calls[: last + 1])
    bench.reset(name)
    outcome = bench.run(bench.words(name), Case(name, 0, number, "EIO"))
    kept = scan(bench.place).get(b".a.lmarc.kept")
    assert outcome.code and kept is not None, outcome.errors
    (made / "kept" / ".a.lmarc.kept").write_bytes(kept.data[: len(kept.data) // 2])


class Faults(Campaign):
    """Each kind of fault at each call of each command."""

    name = "faults"
    what = "ENOSPC, EIO, EINTR, short writes at every write, fsync, rename and open of every command that writes"
    part = 250

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._made = Path()
        self._cases: list[Case] = []

    def prepare(self, folder: Path) -> int:
        """Compile the library, make trees and archives, and find out what calls the commands make."""
        self._made = folder / "made"
        self._made.mkdir()
        library = self._made / _LIBRARY
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        self._cases = [Case(*case) for case in self._ask({"what": "make"})]
        # Any first ones are then a sample of all.
        self.rng(0).shuffle(self._cases)
        return len(self._cases)

    def run(self, numbers: range) -> Tally:
        """Try these cases, in a process that has the library."""
        return self.run_cases([self._cases[number] for number in numbers])

    def run_cases(self, cases: list[Case]) -> Tally:
        """Try these cases."""
        return Tally.from_json(self._ask({"what": "run", "cases": cases}))

    def _ask(self, request: dict[str, Any]) -> Any:
        command = [sys.executable, "-m", "tests.campaigns.faults", str(self._made)]
        more = {_PRELOAD: str(self._made / _LIBRARY)}
        done = subprocess.run(
            command, cwd=_ROOT, env=os.environ | more, input=json.dumps(request), stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{request['what']} ends with {done.returncode}")
        return json.loads(done.stdout)


def _cases_of(bench: Bench) -> list[Case]:
    plugins = _plugins()
    return [
        case
        for name, command in COMMANDS.items()
        if not command.plugin or command.plugin in plugins
        for case in _cases_at(name, bench.ground(name).calls)
    ]


def _cases_at(name: str, calls: list[Call]) -> list[Case]:
    out, counted = [], [0, 0]
    for call in calls:
        counted[call.thread] += 1
        out += [Case(name, call.thread, counted[call.thread], f.name) for f in FAULTS.values() if call.kind in f.kinds]
    return out


def _serve(made: Path) -> None:
    """Answer a request on standard input, in a process that has the library preloaded."""
    request = json.load(sys.stdin)
    if request["what"] == "make":
        _make(made)
    # The name is in messages.
    with workplace() as above:
        place = above + b"/" + _PLACE.encode()
        os.mkdir(place)
        bench = Bench(made, place)
        if request["what"] == "make":
            _keep_chunks(bench, made)
            answer: Any = _cases_of(bench)
        else:
            tally = Tally()
            for case in request["cases"]:
                bench.judge(Case(*case), tally)
            answer = tally.to_json()
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
