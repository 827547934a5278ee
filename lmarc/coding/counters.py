"""Adaptive probabilities: 22 bits of probability above 10 bits of count, in one uint32.

The rate of learning is 1/(n + 1.5) until the count reaches a limit, so the first observations move a
counter quickly and later ones average. Source of the form: Mahoney's paq ("StateMap").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel
from lmarc.coding.tables import ONE, PROBABILITY_BITS

COUNT_BITS = 10
COUNT_MASK = (1 << COUNT_BITS) - 1

Counters = npt.NDArray[np.uint32]


@kernel
def learn(counters: Counters, i: int, bit: int, limit: int, reciprocals: npt.NDArray[np.int32]) -> None:
    """Move counter `i` towards `bit`; `limit` (at most 1023) bounds its count."""
    counter = int(counters[index(i)])
    count = counter & COUNT_MASK
    p = counter >> COUNT_BITS
    p += (((bit << PROBABILITY_BITS) - p) * int(reciprocals[index(count)])) >> 16
    counters[index(i)] = (p << COUNT_BITS) | (count + (count < limit))


def packed(numerator: int, denominator: int, count: int) -> int:
    """A counter that says numerator/denominator, as if after `count` observations."""
    return (((ONE - 1) * numerator // denominator) << COUNT_BITS) | count
