"""From scores to weights: the table is exact, no score does harm, and every machine gets the same integers."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.coding.vocabulary import MOST_SYMBOLS, Vocabulary
from lmarc.coding.weights import MOST_STEPS, STEPS_PER_NAT, WEIGHT_BITS, exponential_table, weigh_here

ROOT = Path(__file__).parents[2]
LEAST, MOST = 1, 1 << WEIGHT_BITS
BEYOND = float(np.float32(1e30))
HUGE = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).smallest_subnormal)

scores_of_all_kinds = st.lists(
    st.one_of(
        st.floats(width=32),
        st.floats(-30, 30, width=32),
        st.sampled_from(
            [0.0, -0.0, float("nan"), float("inf"), float("-inf"), HUGE, -HUGE, BEYOND, -BEYOND, -9e29, TINY, 21.5, 0.5]
        ),
    ),
    min_size=1,
    max_size=40,
)


def weights_of(scores: npt.NDArray[np.float32], vocabulary: Vocabulary) -> list[int]:
    """The weight of every entry."""
    weights: list[int] = np.diff(weigh_here(scores, vocabulary)).tolist()
    return weights


def expected_weights(scores: npt.NDArray[np.float32], vocabulary: Vocabulary) -> list[int]:
    """What they should be, with Python's numbers: a float64 holds what float32 are rounded from, near enough."""
    symbols, table = vocabulary.sorted.symbols.tolist(), exponential_table().tolist()
    usable = [float(scores[symbol]) for symbol in symbols if symbol >= 0 and abs(scores[symbol]) < BEYOND]
    top = max(usable, default=0.0)
    out = []
    for symbol in symbols:
        steps = MOST_STEPS
        if symbol >= 0 and abs(scores[symbol]) < BEYOND:
            below = float(np.float32(top - float(scores[symbol]))) * STEPS_PER_NAT
            if below < MOST_STEPS:
                steps = int(below)
        out.append(table[steps])
    return out


def fixed_scores() -> tuple[Vocabulary, list[npt.NDArray[np.float32]]]:
    """A vocabulary and scores for it, the same everywhere."""
    source = random.Random(3)
    vocabulary = Vocabulary([b"b", None, b"ab", b"", b"a", b"ab", *(bytes([value]) for value in range(100, 140))])
    rows = [[source.randrange(-(1 << 20), 1 << 20) / (1 << source.randrange(10, 22)) for _ in range(46)] for _ in "ab"]
    strange = [0.0, 4.0, -3.5, float("nan"), float("-inf"), float("inf"), HUGE, -HUGE, BEYOND, -BEYOND, 9e29, -9e29]
    rows += [[source.choice(strange[:-at]) for _ in range(46)] for at in (1, 2, 7)]
    rows += [[source.uniform(-20, 20) for _ in range(46)], *([value] * 46 for value in strange)]
    return vocabulary, [np.array(row, dtype=np.float32) for row in rows]


def test_the_table_is_exact() -> None:
    """2^31 * e^(-i/512), rounded, by the decimal module."""
    table = exponential_table()
    assert table.dtype == np.uint32 and len(table) == MOST_STEPS + 1
    with localcontext(prec=50):
        for i, got in enumerate(table.tolist()):
            exact = (Decimal(-i) / STEPS_PER_NAT).exp() * (1 << WEIGHT_BITS)
            assert got == max(int(exact.quantize(Decimal(1), ROUND_HALF_EVEN)), 1)


def test_the_table_never_changes() -> None:
    table = exponential_table()
    assert hashlib.sha256(table.astype("<u4").tobytes()).hexdigest()[:16] == "7e4c52981eb71bde"
    assert table[0] == MOST and table[-1] == LEAST
    assert (np.diff(table.astype(np.int64)) <= 0).all()
    assert not table.flags.writeable and exponential_table() is table


def test_the_sum_of_the_largest_vocabulary_fits() -> None:
    assert (MOST_SYMBOLS + 256) * MOST < 1 << 56, "what a share is taken of"


@settings(max_examples=250)
@given(scores_of_all_kinds, st.data())
def test_any_scores_make_weights(scores: list[float], data: st.DataObject) -> None:
    """Whatever the scores are, every entry can be coded, and the weights are what they should be."""
    kinds = st.sampled_from([b"a", b"b", b"ab", b"ab", b"c", b"", None])
    pieces = data.draw(st.lists(kinds, min_size=len(scores), max_size=len(scores)))
    vocabulary, given_ = Vocabulary(pieces), np.array(scores, dtype=np.float32)
    sums = weigh_here(given_, vocabulary)
    assert sums.dtype == np.int64 and sums[0] == 0 and len(sums) == len(vocabulary.entries) + 1
    weights = np.diff(sums)
    assert weights.min() >= LEAST and weights.max() <= MOST
    assert weights.tolist() == expected_weights(given_, vocabulary)


