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
from collections.abc import Callable, Iterable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import lmarc
from lmarc.archive import pack as pack_module
from lmarc.archive.extract import ExtractResult
from lmarc.archive.filters import Filters
from lmarc.archive.observer import Observer
from lmarc.archive.pack import Packer
from lmarc.archive.presets import Preset
from lmarc.archive.walk import Roots
from lmarc.errors import DamagedError, LostContentError, exit_code
from lmarc.packing import find_sources
from tests.campaigns.campaign import Tally

#: What a damaged archive may end with.
DAMAGE_CODES = frozenset({10, 11, 15, 16, 17})
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


def make_tree(root: Path, seed: int, *, noise: int, text: int, files: int = 4, with_sparse: bool = True) -> None:
    """A tree with every kind of member; `noise` bytes of incompressible files and `text` bytes of prose in all.

    A sparse file has at least a block of content.
    """
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
    if with_sparse:
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
class Frame:
    """Where a chunk's frame lies in the archive, and its content in the content stream."""

    begin: int
    end: int
    start: int
    content: bytes


@dataclass(frozen=True)
class Subject:
    """An archive, the tree that is in it, its chunks and its files' runs of data (offset in stream, in file, length).

    `first` is where the header ends.
    """

    name: str
    data: bytes
    tree: dict[bytes, Entry]
    first: int
    frames: list[Frame]
    runs: dict[bytes, list[tuple[int, int, int]]]

    @classmethod
    def make(cls, name: str, root: Path, preset: Preset, checkpoint: int) -> Subject:
        """Pack what is in root and check that it comes back."""
        data = pack_tree(root, preset, checkpoint)
        subject = cls(name, data, scan(os.fsencode(root)), *_content_of(data))
        with workplace() as place:
            verdict = judge(subject, subject.data, place)
        assert verdict.code == 0 and not verdict.faults, verdict.faults[:9]
        return subject


def _content_of(data: bytes) -> tuple[int, list[Frame], dict[bytes, list[tuple[int, int, int]]]]:
    with lmarc.open(io.BytesIO(data)) as archive:
        heads = dict(archive._container.walk_frames())
        found = [
            Frame(chunk.offset, chunk.offset + heads[chunk.offset].total, chunk.start, archive._chunk(chunk))
            for chunk in archive.chunks
        ]
        runs = {}
        for member in archive.members:
            if member.kind == "file" and member.stored_size:
                start, runs[member.path] = member.start, []
                for offset, length in member.data_runs():
                    runs[member.path].append((start, offset, length))
                    start += length
        return archive._container.frames_start, found, runs


