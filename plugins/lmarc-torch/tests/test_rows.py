"""Compiled, rows come out as with tensors, bit for bit, whatever is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lmarc_torch import tables
from lmarc_torch.rows import CompiledRows, Norm, Quantised, Rows
from torch import Tensor

SPECIAL = [0.0, -0.0, 1e-45, 1e-38, -(2.0**-100), 2.0**-99, 0.5, 1.5, 16.0, -16.001, 3e38, np.inf, -np.inf, np.nan]
seeds = st.integers(0, 1 << 32)
exponents = st.integers(-60, 60)
specials = st.lists(st.sampled_from(SPECIAL), max_size=3)
few = settings(max_examples=60, deadline=None)


def numbers(seed: int, exponent: int, special: list[float], *shape: int) -> Tensor:
    """Random numbers of some size, and of the special ones each somewhere."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape).astype(np.float32) * np.float32(2.0**exponent)
    for each in special:
        values.flat[rng.integers(values.size)] = each
    return torch.from_numpy(values)


def flat(result: Any) -> list[Tensor]:
    if isinstance(result, Quantised):
        return [result.values, result.units]
    return list(result) if isinstance(result, tuple) else [result]


def both(name: str, *arguments: Any) -> None:
    """Call a method of both with copies of the same; numbers have the same bits, except that a zero has any sign."""
    results = []
    for rows in (Rows(), CompiledRows()):
        given = [each.clone() if isinstance(each, Tensor) else each for each in arguments]
        results.append(flat(getattr(rows, name)(*given)))
    for wanted, found in zip(*results, strict=True):
        assert wanted.shape == found.shape
        row = wanted.ndim - 1
        # A row with what is no number may differ in which of it is none: all that comes of it is none.
        lost = [~each.isfinite().all(row, keepdim=True) for each in (wanted, found)]
        assert torch.equal(*lost)
        assert torch.equal(torch.where(lost[0], 0, wanted), torch.where(lost[0], 0, found))


@few
@given(seeds, exponents, specials, st.integers(1, 3), st.integers(1, 40))
def test_quantise(seed: int, exponent: int, special: list[float], count: int, width: int) -> None:
    both("quantise", numbers(seed, exponent, special, 2, 3, count * width), count)


@few
@given(seeds, exponents, specials, st.integers(1, 3), st.booleans(), st.booleans())
def test_norm(seed: int, exponent: int, special: list[float], count: int, is_centred: bool, has_bias: bool) -> None:
    width = count * 7
    bias = numbers(seed + 1, 0, [], width) if has_bias else None
    norm = Norm(numbers(seed + 2, 0, [], width), bias, 1e-5, is_centred)
    both("norm", norm, numbers(seed, exponent, special, 2, 3, width), count)


@few
@given(seeds, exponents, specials, st.booleans())
def test_scale(seed: int, exponent: int, special: list[float], is_added: bool) -> None:
    sums = torch.from_numpy(np.random.default_rng(seed).integers(-(1 << 24), 1 << 24, (2, 3, 9)).astype(np.float32))
    units, others = numbers(seed, exponent, special, 2, 3, 2, 1), numbers(seed + 1, exponent, [], 9)
    both("scale", sums, units, 1, others, numbers(seed + 2, exponent, [], 2, 3, 9) if is_added else None)


@few
@given(seeds, st.integers(-10, 10), specials, st.sampled_from(["silu", "gelu", "gelu_tanh"]), st.booleans())
def test_activate(seed: int, exponent: int, special: list[float], kind: str, is_gated: bool) -> None:
    both("activate", numbers(seed, exponent, special, 2, 3, 20), torch.from_numpy(tables.gate(kind)), is_gated, 2)


@few
@given(seeds, exponents, specials, st.integers(0, 4))
def test_turn(seed: int, exponent: int, special: list[float], half: int) -> None:
    cosines, sines = (numbers(seed + number, -1, [], 3, half) for number in (1, 2))
    both("turn", numbers(seed, exponent, special, 2, 3, 40), 8, 3, 9, (cosines, sines))


@few
@given(seeds, st.integers(-8, 4), specials, specials, st.integers(1, 4), st.integers(0, 5))
def test_weigh(seed: int, exponent: int, special: list[float], other: list[float], steps: int, before: int) -> None:
    keys, heads = before + steps, 3 * steps
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(-(1 << 20), 1 << 20, (2, 2, heads, keys)).astype(np.float32))
    units = (
        numbers(seed, exponent, special, 2, 2, heads).abs(),
        numbers(seed + 1, exponent, other, 2, 2, keys).abs(),
        numbers(seed + 2, exponent, [], 2, 2, keys).abs(),
    )
    both("weigh", scores, units, 64.0, torch.from_numpy(tables.weights()), steps)


@few
@given(seeds, st.booleans())
def test_collect(seed: int, is_added: bool) -> None:
    sums = torch.from_numpy(np.random.default_rng(seed).integers(-(1 << 24), 1 << 24, (2, 3, 8, 5)).astype(np.float32))
    both("collect", sums, numbers(seed, 20, [], 2, 3, 4, 5) if is_added else None)


@few
@given(seeds, exponents, specials)
def test_merge(seed: int, exponent: int, special: list[float]) -> None:
    both("merge", numbers(seed, exponent, special, 2, 4, 3, 5), numbers(seed + 1, exponent, [], 2, 4, 3), 2)


def test_shapes_that_do_not_fit() -> None:
    """Compiled code would read what lies behind."""
    rows, x, pair = CompiledRows(), torch.ones(1, 2, 8), (torch.ones(2, 9), torch.ones(2, 9))
    for call in (
        lambda: rows.quantise(x, 3),
        lambda: rows.norm(Norm(torch.ones(9), None, 1e-5, False), x, 1),
        lambda: rows.norm(Norm(torch.ones(7), None, 1e-5, False), x, 1),
        lambda: rows.scale(x, torch.ones(1, 2, 1, 1), 0, torch.ones(7), None),
        lambda: rows.scale(x, torch.ones(1, 2, 1, 1), 1, torch.ones(8), None),
        lambda: rows.scale(x, torch.ones(1, 2, 1, 1), 0, torch.ones(8), torch.ones(1, 1, 8)),
        lambda: rows.activate(x, torch.ones(9), False, 1),
        lambda: rows.activate(torch.ones(1, 1, 7), torch.from_numpy(tables.gate("silu")), True, 1),
        lambda: rows.turn(x, 4, 1, 8, pair),
        lambda: rows.turn(x, 0, 1, 8, pair),
        lambda: rows.weigh(torch.ones(1, 1, 2, 3), (torch.ones(1, 1, 2),) * 3, 1.0, torch.ones(9999), 2),
        lambda: rows.collect(torch.ones(1, 1, 4, 2), torch.ones(1, 1, 1, 2)),
        lambda: rows.merge(torch.ones(1, 2, 3, 4), torch.ones(1, 2, 2), 1),
    ):
        with pytest.raises(ValueError):
            call()
