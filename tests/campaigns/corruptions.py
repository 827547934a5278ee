"""Ways in which an archive gets corrupted, by number, and the judge that also asks for what must be recovered."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.campaigns.common import PROCESSES, Subject, Tally, chunks_and_members, judge, workplace

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


class Recovery:
    """What must come out of an archive whose index is whole: every member none of whose chunks were touched."""

    def __init__(self, subject: Subject) -> None:
        self._data = subject.data
        self.frames, self.needs = chunks_and_members(subject)

    def expected(self, data: bytes) -> set[bytes] | None:
        """The members that must be there; None if more than chunk frames was touched."""
        if len(data) != len(self._data):
            return None
        touched: set[int] = set()
        at = 0
        for number, (begin, end) in enumerate(self.frames):
            if data[at:begin] != self._data[at:begin]:
                return None
            if data[begin:end] != self._data[begin:end]:
                touched.add(number)
            at = end
        if data[at:] != self._data[at:]:
            return None
        return {path for path, needed in self.needs.items() if touched.isdisjoint(needed)}


def judge_corruptions(subject: Subject, numbers: Sequence[int]) -> Tally:
    """Judge corruptions by number in this process."""
    tally, recovery = Tally(), Recovery(subject)
    with workplace() as place:
        for number in numbers:
            kind = KINDS[number % len(KINDS)]
            data = kind(subject.data, random.Random(number))
            if data == subject.data:
                continue
            verdict = judge(subject, data, place)
            faults = verdict.faults
            if verdict.code == 0:
                tally.notes["exit 0 with everything whole"] += 1
                if kind in IN_PLACE:
                    faults.append("not detected")
            wanted = recovery.expected(data)
            if wanted is not None:
                tally.notes["only chunks hit"] += 1
                tally.notes["of them members due"] += len(wanted)
                if lost := wanted - verdict.kept:
                    faults.append(f"lost though whole: {sorted(lost)[:5]} and more, {len(lost)} in all")
            elif kind in (inserted, deleted) and verdict.kept:
                tally.notes["shifted archives"] += 1
                tally.notes["of them members whole"] += len(verdict.kept)
            tally.cases += 1
            tally.codes[verdict.code] += 1
            tally.members += len(verdict.kept)
            tally.faults += [f"{kind.__name__} {number}: {fault}" for fault in faults]
    return tally


def judge_corruptions_in_parallel(subject: Subject, numbers: Sequence[int]) -> Tally:
    """The same with several processes."""
    size = max(len(numbers) // (PROCESSES * 8), 1)
    parts = [numbers[at : at + size] for at in range(0, len(numbers), size)]
    total = Tally()
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for tally in pool.map(partial(judge_corruptions, subject), parts):
            total.add(tally)
    return total
