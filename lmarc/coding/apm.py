"""Adaptive probability maps (SSE): what really came when the mixer said p in this context.

A map has a row of `NODES` counters per context, spaced evenly over the logit axis; an answer is interpolated
between two neighbours, and the nearer one learns. A counter of 0 is a node not yet used and stands for the
probability of its own place, so a fresh map changes nothing and needs no initialisation.
Source: Mahoney, "Data Compression Explained", section 4.3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.counters import COUNT_BITS, Counters, learn
from lmarc.coding.jit import index, kernel

NODE_BITS = 8
SPACING = 1 << NODE_BITS
NODES = (4096 >> NODE_BITS) + 1

_FIRST_COUNT = 12
_LIMIT = 255

Ints32 = npt.NDArray[np.int32]


@kernel
def _settle(counters: Counters, i: int, place: int, squash: Ints32) -> int:
    """The probability at node `i`, which lies at `place` (0 to 4096), put there first if unused."""
    if counters[index(i)] == 0:
        counters[index(i)] = (int(squash[index(min(place, 4095))]) << COUNT_BITS) | _FIRST_COUNT
    return int(counters[index(i)]) >> COUNT_BITS


@kernel
def refine(counters: Counters, row: int, logit: int, squash: Ints32) -> int:
    """The refined probability of a logit (-2047 to 2047) in the row that starts at offset `row`."""
    place = logit + 2048
    i = row + (place >> NODE_BITS)
    low = _settle(counters, i, place & -SPACING, squash)
    high = _settle(counters, i + 1, (place & -SPACING) + SPACING, squash)
    return low + (((high - low) * (place & (SPACING - 1))) >> NODE_BITS)


@kernel
def correct(counters: Counters, row: int, logit: int, bit: int, reciprocals: Ints32) -> None:
    """Tell the node nearest to `logit` what came."""
    near = (logit + 2048 + SPACING // 2) >> NODE_BITS
    learn(counters, row + near, bit, _LIMIT, reciprocals)
