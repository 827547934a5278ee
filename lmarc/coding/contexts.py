"""What the model conditions on: hashes of the bytes before, of words, columns, shapes, fields and samples."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.tables import constant

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
# The rest only level 2 keeps.
WORD_BEFORE2 = 9  # the word before the word before
NUMBER = 10  # hash of the digits of the current number, 0 outside numbers
LINE_HEAD = 11  # the first three bytes of the line
FIELD = 12  # fields before the current one in the line, at most 255
FIELD_HASH = 13  # hash of the current field's bytes
FIELD_START = 14  # where the current field starts
FIELD_ABOVE = 15  # what the field of that number held there in the line above, 0 if nothing
FIELDS_ABOVE = 16  # fields of the line above
DEPTH = 17  # open brackets, at most 63
RECORD = 18  # distance at which bytes have repeated lately, 0 if none
STACK = 19  # of open brackets: hash of each and of the word before it
STARTS = STACK + 64  # where the fields of this line start
STARTS_ABOVE = STARTS + 256  # where those of the line above did
SEEN_AT = STARTS_ABOVE + 256  # the last three positions of every byte
GAPS = SEEN_AT + 3 * 256  # how often each distance below 2048 repeated
BASIC_FIELDS = 9
ALL_FIELDS = GAPS + 2048

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

# How a context's trained knowledge is kept (knowledge.py): not at all, by nibbles, or by bytes.
NOTHING, BY_NIBBLE, BY_BYTE = 0, 1, 2
BASIC = 9
ALL = 18
EXPECTED = 8
KINDS = (
    (BY_NIBBLE, BY_NIBBLE, BY_BYTE, BY_BYTE, BY_BYTE, BY_BYTE, BY_NIBBLE, NOTHING, NOTHING)
    + (NOTHING, BY_BYTE, BY_BYTE)
    + (NOTHING,) * 6
)
# Keeps the hashes of different contexts apart.
SALTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 20, 21, 22, 23, 24, 25)
SALT_FACTOR = 0x1234567

# What a segment of the content is (segments.py).
TEXT, BINARY, RASTER, SAMPLES = range(4)


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
        if len(state) > BASIC_FIELDS:
            state[WORD_BEFORE2] = state[WORD_BEFORE]
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
    if above < state[LINE]:
        state[ABOVE] = text[index(above)]


@kernel
def advance(state: Ints, text: Bytes, end: int, class_of: Bytes) -> None:
    """Take in `text[end - 1]`."""
    byte = wide(text[index(end - 1)])
    state[BEFORE8] = ((state[BEFORE8] << 8) & _WORD32) | (state[BEFORE4] >> 24)
    state[BEFORE4] = ((state[BEFORE4] << 8) & _WORD32) | (state[LAST4] >> 24)
    state[LAST4] = ((state[LAST4] << 8) & _WORD32) | byte
    state[SHAPE] = ((state[SHAPE] << 4) & _WORD32) | wide(class_of[index(byte)])
    _take_letter(state, byte)
    _take_column(state, text, end, byte)


@kernel
def hashes(state: Ints, end: int, out: Ints) -> None:
    """Put the 32-bit hash of every context of level 1 at position `end` into `out`, but for that of EXPECTED."""
    last4 = state[LAST4]
    last = last4 & 0xFF
    out[0] = last4 & 0xFFFF
    out[1] = last4 & 0xFFFFFF
    out[2] = last4
    out[3] = mix(last4, state[BEFORE4] & 0xFFFF)
    out[4] = mix(state[WORD], last)
    out[5] = mix(mix(state[WORD], state[WORD_BEFORE]), last)
    out[6] = state[SHAPE]
    out[7] = mix(min(end - state[LINE], 255), state[ABOVE])
    for i in range(EXPECTED):
        out[i] = mix(out[i], SALTS[i] * SALT_FACTOR)


@kernel
def hashes_for_matches(state: Ints, node: int) -> tuple[int, int]:
    """32-bit hashes of the last 12 and the last 4 bytes, each with the half byte after them, of which `node` tells."""
    last4 = mix(state[LAST4], node)
    return mix(mix(last4, state[BEFORE4]), state[BEFORE8]), last4
