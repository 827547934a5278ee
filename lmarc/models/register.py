"""The user's own models: files that were added by hand, kept in $XDG_DATA_HOME/lmarc/models.json."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lmarc.errors import LmarcError
from lmarc.models import jsonfile
from lmarc.models.candidates import Candidate, candidate
from lmarc.models.files import data_home
from lmarc.models.identity import HASH_SIZE, ModelFile, Progress, model_file

PLACE = "registered"


def location() -> str | None:
    """The file that holds the register; None where there is no place for one. It need not exist."""
    return next((os.path.join(folder, "lmarc", "models.json") for folder in data_home()), None)


def add(path: str | os.PathLike[str], *, progress: Progress | None = None) -> ModelFile:
    """Hash a file and remember it; what was remembered of that path is replaced.

    Raises OSError, UsageError if it is not a regular file, LmarcError if the register is broken or has no place.
    """
    register = location()
    if register is None:
        raise LmarcError("there is no home directory to keep the register in (XDG_DATA_HOME names another place)")
    model = model_file(path, progress=progress, place=PLACE)
    with _locked(os.path.dirname(register)):
        try:
            rows = [row for row in _rows(register) if row["path"] != model.path]
        except ValueError as error:
            raise LmarcError(f"{register} is broken ({error}); move it away to begin a new one") from None
        rows.append({"path": model.path, "sha256": model.sha256.hex(), "size": model.size})
        jsonfile.save(register, {"format": 1, "models": rows})
    return model


def candidates() -> Iterator[Candidate]:
    """Files that were added and are still there with the size they had. A broken register gives a warning."""
    register = location()
    if register is None:
        return
    try:
        rows = _rows(register)
    except (OSError, ValueError) as error:
        warnings.warn(f"{register} cannot be read: {error}", stacklevel=2)
        return
    for row in rows:
        found = candidate(row["path"], PLACE, claim=bytes.fromhex(row["sha256"]))
        if found is not None and found.size == row["size"]:
            yield found


def registered_sha256(path: str | os.PathLike[str]) -> bytes | None:
    """What the register says that a file's sha256 is, whatever its size is now; None if it does not know the file."""
    register = location()
    real = os.path.realpath(path)
    try:
        rows = _rows(register) if register is not None else []
    except (OSError, ValueError):
        return None
    return next((bytes.fromhex(row["sha256"]) for row in rows if os.path.realpath(row["path"]) == real), None)


def _rows(register: str) -> list[dict[str, Any]]:
    """The register's rows, each whole. Raises ValueError if it is not a register, OSError."""
    try:
        value = jsonfile.load(register)
    except FileNotFoundError:
        return []
    rows = value.get("models") if type(value) is dict and value.get("format") == 1 else None
    if type(rows) is not list or not all(map(_is_row, rows)):
        raise ValueError("not a register of models")
    return rows


def _is_row(row: Any) -> bool:
    if type(row) is not dict or [type(row.get(key)) for key in ("path", "sha256", "size")] != [str, str, int]:
        return False
    try:
        return len(bytes.fromhex(row["sha256"])) == HASH_SIZE and os.path.isabs(row["path"])
    except ValueError:
        return False


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the folder's lock: of two that add at once, neither loses the other's."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            # No locks on this file system: two at once are then up to the user.
            pass
        yield
    finally:
        os.close(fd)
