"""Files and folders on this disk: opening only what is a file, walking within bounds, where the user's folders are."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import BinaryIO

from lmarc.errors import UsageError

#: How deep below its root a walk goes, and how many names of all its folders it looks at.
MAX_DEPTH = 8
MAX_ENTRIES = 50_000

SAFETENSORS = ".safetensors"
MODEL_SUFFIXES = (".gguf", SAFETENSORS)


def is_model_name(name: str) -> bool:
    """Whether a file of that name holds a model: GGUF or safetensors, nothing that could run code."""
    return name.lower().endswith(MODEL_SUFFIXES)


def is_safetensors(name: str) -> bool:
    """Whether a file of that name holds weights in safetensors."""
    return name.lower().endswith(SAFETENSORS)


def open_regular(path: str) -> tuple[BinaryIO, os.stat_result]:
    """A regular file open for reading, unbuffered, and what it is. Raises UsageError for anything else, OSError."""
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write it.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise UsageError(f"{path} is not a regular file")
        return open(fd, "rb", buffering=0), info
    except BaseException:
        os.close(fd)
        raise


def walk(root: str, accept: Callable[[str], bool] = is_model_name) -> Iterator[str]:
    """Regular files below root whose names are accepted, in the order of names, links followed.

    Folders that cannot be read, broken links and loops are skipped. Looks at MAX_ENTRIES names, MAX_DEPTH deep; more
    than that gives a warning.
    """
    left = MAX_ENTRIES
    seen: set[tuple[int, int]] = set()
    todo = [(root, 0)]
    while todo:
        folder, depth = todo.pop()
        try:
            info = os.stat(folder)
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            with os.scandir(folder) as entries:
                found = sorted(islice(entries, left), key=lambda entry: entry.name)
        except OSError:
            continue
        left -= len(found)
        below = []
        for entry in found:
            with suppress(OSError):
                if entry.is_dir():
                    below.append((entry.path, depth + 1))
                elif accept(entry.name) and entry.is_file():
                    yield entry.path
        if left <= 0:
            warnings.warn(f"{root}: more than {MAX_ENTRIES} names, not all looked at", stacklevel=2)
            return
        if depth < MAX_DEPTH:
            todo.extend(reversed(below))


def folders_in(root: str) -> list[str]:
    """Names of the folders right in root, sorted; none where there is nothing to read."""
    out = []
    with suppress(OSError), os.scandir(root) as entries:
        for entry in islice(entries, MAX_ENTRIES):
            with suppress(OSError):
                if entry.is_dir():
                    out.append(entry.name)
    return sorted(out)


def from_environment(name: str, *below: str) -> list[str]:
    """The folder that an environment variable gives, and what lies below it; empty if it is not set."""
    value = os.environ.get(name)
    return [os.path.join(os.path.expandvars(os.path.expanduser(value)), *below)] if value else []


def in_home(*parts: str) -> list[str]:
    """A path in the home directory; empty if there is none."""
    home = os.path.expanduser("~")
    return [os.path.join(home, *parts)] if os.path.isabs(home) else []


def base_folder(variable: str, *default: str) -> list[str]:
    """One of the base directories of the XDG specification (which says that a relative one does not count)."""
    value = os.environ.get(variable, "")
    return [value] if os.path.isabs(value) else in_home(*default)


def cache_home() -> list[str]:
    """Where caches are kept: $XDG_CACHE_HOME or ~/.cache; empty if there is no such place."""
    return base_folder("XDG_CACHE_HOME", ".cache")


def data_home() -> list[str]:
    """Where data is kept: $XDG_DATA_HOME or ~/.local/share; empty if there is no such place."""
    return base_folder("XDG_DATA_HOME", ".local", "share")
