"""An archive with recovery data that has been changed, damaged at random, and then read, changed, compacted, mended."""

from __future__ import annotations

import io
import os
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

import lmarc

SEED = 7
TEXTS = {"a": b"one " * 50, "b": b"other" * 30, "c": b"three" * 99, "h": b"one " * 50}
NOISE = random.Random(SEED).randbytes(3000)
ARCHIVE = Path("x.lmarc")


def base() -> bytes:
    """Protected, then something added, replaced and taken out: a hard link is left without its file."""
    Path("a").write_bytes(TEXTS["a"])
    Path("b").write_bytes(NOISE)
    os.link("a", "h")
    lmarc.pack(["a", "b", "h"], ARCHIVE, preset="fast", recovery=8.0)
    for name in "bc":
        Path(name).write_bytes(TEXTS[name])
    lmarc.add(ARCHIVE, ["b", "c"], preset="fast")
    lmarc.remove(ARCHIVE, ["a"])
    return ARCHIVE.read_bytes()


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes replaced, zeroed or copied from elsewhere, the end cut off; one to eight of that."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        kind, at = rng.randrange(5), rng.randrange(len(data))
        length = min(rng.randrange(1, 513), len(data) - at)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + length // 8] = rng.randbytes(length // 8)
        elif kind == 2:
            data[at : at + length] = bytes(length)
        elif kind == 3:
            data = data[: max(at, 7)]
        else:
            start = rng.randrange(len(data) - length + 1)
            data[at : at + length] = data[start : start + length]
    return bytes(data)


def read() -> None:
    """What comes back is what some state of the archive held."""
    with lmarc.open(ARCHIVE) as archive:
        for info in archive:
            try:
                content = archive.read(info.name)
            except lmarc.LmarcError:
                continue
            assert content == TEXTS[info.name] or (info.name == "b" and content == NOISE)


def whole_with(names: set[str], without: set[str]) -> None:
    with lmarc.open(ARCHIVE) as archive:
        assert archive.damage == []
        assert names <= set(archive.namelist()) and not without & set(archive.namelist())
        assert all(archive.read(name) == TEXTS[name] for name in names)


def add() -> None:
    lmarc.add(ARCHIVE, "c", preset="fast", jobs=1)
    whole_with({"c"}, set())


def remove() -> None:
    lmarc.remove(ARCHIVE, ["h"])
    whole_with(set(), {"h"})


def compact() -> None:
    lmarc.compact(ARCHIVE)
    whole_with(set(), set())


def repair() -> None:
    lmarc.repair(ARCHIVE)
    read()


def campaign(cases: int) -> str:
    """Run it, and return a line of figures."""
    began, tally, rng = time.monotonic(), Counter[str](), random.Random(SEED)
    actions: tuple[Callable[[], None], ...] = (read, add, remove, compact, repair)
    whole = base()
    for _ in range(cases):
        data = damaged(whole, rng)
        for action in actions:
            ARCHIVE.write_bytes(data)
            try:
                action()
                tally[f"{action.__name__} ok"] += 1
            except lmarc.LmarcError:
                tally[f"{action.__name__} refused"] += 1
                if action is not read:
                    # What is refused changes nothing.
                    assert ARCHIVE.read_bytes() == data
    figures = ", ".join(f"{what} {count}" for what, count in sorted(tally.items()))
    return f"changed archives, {cases} damages: {figures}, 0 faults, {time.monotonic() - began:.0f} s"


def run(cases: int, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        line = campaign(cases)
    with capsys.disabled():
        print(f"\n{line}")


def test_some_damages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(150, tmp_path, capsys)


@pytest.mark.slow
def test_many_damages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(20_000, tmp_path, capsys)


def test_the_base_is_what_it_should_be(tmp_path: Path) -> None:
    with chdir(tmp_path), lmarc.open(io.BytesIO(base())) as archive:
        assert archive.damage == []
        assert {info.name: archive.read(info.name) for info in archive} == {name: TEXTS[name] for name in "bch"}
