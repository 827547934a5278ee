"""Tables of the logistic domain, computed in integers.

A probability is an integer in units of 2^-22 (`PROBABILITY_BITS`); its logit ("stretch") is an
integer in units of 3/512 nat, between -2047 and 2047, that is +-12 nats. Source of the two
functions and their names: Mahoney, "Data Compression Explained", section 4.3.2 (logistic mixing).
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

PROBABILITY_BITS = 22
ONE = 1 << PROBABILITY_BITS
STRETCH_LIMIT = 2047
STRETCH_INDEX_BITS = 14
ROUGH_INDEX_BITS = 12
RECIPROCALS = 1024

_FIXED_BITS = 128
_UNIT = (3, 512)


def constant(table: npt.NDArray[T]) -> npt.NDArray[T]:
    """The table, protected from writing: threads share it."""
    table.setflags(write=False)
    return table


def _exp_of_unit() -> int:
    """e^(3/512) in units of 2^-128, by its power series."""
    one = 1 << _FIXED_BITS
    total, term, k = 0, one, 0
    while term:
        total += term
        k += 1
        term = term * _UNIT[0] // (_UNIT[1] * k)
    return total


def _logistic(exponential: int) -> int:
    """2^22 * e/(1+e), rounded, of an exponential in units of 2^-128."""
    denominator = (1 << _FIXED_BITS) + exponential
    return (exponential * ONE * 2 + denominator) // (2 * denominator)


@cache
def squash_table() -> npt.NDArray[np.int32]:
    """Probability of every logit: int32[4096], entry `x + 2048` in units of 2^-22.

    Antisymmetric: `t[2048 + x] + t[2048 - x] == 2^22`.
    """
    step = _exp_of_unit()
    table = [0] * 4096
    table[2048] = ONE // 2
    exponential = 1 << _FIXED_BITS
    for x in range(1, 2049):
        exponential = exponential * step >> _FIXED_BITS
        p = _logistic(exponential)
        if x < 2048:
            table[2048 + x] = p
        table[2048 - x] = ONE - p
    return constant(np.array(table, dtype=np.int32))


@cache
def stretch_table(index_bits: int = STRETCH_INDEX_BITS) -> npt.NDArray[np.int16]:
    """Logit of every probability: int16[2^index_bits], indexed by the top bits of the probability.

    An entry is the logit whose probability is nearest to the middle of the entry's interval.
    Antisymmetric: `t[i] == -t[2^index_bits - 1 - i]`.
    """
    squash = squash_table()
    half = 1 << (index_bits - 1)
    step = ONE >> index_bits
    middles = ONE // 2 + np.arange(half, dtype=np.int64) * step + step // 2
    bounds = (squash[2048:-1].astype(np.int64) + squash[2049:]) // 2
    upper = np.minimum(np.searchsorted(bounds, middles, side="right"), STRETCH_LIMIT)
    return constant(np.concatenate([-upper[::-1], upper]).astype(np.int16))


@cache
def reciprocal_table() -> npt.NDArray[np.int32]:
    """Learning rates of the counters: int32[1024], entry n is 2^16 / (n + 1.5), rounded down."""
    return constant(np.array([(2 << 16) // (2 * n + 3) for n in range(RECIPROCALS)], dtype=np.int32))
