"""Single-bit flips and truncations of small archives: detected, and nothing wrong is written."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmarc
from lmarc.container import frames
from tests.campaigns.campaign import Tally, expect_none
from tests.campaigns.common import DAMAGE_CODES, Subject, compare, flip, judge_all, scan, truncate
from tests.campaigns.damage import kinds, make

SEED = 20260101
#: Flips that are tried of an archive; those of a model take long.
FEW = {"zstd": 500, "cm": 40, "llama": 15}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Subject]]:
    with pytest.MonkeyPatch.context() as patch:
        # Set by what makes the archive of a model, for the processes of a campaign.
        patch.delenv("LMARC_MODEL_PATH", raising=False)
        made = {kind: make(kind, tmp_path_factory.mktemp("tree"), SEED) for kind in kinds()}
        yield made


def test_the_archives_have_what_can_break(subjects: dict[str, Subject]) -> None:
    assert 19_900 <= len(subjects["zstd"].data) <= 21_000
    for name, subject in subjects.items():
        with lmarc.open(io.BytesIO(subject.data)) as archive:
            types = [head.type for _, head in archive._container.walk_frames()]
            assert types.count(frames.INDEX) >= 2 and types.count(frames.CHUNK) >= 4
            used = {archive.header.backends[chunk.codec].name for chunk in archive.chunks}
            assert used == {"store", name}
            infos = archive.infolist()
            assert {info.kind for info in infos} == {"file", "dir", "symlink", "hardlink"}
            assert any(info.sparse for info in infos) or name == "llama"
            content = [info.hash for info in infos if info.kind == "file" and info.size]
            assert len(set(content)) < len(content)


@pytest.mark.parametrize("kind", kinds())
def test_some_flips_and_truncations(subjects: dict[str, Subject], kind: str) -> None:
    subject, rng = subjects[kind], random.Random(SEED)
    bits, size = 8 * len(subject.data), len(subject.data)
    # All of the magic, the header's beginning and the trailer, and a sample of the rest.
    chosen = {*range(8 * 9), *range(bits - 48, bits), *rng.sample(range(bits), FEW[kind])}
    tally = judge_all(subject, flip, sorted(chosen))
    tally.add(judge_all(subject, truncate, [0, 1, 5, 6, 7, size - 1, *rng.sample(range(size), FEW[kind] // 2)]))
    expect_none(tally)


def test_flips_through_the_command_line(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject, rng, tally = subjects["zstd"], random.Random(SEED), Tally()
    size = len(subject.data)
    cases = [(flip, bit) for bit in rng.sample(range(8 * size), 6)]
    cases += [(truncate, 0), (truncate, rng.randrange(7, size))]
    for number, (change, at) in enumerate(cases):
        archive, place = tmp_path / f"{number}.lmarc", tmp_path / str(number)
        archive.write_bytes(change(subject.data, at))
        command = [sys.executable, "-m", "lmarc", "unpack", str(archive), "-C", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        tally.cases += 1
        tally.counts[f"exit {done.returncode}"] += 1
        case = f"{change.__name__} {at}"
        if done.returncode not in DAMAGE_CODES or "Traceback" in done.stderr or not done.stderr.strip():
            tally.faults.append(f"{case}: exit code {done.returncode}, {done.stderr}")
        found = scan(bytes(place)) if place.exists() else {}
        kept = {path for path, entry in found.items() if entry.kind != "dir"}
        tally.faults += [f"{case}: {fault}" for fault in compare(subject.tree, found, kept) if "hard link" not in fault]
    expect_none(tally)
