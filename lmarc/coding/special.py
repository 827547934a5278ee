"""The contexts of level 2 beyond those of level 1: fields and brackets of text, records, rasters, samples."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.contexts import (
    ABOVE,
    ALL,
    BASIC,
    BEFORE4,
    BINARY,
    DEPTH,
    FIELD,
    FIELD_ABOVE,
    FIELD_HASH,
    FIELD_START,
    FIELDS_ABOVE,
    GAPS,
    LAST4,
    LINE,
    LINE_HEAD,
    NUMBER,
    RASTER,
    RECORD,
    SALT_FACTOR,
    SALTS,
    SEEN_AT,
    SHAPE,
    STACK,
    STARTS,
    STARTS_ABOVE,
    TEXT,
    WORD,
    WORD_BEFORE,
    WORD_BEFORE2,
    mix,
)
from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.tables import constant

MOST_DEPTH = 63
_LAST_COMMON = 10
MOST_FIELDS = 255
MOST_GAP = 2048
_GAP_REPEATS = 30

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.uint16]

NO_ROLE, SEPARATOR, OPENER, CLOSER = 0, 1, 2, 4


@cache
def role_table() -> Bytes:
    """uint8[256]: what a byte does to fields and brackets, a sum of SEPARATOR, OPENER, CLOSER."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(b' ,;\t|:="[]()/')] += SEPARATOR
    table[list(b"([{<")] += OPENER
    table[list(b")]}>")] += CLOSER
    return constant(table)


@kernel
def _take_gap(state: Ints, end: int, byte: int) -> None:
    """Notice a distance at which bytes keep repeating: the length of a record."""
    at = SEEN_AT + 3 * byte
    first, second, third = state[index(at)], state[index(at + 1)], state[index(at + 2)]
    gap = end - first
    if 1 < gap < MOST_GAP and gap == first - second and gap == second - third:
        state[index(GAPS + gap)] += 1
        if state[index(GAPS + gap)] > _GAP_REPEATS:
            state[RECORD] = gap
            for i in range(GAPS, GAPS + MOST_GAP):
                state[index(i)] = 0
    state[index(at + 2)] = second
    state[index(at + 1)] = first
    state[index(at)] = end


@kernel
def _take_field(state: Ints, text: Bytes, end: int, byte: int, separates: bool) -> None:
    """Carry the fields of the line forward and look up what the line above held at the same place of its field."""
    if byte == 10:
        for i in range(state[FIELD] + 1):
            state[index(STARTS_ABOVE + i)] = state[index(STARTS + i)]
        state[FIELDS_ABOVE] = state[FIELD]
        state[FIELD] = 0
        state[FIELD_START] = end
        state[STARTS] = end
        state[FIELD_HASH] = 0
        state[LINE_HEAD] = 0
    elif separates:
        state[FIELD] = min(state[FIELD] + 1, MOST_FIELDS)
        state[FIELD_START] = end
        state[index(STARTS + state[FIELD])] = end
        state[FIELD_HASH] = 0
    else:
        state[FIELD_HASH] = mix(state[FIELD_HASH], byte)
    if byte != 10 and end - state[LINE] <= 3:
        state[LINE_HEAD] = (state[LINE_HEAD] << 8) | byte
    state[FIELD_ABOVE] = 0
    if state[FIELD] <= state[FIELDS_ABOVE]:
        above = state[index(STARTS_ABOVE + state[FIELD])] + end - state[FIELD_START]
        if above + 1 < end:
            state[FIELD_ABOVE] = 0x10000 + wide(text[index(above)]) + (wide(text[index(above + 1)]) << 8)
            if state[FIELD] < state[FIELDS_ABOVE]:
                following = state[index(STARTS_ABOVE + state[FIELD] + 1)]
                if above >= following:
                    state[FIELD_ABOVE] = 0x20000 + wide(text[index(following - 1)])


