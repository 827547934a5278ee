"""What the model conditions on: hashes of the bytes before, of words, columns and shapes."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import kernel
from lmarc.coding.tables import constant

CONTEXTS = 17
CLASSES = 12

_WORD32 = 0xFFFFFFFF

# Places in the int64 array that is the state of the contexts.
LAST4 = 0  # the last four bytes, the newest lowest
BEFORE4 = 1  # the four before them
BEFORE8 = 2  # and the four before those
WORD = 3  # hash of the letters of the current word, 0 outside words
WORD_BEFORE = 4  # the same of the word before
SHAPE = 5  # classes of the last eight bytes, four bits each
LINE = 6  # where the current line starts
LINE_ABOVE = 7  # where the line before it starts
ABOVE = 8  # the byte above the next one, 0 if the line above is too short
ABOVE_NEXT = 9  # the byte to the right of that one
FIELDS = 10

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.uint16]


@cache
def class_table() -> Bytes:
    """uint8[256]: the class of every byte, 1 to 11."""
    table = np.full(256, 11, dtype=np.uint8)
    table[:32] = 6
    for members, number in (
        (b"abcdefghijklmnopqrstuvwxyz", 1),
        (bytes(range(128, 256)), 1),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", 2),
        (b"0123456789", 3),
        (b" ", 4),
        (b"\n\r", 5),
        (b".,;:!?", 7),
        (b"\"'", 8),
        (b"([{<", 9),
        (b")]}>", 10),
    ):
        table[list(members)] = number
    return constant(table)


@kernel
def mix(a: int, b: int) -> int:
    """A 32-bit hash of the low 32 bits of two integers.

    The multipliers stay below 2^31, so that nothing leaves 63 bits.
    """
    h = ((a & _WORD32) * 0x2F0B4C47 + (b & _WORD32) * 0x1E3779B1 + 0x7F4A7C15) & _WORD32
    h ^= h >> 15
    h = (h * 0x45EBCA6B) & _WORD32
    return h ^ (h >> 13)


@kernel
def _take_letter(state: Ints, byte: int) -> None:
    """Carry the hashes of words forward; letters are ASCII letters, without case, and all bytes from 128."""
    if 65 <= byte <= 90:
        byte += 32
    if 97 <= byte <= 122 or byte >= 128:
        word = ((state[WORD] + byte) * 0x3D4D51CB) & _WORD32
        state[WORD] = max(word ^ (word >> 17), 1)
    elif state[WORD] != 0:
        state[WORD_BEFORE] = state[WORD]
        state[WORD] = 0


@kernel
def _take_column(state: Ints, text: Bytes, end: int, byte: int) -> None:
    """Carry the lines forward and look up what stands above the byte at `end`."""
    if byte == 10:
        state[LINE_ABOVE] = state[LINE]
        state[LINE] = end
    above = state[LINE_ABOVE] + end - state[LINE]
    state[ABOVE] = 0
    state[ABOVE_NEXT] = 0
    if above < state[LINE]:
        state[ABOVE] = text[above]
    if above + 1 < state[LINE]:
        state[ABOVE_NEXT] = text[above + 1]


@kernel
def advance(state: Ints, followers: Pairs, text: Bytes, end: int, class_of: Bytes) -> None:
    """Take in `text[end - 1]`.

    `followers` (uint16[65536]) keeps the last two bytes that followed every pair of bytes.
    """
    byte = int(text[end - 1])
    pair = state[LAST4] & 0xFFFF
    followers[pair] = ((int(followers[pair]) & 255) << 8) | byte
    state[BEFORE8] = ((state[BEFORE8] << 8) & _WORD32) | (state[BEFORE4] >> 24)
    state[BEFORE4] = ((state[BEFORE4] << 8) & _WORD32) | (state[LAST4] >> 24)
    state[LAST4] = ((state[LAST4] << 8) & _WORD32) | byte
    state[SHAPE] = ((state[SHAPE] << 4) & _WORD32) | int(class_of[byte])
    _take_letter(state, byte)
    _take_column(state, text, end, byte)


@kernel
def hashes(state: Ints, followers: Pairs, end: int, expected: int, out: Ints) -> None:
    """Put the 32-bit hash of every context at position `end` into `out`; `expected` is the match model's."""
    last4 = state[LAST4]
    last = last4 & 0xFF
    before4 = state[BEFORE4]
    column = min(end - state[LINE], 255)
    out[0] = last
    out[1] = last4 & 0xFFFF
    out[2] = last4 & 0xFFFFFF
    out[3] = last4
    out[4] = mix(last4, before4 & 0xFF)
    out[5] = mix(last4, before4 & 0xFFFF)
    out[6] = mix(state[WORD], last)
    out[7] = mix(mix(state[WORD], state[WORD_BEFORE]), last)
    out[8] = mix(column, state[ABOVE])
    out[9] = mix(int(followers[last4 & 0xFFFF]), last)
    out[10] = state[SHAPE]
    out[11] = mix(mix(state[ABOVE], last), (last4 & 0xFF00) | state[ABOVE_NEXT])
    out[12] = mix(expected, last)
    out[13] = mix(column, state[WORD])
    out[14] = last4 & 0xF0F0F0F0
    out[15] = last4 & 0xFFFF00
    out[16] = mix(state[WORD], last4 & 0xFF00)
    for i in range(CONTEXTS):
        out[i] = mix(out[i], (i + 1) * 0x1234567)


@kernel
def hash_of_last(state: Ints, count: int) -> int:
    """32-bit hash of the last `count` bytes, for a count of 5 to 12."""
    h = mix(state[LAST4], state[BEFORE4] & ((1 << (8 * min(count - 4, 4))) - 1))
    if count > 8:
        h = mix(h, state[BEFORE8] & ((1 << (8 * (count - 8))) - 1))
    return h
