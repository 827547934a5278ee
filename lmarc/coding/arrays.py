"""Arrays that begin at a cache line, so that an aligned row of 64 bytes is one line."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

LINE_BYTES = 64

T = TypeVar("T", bound=np.generic)


def zeros(count: int, kind: type[T]) -> npt.NDArray[T]:
    """`count` zeros, aligned to a cache line."""
    item = np.dtype(kind).itemsize
    raw = np.zeros(count * item + LINE_BYTES, dtype=np.uint8)
    start = -raw.ctypes.data % LINE_BYTES
    return raw[start : start + count * item].view(kind)


def copied(array: npt.NDArray[T]) -> npt.NDArray[T]:
    """An aligned copy."""
    out = zeros(array.size, array.dtype.type)
    out[:] = array
    return out
