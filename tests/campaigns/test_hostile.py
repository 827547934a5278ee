"""Hostile archives with valid checksums: an error by name, in a second, in bounded memory, and nothing outside."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.campaigns.campaign import expect_none
from tests.campaigns.hostile import CASES, Bombs, Hostile, Payloads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory through /proc and setrlimit")


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    number = list(CASES).index(name)
    expect_none(Bombs().run(range(number, number + 1)))


def test_ten_thousand_changes(tmp_path: Path) -> None:
    campaign = Hostile()
    campaign.prepare(tmp_path)
    tally = campaign.run(range(10_000))
    expect_none(tally)
    assert tally.cases == 10_000


def test_some_payloads(tmp_path: Path) -> None:
    campaign = Payloads()
    bits = campaign.prepare(tmp_path)
    for first in sorted(random.Random(1).sample(range(bits), 200)):
        expect_none(campaign.run(range(first, first + 1)))
