"""What spec/EXACT.md does number by number, compiled for a CPU: once over each row, instead of once for each operation.

`rows.py` says the same with tensors. Here as there every operation rounds once: numba fuses and reorders no floats.
Largest magnitudes are found among the bits, as integers, which are in the same order and can be compared many at once.
Arrays are C-contiguous; "rows" are all leading dimensions as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from lmarc.coding import jit

Array = Any  # numba arrays; the functions below say of what

# Numbers of rows.py and tables.py stand here again: code that is kept on disk would not notice a change of theirs.
_MAGNITUDE = np.int32(0x7FFFFFFF)
#: Bits above these are of what is no number.
_INFINITY = np.int32(0x7F800000)
_ZERO, _ONE = np.float32(0), np.float32(1)
_LEAST = np.float32(2.0**-100)
_LIMIT = np.float32(127)
_UNIT = np.float32(1 / 127)
_SQUARED = np.float32(2047)
_SQUARED_UNIT = 1 / 2047
_STEPS = np.float32(512)
_REACH = np.float32(8192)
_PART = np.float32(256)
_PART_UNIT = np.float32(1 / 256)
_MOST_WEIGHT = np.float32(65535)
_WEIGHT_STEPS = np.float32(6144)


F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """A kernel in which a division by 0 gives what IEEE 754 says."""
    return jit.kernel(function, error_model="numpy")


def entry(function: F) -> F:
    """Such a kernel, kept on disk."""
    return jit.entry(function, error_model="numpy")


@kernel
def _farthest(bits: Array) -> Any:
    """max' of numbers of which these are the bits."""
    largest = np.int32(0)
    for i in range(len(bits)):
        largest = max(largest, np.int32(bits[i] & _MAGNITUDE))
    most = np.int32(largest).view(np.float32)
    return _ONE if most <= _LEAST else most


@kernel
def _quantise_row(row: Array, bits: Array, count: int, values: Array, units: Array) -> None:
    """One row; `values` may be the same array."""
    width = len(row) // count
    for number in range(count):
        start, end = number * width, (number + 1) * width
        part, to = row[start:end], values[start:end]
        most = _farthest(bits[start:end])
        factor = (_ONE / most) * _LIMIT
        for i in range(len(to)):
            to[i] = np.rint(part[i] * factor)
        units[number] = most * _UNIT


@entry
def quantise(rows: Array, count: int, values: Array, units: Array) -> None:
    """float32[rows, width] to float32[rows, width] and float32[rows, count]."""
    bits = rows.view(np.int32)
    for r in range(len(rows)):
        _quantise_row(rows[r], bits[r], count, values[r], units[r])


@entry
def norm(
    rows: Array, weight: Array, bias: Array, epsilon: float, is_centred: bool, count: int, values: Array, units: Array
) -> None:
    """As `quantise`, of the normed rows; `bias` is empty where there is none."""
    bits, value_bits = rows.view(np.int32), values.view(np.int32)
    width = rows.shape[1]
    part = 1 / np.float64(width)
    for r in range(len(rows)):
        row, out = rows[r], values[r]
        most = _farthest(bits[r])
        factor = (_ONE / most) * _SQUARED
        squares, total = np.int64(0), np.int64(0)
        for i in range(width):
            whole = np.int32(np.rint(row[i] * factor))
            squares += whole * whole
            total += whole
        unit = np.float64(most) * _SQUARED_UNIT
        mean_square = np.float64(squares) * part
        centre = _ZERO
        if is_centred:
            mean = np.float64(total) * part
            mean_square = mean_square - mean * mean
            if mean_square < 0:
                mean_square = np.float64(0)
            centre = np.float32(mean * unit)
        # Of a row with what is no number, the integers are none that anything follows from.
        if not most < np.float32(np.inf):
            mean_square = np.float64(np.nan)
        deviation = np.float32(np.sqrt(mean_square * (unit * unit) + epsilon))
        if is_centred:
            for i in range(width):
                out[i] = (row[i] - centre) * weight[i]
        else:
            for i in range(width):
                out[i] = row[i] * weight[i]
        if len(bias):
            for i in range(width):
                out[i] = out[i] / deviation + bias[i]
        _quantise_row(out, value_bits[r], count, out, units[r])
        if not len(bias):
            for p in range(count):
                units[r, p] = units[r, p] / deviation


@entry
def scale(sums: Array, row_units: Array, block: int, column_units: Array, out: Array, is_added: bool) -> None:
    """out = sums * units of rows * units of columns, or is that much more: float32[rows, outputs], [rows, blocks],
    [outputs]. `sums` and `out` may be the same array."""
    for r in range(len(sums)):
        unit, row, to = row_units[r, block], sums[r], out[r]
        if is_added:
            for i in range(len(row)):
                to[i] = to[i] + row[i] * unit * column_units[i]
        else:
            for i in range(len(row)):
                to[i] = row[i] * unit * column_units[i]


