"""An archive with recovery data that has been changed, damaged at random, and then read, changed, compacted, mended."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import lmarc
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.common import workplace

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


class Changes(Campaign):
    """Damaged at random, then read, added to, taken from, compacted, mended."""

    name = "changes"
    what = "archives with recovery data and changes, damaged at random: then read, add, rm, compact, repair"
    cases = 20_000
    part = 500

    def prepare(self, folder: Path) -> int:
        """Make the archive."""
        with chdir(folder):
            self.whole = base()
        return self.cases

    def run(self, numbers: range) -> Tally:
        """Damage it, and do everything with it."""
        tally = Tally()
        actions: tuple[Callable[[], None], ...] = (read, add, remove, compact, repair)
        with workplace() as place, chdir(place), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, text in TEXTS.items():
                Path(name).write_bytes(text)
            for number in numbers:
                data = damaged(self.whole, self.rng(number))
                tally.cases += 1
                for action in actions:
                    ARCHIVE.write_bytes(data)
                    fault = attempt(action, data, tally)
                    if fault:
                        tally.faults.append(f"{action.__name__} after damage {number}: {fault}")
        return tally


def attempt(action: Callable[[], None], data: bytes, tally: Tally) -> str:
    """Do something with the damaged archive; what is wrong with what came of it."""
    try:
        action()
        tally.counts[f"{action.__name__} ok"] += 1
    except lmarc.LmarcError:
        tally.counts[f"{action.__name__} refused"] += 1
        # What is refused changes nothing.
        return "" if action is read or ARCHIVE.read_bytes() == data else "refused, and yet changed"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
