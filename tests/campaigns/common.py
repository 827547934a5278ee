"""What the campaigns share: a small tree with every kind of member, its archive, and the judge of what comes out.

The judge knows the packed tree and accepts one of two things: all of it, or an error with one of the exit codes that
mean damage and not one wrong byte on disk.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import lmarc
from lmarc.archive import pack as pack_module
from lmarc.archive.filters import Filters
from lmarc.archive.observer import Observer
from lmarc.archive.pack import Packer
from lmarc.archive.presets import Preset
from lmarc.archive.read import Archive
from lmarc.archive.walk import Roots
from lmarc.errors import DamagedError, exit_code
from lmarc.packing import find_sources

#: What a damaged archive may end with.
DAMAGE_CODES = frozenset({10, 11, 15, 16, 17})
PROCESSES = 2
_TEMPORARY = b".lmarc-"
_WORDS = b"archive ledger predictor window chunk payload context mixture counter symbol table lane group index".split()


class Entry(NamedTuple):
    """What stands at a path: type, mode (0 of a symlink), mtime, content or target, inode."""

    kind: str
    mode: int
    mtime_ns: int
    data: bytes
    inode: int


def scan(root: bytes) -> dict[bytes, Entry]:
    """Everything below root, by relative path."""
    found: dict[bytes, Entry] = {}
    _scan(root, b"", found)
    return found


def _scan(folder: bytes, prefix: bytes, found: dict[bytes, Entry]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            info = entry.stat(follow_symlinks=False)
            path = prefix + entry.name
            mode = stat.S_IMODE(info.st_mode)
            if stat.S_ISDIR(info.st_mode):
                found[path] = Entry("dir", mode, info.st_mtime_ns, b"", info.st_ino)
                _scan(entry.path, path + b"/", found)
            elif stat.S_ISLNK(info.st_mode):
                found[path] = Entry("symlink", 0, info.st_mtime_ns, os.readlink(entry.path), info.st_ino)
            elif stat.S_ISREG(info.st_mode):
                found[path] = Entry("file", mode, info.st_mtime_ns, _read(entry.path), info.st_ino)
            else:
                found[path] = Entry("special", mode, info.st_mtime_ns, b"", info.st_ino)


def _read(path: bytes) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, 1 << 22)
        while more := os.read(fd, 1 << 22):
            data += more
        return data
    finally:
        os.close(fd)


def clear(root: bytes) -> None:
    """Remove all below root."""
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.path, 0o700)
                clear(entry.path)
                os.rmdir(entry.path)
            else:
                os.unlink(entry.path)


def prose(rng: random.Random, size: int) -> bytes:
    """Text of words, in lines."""
    out = b""
    while len(out) < size:
        out += b" ".join(rng.choices(_WORDS, k=9)) + b"\n"
    return out[:size]


def make_tree(root: Path, seed: int, *, noise: int, text: int, files: int = 4) -> None:
    """A tree with every kind of member; `noise` bytes of incompressible files and `text` bytes of prose in all."""
    rng = random.Random(seed)
    (root / "notes").mkdir(parents=True)
    (root / "data" / "deep").mkdir(parents=True)
    (root / "empty dir").mkdir()
    for i in range(files):
        (root / "notes" / f"{i}.txt").write_bytes(prose(rng, text // files + i))
        (root / "data" / f"{i}.bin").write_bytes(rng.randbytes(noise // files + i))
    (root / "data" / "deep" / "copy.bin").write_bytes((root / "data" / "0.bin").read_bytes())
    (root / "notes" / "copy.txt").write_bytes((root / "notes" / "1.txt").read_bytes())
    (root / "empty").write_bytes(b"")
    with open(os.fsencode(root) + b"/caf\xe9 \xff", "wb") as file:
        file.write(b"a name that is not UTF-8")
    with (root / "sparse.bin").open("wb") as file:
        file.seek(16384)
        file.write(prose(rng, 200))
        file.truncate(65536)
    with (root / "hole.bin").open("wb") as file:
        file.truncate(8192)
    (root / "link").symlink_to("notes/0.txt")
    (root / "dangling").symlink_to("../nowhere/at all")
    os.link(root / "notes" / "0.txt", root / "data" / "hard.txt")
    for mode, path in [(0o444, "notes/0.txt"), (0o755, "data/1.bin"), (0o1770, "empty dir")]:
        (root / path).chmod(mode)
    for folder, folders, names in os.walk(root, topdown=False):
        for name in [*sorted(names), *sorted(folders)]:
            when = rng.randrange(10**18, 2 * 10**18)
            os.utime(os.path.join(folder, name), ns=(when, when), follow_symlinks=False)


def pack_tree(root: Path, preset: Preset, checkpoint: int) -> bytes:
    """The archive of what is in root, with a checkpoint after so many bytes of content."""
    sink = io.BytesIO()
    # Where paths begin is settled when Roots is made.
    with chdir(root), patch.object(pack_module, "CHECKPOINT_CONTENT", checkpoint), Roots() as roots:
        packer = Packer(sink, preset, jobs=1, observer=Observer())
        packer.pack(find_sources(roots, ["."], (), Filters(), packer.observer))
        packer.finish()
    return sink.getvalue()


@dataclass(frozen=True)
class Subject:
    """An archive and the tree that is in it."""

    name: str
    data: bytes
    tree: dict[bytes, Entry]

    @classmethod
    def make(cls, name: str, root: Path, preset: Preset, checkpoint: int) -> Subject:
        """Pack what is in root and check that it comes back."""
        subject = cls(name, pack_tree(root, preset, checkpoint), scan(os.fsencode(root)))
        with workplace() as place:
            verdict = judge(subject, subject.data, place)
        assert verdict.code == 0 and not verdict.faults, verdict.faults[:9]
        return subject


@dataclass
class Verdict:
    """What became of one archive: the exit code the command line would give, members extracted, and what is wrong."""

    code: int = 0
    kept: frozenset[bytes] = frozenset()
    faults: list[str] = field(default_factory=list)


@contextmanager
def workplace() -> Iterator[bytes]:
    """An empty directory, in memory where that is possible."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    place = tempfile.mkdtemp(prefix="lmarc-campaign-", dir=where)
    try:
        yield os.fsencode(place)
    finally:
        clear(os.fsencode(place))
        shutil.rmtree(place, ignore_errors=True)


