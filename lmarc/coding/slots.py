"""Hashed slots of bit histories.

The table is a row of 64-byte buckets, each a cache line of four 16-byte slots. A slot serves one context
and one nibble: byte 0 is a check, 0 while the slot is free, and bytes 1 to 15 are the histories of the nodes
of the nibble's binary tree. So a context costs two cache lines per byte. Source of the layout:
Mahoney's lpaq and zpaq.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel, wide

BUCKET_BYTES = 64
SLOT_BYTES = 16

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


# Number of the lowest bit of 1 to 15, two bits each.
_LOWEST = sum(((n & -n).bit_length() - 1) << (2 * n) for n in range(1, 16))


@kernel
def take(table: Bytes, base: int, check: int, confidence: Bytes) -> int:
    """Offset of the slot for `check` in the bucket at `base`; ~offset of a cleared one if it was not there.

    The least sure slot makes room. Written without branches but one, since which slot it is cannot be predicted.
    """
    found = (
        wide(table[index(base)] == check)
        | wide(table[index(base + 16)] == check) << 1
        | wide(table[index(base + 32)] == check) << 2
        | wide(table[index(base + 48)] == check) << 3
    )
    if found != 0:
        return base + ((_LOWEST >> (2 * found)) & 3) * SLOT_BYTES
    least = min(
        min(
            4 * wide(confidence[index(table[index(base + 1)])]),
            4 * wide(confidence[index(table[index(base + 17)])]) + 1,
        ),
        min(
            4 * wide(confidence[index(table[index(base + 33)])]) + 2,
            4 * wide(confidence[index(table[index(base + 49)])]) + 3,
        ),
    )
    victim = base + (least & 3) * SLOT_BYTES
    table[index(victim)] = check
    for offset in range(victim + 1, victim + SLOT_BYTES):
        table[index(offset)] = 0
    return ~victim


@kernel
def peek(table: Bytes, base: int, check: int) -> int:
    """Offset of the slot for `check` in the bucket at `base`, -1 if it is not there."""
    for slot in range(base, base + BUCKET_BYTES, SLOT_BYTES):
        if wide(table[index(slot)]) == check:
            return slot
    return -1
