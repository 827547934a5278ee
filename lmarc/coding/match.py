"""The match model: find the last place with the same bytes before it, and expect what came after it.

Two searches run side by side, one for long matches and one for short ones. The state of each is row `which`
of an int64 array of shape (MATCHES, FIELDS). Whether an expected bit can be trusted is learned by counters
in two ways: by the length of the match and its latest misses, and by length, byte and bit position.
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
LONG_HASHED = 12

BUCKETS = 64
LENGTH_COUNTERS = MATCHES * BUCKETS * 16
BYTE_COUNTERS = MATCHES * (BUCKETS // 8) * 256 * 8

POINTER = 0  # position of the expected byte, 0 without a match
LENGTH = 1  # bytes that matched in a row, 0 just after a miss
MISSES = 2  # the last 16 bytes since the match was found, newest lowest, 1 for a wrong expectation
EXPECTED = 3  # 256 + the expected byte, 0 without a match
BUCKET = 4  # `bucket` of the length
BY_LENGTH = 5  # the counters asked for the current bit, -1 if none were
BY_BYTE = 6
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
    """How many bytes before position a and before b agree, for a < b, up to a limit."""
    length = 0
    most = min(a, _MOST_COMPARED)
    while length < most and text[index(a - 1 - length)] == text[index(b - 1 - length)]:
        length += 1
    return length


@kernel
def seek(matches: Ints, which: int, text: Bytes, end: int, least: int, places: Places, hashed: int) -> None:
    """Unless the match is already sure, look for a longer one for the bytes before `end`; note the place.

    `places` remembers, per hash of the last bytes, the position after them, in 24 bits below eight of the hash; its
    length is a power of two.
    """
    i = hashed & (len(places) - 1)
    mark = (hashed >> 24) << 24
    noted = wide(places[index(i)])
    candidate = noted & (MOST_PLACES - 1)
    if noted - candidate == mark and candidate > 0 and matches[which, LENGTH] < least:
        length = _in_common(text, candidate, end)
        if length >= least and length > matches[which, LENGTH]:
            matches[which, POINTER] = candidate
            matches[which, LENGTH] = length
            matches[which, MISSES] = 0
    places[index(i)] = mark | end


@kernel
def expect(matches: Ints, which: int, text: Bytes) -> None:
    """Look up what the match expects next."""
    matches[which, EXPECTED] = 0
    if matches[which, POINTER] > 0:
        matches[which, EXPECTED] = 256 + int(text[matches[which, POINTER]])
        matches[which, BUCKET] = bucket(matches[which, LENGTH])


@kernel
def choose(matches: Ints, which: int, node: int, step: int) -> int:
    """Choose the counters for the bit at `step` (0 to 7) after the bits of `node`, a 1 and the bits so far.

    Returns the expected bit, or -1 when the match expects nothing or has been wrong within this byte.
    """
    matches[which, BY_LENGTH] = -1
    if matches[which, EXPECTED] >> (8 - step) != node:
        return -1
    matches[which, BY_LENGTH] = (which * BUCKETS + matches[which, BUCKET]) * 16 + (matches[which, MISSES] & 15)
    group = which * (BUCKETS // 8) + (matches[which, BUCKET] >> 3)
    matches[which, BY_BYTE] = (group * 256 + (matches[which, EXPECTED] & 255)) * 8 + step
    return int((matches[which, EXPECTED] >> (7 - step)) & 1)


@kernel
def correct(
    matches: Ints,
    which: int,
    step: int,
    bit: int,
    by_length: Counters,
    by_byte: Counters,
    reciprocals: npt.NDArray[np.int32],
) -> None:
    """Tell the counters that were asked whether the expected bit came."""
    if matches[which, BY_LENGTH] < 0:
        return
    right = 1 - (((matches[which, EXPECTED] >> (7 - step)) & 1) ^ bit)
    learn(by_length, matches[which, BY_LENGTH], right, COUNT_MASK, reciprocals)
    learn(by_byte, matches[which, BY_BYTE], right, COUNT_MASK, reciprocals)


@kernel
def follow(matches: Ints, which: int, byte: int) -> None:
    """Compare the expectation with `byte`, which came, and step on; too many misses end the match."""
    if matches[which, POINTER] == 0:
        return
    matches[which, POINTER] += 1
    matches[which, MISSES] = (matches[which, MISSES] << 1) & 0xFFFF
    if matches[which, EXPECTED] == 256 + byte:
        matches[which, LENGTH] = min(matches[which, LENGTH] + 1, _LONGEST)
        return
    matches[which, LENGTH] = 0
    matches[which, MISSES] += 1
    misses = 0
    for i in range(16):
        misses += (matches[which, MISSES] >> i) & 1
    if misses > _MOST_MISSES:
        matches[which, POINTER] = 0


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
