"""From a model's scores to integer weights whose sums are the probabilities that are coded.

A score is a logit; how far it lies below the highest one is rounded down to units of 2^-9 nat and looked up in a table
of exponentials. No float decides anything after that; a difference of two float32 and its product with a power of two
round the same way everywhere.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel
from lmarc.coding.tables import constant
from lmarc.coding.vocabulary import Vocabulary

STEPS_PER_NAT = 512
WEIGHT_BITS = 31
#: Differences from here on have weight 1: nothing is ever impossible.
MOST_STEPS = 11008

_FIXED_BITS = 96
_LEAST, _MOST = np.float32(-1e30), np.float32(1e30)

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Weights = npt.NDArray[np.uint32]


@cache
def exponential_table() -> Weights:
    """uint32[MOST_STEPS + 1]: 2^31 * e^(-i/512), rounded, at least 1; computed in integers."""
    one = 1 << _FIXED_BITS
    step, term, sign, k = 0, one, 1, 0
    while term:
        step += sign * term
        k += 1
        term, sign = term // (STEPS_PER_NAT * k), -sign
    table, value, half = [], one, 1 << (_FIXED_BITS - WEIGHT_BITS - 1)
    for _ in range(MOST_STEPS + 1):
        table.append(max((value + half) >> (_FIXED_BITS - WEIGHT_BITS), 1))
        value = value * step >> _FIXED_BITS
    return constant(np.array(table, dtype=np.uint32))


@kernel
def weigh(scores: Scores, symbols: Ints32, table: Weights, sums: Ints) -> None:
    """Put into `sums` (int64[S + 1]) the sums of the weights of the first 0, 1, ... S entries of a sorted vocabulary.

    scores: float32[], of the model's symbols. symbols: int32[S], which of them each entry is; -1, a literal, has the
    least weight there is, as a score has that is not a number or is beyond 10^30.
    """
    top = _LEAST
    for i in range(len(symbols)):
        symbol = symbols[index(i)]
        if symbol >= 0 and top < scores[index(symbol)] < _MOST:
            top = scores[index(symbol)]
    total = 0
    sums[0] = 0
    for i in range(len(symbols)):
        symbol = symbols[index(i)]
        steps = MOST_STEPS
        if symbol >= 0 and _LEAST < scores[index(symbol)] < _MOST:
            below = (top - scores[index(symbol)]) * np.float32(STEPS_PER_NAT)
            if below < np.float32(MOST_STEPS):
                steps = int(below)
        total += int(table[index(steps)])
        sums[index(i + 1)] = total


def weigh_here(scores: Scores, vocabulary: Vocabulary) -> Ints:
    """int64[S + 1]: the sums of `weigh`, of scores float32[] of one lane."""
    sums = np.zeros(len(vocabulary.entries) + 1, dtype=np.int64)
    weigh(np.ascontiguousarray(scores), vocabulary.sorted.symbols, exponential_table(), sums)
    return sums
