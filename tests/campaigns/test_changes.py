"""Changed archives, damaged: the short version of the campaign."""

from __future__ import annotations

import io
from contextlib import chdir
from pathlib import Path

import lmarc
from tests.campaigns.campaign import expect_none
from tests.campaigns.changes import TEXTS, Changes, base


def test_some_damages(tmp_path: Path) -> None:
    campaign = Changes()
    campaign.prepare(tmp_path)
    expect_none(campaign.run(range(150)))


def test_the_base_is_what_it_should_be(tmp_path: Path) -> None:
    with chdir(tmp_path), lmarc.open(io.BytesIO(base())) as archive:
        assert archive.damage == []
        assert {info.name: archive.read(info.name) for info in archive} == {name: TEXTS[name] for name in "bch"}
