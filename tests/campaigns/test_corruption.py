"""Random corruption of an archive of about 1 MB: the short version of the campaign."""

from __future__ import annotations

from pathlib import Path

from tests.campaigns.campaign import expect_none
from tests.campaigns.corruptions import Corruption


def test_some_corruptions(tmp_path: Path) -> None:
    campaign = Corruption()
    campaign.subject = campaign.make(tmp_path / "tree", 900_000, 500_000, 32 << 10, 300_000)
    assert 900_000 < len(campaign.subject.data) < 1_200_000
    tally = campaign.run(range(135))
    expect_none(tally)
    assert tally.cases == 135 and tally.counts["chunks whole and recovered"] > 1000