@dataclass
class Verdict:
    """What became of one archive: the exit code the command line would give, members extracted, what else came back of
    the content stream (ranges), and what is wrong."""

    code: int = 0
    kept: frozenset[bytes] = frozenset()
    rest: list[tuple[int, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def loses(self, subject: Subject, frame: Frame) -> bool:
        """Whether some content of a chunk has not come back."""
        ranges = [(start, start + n) for path in self.kept for start, _, n in subject.runs.get(path, ())]
        position, end = frame.start, frame.start + len(frame.content)
        for begin, stop in sorted([*ranges, *self.rest]):
            if begin <= position < stop:
                position = stop
        return position < end


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


def judge(subject: Subject, data: bytes, place: bytes, *, test: bool = True) -> Verdict:
    """Open and extract `data`, a changed version of the subject's archive, into the empty directory `place`, with all
    that is left of it; test it first, if that is asked for."""
    verdict, result = Verdict(), ExtractResult()
    errors: list[Exception] = []
    try:
        with lmarc.open(io.BytesIO(data), threads=1) as archive:
            damage: list[Exception] = [DamagedError(text) for text in archive.damage]
            tested = exit_code([*damage, *archive.test(jobs=1).values()]) if test else -1
            members = {member.path for member in archive.members}
            result = archive.extractall(os.fsdecode(place), keep_going=True, jobs=1, check=False)
            errors = [*damage, *result.failed.values()]
            verdict.kept = frozenset(members - result.failed.keys())
            if test and (tested == 0) != (exit_code(errors) == 0):
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
    _take_rests(subject, result, found, verdict)
    verdict.faults += compare(subject.tree, found, verdict.kept)
    if verdict.code == 0 and found.keys() != subject.tree.keys():
        verdict.faults.append(f"exit code 0, but missing: {sorted(subject.tree.keys() - found.keys())}")
    clear(place)
    return verdict


def _take_rests(subject: Subject, result: ExtractResult, found: dict[bytes, Entry], verdict: Verdict) -> None:
    """Check what is left of damaged files, and content without a name, and take it out of what was found."""
    for path, rest in result.rests.items():
        entry, error, original = found.pop(rest, None), result.failed.get(path), subject.tree.get(path)
        if entry is None or original is None or not isinstance(error, LostContentError):
            verdict.faults.append(f"{path!r}: its rest is not there, or not of a damaged file")
            continue
        expected = bytearray(original.data)
        for begin, end in error.lost:
            expected[begin:end] = bytes(end - begin)
        if entry.data != expected:
            verdict.faults.append(f"{path!r}: wrong bytes in its rest")
        if path in subject.runs:
            verdict.rest += _stream_ranges(subject.runs[path], error.lost)
    frames = {frame.begin: frame for frame in subject.frames}
    for path in result.unnamed:
        entry = found.pop(path, None)
        offset, _, part = path.rpartition(b"/")[2].partition(b".")
        frame = frames.get(int(offset))
        if entry is None or frame is None:
            verdict.faults.append(f"{path!r}: is not there, or no chunk of the archive")
            continue
        begin, end = map(int, part.split(b"-")) if part else (0, len(frame.content) - 1)
        if entry.data != frame.content[begin : end + 1]:
            verdict.faults.append(f"{path!r}: wrong bytes")
        verdict.rest.append((frame.start + begin, frame.start + end + 1))
    if result.unnamed:
        found.pop(b"lost+found", None)


def _stream_ranges(runs: list[tuple[int, int, int]], lost: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of the content stream of a file's runs but for what is lost of the file."""
    out = []
    for start, offset, length in runs:
        position = offset
        for begin, end in [*lost, (offset + length, offset + length)]:
            stop = min(max(begin, offset), offset + length)
            if position < stop:
                out.append((start + position - offset, start + stop - offset))
            position = max(position, min(end, offset + length))
    return out


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


def judge_all(subject: Subject, change: Change, numbers: Iterable[int], *, may_pass: bool = False) -> Tally:
    """Judge many changes in this process. Without `may_pass` each must be detected."""
    tally = Tally()
    with workplace() as place:
        # A model's library may keep files open from its first use on.
        judge(subject, subject.data, place)
        open_before = _open_files()
        for number in numbers:
            data = change(subject.data, number)
            try:
                verdict = judge(subject, data, place)
            except Exception as error:
                clear(place)
                verdict = Verdict(-1, faults=[f"the judge failed: {type(error).__name__}: {error}"])
            if verdict.code == 0 and not may_pass and data != subject.data:
                verdict.faults.append("not detected")
            tally.cases += 1
            tally.counts[f"exit {verdict.code}"] += 1
            tally.counts["members whole"] += len(verdict.kept)
            tally.faults += [f"{subject.name} {change.__name__} {number}: {fault}" for fault in verdict.faults]
            if not may_pass:
                check_chunks(subject, data, verdict, tally, f"{change.__name__} {number}")
        if _open_files() > open_before:
            tally.faults.append(f"{_open_files() - open_before} files left open")
    return tally


def shares(
    subjects: Iterable[Subject], cases_of: Callable[[Subject], int], numbers: range
) -> Iterator[tuple[Subject, range]]:
    """Where cases are numbered through all subjects: which of these numbers are each one's, counted from its first."""
    before = 0
    for subject in subjects:
        cases = cases_of(subject)
        inside = range(max(numbers.start - before, 0), min(numbers.stop - before, cases))
        if inside:
            yield subject, inside
        before += cases


def check_chunks(subject: Subject, data: bytes, verdict: Verdict, tally: Tally, case: str) -> None:
    """Of an archive changed in place or cut off, with its header whole, every whole chunk must have come back."""
    if data[: subject.first] != subject.data[: subject.first]:
        return
    whole = [
        frame for frame in subject.frames if data[frame.begin : frame.end] == subject.data[frame.begin : frame.end]
    ]
    lost = [frame.begin for frame in whole if verdict.loses(subject, frame)]
    tally.counts["chunks whole and recovered"] += len(whole) - len(lost)
    if lost:
        tally.faults.append(f"{subject.name} {case}: chunks lost though whole: {lost[:5]}, {len(lost)} in all")


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
