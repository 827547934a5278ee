"""Hostile archives with valid checksums: an error by name, in a second, in bounded memory, and nothing outside."""

from __future__ import annotations

import random
import sys
import time
from functools import partial

import pytest

from lmarc.archive.presets import Preset
from tests.campaigns import hostile
from tests.campaigns.common import Subject, Tally, judge_all, judge_in_parallel, make_tree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory through /proc and setrlimit")

SEED = 20260104
_BATCH = 100
FULL = 20_000


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    root = tmp_path_factory.mktemp("tree")
    make_tree(root, SEED, noise=1000, text=3000, files=3)
    return Subject.make("zstd", root, Preset("zstd", 1 << 10, {"level": 3}), checkpoint=1 << 30)


@pytest.fixture(scope="module")
def by_cm(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    root = tmp_path_factory.mktemp("cm")
    make_tree(root, SEED, noise=200, text=600, files=2)
    return Subject.make("cm", root, Preset("cm", 500), checkpoint=1 << 30)


#: These take seconds, within bounds.
_SLOW = "as large as allowed"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith(_SLOW) else ()) for name in hostile.CASES]
)
def test_case(name: str) -> None:
    data = hostile.CASES[name]()
    box = hostile.boxed(lambda place: hostile.use(data, place, owner=True))
    problems = [*box.faults, *(box.result or [])]
    if box.cpu > hostile.SECONDS + hostile.SECONDS_PER_BYTE * len(data):
        problems.append(f"took {box.cpu:.1f} s")
    what = f"{name}: {len(data)} bytes, {box.cpu:.2f} s, {box.memory >> 20} MiB"
    print(what)
    assert not problems, f"{what}: {problems}"


def campaign(subject: Subject, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    began, faults, slowest, memory, cases = time.monotonic(), [], 0.0, 0, 0
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        box = hostile.boxed(partial(hostile.use_changes, subject, numbers), wall=120)
        faults += [f"changes from {first}: {fault}" for fault in box.faults]
        memory = max(memory, box.memory)
        if box.result:
            faults += box.result["faults"]
            slowest = max(slowest, box.result["slowest"])
            cases += box.result["cases"]
    with capsys.disabled():
        print(
            f"\nhostile: {cases} changed headers and indexes, the slowest {slowest:.2f} s, "
            f"at most {memory >> 20} MiB more, {len(faults)} faults, {time.monotonic() - began:.0f} s"
        )
    assert not faults, "\n".join(faults[:20])
    assert cases == count


def test_some_changes(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    campaign(subject, 500, capsys)


@pytest.mark.slow
def test_many_changes(subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    campaign(subject, FULL, capsys)


def payloads(subject: Subject, tally: Tally, capsys: pytest.CaptureFixture[str], began: float) -> None:
    with capsys.disabled():
        print(f"\nhostile payloads by {subject.name}: {tally}, {time.monotonic() - began:.0f} s")
    assert not tally.faults, "\n".join(tally.faults[:20])


def test_some_payloads(by_cm: Subject, subject: Subject, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(SEED)
    for chosen, count in ((by_cm, 60), (subject, 200)):
        began = time.monotonic()
        bits = sorted(rng.sample(range(hostile.payload_bits(chosen.data)), count))
        payloads(chosen, judge_all(chosen, hostile.repaired_flip, bits, may_pass=True), capsys, began)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cm", "zstd"])
def test_every_payload_bit(by_cm: Subject, subject: Subject, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    began, chosen = time.monotonic(), {"cm": by_cm, "zstd": subject}[backend]
    bits = range(hostile.payload_bits(chosen.data))
    payloads(chosen, judge_in_parallel(chosen, hostile.repaired_flip, bits, may_pass=True), capsys, began)
