"""Tables of functions, computed with integers alone, so that they are the same on every machine (spec/EXACT.md 3)."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import isqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

#: Bits behind the point of what tables are computed with.
BITS = 160
ONE = 1 << BITS
#: A unit of the tables' arguments is so many steps.
STEPS = 512
#: Attention weights are in units of 2^-16, and nothing from this number of steps on.
WEIGHT_ONE = 1 << 16
WEIGHT_STEPS = 6144
#: Activation tables reach from -REACH to REACH.
REACH = 16
_TABLE_ONE = 1 << 24
_ROTATION_ONE = 1 << 30


def exp_fixed(x: int) -> int:
    """e^x, both in units of 2^-BITS, rounded down at every step."""
    halvings = max(abs(x).bit_length() - BITS + 8, 0)
    # Eight more bits for every halving: squaring doubles an error.
    bits = BITS + 2 * halvings + 16
    y = (x << (bits - BITS)) >> halvings
    term = total = 1 << bits
    k = 0
    while term:
        k += 1
        term = _toward_zero(term * y, k << bits)
        total += term
    for _ in range(halvings):
        total = (total * total) >> bits
    return total >> (bits - BITS)


def log_fixed(x: Fraction) -> int:
    """The natural logarithm of a positive number, in units of 2^-BITS."""
    doublings = 0
    while x >= 2:
        x /= 2
        doublings += 1
    while x < 1:
        x *= 2
        doublings -= 1
    return _log_near_one(x) + doublings * _log_near_one(Fraction(2))


def _log_near_one(x: Fraction) -> int:
    """The logarithm of a number from 1 to 2: twice the area tangent of (x - 1) / (x + 1)."""
    y = (x - 1) / (x + 1)
    power = total = (y.numerator << (BITS + 16)) // y.denominator
    square = (power * power) >> (BITS + 16)
    k = 1
    while power:
        power = (power * square) >> (BITS + 16)
        k += 2
        total += power // k
    return total >> 15


@cache
def pi_fixed() -> int:
    """Pi in units of 2^-BITS, by Machin's formula."""

    def arctan_of_inverse(n: int) -> int:
        power = total = (ONE << 16) // n
        k = 1
        while power:
            power = _toward_zero(-power, n * n)
            k += 2
            total += _toward_zero(power, k)
        return total

    return (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)) >> 16


def _toward_zero(value: int, divisor: int) -> int:
    return value // divisor if value >= 0 else -(-value // divisor)


@cache
def weights() -> Floats:
    """float32[WEIGHT_STEPS + 1]: 2^16 * e^(-i / 512), rounded to integers; the last is 0."""
    ratio = exp_fixed(-ONE // STEPS)
    value, out = ONE, []
    for _ in range(WEIGHT_STEPS):
        out.append((value + (1 << (BITS - 17))) >> (BITS - 16))
        value = (value * ratio) >> BITS
    return np.array([*out, 0], dtype=np.float32)


def sigmoid_fixed(x: int) -> int:
    """1 / (1 + e^-x)."""
    return (ONE << BITS) // (ONE + exp_fixed(-x))


def normal_fixed(x: int) -> int:
    """The part of a normal distribution below x."""
    square = (x * x) >> BITS
    # Terms grow to e^(x^2 / 2) before they shrink: 160 bits leave enough of them up to 16.
    term = total = x << 256
    k = 0
    while term:
        k += 1
        term = -_toward_zero(term * square, (2 * k) << BITS)
        total += _toward_zero(term, 2 * k + 1)
    root = isqrt((2 * pi_fixed()) << BITS)
    return ONE // 2 + ((total >> 256) << BITS) // root


@cache
def gate(kind: str) -> Floats:
    """float32[2 * REACH * STEPS + 1]: what x is multiplied with by an activation, for x = i / 512 - 16.

    "silu": the sigmoid of x; "gelu": the normal distribution below x; "gelu_tanh": the sigmoid of
    2 * sqrt(2 / pi) * (x + 0.044715 * x^3). In units of 2^-24, rounded.
    """
    half = [_entry(kind, i) for i in range(REACH * STEPS + 1)]
    # Each is one less at -x than 1 at x.
    values = [_TABLE_ONE - value for value in half[:0:-1]] + half
    return np.array(values, dtype=np.float32) / np.float32(_TABLE_ONE)


def _entry(kind: str, i: int) -> int:
    x = (i << BITS) // STEPS
    if kind == "silu":
        value = sigmoid_fixed(x)
    elif kind == "gelu":
        value = normal_fixed(x) if i < 8 * STEPS else ONE
    else:
        cube = (((x * x) >> BITS) * x) >> BITS
        inner = x + cube * 44_715 // 1_000_000
        value = sigmoid_fixed(2 * ((isqrt((2 << (3 * BITS)) // pi_fixed()) * inner) >> BITS))
    return min((value + (1 << (BITS - 25))) >> (BITS - 24), _TABLE_ONE)


def frequencies(base: float, dimensions: int) -> list[int]:
    """base^(-2 i / dimensions) for i from 0 to dimensions / 2 - 1, in units of 2^-BITS."""
    log = log_fixed(Fraction(base))
    return [exp_fixed(-(2 * i * log) // dimensions) for i in range(dimensions // 2)]


def rotations(angles: list[int], positions: int) -> tuple[Floats, Floats]:
    """float32[positions, len(angles)] twice: cosine and sine of position times angle (in units of 2^-BITS)."""
    shape = (positions, len(angles))
    cosines, sines = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for column, angle in enumerate(angles):
        cosine_step, sine_step = _cosine_sine(angle)
        cosine, sine = ONE, 0
        for position in range(positions):
            cosines[position, column] = _rounded(cosine)
            sines[position, column] = _rounded(sine)
            cosine, sine = (
                (cosine * cosine_step - sine * sine_step) >> BITS,
                (sine * cosine_step + cosine * sine_step) >> BITS,
            )
    return cosines, sines


def _rounded(value: int) -> np.float32:
    return np.float32((value + (1 << (BITS - 31))) >> (BITS - 30)) / np.float32(_ROTATION_ONE)


def _cosine_sine(angle: int) -> tuple[int, int]:
    """Cosine and sine of an angle from 0 to 1, in units of 2^-BITS."""
    terms = [ONE, angle]
    k = 1
    while terms[-1]:
        k += 1
        terms.append((terms[-1] * angle >> BITS) // k)
    signs = (1, 1, -1, -1)
    cosine = sum(signs[i % 4] * terms[i] for i in range(0, len(terms), 2))
    return cosine, sum(signs[i % 4] * terms[i] for i in range(1, len(terms), 2))
