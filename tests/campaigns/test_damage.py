"""Every single-bit flip and every truncation of a small archive: detected, and nothing wrong is written."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lmarc.archive.presets import Preset
from tests.campaigns.common import DAMAGE_CODES, Subject, Tally, compare, flip, judge_all, make_tree, scan, truncate
from tests.campaigns.common import judge_in_parallel as in_parallel

SEED = 20260101
KINDS = ("zstd", "cm")


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """One archive of 20 kB by store and zstd, and a smaller one by store and cm, which takes longer to decode."""
    large = tmp_path_factory.mktemp("large")
    make_tree(large, SEED, noise=16_600, text=8_000)
    small = tmp_path_factory.mktemp("small")
    make_tree(small, SEED, noise=1_000, text=400, files=2)
    made = {
        "zstd": Subject.make("zstd", large, Preset("zstd", 3 << 10, {"level": 3}), checkpoint=9 << 10),
        "cm": Subject.make("cm", small, Preset("cm", 600), checkpoint=900),
    }
    size = len(made["zstd"].data)
    assert 19_900 <= size <= 21_000
    return made


def test_the_archives_have_what_can_break(subjects: dict[str, Subject]) -> None:
    import io

    import lmarc
    from lmarc.container import frames

    for name, subject in subjects.items():
        with lmarc.open(io.BytesIO(subject.data)) as archive:
            types = [head.type for _, head in archive._container.walk_frames()]
            assert types.count(frames.INDEX) >= 2 and types.count(frames.CHUNK) >= 4
            assert {archive.header.backends[chunk.codec].name for chunk in archive.chunks} == {"store", name}
            infos = archive.infolist()
            assert {info.kind for info in infos} == {"file", "dir", "symlink", "hardlink"}
            assert any(info.sparse for info in infos)
            content = [info.hash for info in infos if info.kind == "file" and info.size]
            assert len(set(content)) < len(content)


def report(capsys: pytest.CaptureFixture[str], what: str, tally: Tally, began: float) -> None:
    with capsys.disabled():
        print(f"\ndamage, {what}: {tally}, {time.monotonic() - began:.0f} s")
    assert not tally.faults, "\n".join(tally.faults[:20])


@pytest.mark.parametrize("kind", KINDS)
def test_some_flips_and_truncations(
    subjects: dict[str, Subject], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    subject, began, rng = subjects[kind], time.monotonic(), random.Random(SEED)
    bits, size = 8 * len(subject.data), len(subject.data)
    few = {"zstd": 500, "cm": 40}[kind]
    # All of the magic, the header's beginning and the trailer, and a sample of the rest.
    chosen = {*range(8 * 9), *range(bits - 48, bits), *rng.sample(range(bits), few)}
    tally = judge_all(subject, flip, sorted(chosen))
    tally.add(judge_all(subject, truncate, [0, 1, 5, 6, 7, size - 1, *rng.sample(range(size), few // 2)]))
    report(capsys, f"{kind} of {size} bytes", tally, began)


def test_flips_through_the_command_line(
    subjects: dict[str, Subject], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject, rng, began, tally = subjects["zstd"], random.Random(SEED), time.monotonic(), Tally()
    size = len(subject.data)
    cases = [(flip, bit) for bit in rng.sample(range(8 * size), 6)]
    cases += [(truncate, 0), (truncate, rng.randrange(7, size))]
    for number, (change, at) in enumerate(cases):
        archive, place = tmp_path / f"{number}.lmarc", tmp_path / str(number)
        archive.write_bytes(change(subject.data, at))
        command = [sys.executable, "-m", "lmarc", "unpack", str(archive), "-C", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        tally.cases += 1
        tally.codes[done.returncode] += 1
        case = f"{change.__name__} {at}"
        if done.returncode not in DAMAGE_CODES or "Traceback" in done.stderr or not done.stderr.strip():
            tally.faults.append(f"{case}: exit code {done.returncode}, {done.stderr}")
        found = scan(bytes(place)) if place.exists() else {}
        kept = {path for path, entry in found.items() if entry.kind != "dir"}
        tally.faults += [f"{case}: {fault}" for fault in compare(subject.tree, found, kept) if "hard link" not in fault]
        tally.members += len(kept)
    report(capsys, "command line", tally, began)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_flip(subjects: dict[str, Subject], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    subject, began = subjects[kind], time.monotonic()
    tally = in_parallel(subject, flip, range(8 * len(subject.data)))
    report(capsys, f"every bit of {kind}, {len(subject.data)} bytes", tally, began)
    assert tally.cases == 8 * len(subject.data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation(subjects: dict[str, Subject], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    subject, began = subjects[kind], time.monotonic()
    tally = in_parallel(subject, truncate, range(len(subject.data)))
    report(capsys, f"every truncation of {kind}, {len(subject.data)} bytes", tally, began)
    assert tally.cases == len(subject.data)