@kernel
def advance_special(state: Ints, followers: Pairs, text: Bytes, end: int, roles: Bytes) -> None:
    """Take in `text[end - 1]`, after `contexts.advance` has.

    `followers` (uint16[65536]) keeps the last two bytes that followed every pair of bytes.
    """
    byte = wide(text[index(end - 1)])
    pair = (state[LAST4] >> 8) & 0xFFFF
    followers[index(pair)] = ((wide(followers[index(pair)]) & 255) << 8) | byte
    role = wide(roles[index(byte)])
    if 48 <= byte <= 57:
        state[NUMBER] = mix(state[NUMBER], byte)
    else:
        state[NUMBER] = 0
    if role & OPENER:
        if state[DEPTH] < MOST_DEPTH:
            state[DEPTH] += 1
            state[index(STACK + state[DEPTH])] = mix(byte, state[WORD_BEFORE])
    elif role & CLOSER and state[DEPTH] > 0:
        state[DEPTH] -= 1
    _take_field(state, text, end, byte, role & SEPARATOR != 0)
    _take_gap(state, end, byte)


@kernel
def _text_hashes(state: Ints, out: Ints) -> None:
    last = state[LAST4] & 0xFF
    word = state[WORD]
    bracket = state[index(STACK + state[DEPTH])]
    out[11] = mix(mix(mix(word, state[WORD_BEFORE]), state[WORD_BEFORE2]), last)
    out[12] = mix(mix(bracket, word), last)
    out[13] = mix(state[FIELD], state[FIELD_HASH])
    out[14] = mix(mix(state[FIELD], state[FIELD_ABOVE] & 0xFF), last)
    out[15] = mix(state[FIELD_ABOVE], state[FIELD_HASH])
    out[16] = mix(mix(state[LINE_HEAD], word), last)
    out[17] = mix(state[NUMBER], state[SHAPE] & 0xFFFF)


@kernel
def _at(text: Bytes, start: int, position: int) -> int:
    """The byte at a position, 0 before the segment."""
    byte = 0
    if position >= start:
        byte = wide(text[index(position)])
    return byte


@kernel
def _binary_hashes(state: Ints, text: Bytes, start: int, end: int, out: Ints) -> None:
    last4 = state[LAST4]
    record = max(state[RECORD], 1)
    above = _at(text, start, end - record)
    place = mix(end % record, record)
    out[11] = last4 & 0xFF00
    out[12] = last4 & 0xFFFF00
    out[13] = last4 & 0xFF00FF
    out[14] = last4 & 0xF0F0F0F0
    out[15] = mix(above, place)
    out[16] = mix(above, (last4 & 0xFF) | _at(text, start, end - 2 * record) << 8)
    out[17] = mix(last4 & 0xFFFF, place)


@kernel
def _clipped(value: int) -> int:
    return min(max(value, 0), 255)


@kernel
def _raster_hashes(state: Ints, text: Bytes, start: int, end: int, stride: int, row: int, out: Ints) -> None:
    last = state[LAST4] & 0xFF
    phase = (end - start) % stride
    west = _at(text, start, end - stride)
    north, north2 = _at(text, start, end - row), _at(text, start, end - 2 * row)
    northwest = _at(text, start, end - row - stride)
    before_west, before_north = _at(text, start, end - 1 - stride), _at(text, start, end - 1 - row)
    out[11] = mix(_clipped(west + north - northwest), phase)
    out[12] = mix(_clipped(west + last - before_west), mix(phase, _clipped(north + last - before_north)))
    out[13] = mix(north << 8 | last, phase)
    out[14] = mix(_clipped(north + last - before_north), phase | northwest << 8)
    out[15] = mix(_clipped(2 * north - north2), phase | west << 8)
    out[16] = mix((end - start) % row, north)
    out[17] = mix((west + north) >> 1, phase | ((last - before_west + 256) >> 2) << 8)


