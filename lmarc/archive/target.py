"""A directory to extract into, reached only through descriptors and never through a link (FORMAT.md section 4.1)."""

from __future__ import annotations

import errno
import os
import resource
from collections import OrderedDict
from collections.abc import Collection, Iterable
from contextlib import suppress

from lmarc.archive.paths import display
from lmarc.errors import UnsafeMemberError

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 4096


class Target:
    """Keeps descriptors of directories in use. Paths are member paths that have been found safe."""

    def __init__(self, root: str, label: str, finished_later: Collection[bytes] = ()) -> None:
        """`label` marks what is not complete as this archive's, whoever extracts it; `finished_later` are directories
        whose mode is set at the end: those made are noted in `made`."""
        os.makedirs(root, exist_ok=True)
        self._finished_later = finished_later
        self.made: set[bytes] = set()
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._max_open = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 16)
        self._prefix = b".lmarc-%s-" % label.encode()
        self._token = os.urandom(4).hex().encode()
        self._count = 0

    def close(self) -> None:
        """Close all descriptors."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        os.close(self._root)
        self._root = -1

    def directory(self, path: bytes, *, create: bool = True) -> int:
        """A descriptor of a directory below the root, good until the next call.

        Missing directories are made, those to be finished later with mode 0700, others as the umask says. Raises
        UnsafeMemberError where something else than a directory stands in the way.
        """
        if self._root < 0:
            raise OSError(errno.EBADF, "extraction has ended")
        if not path:
            return self._root
        fd = self._open.get(path)
        if fd is not None:
            self._open.move_to_end(path)
            return fd
        known, fd = self._nearest(path)
        parts = path[len(known) + 1 if known else 0 :].split(b"/")
        for part in parts:
            known = known + b"/" + part if known else part
            fd = self._enter(fd, part, known, create)
            self._remember(known, fd)
        return fd

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """A descriptor of the directory a member is in, made if it is not there, and the member's name."""
        above, _, name = path.rpartition(b"/")
        return self.directory(above), name

    def temporary_name(self) -> bytes:
        """A name nobody else uses, for a file that is not complete."""
        self._count += 1
        return b"%s%s-%d" % (self._prefix, self._token, self._count)

    def remove_leftovers(self, directories: Iterable[bytes]) -> None:
        """Remove what killed extractions of this archive have left incomplete in these directories."""
        for directory in directories:
            with suppress(OSError, UnsafeMemberError):
                fd = self.directory(directory, create=False)
                for name in os.listdir(fd):
                    if os.fsencode(name).startswith(self._prefix):
                        os.unlink(name, dir_fd=fd)

    def existing(self, path: bytes) -> os.stat_result | None:
        """What stands at a path, links not followed; None if nothing does, or if a directory above is not there."""
        above, _, name = path.rpartition(b"/")
        try:
            return os.stat(name, dir_fd=self.directory(above, create=False), follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _nearest(self, path: bytes) -> tuple[bytes, int]:
        above = path
        while b"/" in above:
            above = above.rpartition(b"/")[0]
            fd = self._open.get(above)
            if fd is not None:
                self._open.move_to_end(above)
                return above, fd
        return b"", self._root

    def _enter(self, fd: int, name: bytes, path: bytes, create: bool) -> int:
        if create:
            # Most directories that are not open are new: making one first saves asking.
            is_finished_later = path in self._finished_later
            with suppress(FileExistsError):
                os.mkdir(name, 0o700 if is_finished_later else 0o777, dir_fd=fd)
                if is_finished_later:
                    self.made.add(path)
        try:
            return os.open(name, _OPEN, dir_fd=fd)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise UnsafeMemberError(f"{display(path)} stands in the way and is not a directory") from error
            raise

    def _remember(self, path: bytes, fd: int) -> None:
        self._open[path] = fd
        if len(self._open) > min(self._max_open, _MAX_OPEN):
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)