@entry
def activate(rows: Array, table: Array, is_gated: bool, count: int, values: Array, units: Array) -> None:
    """As `quantise`, of float32[rows, width], activated, or with a gate float32[rows, 2 * width]."""
    value_bits = values.view(np.int32)
    width = values.shape[1]
    for r in range(len(rows)):
        row, out = rows[r], values[r]
        for i in range(width):
            step = row[i] * _STEPS
            # No number comes out as the end of the table, and stays none as what is multiplied.
            step = step if step < _REACH else _REACH
            step = step if step > -_REACH else -_REACH
            out[i] = table[np.int32(np.rint(step)) + np.int32(8192)]
        if is_gated:
            inner = row[width:]
            for i in range(width):
                out[i] = inner[i] * (row[i] * out[i])
        else:
            for i in range(width):
                out[i] = row[i] * out[i]
        _quantise_row(out, value_bits[r], count, out, units[r])


@entry
def turn(rows: Array, offset: int, cosines: Array, sines: Array, room: Array, values: Array, units: Array) -> None:
    """Heads from column `offset` of float32[lanes * steps, ...], turned by cosines and sines, float32[steps, half of
    the dimensions turned], quantised: float32[lanes, heads, steps, width] and float32[lanes, heads, steps]. `room`: for
    one head."""
    lanes, heads, steps, width = values.shape
    half = cosines.shape[1]
    bits = room.view(np.int32)
    for lane in range(lanes):
        for step in range(steps):
            row = rows[lane * steps + step]
            cosine, sine = cosines[step], sines[step]
            for head in range(heads):
                first = offset + head * width
                lefts, rights = row[first : first + half], row[first + half : first + 2 * half]
                turned_left, turned_right = room[:half], room[half : 2 * half]
                for i in range(half):
                    turned_left[i] = lefts[i] * cosine[i] - rights[i] * sine[i]
                    turned_right[i] = lefts[i] * sine[i] + rights[i] * cosine[i]
                rest, kept = row[first + 2 * half : first + width], room[2 * half :]
                for i in range(len(kept)):
                    kept[i] = rest[i]
                most = _farthest(bits)
                factor = (_ONE / most) * _LIMIT
                out = values[lane, head, step]
                for i in range(width):
                    out[i] = np.rint(room[i] * factor)
                units[lane, head, step] = most * _UNIT


@kernel
def _ordered(bits: Any) -> Any:
    """Bits of a float as an integer in the order of floats; its own inverse."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & _MAGNITUDE))


@entry
def weigh(
    scores: Array,
    query_units: Array,
    scale: Any,
    key_units: Array,
    value_units: Array,
    table: Array,
    steps: int,
    parts: Array,
    factors: Array,
) -> None:
    """`Rows.weigh`; units of keys and values need not be contiguous."""
    lanes, heads, rows, keys = scores.shape
    score_bits = scores.view(np.int32)
    for lane in range(lanes):
        for head in range(heads):
            key_unit, value_unit = key_units[lane, head], value_units[lane, head]
            for r in range(rows):
                row, bits = scores[lane, head, r], score_bits[lane, head, r]
                high, low = parts[lane, head, r], parts[lane, head, rows + r]
                seen = keys - steps + r % steps + 1
                unit = query_units[lane, head, r] * scale
                for i in range(seen):
                    row[i] = row[i] * unit * key_unit[i]
                largest, magnitude = np.int32(-0x80000000), np.int32(0)
                for i in range(seen):
                    largest = max(largest, _ordered(bits[i]))
                    magnitude = max(magnitude, np.int32(bits[i] & _MAGNITUDE))
                top = np.int32(_ordered(np.int32(largest))).view(np.float32)
                if magnitude > _INFINITY:
                    top = np.float32(np.nan)
                for i in range(seen):
                    below = top - row[i]
                    below = below if below < _WEIGHT_STEPS else _WEIGHT_STEPS
                    high[i] = table[np.int32(np.rint(below))]
                total = np.int64(0)
                for i in range(seen):
                    total += np.int32(high[i])
                for i in range(seen):
                    row[i] = high[i] * value_unit[i]
                most = _farthest(bits[:seen])
                factor = (_ONE / most) * _MOST_WEIGHT
                for i in range(seen):
                    weight = np.rint(row[i] * factor)
                    upper = np.floor(weight * _PART_UNIT)
                    high[i] = upper
                    low[i] = weight - upper * _PART
                high[seen:] = _ZERO
                low[seen:] = _ZERO
                factors[lane, head, r] = most * np.float32(1 / 65535) / np.float32(total)


@entry
def collect(sums: Array, is_first: bool, out: Array) -> None:
    """`Rows.collect`."""
    lanes, heads, rows, width = out.shape
    for lane in range(lanes):
        for head in range(heads):
            for r in range(rows):
                high, low, to = sums[lane, head, r], sums[lane, head, rows + r], out[lane, head, r]
                if is_first:
                    for i in range(width):
                        to[i] = high[i] * _PART + low[i]
                else:
                    for i in range(width):
                        to[i] = to[i] + (high[i] * _PART + low[i])


@entry
def merge(heads: Array, factors: Array, count: int, values: Array, units: Array) -> None:
    """What heads have attended to, float32[lanes, heads, steps, width] times float32[lanes, heads, steps], beside each
    other as rows float32[lanes * steps, heads * width], quantised."""
    lanes, number, steps, width = heads.shape
    value_bits = values.view(np.int32)
    for lane in range(lanes):
        for step in range(steps):
            r = lane * steps + step
            out = values[r]
            for head in range(number):
                row, factor = heads[lane, head, step], factors[lane, head, step]
                to = out[head * width : (head + 1) * width]
                for i in range(width):
                    to[i] = row[i] * factor
            _quantise_row(out, value_bits[r], count, out, units[r])
