"""Logistic mixing: weighted sums of logits whose weights learn online.

Weights are int32 in units of 2^-16. The vectors of the first layer lie behind one another in one array,
`INPUTS` long each. Three of them, chosen by three contexts, are mixed and trained together, in one loop,
because that is the shape the compiler vectorises. A second, small layer mixes the three results.
Source: Mahoney, "Data Compression Explained", section 4.3.2 (logistic mixing, 2-layer networks).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel
from lmarc.coding.tables import PROBABILITY_BITS, STRETCH_LIMIT

INPUTS = 40
SETS = 3
WEIGHT_ONE = 1 << 16
WEIGHT_LIMIT = 1 << 24

_FINAL_RATE = 12

Ints32 = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]


@kernel
def clamp(logit: int) -> int:
    """The logit, within the limits of the logistic domain."""
    return min(max(logit, -STRETCH_LIMIT), STRETCH_LIMIT)


@kernel
def _limited(weight: int) -> int:
    """The weight, within its limits, so that it always fits its array."""
    return min(max(weight, -WEIGHT_LIMIT), WEIGHT_LIMIT)


@kernel
def mix_sets(weights: Ints32, chosen: Ints, inputs: Ints32, mixed: Ints) -> None:
    """Put into `mixed` the logits of the three vectors that start at the offsets `chosen`."""
    a, b, c = chosen[0], chosen[1], chosen[2]
    x, y, z = 0, 0, 0
    for i in range(INPUTS):
        logit = int(inputs[index(i)])
        x += int(weights[index(a + i)]) * logit
        y += int(weights[index(b + i)]) * logit
        z += int(weights[index(c + i)]) * logit
    mixed[0] = clamp(x >> 16)
    mixed[1] = clamp(y >> 16)
    mixed[2] = clamp(z >> 16)


@kernel
def _step(mixed: int, bit: int, rate: int, squash: Ints32) -> np.int32:
    """Error times rate, in 32 bits: narrow factors are what makes the products of `train_sets` cheap."""
    return np.int32((((bit << PROBABILITY_BITS) - int(squash[index(mixed + 2048)])) * rate) >> 8)


@kernel
def train_sets(weights: Ints32, chosen: Ints, inputs: Ints32, mixed: Ints, bit: int, rate: int, squash: Ints32) -> None:
    """Move every chosen vector so that its own logit would have been closer to `bit`; `rate` is 1 to 255."""
    a, b, c = chosen[0], chosen[1], chosen[2]
    x = _step(mixed[0], bit, rate, squash)
    y = _step(mixed[1], bit, rate, squash)
    z = _step(mixed[2], bit, rate, squash)
    for i in range(INPUTS):
        logit = int(inputs[index(i)])
        weights[index(a + i)] = _limited(int(weights[index(a + i)]) + ((logit * int(x) + (1 << 17)) >> 18))
        weights[index(b + i)] = _limited(int(weights[index(b + i)]) + ((logit * int(y) + (1 << 17)) >> 18))
        weights[index(c + i)] = _limited(int(weights[index(c + i)]) + ((logit * int(z) + (1 << 17)) >> 18))


@kernel
def mix_final(finals: Ints32, row: int, mixed: Ints) -> int:
    """The logit of the second layer, with weight vector number `row`."""
    total = 0
    for k in range(SETS):
        total += int(finals[index(row * SETS + k)]) * mixed[k]
    return clamp(total >> 16)


@kernel
def train_final(finals: Ints32, row: int, mixed: Ints, p: int, bit: int) -> None:
    """Move the vector that gave probability `p` towards `bit`."""
    error = ((bit << PROBABILITY_BITS) - p) >> 8
    for k in range(SETS):
        change = (mixed[k] * error * _FINAL_RATE + (1 << 17)) >> 18
        finals[index(row * SETS + k)] = _limited(int(finals[index(row * SETS + k)]) + change)
