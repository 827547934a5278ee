"""Everything a model learns into, allocated from the size of the content alone.

Encoder and decoder must agree on every length here, so the lengths are part of the format.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding import apm, contexts, histories, match, mixer, slots, tables
from lmarc.coding.contexts import CLASSES, CONTEXTS
from lmarc.coding.counters import Counters, packed
from lmarc.coding.mixer import INPUTS, SETS

Bytes = npt.NDArray[np.uint8]

HISTORY_LIMIT = 255
_HISTORY_COUNT = 32

# Numbers of weight vectors in the three sets, chosen by: bits of the byte so far; what the match model
# expects and how many contexts are known; classes of the last two bytes and bit position.
SET_SIZES = (256, (2 * match.BUCKETS + 1) * 8, CLASSES * CLASSES * 8)
_FIRST_WEIGHT = 6000
_FIRST_SECOND_WEIGHT = 1000

# The places of the mixer's inputs.
MATCH_INPUTS = CONTEXTS
ORDER0_INPUT = MATCH_INPUTS + 2 * match.MATCHES
BIAS_INPUT = ORDER0_INPUT + 1
SECOND_INPUTS = BIAS_INPUT + 1


class Tables(NamedTuple):
    """The constant tables."""

    squash: npt.NDArray[np.int32]
    stretch: npt.NDArray[np.int16]
    reciprocals: npt.NDArray[np.int32]
    class_of: Bytes
    next_state: Bytes
    confidence: Bytes


class Memory(NamedTuple):
    """The learned state of a model.

    slots: uint8[power of two], see slots.py. histories: uint32[CONTEXTS * 256], the counter of every history
    in every context. order0: uint32[256]. by_length, by_byte: the match model's counters.
    long_places, short_places: int32[power of two]. weights: int32[sum(SET_SIZES) * INPUTS].
    finals: int32[(CONTEXTS + 1) * SETS]. order1_map: uint32[65536 * NODES] and hashed_map:
    uint32[power of two * NODES], see apm.py. followers: uint16[65536].
    """

    slots: Bytes
    histories: Counters
    order0: Counters
    by_length: Counters
    by_byte: Counters
    long_places: npt.NDArray[np.int32]
    short_places: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]
    finals: npt.NDArray[np.int32]
    order1_map: Counters
    hashed_map: Counters
    followers: npt.NDArray[np.uint16]


class Lengths(NamedTuple):
    """How many bits number the bytes of `slots`, the places of a match table, the rows of `hashed_map`."""

    slots: int
    places: int
    rows: int


def lengths(size: int) -> Lengths:
    """Lengths for content of `size` bytes: the tables grow with it up to a limit."""
    bits = max(size - 1, 1).bit_length()
    return Lengths(slots=min(max(bits + 8, 16), 26), places=min(max(bits, 10), 20), rows=min(max(bits - 2, 10), 14))


def memory_bound(size: int) -> int:
    """Most bytes a model for `size` bytes of content allocates, without content and code themselves."""
    n = lengths(size)
    fixed = 4 * 65536 * apm.NODES + 2 * 65536 + 4 * sum(SET_SIZES) * INPUTS
    fixed += 4 * (CONTEXTS * 256 + 256 + match.LENGTH_COUNTERS + match.BYTE_COUNTERS)
    return (1 << n.slots) + 2 * (4 << n.places) + (4 << n.rows) * apm.NODES + fixed + (1 << 20)


def constant_tables() -> Tables:
    """The constant tables; computed once, shared by all threads, never written."""
    return Tables(
        squash=tables.squash_table(),
        stretch=tables.stretch_table(),
        reciprocals=tables.reciprocal_table(),
        class_of=contexts.class_table(),
        next_state=histories.next_state_table(),
        confidence=histories.confidence_table(),
    )


def _fresh_histories() -> Counters:
    """A history's first guess: a run of n equal bits goes on with 6n + 1 against 1, else n1 against n0."""
    one = np.zeros(256, dtype=np.uint32)
    for code, (n0, n1, _) in enumerate(histories.states()):
        ones, all_ = 2 * n1 + 1, 2 * (n0 + n1) + 2
        if n0 == 0 and n1 > 0:
            ones, all_ = 6 * n1 + 1, 6 * n1 + 2
        if n1 == 0 and n0 > 0:
            ones, all_ = 1, 6 * n0 + 2
        one[code] = packed(ones, all_, _HISTORY_COUNT)
    return np.tile(one, CONTEXTS)


def _fresh_weights() -> npt.NDArray[np.int32]:
    """Every vector starts by adding up its inputs, modestly, and the bias not at all."""
    weights = np.full((sum(SET_SIZES), INPUTS), _FIRST_WEIGHT, dtype=np.int32)
    weights[:, BIAS_INPUT] = 0
    weights[:, SECOND_INPUTS:] = _FIRST_SECOND_WEIGHT
    return weights.reshape(-1)


def fresh_memory(size: int) -> Memory:
    """The state before the first bit, for content of `size` bytes."""
    n = lengths(size)
    return Memory(
        slots=slots.allocate(1 << n.slots),
        histories=_fresh_histories(),
        order0=np.full(256, packed(1, 2, 0), dtype=np.uint32),
        by_length=match.fresh_by_length(),
        by_byte=match.fresh_by_byte(),
        long_places=np.zeros(1 << n.places, dtype=np.int32),
        short_places=np.zeros(1 << n.places, dtype=np.int32),
        weights=_fresh_weights(),
        finals=np.full((CONTEXTS + 1) * SETS, mixer.WEIGHT_ONE // SETS, dtype=np.int32),
        order1_map=np.zeros(65536 * apm.NODES, dtype=np.uint32),
        hashed_map=np.zeros((1 << n.rows) * apm.NODES, dtype=np.uint32),
        followers=np.zeros(65536, dtype=np.uint16),
    )
