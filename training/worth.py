"""What an entry of the table would be worth: how many bits it saves beyond what lower contexts say.

Contexts are taken in an order from general to special. At every position of the training text each says with
what probability it expects the byte that comes, from the documents it was seen in but this one. Where it beats
all before it, the pairs it used are credited with the difference of the logarithms. A pair's worth is its mean
credit times the number of other documents that have it, since within a document the model learns by itself.
The principle is that of entropy pruning (Stolcke 1998), with the model's mixing left out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.contexts import mix
from lmarc.coding.jit import index, kernel, wide
from training.counting import Pairs, Text
from training.walk import hashes_before

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int32]

#: Documents that say "something else" beside those a context was seen in.
_ELSE = 1.0


@kernel
def _totals(pairs: Words, documents: Places, totals: Places) -> None:
    """For every pair the sum of the documents of all pairs of its context."""
    i = 0
    while i < len(pairs):
        j = i
        total = 0
        while j < len(pairs) and pairs[index(j)] >> np.uint64(8) == pairs[index(i)] >> np.uint64(8):
            total += documents[index(j)]
            j += 1
        for k in range(i, j):
            totals[index(k)] = total
        i = j


@kernel
def _slot_of(pair: np.uint64, mask: int) -> int:
    """Where the search for a pair begins."""
    return wide((pair * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(24)) & mask


@kernel
def _index_pairs(pairs: Words, places: Places) -> None:
    """Enter every pair's number plus one into an open hash table."""
    mask = len(places) - 1
    for i in range(len(pairs)):
        at = _slot_of(pairs[index(i)], mask)
        while places[index(at)] != 0:
            at = (at + 1) & mask
        places[index(at)] = i + 1


@kernel
def _find(pairs: Words, places: Places, pair: np.uint64) -> int:
    """The number of a pair, -1 if it is none."""
    mask = len(places) - 1
    at = _slot_of(pair, mask)
    while places[index(at)] != 0:
        if pairs[index(places[index(at)] - 1)] == pair:
            return wide(places[index(at)]) - 1
        at = (at + 1) & mask
    return -1


@kernel
def _probability(documents: Places, totals: Places, i: int) -> float:
    """Of the pair, from the other documents."""
    p: float = (documents[index(i)] - 1) / (totals[index(i)] - 1 + _ELSE)
    return p


@kernel
def _credit(
    piece: Bytes,
    hashed: npt.NDArray[np.int64],
    whole: bool,
    pairs: Words,
    documents: Places,
    totals: Places,
    places: Places,
    best: Floats,
    sums: Floats,
    uses: Places,
) -> None:
    """Credit the pairs that one document uses, and raise `best`, float32[len(piece)], where they beat it.

    hashed: int64[len(piece)], what `hashes_before` says.
    """
    for position in range(len(piece)):
        symbol = wide(piece[index(position)])
        key = hashed[index(position)]
        p = 0.0
        first, second = -1, -1
        if whole:
            first = _find(pairs, places, np.uint64(key << 8 | symbol))
            if first >= 0:
                p = _probability(documents, totals, first)
        else:
            first = _find(pairs, places, np.uint64(key << 8 | symbol >> 4))
            if first >= 0:
                second = _find(pairs, places, np.uint64(mix(key, 16 | symbol >> 4) << 8 | symbol & 15))
                if second >= 0:
                    p = _probability(documents, totals, first) * _probability(documents, totals, second)
        gain = 0.0
        if p > best[index(position)]:
            gain = np.log2(p / best[index(position)])
            best[index(position)] = p
        if first >= 0:
            sums[index(first)] += gain
            uses[index(first)] += 1
        if second >= 0:
            sums[index(second)] += gain
            uses[index(second)] += 1


def worth(text: Text, context: int, whole: bool, found: Pairs, best: Floats) -> npt.NDArray[np.float64]:
    """float64[pairs]: the worth of every pair in bits; `best`, float32[n], is raised to what the context says."""
    totals = np.zeros(len(found.pairs), np.int32)
    _totals(found.pairs, found.documents, totals)
    places = np.zeros(1 << (2 * len(found.pairs)).bit_length(), np.int32)
    _index_pairs(found.pairs, places)
    sums, uses = np.zeros(len(found.pairs), np.float32), np.zeros(len(found.pairs), np.int32)
    start = 0
    for end in text.ends.tolist():
        piece = text.text[start:end]
        _credit(
            piece, hashes_before(piece, context), whole,
            found.pairs, found.documents, totals, places, best[start:end], sums, uses,
        )  # fmt: skip
        start = end
    return (found.documents - 1) * sums / np.maximum(uses, 1)