def judge(subject: Subject, data: bytes, place: bytes) -> Verdict:
    """Open, test and extract `data`, a changed version of the subject's archive, into the empty directory `place`."""
    verdict = Verdict()
    errors: list[Exception] = []
    try:
        with lmarc.open(io.BytesIO(data)) as archive:
            damage: list[Exception] = [DamagedError(text) for text in archive.damage]
            tested = exit_code([*damage, *archive.test(jobs=1).values()])
            members = {member.path for member in archive.members}
            failed = archive.extractall(os.fsdecode(place), jobs=1, check=False).failed
            errors = [*damage, *failed.values()]
            verdict.kept = frozenset(members - failed.keys())
            if (tested == 0) != (exit_code(errors) == 0):
                verdict.faults.append(f"test ends with {tested}, extraction with {exit_code(errors)}")
            verdict.code = exit_code(errors)
    except lmarc.LmarcError as error:
        errors = [error]
        verdict.code = error.exit_code
    except Exception as error:
        errors = [error]
        verdict.code = 1
    verdict.faults += [f"{type(e).__name__}: {e}" for e in errors if not isinstance(e, lmarc.LmarcError)]
    if verdict.code not in DAMAGE_CODES and verdict.code != 0:
        verdict.faults.append(f"exit code {verdict.code}: {errors}")
    found = scan(place)
    verdict.faults += compare(subject.tree, found, verdict.kept)
    if verdict.code == 0 and found.keys() != subject.tree.keys():
        verdict.faults.append(f"exit code 0, but missing: {sorted(subject.tree.keys() - found.keys())}")
    clear(place)
    return verdict


