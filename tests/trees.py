"""Hostile directory trees: make them, take a snapshot, compare two snapshots, remove them.

Everything goes through directory descriptors and bytes names, so that paths beyond PATH_MAX and names
that are not UTF-8 work under any root. Run it as a script to get such a tree: ``python tests/trees.py DIR``.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import random
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

KIB = 1024
MIB = 1024 * KIB
SECOND = 1_000_000_000

BOUNDARY_SIZES = tuple(size + step for size in (4096, 65536, MIB) for step in (-1, 0, 1))
FILE_MODES = (0o400, 0o444, 0o555, 0o600, 0o640, 0o755, 0o777, 0o2755, 0o4755)
MTIMES_NS = {
    b"epoch": 0,
    b"before-epoch": -1_500_000_000,
    b"one-ns": 1,
    b"odd-ns": 1_234_567_890_123_456_789,
    b"ns-all-nines": 1_599_999_999_999_999_999,
    b"last-int32": (2**31 - 1) * SECOND,
    b"past-int32": (2**31 + 7) * SECOND + 7,
    b"past-uint32": (2**32 + 9) * SECOND + 999_999_999,
    b"year-2200": 7_258_118_400 * SECOND + 123_456_789,
}
ODD_NAMES: tuple[bytes, ...] = (
    b"caf\xe9 latin-1",
    b"\x80 lone continuation",
    b"\xff",
    b"\xfe\xff byte order mark",
    b"overlong slash \xc0\xaf",
    b"surrogate \xed\xa0\x80",
    b"cut short \xf0\x9f\x97",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\tin it",
    b"\x1b[2J\x1b[31mescape\x1b[0m",
    b"\x1b]0;window title\x07",
    b"control \x01\x02\x7f",
    b"back\\slash",
    b"..\\..\\windows",
    b"C:\\windows",
    b"colon:stream",
    b'double "quotes"',
    b"single 'quotes'",
    b"`id` $HOME $(id) %s%n {0}",
    b"star * question ? [set]",
    b"semi;colon & pipe | > out",
    b"-rf",
    b"--",
    b"--help",
    b"@list",
    b"#hash",
    b"~",
    b"~root",
    b" leading space",
    b"trailing space ",
    b" ",
    b"...",
    b"..hidden",
    b".hidden",
    b"dot at end.",
    b"CON",
    b"aux.txt",
    "r\u00e9sum\u00e9".encode(),
    "re\u0301sume\u0301".encode(),
    b"case",
    b"Case",
    b"CASE",
    "\u00df".encode(),
    "\U0001f5c4\ufe0f \U0001f469\u200d\U0001f4bb".encode(),
    "right \u202e to left".encode(),
    "zero\u200bwidth".encode(),
    "\ufeffbyte order mark".encode(),
    "line\u2028separator\u0085".encode(),
    "\u6f6e\u6c50\u8868".encode(),
    b"n" * 255,
    "\u00e9".encode() * 127 + b"x",
    "\U0001f5c4".encode() * 63 + b"abc",
)
LONG_PATH_BYTES = 4000
DEEP_LEVELS = 40
SPARSE_SIZE = 10 * MIB
LINK_TIMES = os.utime in os.supports_follow_symlinks

_BASE_NS = 1_577_836_800 * SECOND
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_STEP_BYTES = 3000  # well below PATH_MAX: the longest relative path given to one system call
# A filesystem may refuse a name (macOS: not UTF-8, or the same but for case); the tree is then poorer by it.
_REFUSED = {errno.EILSEQ, errno.EINVAL} | ({errno.EEXIST} if sys.platform == "darwin" else set())
_WORDS = (
    b"the of and to in that was his it with is for as had you not be her on at by which have or from this him but "
    b"all she they were my are me one their so an said them we who would been will no when there if more out up "
    b"into do any your what has man could other than our some very time upon about may its only now like little "
    b"harbour archive ledger predictor window chunk payload context mixture counter symbol table lane group index"
).split()


class Entry(NamedTuple):
    """What a snapshot keeps of one path. Fields that were not asked for are None."""

    kind: str
    mode: int
    mtime_ns: int | None
    size: int
    digest: str
    target: bytes
    links: tuple[bytes, ...]
    blocks: int | None
    owner: tuple[int, int] | None


# --- descriptors -------------------------------------------------------------------------------------------


def open_dir(root_fd: int, path: bytes) -> int:
    """Open the directory at a relative path of any length; the caller closes it."""
    fd = os.dup(root_fd)
    step = b""
    try:
        for part in [*filter(None, path.split(b"/")), None]:
            if step and (part is None or len(step) + 1 + len(part) > _STEP_BYTES):
                inner = os.open(step, _DIR_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd, step = inner, b""
            if part is not None:
                step = step + b"/" + part if step else part
    except BaseException:
        os.close(fd)
        raise
    return fd


def _split(path: bytes) -> tuple[bytes, bytes]:
    parent, _, name = path.rpartition(b"/")
    return parent, name


def _names(fd: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(fd))


def _walk(root_fd: int) -> Iterator[tuple[bytes, int, bytes, os.stat_result]]:
    """Yield (path, parent fd, name, lstat) below the root, parents first, two descriptors open at a time."""
    todo = [b""]
    while todo:
        parent = todo.pop()
        fd = open_dir(root_fd, parent)
        try:
            for name in _names(fd):
                path = parent + b"/" + name if parent else name
                info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                yield path, fd, name, info
                if stat.S_ISDIR(info.st_mode):
                    todo.append(path)
        finally:
            os.close(fd)


# --- making ------------------------------------------------------------------------------------------------


def prose(seed: int, size: int) -> bytes:
    """Exactly `size` bytes of random words in lines: compresses about as badly as such text can."""
    rng = random.Random(seed)
    words = rng.choices(_WORDS, k=size // 3 + 1)
    lines = (b" ".join(words[at : at + 12]) for at in range(0, len(words), 12))
    return b"\n".join(lines)[:size]


class _Maker:
    """Makes members below a root; directories get their mode and time at the end, deepest first."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root_fd = os.open(root, _DIR_FLAGS)
        self.is_root = os.geteuid() == 0
        self._dirs: dict[bytes, tuple[int, int, tuple[int, int] | None]] = {}
        self._count = 0
        self._dirs[b""] = (0o755, self._next_time(), None)

    def _next_time(self) -> int:
        self._count += 1
        return _BASE_NS + self._count * 61_000_000_007

    def dir(
        self, path: bytes, *, mode: int = 0o755, mtime: int | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        """Make one directory; its parent exists."""
        parent, name = _split(path)
        fd = open_dir(self.root_fd, parent)
        try:
            os.mkdir(name, 0o700, dir_fd=fd)
        finally:
            os.close(fd)
        self._dirs[path] = (mode, self._next_time() if mtime is None else mtime, owner)

    def file(
        self,
        path: bytes,
        data: bytes | Iterable[tuple[int, bytes]] = b"",
        *,
        size: int | None = None,
        mode: int = 0o644,
        mtime: int | None = None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Make one file from bytes, or from (offset, bytes) pieces with holes between them."""
        parent, name = _split(path)
        parent_fd = open_dir(self.root_fd, parent)
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        try:
            for offset, piece in [(0, data)] if isinstance(data, bytes) else data:
                view = memoryview(piece)
                while view:
                    done = os.pwrite(fd, view, offset)
                    offset, view = offset + done, view[done:]
            if size is not None:
                os.ftruncate(fd, size)
            if owner and self.is_root:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)  # after chown, which clears the set-id bits
            when = self._next_time() if mtime is None else mtime
            os.utime(fd, ns=(when, when))
        finally:
            os.close(fd)

    def symlink(
        self, path: bytes, target: bytes, *, mtime: int | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        """Make one symbolic link."""
        parent, name = _split(path)
        when = self._next_time() if mtime is None else mtime
        fd = open_dir(self.root_fd, parent)
        try:
            os.symlink(target, name, dir_fd=fd)
            if owner and self.is_root:
                os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)
            if LINK_TIMES:
                os.utime(name, ns=(when, when), dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def hardlink(self, path: bytes, existing: bytes) -> None:
        """Give the file at `existing` another name."""
        to_parent, to_name = _split(path)
        from_parent, from_name = _split(existing)
        to_fd = open_dir(self.root_fd, to_parent)
        try:
            from_fd = open_dir(self.root_fd, from_parent)
            try:
                os.link(from_name, to_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
            finally:
                os.close(from_fd)
        finally:
            os.close(to_fd)

    def special(self, path: bytes, kind: int, *, mode: int = 0o640) -> None:
        """Make a FIFO or a socket, where the system lets us."""
        parent, name = _split(path)
        when = self._next_time()
        fd = open_dir(self.root_fd, parent)
        try:
            os.mknod(name, kind | 0o600, dir_fd=fd)
            os.chmod(name, mode, dir_fd=fd)
            os.utime(name, ns=(when, when), dir_fd=fd)
        except (PermissionError, NotImplementedError):  # macOS keeps mknod to root
            pass
        finally:
            os.close(fd)

    def finish(self) -> None:
        """Set owner, mode and time of the directories, deepest first, and let go of the root."""
        try:
            for path in sorted(self._dirs, key=lambda path: (path.count(b"/"), path != b"", path), reverse=True):
                mode, mtime, owner = self._dirs[path]
                fd = open_dir(self.root_fd, path)
                try:
                    if owner and self.is_root:
                        os.fchown(fd, *owner)
                    os.fchmod(fd, mode)
                    os.utime(fd, ns=(mtime, mtime))
                finally:
                    os.close(fd)
        finally:
            os.close(self.root_fd)


def make_hostile_tree(root: Path, *, big: bool = False, special: bool = True) -> None:
    """Make a tree with every kind of member, and every oddity, a Unix filesystem holds.

    It is the same tree each time (root mode and owners aside, which only root can make in full). About 9 MiB of
    distinct data and 50 MiB of holes; `big` adds a sparse file over 4 GiB, 96 MiB of data and a wide directory.
    """
    make = _Maker(root)
    try:
        _make_sizes(make)
        _make_contents(make)
        _make_directories(make)
        _make_names(make)
        _make_symlinks(make)
        _make_hardlinks(make)
        _make_sparse(make)
        _make_modes(make)
        _make_times(make)
        _make_owners(make)
        if special:
            make.dir(b"special")
            make.special(b"special/fifo", stat.S_IFIFO)
            make.special(b"special/socket", stat.S_IFSOCK)
        if big:
            _make_big(make)
    finally:
        make.finish()


def _make_sizes(make: _Maker) -> None:
    make.dir(b"sizes")
    make.file(b"sizes/empty")
    make.file(b"sizes/empty too", mode=0o600)
    make.file(b"sizes/one", b"x")
    make.file(b"sizes/one nul", b"\0")
    for size in BOUNDARY_SIZES:
        make.file(b"sizes/%d" % size, prose(size, size))


def _make_contents(make: _Maker) -> None:
    make.dir(b"contents")
    small, large = prose(1, 100), prose(2, 3 * MIB)
    make.dir(b"contents/copies")
    for name in (b"small", b"small again", b"copies/small"):
        make.file(b"contents/" + name, small)
    for name in (b"large", b"copies/large"):
        make.file(b"contents/" + name, large)
    make.file(b"contents/small, one bit off", small[:-1] + bytes([small[-1] ^ 1]))
    make.file(b"contents/random", random.Random(3).randbytes(256 * KIB + 17))
    make.file(b"contents/one byte over and over", b"a" * (512 * KIB + 1))
    make.file(b"contents/one line over and over", b"all work and no play\r\n" * 25_000)
    make.file(b"contents/every byte", bytes(range(256)) * 16)
    make.file(b"contents/no newline at the end", b"last line")
    make.file(b"contents/not utf-8", prose(4, 2000) + b"\xff\xfe\xc3\x28\xed\xa0\x80" + prose(5, 2000))
    make.file(b"contents/looks like.lmarc", b"lmarc\x00\x01" + random.Random(6).randbytes(300))


def _make_directories(make: _Maker) -> None:
    make.dir(b"dirs")
    make.dir(b"dirs/empty")
    make.dir(b"dirs/empty in empty")
    make.dir(b"dirs/empty in empty/empty")
    path = b"dirs/deep"
    make.dir(path)
    for level in range(1, DEEP_LEVELS):
        path += b"/%02d" % level
        make.dir(path)
        if level % 10 == 0:
            make.file(path + b"/here", b"level %d\n" % level)
    make.file(path + b"/bottom", b"the bottom\n")
    # A path so long that it can be reached only step by step, whatever the root.
    path = b"dirs/long"
    make.dir(path)
    index = 0
    while len(path) + 1 < LONG_PATH_BYTES - 300:
        path += b"/" + (b"%02d-" % index).ljust(240, b"l")
        make.dir(path)
        index += 1
    path += b"/" + b"m" * 100
    make.dir(path)
    make.dir(path + b"/empty")
    make.file(path + b"/" + b"f" * (LONG_PATH_BYTES - len(path) - 1), b"far away\n")
    make.symlink(path + b"/link", b"../" * 5)


def _make_names(make: _Maker) -> None:
    make.dir(b"names")
    make.dir(b"names/dirs")
    for index, name in enumerate(ODD_NAMES):
        try:
            make.file(b"names/" + name, b"name %d\n" % index)
            if index % 3 == 0:
                make.dir(b"names/dirs/" + name)
                make.file(b"names/dirs/" + name + b"/" + name, b"inside %d\n" % index)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise


def _make_symlinks(make: _Maker) -> None:
    make.dir(b"symlinks")
    make.dir(b"symlinks/real")
    make.file(b"symlinks/real/file", b"behind the link\n")
    targets = {
        b"relative": b"real/file",
        b"relative, up": b"../sizes/one",
        b"to directory": b"real",
        b"to directory, slash": b"real/",
        b"to parent": b"..",
        b"to here": b".",
        b"to link": b"relative",
        b"absolute": b"/etc/passwd",
        b"absolute root": b"/",
        b"outside": b"../../../../../../../../etc/passwd",
        b"dangling": b"no such file",
        b"dangling absolute": b"/no/such/file",
        b"itself": b"itself",
        b"loop a": b"loop b",
        b"loop b": b"loop a",
        b"not normal": b".//real/../real///file",
        b"not utf-8": b"caf\xe9/\xff\x80",
        b"new line": b"new\nline \x1b[31m",
        b"real/up": b"../real/up",
    }
    for name, target in targets.items():
        make.symlink(b"symlinks/" + name, target)
    for length in (4000, 1000):
        try:
            make.symlink(b"symlinks/target of %d bytes" % length, (b"t/" * length)[:length])
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # XFS stops at 1024
                raise


def _make_hardlinks(make: _Maker) -> None:
    make.dir(b"hardlinks")
    for sub in (b"a", b"b", b"c"):
        make.dir(b"hardlinks/" + sub)
    make.file(b"hardlinks/pair 1", prose(10, 3000))
    make.hardlink(b"hardlinks/pair 2", b"hardlinks/pair 1")
    make.file(b"hardlinks/b/three", prose(11, 70_000), mode=0o755)
    make.hardlink(b"hardlinks/a/three", b"hardlinks/b/three")
    make.hardlink(b"hardlinks/c/three", b"hardlinks/b/three")
    make.file(b"hardlinks/empty 1")
    make.hardlink(b"hardlinks/empty 2", b"hardlinks/empty 1")
    make.file(b"hardlinks/copy of pair, not linked", prose(10, 3000))
    make.file(b"hardlinks/a/read only", b"read only, two names\n", mode=0o400)
    make.hardlink(b"hardlinks/c/\xff", b"hardlinks/a/read only")


def _make_sparse(make: _Maker) -> None:
    make.dir(b"sparse")
    size, data = SPARSE_SIZE, prose(20, 64 * KIB)
    make.file(b"sparse/hole at start", [(size - len(data), data)])
    make.file(b"sparse/hole in middle", [(0, data), (size - 1000, data[:1000])])
    make.file(b"sparse/hole at end", [(0, data)], size=size)
    make.file(b"sparse/all hole", size=size)
    make.file(b"sparse/islands", [(at + 123, data[:5000]) for at in range(0, size, MIB)], size=size + 1)
    make.file(b"sparse/one byte in the middle", [(size // 2, b"!")], size=size)
    make.file(b"sparse/small hole", [(0, b"start"), (20_000, b"end")])
    make.file(b"sparse/zeros written", bytes(MIB))
    make.file(b"sparse/zeros written between", data[:5000] + bytes(200_000) + data[:5000])


def _make_modes(make: _Maker) -> None:
    make.dir(b"modes")
    for mode in FILE_MODES:
        make.file(b"modes/file %04o" % mode, b"mode %o\n" % mode, mode=mode)
    make.dir(b"modes/dir 0555", mode=0o555)
    make.file(b"modes/dir 0555/file", b"in a read-only directory\n")
    make.dir(b"modes/dir 0555/dir 0555", mode=0o555)
    make.file(b"modes/dir 0555/dir 0555/file", b"in two\n", mode=0o444)
    make.symlink(b"modes/dir 0555/link", b"file")
    make.dir(b"modes/dir 0500, empty", mode=0o500)
    make.dir(b"modes/dir 0700", mode=0o700)
    make.dir(b"modes/dir 1777", mode=0o1777)
    make.dir(b"modes/dir 2775", mode=0o2775)
    if make.is_root:  # no one else could read them back
        make.file(b"modes/file 0000", b"no one but root\n", mode=0o000)
        make.file(b"modes/file 0200", b"write only\n", mode=0o200)
        make.dir(b"modes/dir 0000", mode=0o000)
        make.file(b"modes/dir 0000/file", b"behind a closed door\n", mode=0o000)


def _make_times(make: _Maker) -> None:
    make.dir(b"times")
    for name, when in MTIMES_NS.items():
        make.file(b"times/file " + name, name + b"\n", mtime=when)
        make.dir(b"times/dir " + name, mtime=when)
        make.file(b"times/dir " + name + b"/newer", b"newer than its directory\n")
        make.symlink(b"times/link " + name, b"file " + name, mtime=when)


def _make_owners(make: _Maker) -> None:
    make.dir(b"owners")
    for uid, gid in ((12345, 54321), (1, 0), (0, 1), (2**31 + 5, 2**32 - 2)):
        mine = b"owners/%d %d" % (uid, gid)
        make.file(mine + b" file", b"owned\n", mode=0o4711, owner=(uid, gid))
        make.dir(mine + b" dir", mode=0o750, owner=(uid, gid))
        make.symlink(mine + b" link", b"anywhere", owner=(uid, gid))


def _make_big(make: _Maker) -> None:
    make.dir(b"big")
    end = 2**32 + 12_345
    make.file(b"big/sparse over 4 GiB", [(2**31 - 2000, prose(30, 4000)), (end, prose(31, 4000))], size=end + 8000)
    make.file(b"big/random", random.Random(32).randbytes(32 * MIB))
    make.file(b"big/prose", prose(33, 32 * MIB))
    make.file(b"big/repeats", prose(34, MIB) * 32)
    make.dir(b"big/wide")
    for index in range(5000):
        make.file(b"big/wide/%04d" % index, b"%d\n" % index)


def make_many_files(root: Path, count: int, seed: int = 0) -> None:
    """Make `count` distinct files of some 20 to 400 bytes, at most 200 to a directory, two levels deep."""
    rng = random.Random(seed)
    stock = prose(seed, 64 * KIB)
    top = os.fsencode(root)
    folder = b""
    for index in range(count):
        if index % 200 == 0:
            folder = b"%s/%03d/%03d" % (top, index // 40_000, index // 200 % 200)
            os.makedirs(folder, exist_ok=True)
        at = rng.randrange(len(stock) - 400)
        fd = os.open(b"%s/%06d.txt" % (folder, index), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, b"%d\n" % index + stock[at : at + rng.randrange(16, 392)])
            when = _BASE_NS + index * 1_000_000_007
            os.utime(fd, ns=(when, when))
        finally:
            os.close(fd)
    for index in range(0, count, 200):
        for path in (b"%s/%03d/%03d" % (top, index // 40_000, index // 200 % 200), b"%s/%03d" % (top, index // 40_000)):
            os.utime(path, ns=(_BASE_NS, _BASE_NS))


# --- removing ----------------------------------------------------------------------------------------------


def remove_tree(root: Path) -> None:
    """Remove a directory with all below it, however closed or deep. None there is fine; links are not followed."""
    try:
        if not stat.S_ISDIR(os.lstat(root).st_mode):
            os.unlink(root)
            return
    except FileNotFoundError:
        return
    os.chmod(root, 0o700)
    root_fd = os.open(root, _DIR_FLAGS | os.O_NOFOLLOW)
    try:
        todo, seen = [b""], []
        while todo:
            parent = todo.pop()
            fd = open_dir(root_fd, parent)
            try:
                for name in _names(fd):
                    if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                        os.chmod(name, 0o700, dir_fd=fd)
                        path = parent + b"/" + name if parent else name
                        todo.append(path)
                        seen.append(path)
                    else:
                        os.unlink(name, dir_fd=fd)
            finally:
                os.close(fd)
        for path in reversed(seen):
            parent, name = _split(path)
            fd = open_dir(root_fd, parent)
            try:
                os.rmdir(name, dir_fd=fd)
            finally:
                os.close(fd)
    finally:
        os.close(root_fd)
    os.rmdir(root)


# --- comparing ---------------------------------------------------------------------------------------------


def _digest(name: bytes, dir_fd: int) -> str:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        return "unreadable"
    with open(fd, "rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


def _entry(name: bytes, dir_fd: int, info: os.stat_result, mask: int, holes: bool, owners: bool) -> Entry:
    kind = _KINDS.get(stat.S_IFMT(info.st_mode), "other")
    is_file, is_link = kind == "file", kind == "symlink"
    return Entry(
        kind=kind,
        mode=0 if is_link else info.st_mode & mask,  # a link's mode is the system's own
        mtime_ns=None if is_link and not LINK_TIMES else info.st_mtime_ns,
        size=info.st_size if is_file or is_link else 0,
        digest=_digest(name, dir_fd) if is_file else "",
        target=os.readlink(name, dir_fd=dir_fd) if is_link else b"",
        links=(),
        blocks=info.st_blocks if holes and is_file else None,
        owner=(info.st_uid, info.st_gid) if owners else None,
    )


def snapshot(
    root: Path,
    *,
    special: bool = False,
    full_mode: bool = False,
    holes: bool = False,
    owners: bool = False,
    with_root: bool = False,
) -> dict[bytes, Entry]:
    """What is below `root`, by relative path: kind, mode, time, size, content, target, hard links.

    Left out unless asked for: FIFOs, sockets and devices (`special`), the set-id bits (`full_mode`), allocated
    blocks (`holes`), uid and gid (`owners`), the root itself as b"." (`with_root`).
    """
    mask = 0o7777 if full_mode else 0o1777
    found: dict[bytes, Entry] = {}
    inodes: dict[tuple[int, int], list[bytes]] = {}
    root_fd = os.open(root, _DIR_FLAGS)
    try:
        if with_root:
            found[b"."] = _entry(b".", root_fd, os.fstat(root_fd), mask, holes, owners)
        for path, fd, name, info in _walk(root_fd):
            entry = _entry(name, fd, info, mask, holes, owners)
            if entry.kind not in ("file", "directory", "symlink") and not special:
                continue
            found[path] = entry
            if entry.kind == "file" and info.st_nlink > 1:
                inodes.setdefault((info.st_dev, info.st_ino), []).append(path)
    finally:
        os.close(root_fd)
    for paths in inodes.values():
        if len(paths) > 1:
            group = tuple(sorted(paths))
            for path in group:
                found[path] = found[path]._replace(links=group)
    return dict(sorted(found.items()))


def show(path: bytes) -> str:
    """A path fit to print: no control bytes, not too long."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in path.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 120 else f"{text[:70]}...{text[-40:]} ({len(path)} bytes)"


def _compare(was: Entry, now: Entry, slack_blocks: int) -> Iterator[str]:
    if was.kind != now.kind:
        yield f"kind {was.kind} -> {now.kind}"
        return
    if was.mode != now.mode:
        yield f"mode {was.mode:04o} -> {now.mode:04o}"
    if was.mtime_ns != now.mtime_ns and None not in (was.mtime_ns, now.mtime_ns):
        yield f"mtime {was.mtime_ns} -> {now.mtime_ns} ns"
    if was.target != now.target:
        yield f"target {show(was.target)} -> {show(now.target)}"
    elif was.size != now.size:
        yield f"size {was.size} -> {now.size}"
    elif was.digest != now.digest:
        yield f"content differs ({was.size} bytes, sha256 {was.digest[:12]} -> {now.digest[:12]})"
    if was.links != now.links:
        yield f"hard links {[*map(show, was.links)]} -> {[*map(show, now.links)]}"
    if was.blocks is not None and now.blocks is not None and now.blocks > was.blocks + slack_blocks:
        yield f"holes filled: {was.blocks} -> {now.blocks} blocks"
    if was.owner != now.owner and None not in (was.owner, now.owner):
        yield f"owner {was.owner} -> {now.owner}"


def diff_snapshots(a: dict[bytes, Entry], b: dict[bytes, Entry], *, slack_blocks: int = 64) -> list[str]:
    """Every difference between two snapshots, a line each; [] when they agree.

    Where both have allocated blocks, b may use fewer than a, and up to `slack_blocks` (512 bytes each) more.
    """
    lines = [f"missing: {show(path)} ({a[path].kind})" for path in a if path not in b]
    lines += [f"extra: {show(path)} ({b[path].kind})" for path in b if path not in a]
    for path in a:
        if path in b:
            lines += [f"{show(path)}: {line}" for line in _compare(a[path], b[path], slack_blocks)]
    return lines


def main() -> None:
    """Make a tree from the command line."""
    parser = argparse.ArgumentParser(description="Make a hostile tree, or one of many small files.")
    parser.add_argument("dir", type=Path)
    parser.add_argument("--big", action="store_true", help="add a sparse file over 4 GiB and 96 MiB of data")
    parser.add_argument("--no-special", action="store_true", help="leave out the FIFO and the socket")
    parser.add_argument("--many", type=int, metavar="N", help="make N small files instead")
    parser.add_argument("--seed", type=int, default=0, help="for --many")
    parser.add_argument("--remove", action="store_true", help="remove the tree, however closed or deep")
    args = parser.parse_args()
    if args.remove:
        remove_tree(args.dir)
    elif args.many is not None:
        make_many_files(args.dir, args.many, args.seed)
    else:
        make_hostile_tree(args.dir, big=args.big, special=not args.no_special)


if __name__ == "__main__":
    main()