@kernel
def _sample(text: Bytes, start: int, position: int) -> int:
    """The signed 16-bit sample, low byte first, at a position, 0 before the segment."""
    value = _at(text, start, position) | _at(text, start, position + 1) << 8
    return value - ((value & 0x8000) << 1)


@kernel
def _expected_part(value: int, low: int, second: bool) -> int:
    """Of an expected sample the byte that comes: the low one, or the high one that suits the low one seen."""
    part = value & 0xFF
    if second:
        part = ((value - low + 128) >> 8) & 0xFF
    return part


@kernel
def _samples_hashes(state: Ints, text: Bytes, start: int, end: int, stride: int, row: int, out: Ints) -> None:
    low = state[LAST4] & 0xFF
    half = (end - start) & 1
    base = end - half
    second = half == 1
    phase = (end - start) % stride
    a, b = _sample(text, start, base - stride), _sample(text, start, base - 2 * stride)
    c = _sample(text, start, base - 3 * stride)
    north, northwest = _sample(text, start, base - row), _sample(text, start, base - row - stride)
    out[11] = mix(_expected_part(a, low, second), phase)
    out[12] = mix(_expected_part(3 * a - 3 * b + c, low, second), phase)
    out[13] = mix(_expected_part(north, low, second), phase)
    out[14] = mix(_expected_part(a + north - northwest, low, second), phase)
    out[15] = mix(_expected_part((a + north) >> 1, low, second), phase)
    out[16] = mix(_expected_part(2 * a - b, low, second), phase | ((a - b) >> 5 & 0xFF) << 8)
    out[17] = mix((a >> 4) & 0xFFF, phase | half * low << 8)


@kernel
def special_hashes(
    state: Ints, followers: Pairs, text: Bytes, start: int, end: int, kind: int, stride: int, row: int, out: Ints
) -> None:
    """Put the hashes of the contexts from `BASIC` on at position `end` into `out`.

    `kind`, `stride` and `row` are those of the segment that starts at `start`.
    """
    last4 = state[LAST4]
    last = last4 & 0xFF
    out[9] = mix(wide(followers[index(last4 & 0xFFFF)]), last)
    out[10] = mix(last4, state[BEFORE4] & 0xFF)
    if kind == TEXT:
        _text_hashes(state, out)
    elif kind == BINARY:
        _binary_hashes(state, text, start, end, out)
    elif kind == RASTER:
        _raster_hashes(state, text, start, end, stride, row, out)
    else:
        _samples_hashes(state, text, start, end, stride, row, out)
    for i in range(BASIC, ALL):
        out[i] = mix(out[i], SALTS[i] * SALT_FACTOR + (i > _LAST_COMMON) * kind * 0x3456789)


@kernel
def _spread(difference: int) -> int:
    """The size of a difference on a logarithmic scale, 0 to 8."""
    size = min(abs(difference), 255)
    step = 0
    while size > 0:
        size >>= 1
        step += 1
    return step


@kernel
def selector(state: Ints, text: Bytes, start: int, end: int, kind: int, stride: int, row: int, class_of: Bytes) -> int:
    """Which weight vector suits the place, 0 to 255: by field and column in text, by unrest in rasters."""
    if kind == TEXT:
        field = min(int(state[FIELD]), 15)
        return field * 16 + wide(class_of[index(state[ABOVE])])
    if kind == BINARY:
        before_last = int(state[LAST4]) >> 8
        return before_last & 0xFF
    if kind == RASTER:
        west, north = _at(text, start, end - stride), _at(text, start, end - row)
        return _spread(west - north) * 16 + _spread(north - _at(text, start, end - row - stride))
    base = end - ((end - start) & 1)
    a, b = _sample(text, start, base - stride), _sample(text, start, base - 2 * stride)
    return _spread((a - b) >> 3) * 16 + _spread((a - _sample(text, start, base - row)) >> 3)
