"""Who a model file is: the sha256 of its content, computed once and remembered while the file stays as it is."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from lmarc.models import jsonfile
from lmarc.models.files import cache_home, open_regular

#: Called with the bytes done and all bytes of a file: with (0, total) first, then after each block.
Progress = Callable[[int, int], None]

HASH_SIZE = 32
_BLOCK = 1 << 20
#: A file changed so recently, in seconds, could change again within the same tick of the file system's clock.
_RACY = 2.0
#: How many hashes are remembered; the oldest go first.
MAX_ENTRIES = 4096

#: realpath, then what os.stat says of the file.
_Key = tuple[str, int, int, int, int, int]


@dataclass(frozen=True)
class ModelFile:
    """A model file on this disk.

    `sha256` may be what the file's name or the register says: `verify.checked` makes sure before it is used. `size` is
    in bytes. `file_name` is what people call it, `place` where it was found, `source` a name to fetch it by
    (hf://ORG/REPO/FILE) and `revision` the commit there; these are "" if not known. `beside` has, by name, the
    sha256 of the other files of the model, in the same folder (`parts`).
    """

    path: str
    sha256: bytes
    size: int
    file_name: str
    place: str = ""
    source: str = ""
    revision: str = ""
    beside: Mapping[str, bytes] = field(default_factory=dict)


#: What a predictor that needs no file is opened with.
NO_MODEL = ModelFile("", b"", 0, "no model")


def sha256_of(path: str | os.PathLike[str], *, progress: Progress | None = None, fresh: bool = False) -> bytes:
    """The sha256 of a regular file: remembered from before if nothing about the file has changed, else computed.

    `fresh` computes it in any case. Raises OSError if it cannot be read, UsageError if it is not a regular file.
    """
    name = os.path.realpath(path)
    known = None if fresh else cached_sha256(name)
    if known is not None:
        return known
    file, info = open_regular(name)
    with file:
        started = time.time()
        digest = hashlib.sha256()
        block = memoryview(bytearray(_BLOCK))
        done = 0
        if progress is not None:
            progress(0, info.st_size)
        while count := os.readv(file.fileno(), [block]):
            digest.update(block[:count])
            done += count
            if progress is not None:
                progress(done, max(done, info.st_size))
        after = os.fstat(file.fileno())
    key = _key(name, info)
    if key == _key(name, after) and info.st_mtime < started - _RACY:
        _remember(key, digest.digest())
    return digest.digest()


def cached_sha256(path: str | os.PathLike[str]) -> bytes | None:
    """The sha256 of a file if it was computed before and nothing about the file has changed; None otherwise."""
    name = os.path.realpath(path)
    try:
        return _entries().get(_key(name, os.stat(name)))
    except OSError:
        return None


def model_file(path: str | os.PathLike[str], *, progress: Progress | None = None, place: str = "") -> ModelFile:
    """The file at path, hashed. Raises as `sha256_of`."""
    name = os.fspath(path)
    sha256 = sha256_of(name, progress=progress)
    return ModelFile(os.path.abspath(name), sha256, os.stat(name).st_size, os.path.basename(name), place)


def _key(name: str, info: os.stat_result) -> _Key:
    # The change time too: tools that copy set the modification time as they like.
    return name, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino, info.st_dev


def _cache_file() -> str | None:
    return next((os.path.join(folder, "lmarc", "model-hashes.json") for folder in cache_home()), None)


#: What was read last, and from which state of which file.
_loaded: tuple[object, dict[_Key, bytes]] = (None, {})


def _entries() -> dict[_Key, bytes]:
    """What is remembered; nothing if the file is missing, broken or out of reach. Not to be changed."""
    global _loaded
    path = _cache_file()
    if path is None:
        return {}
    try:
        state = _key(path, os.stat(path))
        if _loaded[0] != state:
            _loaded = (state, _parse(jsonfile.load(path)))
    except (OSError, ValueError):
        return {}
    return _loaded[1]


def _parse(value: Any) -> dict[_Key, bytes]:
    rows = value.get("files") if type(value) is dict and value.get("format") == 1 else None
    out: dict[_Key, bytes] = {}
    for row in rows[-MAX_ENTRIES:] if type(rows) is list else ():
        if type(row) is not list or len(row) != 7 or [type(item) for item in row] != [str, *[int] * 5, str]:
            continue
        with suppress(ValueError):
            digest = bytes.fromhex(row[6])
            if len(digest) == HASH_SIZE:
                out[row[0], row[1], row[2], row[3], row[4], row[5]] = digest
    return out


def _remember(key: _Key, digest: bytes) -> None:
    path = _cache_file()
    if path is None:
        return
    # What others have written meanwhile is kept; of the same file, only what is true now.
    kept = [(old, value) for old, value in _entries().items() if old[0] != key[0]]
    rows = [[*old, value.hex()] for old, value in [*kept, (key, digest)]]
    with suppress(OSError):
        jsonfile.save(path, {"format": 1, "files": rows[-MAX_ENTRIES:]})
