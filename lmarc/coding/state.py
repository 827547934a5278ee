"""The trained state that ships with the package: the table of knowledge, and what each level starts from.

`cm.state` (spec/CM.md) is a run of sections of fixed lengths: the three columns of the knowledge table and the number
of entries of every bucket, then the arrays of `Learned` of level 1 and of level 2. Columns apart from each other
compress better in the wheel; in memory a bucket is one cache line.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from lmarc.coding import arrays, memory
from lmarc.coding.knowledge import BUCKET_BYTES, ENTRIES, USED
from lmarc.coding.level import LEVELS, Level
from lmarc.coding.memory import Learned
from lmarc.errors import BackendMissingError

Bytes = npt.NDArray[np.uint8]

PATH = Path(__file__).with_name("cm.state")
BUCKETS = 400_000
#: BLAKE3 of the whole file. Another state is another coding version.
DIGEST = "b95edbfe59d761f26b11a55110b2cef6c28c1bd82bd41ae0b4c94cb536209d7b"

_COLUMNS = (ENTRIES, ENTRIES, ENTRIES, 1)
_KNOWLEDGE_BYTES = BUCKETS * BUCKET_BYTES
_SIGNED = ("histories", "weights", "finals")


class _State(NamedTuple):
    table: Bytes
    learned: dict[int, Learned]


@cache
def _loaded() -> _State:
    """The file, read once. Raises BackendMissingError if it is not there or not what belongs there."""
    try:
        content = PATH.read_bytes()
    except OSError as error:
        raise BackendMissingError(f"the trained state of cm cannot be read: {error}: install lmarc again") from error
    if blake3(content).hexdigest() != DIGEST:
        raise BackendMissingError(f"the trained state of cm is damaged: {PATH}: install lmarc again")
    file = np.frombuffer(content, np.uint8)
    return _State(interleaved(file[:_KNOWLEDGE_BYTES]), _separated(file[_KNOWLEDGE_BYTES:]))


def knowledge() -> Bytes:
    """uint8[BUCKETS * 64]: the table of knowledge.py. Shared, never written."""
    return _loaded().table


def interleaved(columns: Bytes) -> Bytes:
    """The table whose columns lie one behind another in `columns`."""
    table = arrays.zeros(_KNOWLEDGE_BYTES, np.uint8)
    rows = table.reshape(BUCKETS, BUCKET_BYTES)
    start, place = 0, 0
    for width in _COLUMNS:
        rows[:, place : place + width] = columns[start : start + BUCKETS * width].reshape(BUCKETS, width)
        start, place = start + BUCKETS * width, place + width
    table.setflags(write=False)
    return table


def columns(table: Bytes) -> bytes:
    """The inverse of `interleaved`."""
    rows = table.reshape(BUCKETS, BUCKET_BYTES)
    assert USED == BUCKET_BYTES - 1
    bounds = np.cumsum((0, *_COLUMNS)).tolist()
    return b"".join(rows[:, a:b].tobytes() for a, b in pairwise(bounds))


def _separated(numbers: Bytes) -> dict[int, Learned]:
    """What each level starts from, by its number."""
    out, at = {}, 0
    for number, level in LEVELS.items():
        taken: list[Any] = []
        for name, length in memory.learned_lengths(level).items():
            kind = "<i4" if name in _SIGNED else "<u4"
            taken.append(numbers[at : at + 4 * length].view(kind).astype(kind[1:]))
            at += 4 * length
        out[number] = Learned(*taken)
    return out


def learned(level: Level) -> Learned:
    """A copy of what the level starts from, to go on learning in."""
    fresh: list[Any] = [arrays.copied(array) for array in _loaded().learned[level.number]]
    return Learned(*fresh)


def serialised(table: Bytes, learned_by: dict[int, Learned]) -> bytes:
    """The content of a state file."""
    parts = [columns(table)]
    for number in LEVELS:
        parts += [array.astype(array.dtype.newbyteorder("<")).tobytes() for array in learned_by[number]]
    return b"".join(parts)
