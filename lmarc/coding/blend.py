"""The last mixer: a predictor's logit for a bit beside what the context models say of it.

A weight is an int64 in units of 2^-22. Every input is a logit (tables.py); the mix of each chosen vector is a logit of
its own, and their mean is the answer. Source: Mahoney, "Data Compression Explained", section 4.3.2 (logistic mixing).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.tables import ONE, PROBABILITY_BITS, STRETCH_INDEX_BITS, STRETCH_LIMIT, constant, squash_table

WEIGHT_BITS = 22
WEIGHT_ONE = 1 << WEIGHT_BITS
_LIMIT = 8 * WEIGHT_ONE
_RATE_SHIFT = 20
#: Probabilities below this, in units of 2^-22, have a logit each of their own.
TAIL = ONE >> STRETCH_INDEX_BITS

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Logits = npt.NDArray[np.int16]


@cache
def tail_table() -> Logits:
    """int16[TAIL]: the logit of every probability below TAIL."""
    squash = squash_table().astype(np.int64)
    bounds = (squash[1:-1] + squash[2:]) // 2
    logits = np.searchsorted(bounds, np.arange(TAIL), side="right") - STRETCH_LIMIT
    return constant(np.minimum(logits, 0).astype(np.int16))


@kernel
def fine_logit(p: int, stretch: Logits, tail: Logits) -> int:
    """The logit of a probability 0 < p < 2^22, as fine near 0 and 1 as elsewhere."""
    if p < TAIL:
        return int(tail[index(p)])
    if p > ONE - TAIL:
        return -int(tail[index(ONE - p)])
    return int(stretch[index(p >> (PROBABILITY_BITS - STRETCH_INDEX_BITS))])


@kernel
def mix(weights: Ints, rows: Ints, sets: int, inputs: Ints, count: int, mixed: Ints) -> int:
    """Put the logit of every chosen vector into `mixed`; returns their mean. `rows` are offsets into `weights`."""
    total = 0
    for k in range(sets):
        row = int(rows[index(k)])
        x = 0
        for i in range(count):
            x += int(weights[index(row + i)]) * int(inputs[index(i)])
        x = min(max(x >> WEIGHT_BITS, -STRETCH_LIMIT), STRETCH_LIMIT)
        mixed[index(k)] = x
        total += x
    return total // sets


@kernel
def train(
    weights: Ints, rows: Ints, sets: int, inputs: Ints, count: int, mixed: Ints, bit: int, rate: int, squash: Ints32
) -> None:
    """Move the vectors that `mix` used so that the logit of each would have been closer to the bit."""
    for k in range(sets):
        row = rows[index(k)]
        error = ((bit << PROBABILITY_BITS) - wide(squash[index(mixed[index(k)] + 2048)])) * rate
        for i in range(count):
            weight = weights[index(row + i)] + ((inputs[index(i)] * error) >> _RATE_SHIFT)
            weights[index(row + i)] = min(max(weight, -_LIMIT), _LIMIT)
