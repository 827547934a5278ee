"""Writing a file so that nothing stands under its name until it is complete."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from lmarc.archive import fs
from lmarc.errors import LmarcError, TargetExistsError

#: How often a working file that is not ours to use is made anew.
_TRIES = 3


@contextmanager
def naming(path: str) -> Iterator[None]:
    """What fails on a descriptor says which file that is."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = path
        raise


class SaveFile:
    """A context manager that writes beside `path` and renames into place on success; on an error nothing remains.

    The working file has a fixed name, `.NAME.partial`, locked while in use, so that what a killed process leaves is
    replaced by the next run.
    """

    def __init__(self, path: str, *, replace: bool = False) -> None:
        self.path = path
        self._replace = replace
        self.partial = self.beside("partial")
        self._folder = os.path.dirname(path) or "."
        self._fd = -1

    def beside(self, kind: str) -> str:
        """The path of a hidden file in the same folder that goes with this one."""
        folder, name = os.path.split(self.path)
        # A name may be as long as the file system allows, which leaves no room for what is added.
        raw = os.fsencode(name)
        return os.path.join(folder, f".{os.fsdecode(raw[:200])}.{kind}")

    def __enter__(self) -> SaveFile:
        self._refuse_existing()
        if os.path.isdir(self.path):
            raise LmarcError(f"{self.path} is a directory")
        # Not O_TRUNC: another process may be writing it, which only the lock tells.
        self._fd = self._open_partial()
        try:
            with naming(self.path):
                os.ftruncate(self._fd, 0)
                os.fchmod(self._fd, self._mode())
        except BaseException:
            self._discard()
            os.close(self._fd)
            raise
        return self

    def _mode(self) -> int:
        """The mode of what is replaced, otherwise what the umask says, whatever a killed run has left."""
        try:
            return os.stat(self.path).st_mode & 0o777
        except OSError:
            os.umask(mask := os.umask(0o077))
            return 0o666 & ~mask

    def _open_partial(self) -> int:
        for _ in range(_TRIES):
            fd = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                fs.lock(fd, f"{self.path} is being written by another process")
                info = os.fstat(fd)
                # Whoever held the lock before may have renamed the file meanwhile: what is locked is then its result.
                if not fs.is_at(fd, self.partial):
                    raise FileNotFoundError
                if stat.S_ISREG(info.st_mode) and info.st_nlink == 1 and info.st_uid == os.geteuid():
                    return fd
                # Somebody else's, or known by another name: not ours to write into.
                os.unlink(self.partial)
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise LmarcError(f"{self.path} is being written by another process")

    @property
    def identities(self) -> list[tuple[int, int]]:
        """Device and inode of the working file and of what it will replace: not to be packed into itself."""
        infos = [os.fstat(self._fd)]
        if os.path.exists(self.path):
            infos.append(os.stat(self.path))
        return [(info.st_dev, info.st_ino) for info in infos]

    def fileno(self) -> int:
        """The descriptor of the working file."""
        return self._fd

    def write(self, data: bytes) -> None:
        """Write all of data."""
        view = memoryview(data)
        with naming(self.path):
            while view:
                view = view[os.write(self._fd, view) :]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._commit()
            else:
                self._discard()
        finally:
            os.close(self._fd)

    def _discard(self) -> None:
        with suppress(OSError):
            os.unlink(self.partial)

    def _commit(self) -> None:
        try:
            with naming(self.path):
                os.fsync(self._fd)
            if self._replace:
                os.rename(self.partial, self.path)
            else:
                self._link()
        except BaseException:
            self._discard()
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with naming(self._folder):
                os.fsync(folder)
        finally:
            os.close(folder)

    def _link(self) -> None:
        """Give the file its name, unless something has got it meanwhile."""
        try:
            os.link(self.partial, self.path, follow_symlinks=False)
        except FileExistsError:
            self._refuse_existing()
            raise
        except OSError:
            # A file system without hard links: the look before the rename is the best there is.
            self._refuse_existing()
            os.rename(self.partial, self.path)
        else:
            os.unlink(self.partial)

    def _refuse_existing(self) -> None:
        if not self._replace and os.path.lexists(self.path):
            raise TargetExistsError(f"{self.path} exists already (--force replaces it)")
