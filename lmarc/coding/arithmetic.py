"""The binary arithmetic coder: a carrying range coder with a 32-bit range.

The interval is [low, low + span), in units of 2^-32 of what the bytes written so far leave open. The span
stays at 2^24 or above, so a probability of 22 bits is honoured to 2^-24. A carry runs back into the
bytes already written. Bytes missing at the end of a code count as zeros, therefore zeros at the end
are never written. Source: Martin, "Range encoding" (1979), and Schindler's byte-wise form of it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import kernel, wide
from lmarc.coding.tables import PROBABILITY_BITS

FULL_SPAN = 1 << 32
MOST_BYTES_PER_BIT = 3

_MASK = FULL_SPAN - 1
_LEAST_SPAN = 1 << 24

Bytes = npt.NDArray[np.uint8]


@kernel
def _carry(code: Bytes, end: int) -> None:
    """Add one to the number whose last byte is `code[end - 1]`; the interval never passes 1, so it ends."""
    i = end - 1
    while code[i] == 255:
        code[i] = 0
        i -= 1
    code[i] += 1


@kernel
def encode_bit(code: Bytes, end: int, low: int, span: int, p: int, bit: int) -> tuple[int, int, int]:
    """Narrow the interval to `bit`, which is 1 with probability `p` / 2^22, 0 < p < 2^22.

    Returns the new (end, low, span). Writes at most `MOST_BYTES_PER_BIT` bytes at `code[end]`; the caller
    makes sure of the room.
    """
    bound = (span * p) >> PROBABILITY_BITS
    # Arithmetic, not branches: no processor predicts what a good model could not.
    zero = bit - 1
    low += bound & zero
    span = (bound & ~zero) | ((span - bound) & zero)
    if low > _MASK:
        low &= _MASK
        _carry(code, end)
    while span < _LEAST_SPAN:
        code[end] = low >> 24
        end += 1
        low = (low << 8) & _MASK
        span <<= 8
    return end, low, span


@kernel
def finish(code: Bytes, end: int, low: int, span: int) -> int:
    """Write the fewest bytes that name a number in the interval; returns the length of the code.

    Needs room for four bytes.
    """
    value = low
    for kept in range(5):
        mask = (1 << (32 - 8 * kept)) - 1
        value = (low + mask) & ~mask
        if value - low < span:
            break
    if value > _MASK:
        value &= _MASK
        _carry(code, end)
    for i in range(4):
        code[end + i] = (value >> (24 - 8 * i)) & 255
    end += 4
    while end > 0 and code[end - 1] == 0:
        end -= 1
    return end


@kernel
def next_byte(code: Bytes, position: int) -> int:
    """The byte at `position`, zero beyond the end."""
    byte = 0
    if position < len(code):
        byte = int(code[position])
    return byte


@kernel
def first_value(code: Bytes) -> int:
    """What a decoder starts from: the first four bytes, big-endian."""
    value = 0
    for i in range(4):
        value = (value << 8) | next_byte(code, i)
    return value


@kernel
def decode_bit(code: Bytes, position: int, value: int, span: int, p: int) -> tuple[int, int, int, int]:
    """The next bit, which is 1 with probability `p` / 2^22.

    `value` is where the code points, counted from low; it stays below `span` whatever the bytes are.
    Returns (bit, position, value, span).
    """
    bound = (span * p) >> PROBABILITY_BITS
    bit = wide(value < bound)
    zero = bit - 1
    value -= bound & zero
    span = (bound & ~zero) | ((span - bound) & zero)
    while span < _LEAST_SPAN:
        value = (value << 8) | next_byte(code, position)
        position += 1
        span <<= 8
    return bit, position, value, span
