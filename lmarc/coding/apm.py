"""Adaptive probability maps (SSE): what really came when the mixer said p in this context.

A map has a row of `NODES` counters per context, spaced evenly over the logit axis; an answer is interpolated
between two neighbours, and the nearer one learns.
Source: Mahoney, "Data Compression Explained", section 4.3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.arrays import copied
from lmarc.coding.counters import COUNT_BITS, Counters, learn
from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.tables import squash_table

NODES = 16
_STEPS = NODES - 1

_FIRST_COUNT = 12
_LIMIT = 255

Ints32 = npt.NDArray[np.int32]


@kernel
def refine(counters: Counters, row: int, logit: int) -> int:
    """The refined probability of a logit (-2047 to 2047) in the row that starts at offset `row`."""
    place = (logit + 2048) * _STEPS
    i = row + (place >> 12)
    low = wide(counters[index(i)]) >> COUNT_BITS
    high = wide(counters[index(i + 1)]) >> COUNT_BITS
    return low + (((high - low) * (place & 4095)) >> 12)


@kernel
def correct(counters: Counters, row: int, logit: int, bit: int, reciprocals: Ints32) -> None:
    """Tell the node nearest to `logit` what came."""
    near = ((logit + 2048) * _STEPS + 2048) >> 12
    learn(counters, row + near, bit, _LIMIT, reciprocals)


def fresh(rows: int) -> Counters:
    """uint32[rows * NODES]: rows that change nothing, each a cache line."""
    squash = squash_table()
    row = [(int(squash[min(4096 * k // _STEPS, 4095)]) << COUNT_BITS) | _FIRST_COUNT for k in range(NODES)]
    return copied(np.tile(np.array(row, dtype=np.uint32), rows))
