"""Bit histories: one byte that remembers what followed a context.

A state stands for (n0, n1, last): how many zeros and ones were seen, bounded, and which bit came
last. Seeing a bit adds one to its count and lowers a large opposite count, since old evidence
against the newest bit is worth less. The set of states is what can be reached from "nothing seen"
under the bounds below. The idea is from Mahoney's paq ("nonstationary state", "Data Compression
Explained", section 4.1.3); the bounds and the table are our own.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lmarc.coding.tables import constant

State = tuple[int, int, int]

EMPTY: State = (0, 0, 0)
# Largest larger count beside a smaller count of 0, 1, 2, ...
_BOUNDS = (48, 40, 14, 8, 6)


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
    """Every reachable state, breadth first from `EMPTY`, zero before one; the position is its code."""
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
def next_state_table() -> npt.NDArray[np.uint8]:
    """uint8[512]: entry `2 * state + bit` is the state that follows. Unused codes lead to 0."""
    code = {state: i for i, state in enumerate(states())}
    table = np.zeros(512, dtype=np.uint8)
    for state, i in code.items():
        for bit in (0, 1):
            table[2 * i + bit] = code[successor(state, bit)]
    return constant(table)


@cache
def confidence_table() -> npt.NDArray[np.uint8]:
    """uint8[256]: n0 + n1 of every state, by which slots are replaced."""
    table = np.zeros(256, dtype=np.uint8)
    for i, (n0, n1, _) in enumerate(states()):
        table[i] = n0 + n1
    return constant(table)
