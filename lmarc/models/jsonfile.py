"""Small JSON files: read within a bound, replaced as a whole."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from typing import Any

from lmarc.errors import UsageError
from lmarc.models.files import open_regular

#: Bytes; a larger file is not read.
MAX_SIZE = 16 << 20


def load(path: str, max_size: int = MAX_SIZE) -> Any:
    """The value of a JSON file. Raises OSError if it cannot be read, ValueError if it is not JSON or too large."""
    try:
        file, _ = open_regular(path)
    except UsageError as error:
        raise ValueError(str(error)) from None
    with file:
        data = _read(file.fileno(), max_size + 1)
    if len(data) > max_size:
        raise ValueError(f"more than {max_size} bytes")
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _read(fd: int, size: int) -> bytes:
    blocks = []
    while size and (block := os.read(fd, min(size, 1 << 20))):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def save(path: str, value: Any) -> None:
    """Replace a JSON file, folders made as needed: complete or as it was. ASCII only. Raises OSError."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=folder)
    try:
        with open(fd, "w", encoding="ascii") as file:
            json.dump(value, file, indent=0)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
