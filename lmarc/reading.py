"""Reading, the public functions."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterable
from typing import BinaryIO

from lmarc.archive import secret
from lmarc.archive.read import Archive
from lmarc.archive.secret import Keys
from lmarc.container import wire
from lmarc.errors import DamagedError, UsageError

#: What decompress() returns at most, in bytes, unless told otherwise.
MAX_DECOMPRESSED = 1 << 31


def open(
    file: str | os.PathLike[str] | BinaryIO,
    *,
    models: Iterable[str] = (),
    threads: int | None = None,
    max_time: float | None = None,
    max_members: int | None = None,
    keys: Keys | None = None,
) -> Archive:
    """Open an archive for reading, from a path or a seekable binary file.

    `models` are files and folders where a model that the archive needs may be, before where models usually are;
    `threads` is how many processors it may use, and `max_time`, in seconds, how long extracting with it may be expected
    to take: longer raises LimitError. So does an archive of more than `max_members` members; None allows
    262,144, and more, up to 2,097,152, where the archive has two bytes for each (sys.maxsize: any number).
    An encrypted archive is decrypted with `keys`, to a temporary file without a name.

    Raises NotAnArchiveError, UnsupportedError, LimitError or, for an encrypted one, WrongKeyError. A damaged archive
    opens; its `damage` tells what is wrong, and its members are those that can still be found.

    >>> import lmarc, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "notes.txt").write_text("Prediction is compression.")
    >>> result = lmarc.pack([folder / "notes.txt"], folder / "notes.lmarc")
    >>> with lmarc.open(folder / "notes.lmarc") as archive:
    ...     archive.namelist(), archive.read("notes.txt")
    (['notes.txt'], b'Prediction is compression.')
    """
    is_ours = isinstance(file, (str, os.PathLike))
    handle = builtins.open(file, "rb") if isinstance(file, (str, os.PathLike)) else file
    try:
        if secret.is_encrypted(handle):
            plain = secret.decrypted(handle, keys or Keys())
            if is_ours:
                handle.close()
            handle, is_ours = plain, True
        return Archive(
            handle, owned=is_ours, models=models, threads=threads, max_time=max_time, max_members=max_members
        )
    except BaseException:
        if is_ours:
            handle.close()
        raise


def is_lmarc(file: str | os.PathLike[str] | BinaryIO) -> bool:
    """Whether a file begins like an lmarc archive. A binary file is left where it was.

    >>> import io, lmarc
    >>> lmarc.is_lmarc(io.BytesIO(lmarc.compress(b"x"))), lmarc.is_lmarc(io.BytesIO(b"PK"))
    (True, False)
    """
    if isinstance(file, (str, os.PathLike)):
        with builtins.open(file, "rb") as handle:
            return handle.read(len(wire.MAGIC)) == wire.MAGIC
    at = file.tell()
    try:
        return file.read(len(wire.MAGIC)) == wire.MAGIC
    finally:
        file.seek(at)


def decompress(archive: bytes, *, max_size: int = MAX_DECOMPRESSED) -> bytes:
    """The content of the only regular file of an archive given as bytes.

    Raises UsageError if there is not just one, LimitError if it is larger than max_size.
    """
    with open(io.BytesIO(archive)) as opened:
        if opened.damage:
            raise DamagedError(opened.damage[0])
        files = [info.name for info in opened.infolist() if info.kind == "file"]
        if len(files) != 1:
            raise UsageError(f"the archive holds {len(files)} files, not one")
        return opened.read(files[0], max_size=max_size)