def test_what_is_not_a_number_has_the_least_weight() -> None:
    vocabulary = Vocabulary([bytes([value]) for value in range(256)])
    scores = np.full(256, np.nan, dtype=np.float32)
    assert weights_of(scores, vocabulary) == [LEAST] * 256
    scores[:4] = [1, -np.inf, 0, np.nan]
    assert weights_of(scores, vocabulary) == [MOST, LEAST, exponential_table()[STEPS_PER_NAT], *[LEAST] * 253]
    for beyond in (np.inf, HUGE, BEYOND):
        scores[7:9] = [beyond, -beyond]
        assert weights_of(scores, vocabulary) == [MOST, LEAST, exponential_table()[STEPS_PER_NAT], *[LEAST] * 253]
        for sign in (1, -1):
            assert weights_of(np.full(256, sign * beyond, dtype=np.float32), vocabulary) == [LEAST] * 256


@pytest.mark.parametrize("level", [0.0, -9e29, 9e29, TINY])
def test_only_differences_count(level: float) -> None:
    vocabulary = Vocabulary([bytes([value]) for value in range(256)])
    assert weights_of(np.full(256, level, dtype=np.float32), vocabulary) == [MOST] * 256


def test_scores_of_symbols_that_no_text_may_produce_do_not_matter() -> None:
    vocabulary = Vocabulary([b"a", None, b"b", b""])
    base = weights_of(np.array([1, 0, 2, 0], dtype=np.float32), vocabulary)
    for score in (np.nan, np.inf, HUGE, 3):
        assert weights_of(np.array([1, score, 2, score], dtype=np.float32), vocabulary) == base


def test_differences_are_rounded_down_to_steps() -> None:
    """By less than a step, and those beyond the last one have the least weight."""
    table = exponential_table()
    vocabulary = Vocabulary([b"a", b"b"])
    a, b = ord("a"), ord("b")
    for steps in (0, 1, 2, 511, 512, 513, 5000, MOST_STEPS - 1):
        for part in (0.0, 0.25, 0.75):
            weights = weights_of(np.array([0, -(steps + part) / STEPS_PER_NAT], dtype=np.float32), vocabulary)
            assert (weights[a], weights[b]) == (MOST, table[steps])
    for difference in (MOST_STEPS / STEPS_PER_NAT, 22.0, 1e9, 9e29, HUGE):
        assert weights_of(np.array([0, -difference], dtype=np.float32), vocabulary)[b] == LEAST


def test_weights_are_near_the_softmax() -> None:
    source = np.random.default_rng(5)
    vocabulary = Vocabulary([bytes([i, j]) for i in range(40) for j in range(50)])
    scores = source.normal(0, 2, 2000).astype(np.float32)
    weights = np.array(weights_of(scores, vocabulary), dtype=np.float64)
    known = vocabulary.sorted.symbols >= 0
    exact = np.exp(scores[vocabulary.sorted.symbols[known]].astype(np.float64))
    ratio = weights[known] / weights.sum() / (exact / exact.sum())
    not_tiny = weights[known] > 1e5
    assert not_tiny.sum() > 1000 and np.abs(ratio[not_tiny] - 1).max() < 1.1 / STEPS_PER_NAT
    assert abs(float(np.log(ratio) @ exact / exact.sum())) < 1e-4, "on the average nothing is lost"
    assert (weights[~known] == LEAST).all()


def fixed_sums() -> list[list[int]]:
    """The sums of the fixed scores."""
    vocabulary, rows = fixed_scores()
    return [weigh_here(row, vocabulary).tolist() for row in rows]


def test_pure_python_means_the_same() -> None:
    """Warnings as errors."""
    program = "import json; from tests.coding import test_weights; print(json.dumps(test_weights.fixed_sums()))"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == fixed_sums()


def test_scores_in_any_layout_mean_the_same() -> None:
    vocabulary, rows = fixed_scores()
    for row in rows:
        wide = np.repeat(row, 2)[::2]
        assert not wide.flags.c_contiguous
        assert np.array_equal(weigh_here(wide, vocabulary), weigh_here(row, vocabulary))
