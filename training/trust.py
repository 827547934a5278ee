"""Learning whom to trust: the model codes documents that were not counted, and keeps what it learned of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from lmarc.coding import codec, memory
from lmarc.coding.contexts import TEXT
from lmarc.coding.counters import COUNT_BITS, COUNT_MASK, Counters
from lmarc.coding.knowledge import Bytes
from lmarc.coding.level import Level
from lmarc.coding.memory import Ints32, Learned
from lmarc.coding.segments import Segment
from training.corpus import Document

_PIECE = 1 << 16
_MOST_PIECES = 3
# Bits that only fill the wheel: their loss costs nothing that could be measured.
_ROUNDED_BITS, _ROUNDED_CHANCE_BITS, _ROUNDED_WEIGHT_BITS = 8, 12, 12
#: Counters that start with a lower count learn from the content sooner.
_MOST_MAP_COUNT = 14
#: How far weights go from the untrained to the trained, in eighths: all the way costs what is not text up to 0.1 %.
_WAY = 5


def pieces(documents: Iterable[Document]) -> list[bytes]:
    """The beginnings of the documents in pieces of 64 kB, in an order that only their names decide."""
    keyed = []
    for document in documents:
        for number in range(_MOST_PIECES):
            piece = document.data[number * _PIECE : (number + 1) * _PIECE]
            if piece:
                keyed.append((hashlib.sha256(f"{document.path} {number}".encode()).digest(), piece))
    return [piece for _, piece in sorted(keyed)]


def trusting(level: Level, knowledge: Bytes, content: Iterable[bytes]) -> Learned:
    """What a level learns from coding each piece on its own, starting each with what the last one left."""
    learned = memory.fresh_learned(level)
    for piece in content:
        text, code = np.frombuffer(piece, np.uint8).copy(), np.zeros(2 * len(piece) + 1024, np.uint8)
        codec.run(text, code, [Segment(len(text), TEXT)], False, level, learned, knowledge)
    fresh = memory.fresh_learned(level)
    # What text teaches of matches and of the second layer costs other content up to 1 % and gains text nothing.
    return learned._replace(
        order0=fresh.order0,
        by_length=fresh.by_length,
        by_byte=fresh.by_byte,
        finals=fresh.finals,
        histories=learned.histories & ~np.int32((1 << _ROUNDED_CHANCE_BITS) - 1),
        weights=_partly(fresh.weights, learned.weights) & ~np.int32((1 << _ROUNDED_WEIGHT_BITS) - 1),
        order1_map=_eager(learned.order1_map, _MOST_MAP_COUNT),
        hashed_map=_eager(learned.hashed_map, _MOST_MAP_COUNT),
    )


def _eager(counters: Counters, most: int) -> Counters:
    """The counters, with counts of at most `most`."""
    counts = np.minimum(counters & np.uint32(COUNT_MASK), np.uint32(most))
    rounded = np.uint32(COUNT_BITS + _ROUNDED_BITS)
    eager: Counters = (counters >> rounded << rounded) | counts
    return eager


def _partly(untrained: Ints32, trained: Ints32) -> Ints32:
    """Weights on the way from the untrained to the trained."""
    return (untrained + (trained.astype(np.int64) - untrained) * _WAY // 8).astype(np.int32)
