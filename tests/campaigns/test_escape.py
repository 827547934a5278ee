"""Escape: every attack of the corpus with some of its options, a spread of them by the program."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from tests.campaigns import escape
from tests.campaigns.campaign import expect_none
from tests.campaigns.escape import ATTACKS, PLAIN, Case

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file systems elsewhere refuse some of the names")


def some(way: str, wanted: Callable[[int, Case], bool]) -> list[tuple[int, Case]]:
    """Cases of one way, with their numbers; `wanted` is given their places among these."""
    numbered = [(number, case) for number, case in enumerate(escape.cases()) if case.way == way]
    return [(number, case) for place, (number, case) in enumerate(numbered) if wanted(place, case)]


def was_planted(case: Case) -> bool:
    """Whether something was there before: then every option means something else."""
    return bool(ATTACKS[case.attack].there)


def test_attacks_in_process() -> None:
    expect_none(
        escape.attempt_all(
            some(escape.PROCESS, lambda place, case: case.option == PLAIN or was_planted(case) or place % 5 == 0)
        )
    )


def test_attacks_on_the_command_line() -> None:
    expect_none(escape.attempt_all(some(escape.COMMAND_LINE, lambda place, _: place % 97 == 0)))


def test_attacks_without_the_rights_of_root() -> None:
    chosen = some(escape.AS_NOBODY, lambda place, _: place % 61 == 0)
    if not chosen:
        pytest.skip("runs without these rights in any case")
    expect_none(escape.attempt_all(chosen))


@pytest.mark.skipif(not escape.can_fold(), reason="needs root, /dev/fuse, mkntfs and lowntfs-3g (Debian: ntfs-3g)")
def test_collisions_where_case_does_not_count() -> None:
    expect_none(escape.attempt_all(some(escape.FOLDED, lambda place, _: place % 3 == 0)))
