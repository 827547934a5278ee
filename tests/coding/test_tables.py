"""The constant tables: pinned, and what they claim to be."""

from __future__ import annotations

import hashlib
import itertools
import math

import numpy as np
import pytest

from lmarc.coding import contexts, histories, match, memory, tables

DIGESTS = {
    "squash": "309fefa1177f0b02",
    "stretch": "803e5f1e55c43940",
    "reciprocals": "9907bf9ddc225daf",
    "class_of": "3120880e416ecdb4",
    "next_state": "a295e243fe9941fc",
    "confidence": "6bfff70d46459c12",
}


def test_tables_never_change() -> None:
    got = {
        name: hashlib.sha256(table.tobytes()).hexdigest()[:16]
        for name, table in memory.constant_tables()._asdict().items()
    }
    assert got == DIGESTS


def test_tables_are_shared_and_protected() -> None:
    for table in memory.constant_tables():
        assert not table.flags.writeable
    assert memory.constant_tables().squash is memory.constant_tables().squash


def test_squash_is_the_logistic_function() -> None:
    squash = tables.squash_table()
    exact = [tables.ONE / (1 + math.exp(-x * 3 / 512)) for x in range(-2048, 2048)]
    assert np.abs(squash - np.array(exact)).max() <= 0.51
    assert all(int(squash[2048 + x]) + int(squash[2048 - x]) == tables.ONE for x in range(2048))


def test_stretch_is_its_inverse() -> None:
    squash, stretch = tables.squash_table(), tables.stretch_table()
    assert np.array_equal(stretch, -stretch[::-1])
    assert (np.diff(stretch) >= 0).all()
    for x in range(-900, 901):
        assert abs(int(stretch[int(squash[x + 2048]) >> 8]) - x) <= 4


def test_histories_fit_a_byte_and_close() -> None:
    states = histories.states()
    assert len(states) <= 256
    assert states[0] == histories.EMPTY
    assert all(histories.successor(state, bit) in states for state in states for bit in (0, 1))


@pytest.mark.parametrize("bit", [0, 1])
def test_a_run_grows_and_one_miss_ages_it(bit: int) -> None:
    state = histories.EMPTY
    for _ in range(60):
        state = histories.successor(state, bit)
    assert state[bit] == 48
    assert histories.successor(state, 1 - bit)[bit] < 10


def test_buckets_of_lengths_rise_to_63() -> None:
    buckets = [match.bucket(length) for length in range(65536)]
    assert buckets[:17] == list(range(17))
    assert all(0 <= b - a <= 1 for a, b in itertools.pairwise(buckets))
    assert buckets[-1] == match.BUCKETS - 1


def test_hashes_are_32_bits_and_spread() -> None:
    hashed = {contexts.mix(a, b) for a in range(100) for b in range(100)}
    assert len(hashed) == 10_000
    assert max(hashed) < 1 << 32
    assert len({h & 0xFFF for h in hashed}) > 3500


@pytest.mark.parametrize("size", [1, 1000, 65536, 65537, 1 << 22, 1 << 24])
def test_memory_stays_within_its_bound(size: int) -> None:
    taken = sum(array.nbytes for array in memory.fresh_memory(size))
    assert taken <= memory.memory_bound(size)
    assert memory.memory_bound(size) <= 96 << 20


def test_small_content_takes_little_memory() -> None:
    assert memory.memory_bound(1000) < 8 << 20
