"""The arithmetic coder alone: exact, within a hair of the ideal, ended with the fewest bytes."""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.coding.arithmetic import FULL_SPAN, decode_bit, encode_bit, finish, first_value
from lmarc.coding.jit import kernel
from lmarc.coding.tables import ONE

Bits = npt.NDArray[np.int64]


@kernel
def encode_all(bits: Bits, ps: Bits, code: npt.NDArray[np.uint8]) -> int:
    """Code `bits`, each 1 with probability ps / 2^22."""
    end, low, span = 0, 0, FULL_SPAN
    for i in range(len(bits)):
        end, low, span = encode_bit(code, end, low, span, ps[i], bits[i])
    return finish(code, end, low, span)


@kernel
def decode_all(bits: Bits, ps: Bits, code: npt.NDArray[np.uint8]) -> int:
    """The way back, into `bits`."""
    position, value, span = 4, first_value(code), FULL_SPAN
    for i in range(len(bits)):
        bits[i], position, value, span = decode_bit(code, position, value, span, ps[i])
    return position


def coded(bits: list[int], ps: list[int]) -> bytes:
    code = np.zeros(3 * len(bits) + 8, dtype=np.uint8)
    end = encode_all(np.array(bits, np.int64), np.array(ps, np.int64), code)
    return code[:end].tobytes()


def decoded(code: bytes, ps: list[int]) -> list[int]:
    bits = np.zeros(len(ps), np.int64)
    end = decode_all(bits, np.array(ps, np.int64), np.frombuffer(code, np.uint8).copy())
    assert len(code) <= end
    return [int(bit) for bit in bits]


def ideal_bytes(bits: list[int], ps: list[int]) -> float:
    return sum(-math.log2((p if bit else ONE - p) / ONE) for bit, p in zip(bits, ps, strict=True)) / 8


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, ONE - 1)), max_size=200))
def test_any_bits_at_any_probabilities(pairs: list[tuple[int, int]]) -> None:
    bits, ps = [b for b, _ in pairs], [p for _, p in pairs]
    code = coded(bits, ps)
    assert decoded(code, ps) == bits
    assert len(code) <= ideal_bytes(bits, ps) * 1.01 + 2
    assert not code.endswith(b"\0")


@pytest.mark.parametrize("p", [16, 1000, ONE // 100, ONE // 2, ONE - 40_000, ONE - 16])
def test_overhead_is_below_a_hundredth_of_a_percent(p: int) -> None:
    source = random.Random(p)
    ps = [p] * 200_000
    bits = [int(source.randrange(ONE) < p) for _ in ps]
    code = coded(bits, ps)
    assert decoded(code, ps) == bits
    assert len(code) <= ideal_bytes(bits, ps) * 1.0001 + 2


def test_overhead_over_mixed_probabilities() -> None:
    source = random.Random(9)
    ps = [min(max(int(source.betavariate(0.2, 0.2) * ONE), 16), ONE - 16) for _ in range(300_000)]
    bits = [int(source.randrange(ONE) < p) for p in ps]
    assert len(coded(bits, ps)) <= ideal_bytes(bits, ps) * 1.0001 + 2


def test_carries_run_far_back() -> None:
    """Ones of tiny span just below a byte boundary, then a zero that tips over: a chain of 255s."""
    source = random.Random(3)
    for _ in range(300):
        ps = [ONE - 16] * 40 + [source.randrange(1, ONE) for _ in range(60)]
        bits = [0] * 40 + [source.randrange(2) for _ in range(60)]
        assert decoded(coded(bits, ps), ps) == bits


def test_likely_bits_end_in_no_bytes() -> None:
    assert coded([1] * 100, [ONE - 16] * 100) == b""
    assert len(coded([0] * 100, [16] * 100)) <= 1
