"""Everything a model learns into, allocated from the size of the content alone.

Encoder and decoder must agree on every length here, so the lengths are part of the format.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding import apm, arrays, contexts, histories, knowledge, match, mixer, special, tables
from lmarc.coding.counters import Counters, packed
from lmarc.coding.level import Level

Bytes = npt.NDArray[np.uint8]
Ints32 = npt.NDArray[np.int32]

COUNTER_LIMIT = 255
MAP_ROW_BITS = 14
_SLOT_BITS = 8  # more than number the bytes of the content
_FIRST_SECOND_WEIGHT = 2000
_FIRST_WEIGHT = 12000


class Tables(NamedTuple):
    """The constant tables."""

    squash: Ints32
    stretch: npt.NDArray[np.int16]
    rough_stretch: npt.NDArray[np.int16]
    reciprocals: Ints32
    class_of: Bytes
    roles: Bytes
    next_state: Bytes
    confidence: Bytes
    trained_states: Bytes
    counts: npt.NDArray[np.int64]
    steps: Bytes


class Learned(NamedTuple):
    """What training leaves behind besides the knowledge: how far to trust everything.

    histories: int32[contexts * 256], the chance of a 1 after every history in every context, in units of 2^-30.
    order0: uint32[256].
    by_length, by_byte: the match model's counters. weights: int32, the vectors of all sets. finals: int32,
    those of the second layer. order1_map, hashed_map: uint32, the rows of the adaptive maps, see apm.py; level 1 has no
    use for the first.
    """

    histories: Ints32
    order0: Counters
    by_length: Counters
    by_byte: Counters
    weights: Ints32
    finals: Ints32
    order1_map: Counters
    hashed_map: Counters


class Memory(NamedTuple):
    """What is learned from the content alone.

    slots: uint8[power of two], see slots.py. long_places, short_places: uint32[power of two].
    followers: uint16[65536].
    """

    slots: Bytes
    long_places: npt.NDArray[np.uint32]
    short_places: npt.NDArray[np.uint32]
    followers: npt.NDArray[np.uint16]


class Lengths(NamedTuple):
    """How many bits number the bytes of `slots` and the places of a match table."""

    slots: int
    places: int


def lengths(level: Level, size: int) -> Lengths:
    """Lengths for content of `size` bytes: the tables grow with it up to a limit."""
    bits = max(size - 1, 1).bit_length()
    return Lengths(slots=min(max(bits + _SLOT_BITS, 16), level.most_slot_bits), places=min(max(bits, 10), 20))


def constant_tables() -> Tables:
    """The constant tables; computed once, shared by all threads, never written."""
    return Tables(
        squash=tables.squash_table(),
        stretch=tables.stretch_table(),
        rough_stretch=tables.stretch_table(tables.ROUGH_INDEX_BITS),
        reciprocals=tables.reciprocal_table(),
        class_of=contexts.class_table(),
        roles=special.role_table(),
        next_state=histories.next_state_table(),
        confidence=histories.confidence_table(),
        trained_states=histories.trained_state_table(),
        counts=knowledge.count_table(),
        steps=knowledge.step_table(),
    )


def _fresh_histories(count: int) -> Ints32:
    """A history's first guess: a run of n equal bits goes on with 6n + 1 against 1, else n1 against n0."""
    one = np.full(256, 1 << 29, dtype=np.int32)
    pairs = [(n0, n1) for n0, n1, _ in histories.states()] + list(histories.trained_states())
    for code, (n0, n1) in enumerate(pairs):
        ones, all_ = 2 * n1 + 1, 2 * (n0 + n1) + 2
        if n0 == 0 and n1 > 0:
            ones, all_ = 6 * n1 + 1, 6 * n1 + 2
        if n1 == 0 and n0 > 0:
            ones, all_ = 1, 6 * n0 + 2
        one[code] = (1 << 30) * ones // all_
    return np.tile(one, count)


def _fresh_weights(level: Level) -> Ints32:
    """Every vector starts by adding up its inputs, modestly."""
    weights = np.zeros((sum(level.sets), level.inputs), dtype=np.int32)
    weights[:, : level.order0_input + 1] = _FIRST_WEIGHT << 10
    weights[:, level.second_inputs : level.second_inputs + level.contexts] = _FIRST_SECOND_WEIGHT << 10
    return arrays.copied(weights.reshape(-1))


def learned_lengths(level: Level) -> dict[str, int]:
    """How many 32-bit numbers each array of `Learned` has, in their order."""
    return {
        "histories": level.contexts * 256,
        "order0": 256,
        "by_length": match.LENGTH_COUNTERS,
        "by_byte": match.BYTE_COUNTERS,
        "weights": sum(level.sets) * level.inputs,
        "finals": level.final_rows * len(level.sets),
        "order1_map": (65536 if level.special else 1) * apm.NODES,
        "hashed_map": apm.NODES << MAP_ROW_BITS,
    }


def fresh_learned(level: Level) -> Learned:
    """The state before any training."""
    return Learned(
        histories=_fresh_histories(level.contexts),
        order0=np.full(256, packed(1, 2, 0), dtype=np.uint32),
        by_length=match.fresh_by_length(),
        by_byte=match.fresh_by_byte(),
        weights=_fresh_weights(level),
        finals=np.full(level.final_rows * len(level.sets), mixer.WEIGHT_ONE // len(level.sets), dtype=np.int32),
        order1_map=apm.fresh(65536 if level.special else 1),
        hashed_map=apm.fresh(1 << MAP_ROW_BITS),
    )


def fresh_memory(level: Level, size: int) -> Memory:
    """The state before the first bit, for content of `size` bytes."""
    n = lengths(level, size)
    return Memory(
        slots=arrays.zeros(1 << n.slots, np.uint8),
        long_places=arrays.zeros(1 << n.places, np.uint32),
        short_places=arrays.zeros(1 << n.places, np.uint32),
        followers=np.zeros(65536, dtype=np.uint16),
    )
