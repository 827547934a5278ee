"""What the training text says of a context: a read-only table, asked when a context is new to the content.

The table is a row of 64-byte buckets, each a cache line of up to 21 entries. An entry says that a context was
followed by a symbol about so many times. Column-wise: bytes 0 to 20 are the low eight bits of the entries'
checks, bytes 21 to 41 hold the high four bits of the check above four bits of count, bytes 42 to 62 the symbols,
byte 63 is the number of entries. The bucket of a key is found from its high bits, the check is its low twelve.

For some contexts the symbols are bytes and the key is the context's hash, so that one entry serves both
nibbles; for those with many followers they are nibbles and the key is the hash of the nibble's slot.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.histories import STEPS, step_of
from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.tables import constant

BUCKET_BYTES = 64
ENTRIES = 21
USED = 63
CHECK_BITS = 12

# What the sixteen codes of a count stand for.
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 160, 256, 512)
MOST_COUNTED = 1023

WHOLE, FIRST_NIBBLE = -2, -1
NOTHING_KNOWN = -1

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def count_table() -> npt.NDArray[np.int64]:
    """int64[16]: what the codes stand for."""
    return constant(np.array(COUNTS, dtype=np.int64))


def step_table() -> Bytes:
    """uint8[1024]: the step of a sum of counts, `STEPS * step` in the first half of 2048, the step in the second."""
    steps = [step_of(count) for count in range(MOST_COUNTED + 1)]
    return constant(np.array([STEPS * step for step in steps] + steps, dtype=np.uint8))


@kernel
def bucket_of(key: int, table_bytes: int) -> int:
    """Offset of the bucket of a 32-bit key."""
    return ((key * (table_bytes >> 6)) >> 32) << 6


@kernel
def recall(
    known: Bytes,
    key: int,
    part: int,
    slots: Bytes,
    slot: int,
    leaves: Ints,
    counts: Ints,
    steps: Bytes,
    trained_states: Bytes,
) -> int:
    """Put what is known of `key` into the histories of a slot that was just taken.

    Returns the likeliest leaf, of equal ones the lowest; NOTHING_KNOWN if no entry counts.

    `part` says how symbols become leaves of the nibble's tree: WHOLE, they are nibbles; FIRST_NIBBLE, by the high
    nibble of bytes; else by the low nibble of those bytes whose high nibble is `part`.
    """
    base = bucket_of(key, len(known))
    used = wide(known[index(base + USED)])
    low = key & 0xFF
    high = (key >> 8) & 0xF
    # Most keys have no entry, and whole vectors of checks say so soonest.
    same = 0
    for i in range(ENTRIES):
        same |= wide(known[index(base + i)] == low)
    if same == 0:
        return NOTHING_KNOWN
    found = 0
    for i in range(base, base + used):
        if int(known[index(i)]) != low:
            continue
        entry = wide(known[index(i + ENTRIES)])
        if entry >> 4 != high:
            continue
        leaf = wide(known[index(i + 2 * ENTRIES)])
        if part == FIRST_NIBBLE:
            leaf >>= 4
        elif part >= 0:
            if leaf >> 4 != part:
                continue
            leaf &= 15
        if found == 0:
            for k in range(32):
                leaves[index(k)] = 0
            found = 1
        leaves[index(16 + (leaf & 15))] += counts[index(entry & 15)]
    if found == 0:
        return NOTHING_KNOWN
    likeliest = 16
    for k in range(17, 32):
        if leaves[index(k)] > leaves[index(likeliest)]:
            likeliest = k
    for node in range(15, 0, -1):
        zeros = leaves[index(2 * node)]
        ones = leaves[index(2 * node + 1)]
        leaves[index(node)] = zeros + ones
        if zeros + ones > 0:
            pair = int(steps[index(min(zeros, MOST_COUNTED))]) + int(steps[index(1024 + min(ones, MOST_COUNTED))])
            slots[index(slot + node)] = trained_states[index(pair)]
    return likeliest - 16
