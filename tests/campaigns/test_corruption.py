"""Random corruption of an archive of about 1 MB: nothing wrong is written, and what is whole is recovered."""

from __future__ import annotations

import time

import pytest

from lmarc.archive.presets import Preset
from tests.campaigns.common import Subject, Tally, make_tree
from tests.campaigns.corruptions import judge_corruptions, judge_corruptions_in_parallel

SEED = 20260103
FULL = 20_000


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    root = tmp_path_factory.mktemp("tree")
    make_tree(root, SEED, noise=900_000, text=500_000, files=40)
    made = Subject.make("1 MB", root, Preset("zstd", 32 << 10, {"level": 3}), checkpoint=300_000)
    size = len(made.data)
    assert 900_000 < size < 1_200_000
    return made


def report(capsys: pytest.CaptureFixture[str], tally: Tally, began: float) -> None:
    with capsys.disabled():
        print(f"\ncorruption: {tally}, {time.monotonic() - began:.0f} s")
    assert not tally.faults, "\n".join(tally.faults[:20])


def test_some_corruptions(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    report(capsys, judge_corruptions(subject, range(135)), began)


@pytest.mark.slow
def test_many_corruptions(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    report(capsys, judge_corruptions_in_parallel(subject, range(FULL)), began)