def compare(tree: dict[bytes, Entry], found: dict[bytes, Entry], kept: Iterable[bytes]) -> list[str]:
    """What is wrong with a part of a tree that was extracted; `kept` are members said to be complete."""
    faults = []
    kept = set(kept)
    for path, entry in found.items():
        original = tree.get(path)
        if original is None:
            what = "a temporary file was left" if path.rpartition(b"/")[2].startswith(_TEMPORARY) else "not in the tree"
            faults.append(f"{path!r}: {what}")
        elif entry.kind == "dir" and path not in kept:
            # Made for what is in it: the member that knows its mode and time is lost.
            if original.kind != "dir":
                faults.append(f"{path!r}: a directory in place of a {original.kind}")
        elif entry[:4] != original[:4]:
            differing = [name for name, a, b in zip(Entry._fields, entry, original, strict=True) if a != b][:4]
            faults.append(f"{path!r}: {', '.join(differing)} differ")
        elif path not in kept and entry.kind != "dir":
            faults.append(f"{path!r}: extracted, but said to be lost")
    faults += [f"{path!r}: said to be extracted, is not there" for path in kept if path not in found]
    inodes: dict[int, bytes] = {}
    for path in sorted(kept & found.keys()):
        if found[path].kind == "file" and path in tree:
            first = inodes.setdefault(tree[path].inode, path)
            if found[first].inode != found[path].inode:
                faults.append(f"{path!r}: no hard link to {first!r}")
    return faults


#: A changed archive by what names the change, made in the process that judges it.
Change = Callable[[bytes, int], bytes]


def flip(data: bytes, bit: int) -> bytes:
    """The data with one bit changed."""
    out = bytearray(data)
    out[bit >> 3] ^= 1 << (bit & 7)
    return bytes(out)


def truncate(data: bytes, size: int) -> bytes:
    """The first so many bytes of data."""
    return data[:size]


@dataclass
class Tally:
    """What a campaign has seen."""

    cases: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    members: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Add another part's."""
        self.cases += other.cases
        self.codes += other.codes
        self.faults += other.faults
        self.members += other.members
        self.notes += other.notes

    def __str__(self) -> str:
        codes = ", ".join(f"exit {code}: {count}" for code, count in sorted(self.codes.items()))
        notes = "".join(f", {name}: {count}" for name, count in self.notes.items())
        return f"{self.cases} cases ({codes}), {self.members} members recovered whole{notes}, {len(self.faults)} faults"


def judge_all(subject: Subject, change: Change, numbers: Sequence[int], *, may_pass: bool = False) -> Tally:
    """Judge many changes in this process. Without `may_pass` each must be detected."""
    tally = Tally()
    open_before = _open_files()
    with workplace() as place:
        for number in numbers:
            data = change(subject.data, number)
            try:
                verdict = judge(subject, data, place)
            except Exception as error:
                clear(place)
                verdict = Verdict(-1, frozenset(), [f"the judge failed: {type(error).__name__}: {error}"])
            if verdict.code == 0 and not may_pass and data != subject.data:
                verdict.faults.append("not detected")
            tally.cases += 1
            tally.codes[verdict.code] += 1
            tally.members += len(verdict.kept)
            tally.faults += [f"{subject.name} {change.__name__} {number}: {fault}" for fault in verdict.faults]
    if _open_files() > open_before:
        tally.faults.append(f"{_open_files() - open_before} files left open")
    return tally


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def judge_in_parallel(subject: Subject, change: Change, numbers: Sequence[int], *, may_pass: bool = False) -> Tally:
    """Judge many changes with several processes."""
    size = max(len(numbers) // (PROCESSES * 16), 1)
    parts = [numbers[at : at + size] for at in range(0, len(numbers), size)]
    total = Tally()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for tally in pool.map(partial(judge_all, subject, change, may_pass=may_pass), parts):
            total.add(tally)
    return total


def chunks_and_members(subject: Subject) -> tuple[list[tuple[int, int]], dict[bytes, list[int]]]:
    """Where each chunk's frame lies in the archive, and which chunks each member needs (by number)."""
    with lmarc.open(io.BytesIO(subject.data)) as archive:
        return frame_places(archive), {
            member.path: [
                number
                for number, chunk in enumerate(archive.chunks)
                if file.stored_size and chunk.start < file.end and chunk.end > file.start
            ]
            for member in archive.members
            for file in [next((m for m in archive.members if m.path == member.target), member)]
        }


def frame_places(archive: Archive) -> list[tuple[int, int]]:
    """Where each chunk's frame begins and ends."""
    heads = dict(archive._container.walk_frames())
    return [(chunk.offset, chunk.offset + heads[chunk.offset].total) for chunk in archive.chunks]
