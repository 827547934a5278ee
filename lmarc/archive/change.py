"""An archive that is changed where it lies: what is new goes behind its end, so that until the new end is written, and
wherever that is cut short, it is what it was before."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import BinaryIO

from lmarc.archive import fs
from lmarc.archive.decode import ChunkDecoder, Delivery, MemberSink
from lmarc.archive.observer import Observer
from lmarc.archive.paths import display, parents
from lmarc.archive.save import naming
from lmarc.archive.secret import is_encrypted
from lmarc.container.index import Member
from lmarc.container.reader import ContainerReader
from lmarc.container.writer import Before
from lmarc.errors import DamagedError, LmarcError, UsageError


class Change:
    """A context manager around one change. A sink that writes behind the archive's end; on an error that is undone.

    Locked while in use. What an earlier change that was killed has left behind the end is taken away. Raises
    DamagedError for an archive that is damaged otherwise.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1
        #: What is to stand at the end before anything is written, and how many bytes are behind that.
        self._trailer, self._lost = b"", 0

    def __enter__(self) -> Change:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            _lock(self._fd, self.path)
            self.reader = self._complete()
            self.end = self._at = self.reader.size
        except BaseException:
            os.close(self._fd)
            raise
        self.before: Before = self.reader.before()
        self.members = {member.path: member for member in self.reader.members}
        #: Those that are added.
        self._directories: set[bytes] = set()
        self._links: dict[bytes, list[bytes]] = {}
        for member in self.reader.members:
            if member.kind == "hardlink":
                self._links.setdefault(member.target, []).append(member.path)
        self._decoder = ChunkDecoder(self.reader, (), None, None)
        self._above = {above for path in self.members for above in parents(path)}
        return self

    def _complete(self) -> ContainerReader:
        """The archive as it was last complete, and nothing behind that."""
        file = os.fdopen(os.dup(self._fd), "rb")
        try:
            return self._completed(file)
        except BaseException:
            # It would keep the lock.
            file.close()
            raise

    def _completed(self, file: BinaryIO) -> ContainerReader:
        if is_encrypted(file):
            raise UsageError(f"{self.path} is encrypted, and cannot be changed: unpack it, and pack anew")
        reader = ContainerReader.open(file)
        if not reader.damage:
            return reader
        last = reader.last_whole()
        if last is None:
            raise DamagedError(
                f"{self.path} is damaged, and cannot be changed (lmarc repair may help, where it has recovery data): "
                f"{reader.damage[0]}"
            )
        self._trailer, self._lost = last.trailer, reader.size - last.size
        return last

    def _cut_off(self) -> None:
        """Take away what is behind the end, before anything is written there, and say so."""
        if not self._trailer:
            return
        if self._lost > 0:
            warnings.warn(
                f"{display(os.fsencode(self.path))}: {self._lost} bytes that no index names were cut off: what a "
                "change that was not finished had written",
                stacklevel=4,
            )
        with naming(self.path):
            fs.write_at(self._fd, memoryview(self._trailer), self.end - len(self._trailer))
            os.ftruncate(self._fd, self.end)
        self.sync()
        self._trailer = b""

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: not to be packed into itself."""
        info = os.fstat(self._fd)
        return info.st_dev, info.st_ino

    def write(self, data: bytes) -> None:
        """Write all of data."""
        self._cut_off()
        view = memoryview(data)
        with naming(self.path):
            while view:
                done = os.pwrite(self._fd, view, self._at)
                self._at += done
                view = view[done:]

    def sync(self) -> None:
        """Everything written is on the disk: before an end says that it is."""
        with naming(self.path):
            os.fsync(self._fd)

    def files(self) -> list[Member]:
        """The regular files that were there."""
        return [member for member in self.reader.members if member.kind == "file"]

    def is_sound(self, member: Member) -> bool:
        """Whether a file's content decodes here to what the index says."""
        delivery = Delivery(self._decoder, MemberSink, Observer())
        delivery.run([member], 1)
        return not delivery.failed

    def expect(self, path: bytes, is_directory: bool) -> None:
        """A member is going to be added. Raises UsageError where it cannot be beside the others."""
        for above in parents(path):
            other = self.members.get(above)
            if other is not None and other.kind != "dir" and above not in self._directories:
                raise UsageError(f"{display(path)} cannot be added: {display(above)} in the archive is not a directory")
        if not is_directory and path in self._above:
            raise UsageError(f"{display(path)} cannot be added: in the archive there are members below it")
        self._above.update(parents(path))
        if is_directory:
            self._directories.add(path)

    def written(self, member: Member) -> None:
        """A member has been written: it is no link any more that was there before."""
        old = self.members.get(member.path)
        if old is not None and old.kind == "hardlink" and member.path in self._links.get(old.target, ()):
            self._links[old.target].remove(member.path)
        self.members[member.path] = member

    def heirs(self, gone: Collection[bytes]) -> Iterator[Member]:
        """What hard links become whose file is among those gone: the first of each is the file, the others link to
        it."""
        for path in gone:
            links = [link for link in sorted(self._links.pop(path, ())) if link not in gone and link in self.members]
            if not links:
                continue
            heir = self.members[path]._replace(path=links[0])
            yield heir
            self.members[heir.path] = heir
            for link in links[1:]:
                other = self.members[link]._replace(target=heir.path)
                self.members[link] = other
                yield other
            self._links[heir.path] = links[1:]

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._decoder.close()
        try:
            if kind is None:
                self.sync()
            else:
                with suppress(OSError):
                    if self._at > self.end:
                        os.ftruncate(self._fd, self.end)
                        self.sync()
        finally:
            self.reader.file.close()
            os.close(self._fd)


def _lock(fd: int, path: str) -> None:
    """Raise LmarcError if another process changes an open archive, or has put another in its place."""
    busy = f"{path} is being changed by another process"
    fs.lock(fd, busy)
    if not fs.is_at(fd, path):
        raise LmarcError(busy)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """No other process changes the archive meanwhile. Raises LmarcError if one does."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(fd, path)
        yield
    finally:
        os.close(fd)


def check_written(fd: int, members: int) -> None:
    """Raise DamagedError unless an open file is a whole archive of so many members: before it takes another's place."""
    with os.fdopen(os.dup(fd), "rb") as file:
        reader = ContainerReader.open(file)
    if reader.damage or len(reader.members) != members:
        raise DamagedError(f"what was written is not whole, and has not been used: {reader.damage}")
