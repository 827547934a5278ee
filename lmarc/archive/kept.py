"""Chunks kept beside what is being made, so that an interrupted run loses no more than what was in work."""

from __future__ import annotations

import os
import stat
import struct
import threading
import warnings
from contextlib import suppress
from types import TracebackType

from blake3 import blake3

from lmarc.archive import fs
from lmarc.errors import LmarcError, TargetExistsError

_MAGIC = b"lmarc kept 1\n"
TAG_SIZE = 16
_HEAD = struct.Struct("<32s16sQQ")  # key, tag, bytes of content, bytes of body
_CHECK_SIZE = 16
_BLOCK = 1 << 20
#: How often a file that another process has just removed is made anew.
_TRIES = 3


class Kept:
    """Chunks by key, in a file that a killed process leaves whole but for its last record. Safe from several threads.

    A context manager: the file goes when all went well, and stays after an error that came when it held anything, of
    which the error then gets a note. A key is 32 bytes that say of what and how the body was made; a tag says how.
    """

    def __init__(self, path: str, *, resume: bool, force: bool = False) -> None:
        """Open or make the file, to go on with what is in it (`resume`) or to begin anew (`force`).

        Raises TargetExistsError if something is in it and neither is asked for, LmarcError if it is in use, or another
        kind of file.
        """
        self.path = path
        self._mutex = threading.Lock()
        self._places: dict[bytes, tuple[int, int]] = {}
        self._contents: dict[bytes, int] = {}
        self._stays = False
        self._fd = self._open()
        try:
            self._end = self._read()
            if self._places and not resume:
                if not force:
                    raise TargetExistsError(
                        f"{self._said()} of an interrupted run: --resume goes on, --force begins anew"
                    )
                self._places, self._contents, self._end = {}, {}, 0
            self._begin()
        except BaseException:
            os.close(self._fd)
            raise

    def _begin(self) -> None:
        try:
            os.ftruncate(self._fd, self._end)
            if not self._end:
                self._write(_MAGIC)
        except OSError:
            if not self._end:
                # There is nothing in it, and nobody to remove it later.
                with suppress(OSError):
                    os.unlink(self.path)
            raise

    def _open(self) -> int:
        for _ in range(_TRIES):
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                self._lock(fd)
                # Whoever held the lock before may have removed it meanwhile.
                if fs.is_at(fd, self.path):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
        raise LmarcError(f"{self.path} is in use by another process")

    def _lock(self, fd: int) -> None:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1 or info.st_uid != os.geteuid():
            raise LmarcError(f"{self.path} is not a file of ours to write into")
        fs.lock(fd, f"{self.path} is in use by another process")

    def _read(self) -> int:
        """Find the records; return where the last whole one ends, 0 if there is nothing yet."""
        size = os.fstat(self._fd).st_size
        magic = os.pread(self._fd, len(_MAGIC), 0)
        if magic != _MAGIC[: len(magic)]:
            raise LmarcError(f"{self.path} is in the way: it holds something else")
        if len(magic) < len(_MAGIC):
            return 0
        position = len(_MAGIC)
        while position + _HEAD.size <= size:
            key, tag, content, length = _HEAD.unpack(os.pread(self._fd, _HEAD.size, position))
            end = position + _HEAD.size + length + _CHECK_SIZE
            if end > size:
                break
            self._note(key, tag, position, length, content)
            position = end
        return position

    def _note(self, key: bytes, tag: bytes, position: int, length: int, content: int) -> None:
        if key not in self._places:
            self._contents[tag] = self._contents.get(tag, 0) + content
        self._places[key] = position, length

    def _write(self, data: bytes) -> None:
        fs.write_at(self._fd, memoryview(data), self._end)
        self._end += len(data)

    def _said(self) -> str:
        return f"{self.path} keeps {len(self._places)} chunk{'s' * (len(self._places) != 1)}"

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def content_of(self, tag: bytes) -> int:
        """Bytes of content that were made in the way that the tag says."""
        return self._contents.get(tag, 0)

    def get(self, key: bytes) -> bytes | None:
        """What is kept under a key; None if nothing is, or if it is not as it was written."""
        with self._mutex:
            place = self._places.get(key)
            if place is None or self._fd < 0:
                return None
            position, length = place
            record = bytearray()
            while len(record) < (whole := _HEAD.size + length + _CHECK_SIZE):
                block = os.pread(self._fd, min(_BLOCK, whole - len(record)), position + len(record))
                if not block:
                    return None
                record += block
        data, check = bytes(record[:-_CHECK_SIZE]), record[-_CHECK_SIZE:]
        return data[_HEAD.size :] if blake3(data).digest(_CHECK_SIZE) == check else None

    def put(self, key: bytes, tag: bytes, body: bytes, content: int) -> None:
        """Keep a body, made of so many bytes of content, on disk before this returns; nothing after the end.

        Where that fails, a warning says so and nothing more is kept: the run itself can go on.
        """
        record = _HEAD.pack(key, tag, content, len(body)) + body
        record += blake3(record).digest(_CHECK_SIZE)
        with self._mutex:
            if self._fd < 0 or self._end < 0:
                return
            begin = self._end
            try:
                self._write(record)
                os.fsync(self._fd)
            except OSError as error:
                self._end = -1
                warnings.warn(f"{self.path}: {error.strerror}: no more is kept to go on with", stacklevel=2)
                return
            self._note(key, tag, begin, len(body), content)

    def stay(self) -> None:
        """Leave the file where it is even when all goes well, and say so."""
        self._stays = True

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._mutex:
            if not self._places or (error is None and not self._stays):
                with suppress(OSError):
                    if fs.is_at(self._fd, self.path):
                        os.unlink(self.path)
            else:
                note = f"{self._said()}: the same command with --resume goes on"
                if error is not None:
                    error.add_note(note)
                else:
                    warnings.warn(note, stacklevel=2)
            fd, self._fd = self._fd, -1
            os.close(fd)


def open_kept(path: str, *, resume: bool, force: bool) -> Kept | None:
    """Open or make the file as Kept does; None, and a warning, where it cannot be made."""
    try:
        return Kept(path, resume=resume, force=force)
    except OSError as error:
        warnings.warn(f"{path}: {error.strerror}: nothing is kept to go on with", stacklevel=2)
        return None
