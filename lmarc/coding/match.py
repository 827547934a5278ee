"""The match model: find the last place with the same bytes before it, and expect what came after it.

Two searches run side by side, one for long matches and one for short ones. The state of each is
the FIELDS places from `which * FIELDS` of one int64 array. Whether an expected bit can be trusted is learned by
counters in two ways: by the length of the match and its latest misses, and by length, byte and bit position.
Source of the idea: Mahoney's paq ("MatchModel").
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.counters import COUNT_MASK, Counters, learn, packed
from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.tables import ONE

MATCHES = 2
LONG, SHORT = 0, 1
LONG_LEAST = 16
SHORT_LEAST = 5

BUCKETS = 64
LENGTH_COUNTERS = MATCHES * BUCKETS * 16
BYTE_COUNTERS = MATCHES * (BUCKETS // 8) * 256 * 8

POINTER = 0  # position of the expected byte, 0 without a match
LENGTH = 1  # bytes that matched in a row, 0 just after a miss
MISSES = 2  # the last 16 bytes since the match was found, newest lowest, 1 for a wrong expectation
EXPECTED = 3  # 256 + the expected byte, 0 without a match
BUCKET = 4  # `bucket` of the length
BY_LENGTH = 5  # the counter of the length
BY_BYTE = 6  # the first of the counters of the byte, one for each bit
FIELDS = 7

_LONGEST = 65535
_MOST_COMPARED = 400
MOST_PLACES = 1 << 24
_MOST_MISSES = 8

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.uint32]


@kernel
def bucket(length: int) -> int:
    """A length of 0 to 65535 on a scale of 64: exact below 16, then four steps per octave."""
    octave = 0
    while length >= 16 and length >> octave >= 8:
        octave += 1
    return 4 * octave + (length >> octave) + 4 * (octave > 0)


@kernel
def _in_common(text: Bytes, a: int, b: int) -> int:
    """How many bytes before position a and before b agree, up to a limit."""
    length = 0
    most = min(min(a, b), _MOST_COMPARED)
    while length < most and text[index(a - 1 - length)] == text[index(b - 1 - length)]:
        length += 1
    return length


@kernel
def place(places: Places, hashed: int, byte: int) -> int:
    """Where in `places` bytes are noted, from the hash of all but the last half of the last one, `byte`.

    So the cache line can be asked for half a byte ahead.
    """
    return ((hashed << 4) | (byte & 15)) & (len(places) - 1)


@kernel
def look_up(places: Places, hashed: int, byte: int, end: int) -> int:
    """Note position `end` for the bytes before it; returns what was noted for such bytes last, 0 if nothing was.

    A note is a position in 24 bits below eight of the hash; the length of `places` is a power of two.
    """
    i = index(place(places, hashed, byte))
    mark = (hashed >> 24) << 24
    noted = wide(places[i])
    places[i] = mark | end
    return (noted & (MOST_PLACES - 1)) * wide(noted & ~(MOST_PLACES - 1) == mark)


@kernel
def seek(matches: Ints, which: int, text: Bytes, end: int, least: int, candidate: int) -> None:
    """Unless the match is already sure, take the candidate that `look_up` returned if more of the bytes agree."""
    own = which * FIELDS
    if candidate > 0 and matches[index(own + LENGTH)] < least:
        length = _in_common(text, candidate, end)
        if length >= least and length > matches[index(own + LENGTH)]:
            matches[index(own + POINTER)] = candidate
            matches[index(own + LENGTH)] = length
            matches[index(own + MISSES)] = 0


@kernel
def expect(matches: Ints, which: int, text: Bytes) -> int:
    """Look up what the match expects next, and choose its counters; returns 256 + that byte, 0 without a match."""
    own = which * FIELDS
    expected = 0
    pointer = matches[index(own + POINTER)]
    if pointer > 0:
        byte = wide(text[index(pointer)])
        expected = 256 + byte
        scaled = bucket(matches[index(own + LENGTH)])
        matches[index(own + BUCKET)] = scaled
        matches[index(own + BY_LENGTH)] = (which * BUCKETS + scaled) * 16 + (matches[index(own + MISSES)] & 15)
        matches[index(own + BY_BYTE)] = ((which * (BUCKETS // 8) + (scaled >> 3)) * 256 + byte) * 8
    matches[index(own + EXPECTED)] = expected
    return expected


@kernel
def speaks(matches: Ints, which: int, node: int, step: int) -> bool:
    """Whether a match expects a bit at `step` (0 to 7) after the bits of `node`, a 1 and the bits so far."""
    return bool(matches[index(which * FIELDS + EXPECTED)] >> (8 - step) == node)


@kernel
def expected_bit(matches: Ints, which: int, step: int) -> int:
    """The bit that a match expects at `step` if it speaks."""
    return int((matches[index(which * FIELDS + EXPECTED)] >> (7 - step)) & 1)


@kernel
def correct(
    matches: Ints,
    which: int,
    node: int,
    step: int,
    bit: int,
    by_length: Counters,
    by_byte: Counters,
    reciprocals: npt.NDArray[np.int32],
) -> None:
    """Tell the counters of a match that spoke whether the expected bit came."""
    own = which * FIELDS
    if not speaks(matches, which, node, step):
        return
    right = 1 - (expected_bit(matches, which, step) ^ bit)
    learn(by_length, matches[index(own + BY_LENGTH)], right, COUNT_MASK, reciprocals)
    learn(by_byte, matches[index(own + BY_BYTE)] + step, right, COUNT_MASK, reciprocals)


@kernel
def follow(matches: Ints, which: int, byte: int) -> None:
    """Compare the expectation with `byte`, which came, and step on; too many misses end the match."""
    own = which * FIELDS
    if matches[index(own + POINTER)] == 0:
        return
    matches[index(own + POINTER)] += 1
    missed = matches[index(own + EXPECTED)] != 256 + byte
    misses = ((matches[index(own + MISSES)] << 1) & 0xFFFF) + wide(missed)
    matches[index(own + MISSES)] = misses
    length = min(matches[index(own + LENGTH)] + 1, _LONGEST)
    if missed:
        length = 0
        ones = 0
        for i in range(16):
            ones += (misses >> i) & 1
        if ones > _MOST_MISSES:
            matches[index(own + POINTER)] = 0
    matches[index(own + LENGTH)] = length


def fresh_by_length() -> Counters:
    """uint32[LENGTH_COUNTERS]: the longer the match the surer, less so after recent misses."""
    counters = np.zeros((MATCHES, BUCKETS, 16), dtype=np.uint32)
    for i in range(BUCKETS):
        least = i if i < 16 else (4 + i % 4) << (i // 4 - 2)
        wrong = (ONE - 1) // (2 * least + 3)
        counters[:, i, 0] = packed(ONE - 1 - wrong, ONE - 1, 8)
        counters[:, i, 1:] = packed(ONE - 1 - (wrong * 7 // 10 + (ONE - 1) * 15 // 100), ONE - 1, 8)
    return counters.reshape(-1)


def fresh_by_byte() -> Counters:
    """uint32[BYTE_COUNTERS]: the longer the match the surer."""
    counters = np.zeros((MATCHES, BUCKETS // 8, 256 * 8), dtype=np.uint32)
    for i in range(BUCKETS // 8):
        counters[:, i] = packed(24 * i + 2, 24 * i + 3, 2)
    return counters.reshape(-1)
