"""A SIGKILL of every command that writes: the short version of the campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns.campaign import Tally, expect_none
from tests.campaigns.kills import JOBS_TO_KILL, Given, Job, Kills


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("given"), seed=1)


@pytest.mark.parametrize("kind", sorted(set(JOBS_TO_KILL), key=lambda kind: kind.name), ids=lambda kind: kind.name)
def test_a_kill(kind: type[Job], given: Given, tmp_path: Path) -> None:
    job, tally, campaign = kind(given, tmp_path), Tally(), Kills()
    tally.faults += job.attempt(campaign.rng(1), tally)
    expect_none(tally)
