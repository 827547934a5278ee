"""Choosing what is worth keeping of what was counted, and laying it out as the table that ships."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding.knowledge import BUCKET_BYTES, COUNTS, ENTRIES, USED

Bytes = npt.NDArray[np.uint8]


class Candidates(NamedTuple):
    """Entries to choose from. keys: uint32[n]; symbols: uint8[n]; documents: int32[n]; scores: float32[n]."""

    keys: npt.NDArray[np.uint32]
    symbols: Bytes
    documents: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


def codes_of(documents: npt.NDArray[np.int32]) -> Bytes:
    """The code of the nearest count not above each."""
    return (np.searchsorted(np.array(COUNTS), documents, side="right") - 1).astype(np.uint8)


def lay_out(candidates: Candidates, buckets: int) -> Bytes:
    """The table of that many buckets: in each, the 21 entries with the highest scores, in the order of their checks."""
    bucket = (candidates.keys.astype(np.uint64) * np.uint64(buckets) >> np.uint64(32)).astype(np.int64)
    rank = np.lexsort((-candidates.scores, bucket))
    bucket = bucket[rank]
    first = np.searchsorted(bucket, np.arange(buckets))
    place = np.arange(len(bucket)) - first[bucket]
    kept = rank[place < ENTRIES]
    bucket = bucket[place < ENTRIES]
    check = candidates.keys[kept] & 0xFFF
    symbols = candidates.symbols[kept]
    order = np.lexsort((symbols, check, bucket))
    bucket, check, symbols = bucket[order], check[order], symbols[order]
    codes = codes_of(candidates.documents[kept][order])
    first = np.searchsorted(bucket, np.arange(buckets))
    place = np.arange(len(bucket)) - first[bucket]
    table = np.zeros((buckets, BUCKET_BYTES), dtype=np.uint8)
    table[bucket, place] = check & 0xFF
    table[bucket, ENTRIES + place] = (check >> 8 << 4) | codes
    table[bucket, 2 * ENTRIES + place] = symbols
    table[:, USED] = np.bincount(bucket, minlength=buckets)
    return table.reshape(-1)
