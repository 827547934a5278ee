"""Writing a file so that nothing stands under its name until it is complete."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from lmarc.errors import LmarcError, TargetExistsError


class SaveFile:
    """A context manager that writes beside `path` and renames into place on success; on an error nothing remains.

    The working file has a fixed name, `.NAME.partial`, locked while in use, so that what a killed process leaves is
    replaced by the next run.
    """

    def __init__(self, path: str, *, replace: bool = False) -> None:
        self.path = path
        self._replace = replace
        folder, name = os.path.split(path)
        self.partial = os.path.join(folder, _partial_name(name))
        self._folder = folder or "."
        self._fd = -1

    def __enter__(self) -> SaveFile:
        self._refuse_existing()
        # Not O_TRUNC: another process may be writing it, which only the lock tells.
        self._fd = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        if not self._lock():
            os.close(self._fd)
            raise LmarcError(f"{self.path} is being written by another process")
        os.ftruncate(self._fd, 0)
        return self

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held the lock before may have renamed the file meanwhile: what is locked now is then its result.
            return os.path.samestat(os.fstat(self._fd), os.lstat(self.partial))
        except OSError:
            return False

    @property
    def identities(self) -> list[tuple[int, int]]:
        """Device and inode of the working file and of what it will replace: not to be packed into itself."""
        infos = [os.fstat(self._fd)]
        if os.path.exists(self.path):
            infos.append(os.stat(self.path))
        return [(info.st_dev, info.st_ino) for info in infos]

    def write(self, data: bytes) -> None:
        """Write all of data."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._commit()
            else:
                os.unlink(self.partial)
        finally:
            os.close(self._fd)

    def _commit(self) -> None:
        try:
            os.fsync(self._fd)
            self._refuse_existing()
            os.rename(self.partial, self.path)
        except BaseException:
            os.unlink(self.partial)
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _refuse_existing(self) -> None:
        if not self._replace and os.path.lexists(self.path):
            raise TargetExistsError(f"{self.path} exists already (--force replaces it)")


def _partial_name(name: str) -> str:
    # A name may be as long as the file system allows, which leaves no room for what is added.
    raw = os.fsencode(name)
    return f".{os.fsdecode(raw[:200])}.partial"
