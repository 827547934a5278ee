"""The constant tables: pinned, and what they claim to be."""

from __future__ import annotations

import hashlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from lmarc.coding import codec, contexts, histories, match, memory, mixer, state, tables
from lmarc.coding.level import LEVELS, Level
from lmarc.errors import BackendMissingError

DIGESTS = {
    "squash": "309fefa1177f0b02",
    "stretch": "803e5f1e55c43940",
    "rough_stretch": "220f0664de6c0f59",
    "reciprocals": "9907bf9ddc225daf",
    "class_of": "3120880e416ecdb4",
    "roles": "bc73baf0d5926bce",
    "next_state": "f864b51e528368f0",
    "confidence": "997dc316e881ae87",
    "trained_states": "f5fde947815ee126",
    "counts": "b01bca2032af73ad",
    "steps": "9ffb31e898ac441d",
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
    history = histories.EMPTY
    for _ in range(60):
        history = histories.successor(history, bit)
    assert history[bit] == 36
    assert histories.successor(history, 1 - bit)[bit] < 10


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


@pytest.mark.parametrize("level", LEVELS.values())
@pytest.mark.parametrize("size", [1, 1000, 65536, 65537, 1 << 22, 1 << 24])
def test_memory_stays_within_its_bound(size: int, level: Level) -> None:
    taken = sum(array.nbytes for array in (*memory.fresh_memory(level, size), *memory.fresh_learned(level)))
    assert taken + state.knowledge().nbytes <= codec.memory_bound(size, level.number)
    assert codec.memory_bound(size, level.number) <= 112 << 20


def test_small_content_takes_little_memory_beside_what_all_share() -> None:
    assert codec.memory_bound(1000) - state.knowledge().nbytes < 8 << 20


@pytest.mark.parametrize("level", LEVELS.values())
def test_lengths_are_those_of_the_arrays(level: Level) -> None:
    fresh = memory.fresh_learned(level)._asdict()
    assert {name: len(array) for name, array in fresh.items()} == memory.learned_lengths(level)


def test_trained_states_stand_behind_the_live_ones() -> None:
    assert len(histories.states()) == histories.FIRST_TRAINED
    assert histories.FIRST_TRAINED + len(histories.trained_states()) <= 256
    table = histories.next_state_table()
    assert all(table[256 * bit + code] < histories.FIRST_TRAINED for bit in (0, 1) for code in range(256))


def test_the_state_is_within_its_ranges() -> None:
    """What the kernels take for granted so that no sum overflows and no index leaves its array."""
    assert state.knowledge().reshape(-1, 64)[:, 63].max() <= 21
    for level in LEVELS.values():
        learned = state.learned(level)
        assert np.abs(learned.weights).max() <= mixer.WEIGHT_LIMIT
        assert np.abs(learned.finals).max() <= mixer.WEIGHT_LIMIT
        assert 0 <= learned.histories.min() <= learned.histories.max() < 1 << 30


def test_a_damaged_state_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(state.PATH.read_bytes())
    content[1000] ^= 1
    path = tmp_path / "cm.state"
    path.write_bytes(content)
    monkeypatch.setattr(state, "PATH", path)
    with pytest.raises(BackendMissingError, match="damaged"):
        state._loaded.__wrapped__()
    path.unlink()
    with pytest.raises(BackendMissingError, match="cannot be read"):
        state._loaded.__wrapped__()


def test_the_state_is_written_as_it_is_read() -> None:
    learned = {number: state.learned(level) for number, level in LEVELS.items()}
    assert state.serialised(state.knowledge(), learned) == state.PATH.read_bytes()
