"""System calls by directory descriptor, for paths of any length, never through a link in the last component; and what
takes several calls to do with a descriptor."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lmarc.errors import LmarcError

#: Relative paths longer than this are walked component by component; the kernel's limit is 4,095.
_LONG = 4000
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def parent_of(root: int, path: bytes) -> Iterator[tuple[int, bytes]]:
    """A directory descriptor and what remains of path relative to it, short enough for any system call."""
    if len(path) <= _LONG:
        yield root, path
        return
    fd = os.dup(root)
    try:
        rest = path
        while len(rest) > _LONG:
            cut = rest.rfind(b"/", 0, _LONG)
            following = os.open(rest[:cut], _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd, rest = following, rest[cut + 1 :]
        yield fd, rest
    finally:
        os.close(fd)


def open_file(root: int, path: bytes) -> int:
    """Open for reading without following a final link and without waiting for a FIFO's writer."""
    with parent_of(root, path) as (fd, rest):
        return os.open(rest, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)


def open_file_strictly(root: int, path: bytes, given: int) -> int:
    """Like open_file, but what comes behind the first `given` bytes of path may not lead through a link anywhere.

    Nor may the last of the given ones be a link; one that is meant to be followed is given with a slash behind it.
    """
    rest = path[given:].lstrip(b"/")
    if not rest:
        return open_file(root, path)
    fd = open_directory(root, path[:given])
    try:
        *above, name = rest.split(b"/")
        for part in above:
            following = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = following
        return open_file(fd, name)
    finally:
        os.close(fd)


def open_directory(root: int, path: bytes, *, follow: bool = False) -> int:
    """Open a directory; a final link only where follow says so."""
    with parent_of(root, path) as (fd, rest):
        return os.open(rest, _DIRECTORY | (0 if follow else os.O_NOFOLLOW), dir_fd=fd)


def lstat(root: int, path: bytes) -> os.stat_result:
    """os.lstat relative to root."""
    with parent_of(root, path) as (fd, rest):
        return os.stat(rest, dir_fd=fd, follow_symlinks=False)


def readlink(root: int, path: bytes) -> bytes:
    """os.readlink relative to root."""
    with parent_of(root, path) as (fd, rest):
        return os.readlink(rest, dir_fd=fd)


def lock(fd: int, busy: str) -> None:
    """Lock a file for as long as it is open. Raises LmarcError, which says `busy`, if another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LmarcError(busy) from None
    except OSError:
        # No locks here (some network file systems): two writers at once are then up to the user.
        return


def is_at(fd: int, path: str) -> bool:
    """Whether an open file is what is at a path now."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of data at an offset."""
    while data:
        written = os.pwrite(fd, data, offset)
        data = data[written:]
        offset += written
