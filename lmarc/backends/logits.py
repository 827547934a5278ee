"""Scores for predictors that count: logarithms that are the same on every machine, which those of numpy are not."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BITS = 96


@cache
def logarithms(size: int) -> npt.NDArray[np.float32]:
    """float32[size]: the natural logarithms of 0, 1, 2 ... size - 1, computed in integers; that of 0 is -100.

    As scores, they make probabilities that are in proportion to what was counted. Not to be changed.
    """
    import numpy as np

    values, value = [-100 << _BITS, 0], 0
    for number in range(1, size - 1):
        # The logarithm of (n + 1) / n is twice the area tangent of 1 / (2n + 1).
        power, square, k = (1 << (_BITS + 1)) // (2 * number + 1), (2 * number + 1) ** 2, 1
        while power:
            value += power // k
            power //= square
            k += 2
        values.append(value)
    out = np.array([value >> (_BITS - 40) for value in values[:size]], dtype=np.float64) / float(1 << 40)
    table = out.astype(np.float32)
    table.flags.writeable = False
    return table
