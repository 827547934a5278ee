"""Logistic mixing: weighted sums of logits whose weights learn online.

A weight is an int32 in units of 2^-26, at most 4 in size. The vectors of the first layer lie behind one another
in one array. A mixed logit is computed from the weights' upper bits, in units of 2^-12, so that every product and
every sum fits 32 bits whatever the inputs; learning keeps the lower bits. Plain loops over a constant number of
inputs, multiplying narrow integers, are the shape that the compiler vectorises.
Source: Mahoney, "Data Compression Explained", section 4.3.2 (logistic mixing, 2-layer networks).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import add32, index, kernel, multiply32, wide
from lmarc.coding.tables import PROBABILITY_BITS, STRETCH_LIMIT

WEIGHT_BITS = 26
WEIGHT_ONE = 1 << WEIGHT_BITS
WEIGHT_LIMIT = 4 * WEIGHT_ONE
USED_SHIFT = 14
USED_BITS = WEIGHT_BITS - USED_SHIFT

Ints32 = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]

_LOW = np.int32(-WEIGHT_LIMIT)
_HIGH = np.int32(WEIGHT_LIMIT)


@kernel
def clamp(logit: int) -> int:
    """The logit, within the limits of the logistic domain."""
    return min(max(logit, -STRETCH_LIMIT), STRETCH_LIMIT)


@kernel
def dot3(weights: Ints32, chosen: Ints, first: int, inputs: Ints32, start: int, count: int, mixed: Ints) -> None:
    """Put into `mixed` the logits of three vectors, for the `count` inputs from `start`, of at most 2047 in size."""
    a, b, c = chosen[index(first)], chosen[index(first + 1)], chosen[index(first + 2)]
    x, y, z = np.int32(0), np.int32(0), np.int32(0)
    for i in range(count):
        logit = np.int32(inputs[index(start + i)])
        x = add32(x, multiply32(np.int32(weights[index(a + i)] >> USED_SHIFT), logit))
        y = add32(y, multiply32(np.int32(weights[index(b + i)] >> USED_SHIFT), logit))
        z = add32(z, multiply32(np.int32(weights[index(c + i)] >> USED_SHIFT), logit))
    mixed[index(first)] = clamp(wide(x) >> USED_BITS)
    mixed[index(first + 1)] = clamp(wide(y) >> USED_BITS)
    mixed[index(first + 2)] = clamp(wide(z) >> USED_BITS)


@kernel
def scaled_error(logit: int, bit: int, rate: int, squash: Ints32) -> int:
    """How far a mixed logit was from the bit, in units of 2^-22, times `rate` (1 to 255) / 2^12."""
    return ((bit << PROBABILITY_BITS) - wide(squash[index(logit + 2048)])) * rate >> 12


@kernel
def _moved(weight: np.int32, logit: np.int32, step: np.int32) -> np.int32:
    """The weight, moved, within its limits."""
    return max(min(add32(weight, np.int32(multiply32(logit, step) >> 4)), _HIGH), _LOW)


@kernel
def train3(
    weights: Ints32, chosen: Ints, first: int, inputs: Ints32, start: int, count: int, errors: Ints, group: int
) -> None:
    """Move three vectors so that the logit of each would have been closer to the bit.

    Their scaled errors are those from `errors[group]`.
    """
    a, b, c = chosen[index(first)], chosen[index(first + 1)], chosen[index(first + 2)]
    x, y, z = np.int32(errors[index(group)]), np.int32(errors[index(group + 1)]), np.int32(errors[index(group + 2)])
    for i in range(count):
        logit = np.int32(inputs[index(start + i)])
        weights[index(a + i)] = _moved(np.int32(weights[index(a + i)]), logit, x)
        weights[index(b + i)] = _moved(np.int32(weights[index(b + i)]), logit, y)
        weights[index(c + i)] = _moved(np.int32(weights[index(c + i)]), logit, z)
