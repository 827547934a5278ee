"""Ways in which an archive gets corrupted, by number: nothing wrong is written, and what is whole is recovered."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from lmarc.archive.presets import Preset
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.common import Subject, check_chunks, judge, make_tree, workplace

_SECTOR = 512
_BLOCK = 4096


def few_bytes(data: bytes, rng: random.Random) -> bytes:
    """1 to 64 bytes in a row."""
    count = rng.randint(1, 64)
    at = rng.randrange(len(data) - count)
    return data[:at] + rng.randbytes(count) + data[at + count :]


def scattered_bytes(data: bytes, rng: random.Random) -> bytes:
    """1 to 64 bytes anywhere."""
    out = bytearray(data)
    for at in rng.sample(range(len(data)), rng.randint(1, 64)):
        out[at] = rng.randrange(256)
    return bytes(out)


def zeroed_sectors(data: bytes, rng: random.Random) -> bytes:
    """1 to 8 sectors of zeros."""
    count = _SECTOR * rng.randint(1, 8)
    at = _SECTOR * rng.randrange(len(data) // _SECTOR - 8)
    return data[:at] + bytes(count) + data[at + count :]


def swapped_blocks(data: bytes, rng: random.Random) -> bytes:
    """Two blocks in each other's place."""
    first, second = sorted(_BLOCK * number for number in rng.sample(range(len(data) // _BLOCK), 2))
    a, b = data[first : first + _BLOCK], data[second : second + _BLOCK]
    return data[:first] + b + data[first + _BLOCK : second] + a + data[second + _BLOCK :]


def inserted(data: bytes, rng: random.Random) -> bytes:
    """Bytes that were not there: noise, zeros, or some of the archive's own."""
    at, count = rng.randrange(len(data)), rng.choice((1, 2, rng.randint(3, 100), rng.randint(101, 9000)))
    more = rng.choice((rng.randbytes(count), bytes(count), data[at // 2 : at // 2 + count]))
    return data[:at] + more + data[at:]


def deleted(data: bytes, rng: random.Random) -> bytes:
    """Bytes missing in the middle."""
    at, count = rng.randrange(len(data)), rng.choice((1, 2, rng.randint(3, 100), rng.randint(101, 9000)))
    return data[:at] + data[at + count :]


def concatenated(data: bytes, rng: random.Random) -> bytes:
    """The archive twice, or behind or before a part of itself."""
    part = data[: rng.randrange(1, len(data))]
    return rng.choice((data + data, part + data, data + part, data + data[len(part) :]))


def appended(data: bytes, rng: random.Random) -> bytes:
    """Garbage behind the end."""
    count = rng.choice((1, 6, rng.randint(2, 2000)))
    return data + rng.choice((rng.randbytes(count), bytes(count), data[-count:]))


def prefixed(data: bytes, rng: random.Random) -> bytes:
    """Garbage before the beginning."""
    return rng.randbytes(rng.randint(1, 100)) + data


IN_PLACE = (few_bytes, scattered_bytes, zeroed_sectors, swapped_blocks)
#: They may come out whole: where all there was is still there, nothing must be lost.
MOVING = (inserted, deleted, concatenated, appended, prefixed)
KINDS: tuple[Callable[[bytes, random.Random], bytes], ...] = (*IN_PLACE, *MOVING)


class Corruption(Campaign):
    """An archive of 10 MB, corrupted by number."""

    name = "corruption"
    what = "random corruptions of a 10 MB archive: 1-64 bytes, zeroed sectors, swapped blocks, bytes moved"
    cases = 100_000
    part = 250

    def prepare(self, folder: Path) -> int:
        """Make the archive."""
        self.subject = self.make(folder / "tree", 9_600_000, 1_200_000, 256 << 10, 3_000_000)
        return self.cases

    def make(self, root: Path, noise: int, text: int, chunk_size: int, checkpoint: int) -> Subject:
        """So many bytes that do not compress, and text, in forty files of each."""
        make_tree(root, self.seed, noise=noise, text=text, files=40)
        return Subject.make("zstd", root, Preset("zstd", chunk_size, {"level": 3}), checkpoint)

    def run(self, numbers: range) -> Tally:
        """Judge corruptions by number."""
        tally, subject = Tally(), self.subject
        with workplace() as place:
            for number in numbers:
                kind = KINDS[number % len(KINDS)]
                data = kind(subject.data, self.rng(number))
                tally.cases += 1
                if data == subject.data:
                    tally.counts["of no effect"] += 1
                    continue
                # Testing before extraction takes as long as that: it must agree, in one case of three.
                verdict = judge(subject, data, place, test=number % 3 == 0)
                case = f"{kind.__name__} {number}"
                if verdict.code == 0 and kind in IN_PLACE:
                    verdict.faults.append("not detected")
                tally.counts[f"exit {verdict.code}"] += 1
                tally.counts["members whole"] += len(verdict.kept)
                tally.faults += [f"{case}: {fault}" for fault in verdict.faults]
                if kind in IN_PLACE:
                    check_chunks(subject, data, verdict, tally, case)
                elif verdict.code == 0:
                    tally.counts["moved, and everything whole"] += 1
        return tally
