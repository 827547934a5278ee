"""Bit histories: one byte that remembers what followed a context.

A state stands for (n0, n1, last): how many zeros and ones were seen, bounded, and which bit came
last. Seeing a bit adds one to its count and lowers a large opposite count, since old evidence
against the newest bit is worth less. The live states are what can be reached from "nothing seen"
under the bounds below. The idea is from Mahoney's paq ("nonstationary state", "Data Compression
Explained", section 4.1.3); the bounds and the table are our own.

Behind the live states come the trained ones: what the training text, not yet the content, says of a
context. A trained state stands for a pair of counts on a logarithmic scale; the first bit seen
leads from it to a live state, so the counters can tell knowledge from experience.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.tables import constant

State = tuple[int, int, int]
Trained = tuple[int, int]

EMPTY: State = (0, 0, 0)
# Largest larger count beside a smaller count of 0, 1, 2, ...
_BOUNDS = (36, 28, 10, 6, 5)

# What a count of the training text is worth, by its step on the logarithmic scale.
STEPS = 8
_STEP_STARTS = (0, 1, 4, 8, 16, 40, 100, 300)
_STEP_WORTH = (0, 1, 2, 3, 5, 8, 12, 18)


def _aged(count: int) -> int:
    """What is left of a count when the opposite bit appears."""
    for limit, kept in ((2, count), (4, 3), (7, 4), (12, 5), (24, 6)):
        if count <= limit:
            return kept
    return 7


def _bounded(n0: int, n1: int) -> tuple[int, int]:
    """The counts, shrunk towards the same ratio until the bounds hold."""
    while min(n0, n1) >= len(_BOUNDS) or max(n0, n1) > _BOUNDS[min(n0, n1)]:
        large, small = max(n0, n1), min(n0, n1)
        if small < 2:
            large -= 1
        else:
            large, small = (large * (small - 1) + small // 2) // small, small - 1
        n0, n1 = (large, small) if n0 >= n1 else (small, large)
    return n0, n1


def successor(state: State, bit: int) -> State:
    """The state after one more bit."""
    n0, n1, _ = state
    n0, n1 = (_aged(n0), n1 + 1) if bit else (n0 + 1, _aged(n1))
    n0, n1 = _bounded(n0, n1)
    return n0, n1, bit


@cache
def states() -> tuple[State, ...]:
    """Every live state, breadth first from `EMPTY`, zero before one; the position is its code."""
    found = [EMPTY]
    seen = {EMPTY}
    for state in found:
        for bit in (0, 1):
            following = successor(state, bit)
            if following not in seen:
                seen.add(following)
                found.append(following)
    return tuple(found)


@cache
def trained_states() -> tuple[Trained, ...]:
    """Every trained state as its two steps; the code is the position behind the live states."""
    return tuple((a, b) for a in range(STEPS) for b in range(STEPS) if a + b > 0)


#: Code of the first trained state.
FIRST_TRAINED = 183


def _experienced(pair: Trained, bit: int) -> State:
    """The live state after the first bit seen in a trained state."""
    n0, n1 = (_STEP_WORTH[step] for step in pair)
    return successor((*_bounded(n0, n1), bit), bit)


def step_of(count: int) -> int:
    """The step of a count on the logarithmic scale."""
    return sum(count >= start for start in _STEP_STARTS[1:])


@cache
def next_state_table() -> npt.NDArray[np.uint8]:
    """uint8[512]: entry `256 * bit + state` is the state that follows. Unused codes lead to 0."""
    code = {state: i for i, state in enumerate(states())}
    table = np.zeros(512, dtype=np.uint8)
    for bit in (0, 1):
        for state, i in code.items():
            table[256 * bit + i] = code[successor(state, bit)]
        for i, pair in enumerate(trained_states(), len(code)):
            table[256 * bit + i] = code[_experienced(pair, bit)]
    return constant(table)


@cache
def confidence_table() -> npt.NDArray[np.uint8]:
    """uint8[256]: how much would be lost with a history, by which slots are replaced.

    Nothing with the empty one, little with a trained one, which can be had again, else n0 + n1.
    """
    table = np.ones(256, dtype=np.uint8)
    for i, (n0, n1, _) in enumerate(states()):
        table[i] = n0 + n1
    return constant(table)


@cache
def trained_state_table() -> npt.NDArray[np.uint8]:
    """uint8[STEPS * STEPS]: the code of a pair of steps, at `STEPS * step of the zeros + step of the ones`."""
    table = np.zeros(STEPS * STEPS, dtype=np.uint8)
    for i, (a, b) in enumerate(trained_states(), len(states())):
        table[STEPS * a + b] = i
    return constant(table)
