"""Hashed slots of bit histories.

The table is a row of 64-byte buckets, each a cache line of four 16-byte slots. A slot serves one context
and one nibble: byte 0 is a check, 0 while the slot is free, and bytes 1 to 15 are the histories of the nodes
of the nibble's binary tree. So a context costs two cache lines per byte. Source of the layout:
Mahoney's lpaq and zpaq.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel

BUCKET_BYTES = 64
SLOT_BYTES = 16

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@kernel
def _find(table: Bytes, base: int, check: int, confidence: Bytes) -> int:
    """Offset of the slot marked `check` in the bucket at `base`; the least sure one makes room if needed."""
    for offset in range(base, base + BUCKET_BYTES, SLOT_BYTES):
        if table[index(offset)] == check:
            return offset
    victim = base
    least = 256
    for offset in range(base, base + BUCKET_BYTES, SLOT_BYTES):
        sureness = -1
        if table[index(offset)] != 0:
            sureness = int(confidence[index(table[index(offset + 1)])])
        if sureness < least:
            least = sureness
            victim = offset
    table[index(victim)] = check
    for offset in range(victim + 1, victim + SLOT_BYTES):
        table[index(offset)] = 0
    return victim


@kernel
def find_all(table: Bytes, hashes: Ints, confidence: Bytes, found: Ints) -> None:
    """Put the offset of the slot of every 32-bit hash into `found`.

    The low bits of a hash choose the bucket, its top eight bits are the check (0 becomes 1). Slots are found in
    the order of the hashes, since taking one may drive out another.
    """
    mask = len(table) // BUCKET_BYTES - 1
    # First one byte of every bucket, then the searches: so the cache misses overlap.
    for i in range(len(hashes)):
        found[i] = table[index((hashes[i] & mask) * BUCKET_BYTES)]
    for i in range(len(hashes)):
        base = (hashes[i] & mask) * BUCKET_BYTES
        check = max(hashes[i] >> 24, 1)
        if found[i] == check and table[index(base)] == check:
            found[i] = base
        else:
            found[i] = _find(table, base, check, confidence)


def allocate(size: int) -> Bytes:
    """A zeroed table of `size` bytes (a power of two, at least a bucket), aligned to cache lines."""
    raw = np.zeros(size + BUCKET_BYTES, dtype=np.uint8)
    start = -raw.ctypes.data % BUCKET_BYTES
    return raw[start : start + size]
