"""From the training text to the table of knowledge: count, weigh, choose, lay out."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import numpy as np

from lmarc.coding.contexts import BY_BYTE, KINDS, NOTHING
from lmarc.coding.state import BUCKETS
from training.corpus import Document
from training.counting import Bytes, Pairs, Text, count, joined
from training.table import Candidates, lay_out
from training.worth import worth

#: From general to special: a context is worth what it adds to those before it (worth.py).
ORDER = (0, 1, 6, 4, 2, 10, 5, 3, 11)
ENTRIES = 7_000_000
_LEAST_DOCUMENTS = 2
#: What being in a document is worth in bits, apart from what is gained: agreement of contexts makes sure.
_AGREEMENT = 0.3
_HELD_OUT = 13


def is_held_out(document: Document) -> bool:
    """Whether a document is for learning whom to trust, and so not counted: one in twenty, by its name."""
    return hashlib.sha256(document.name.encode()).digest()[0] < _HELD_OUT


def weighed_into(documents: list[Document], work: Path) -> None:
    """Count and weigh the documents that are not held out. What `work` already has is not made again."""
    text = joined(document.data for document in documents if not is_held_out(document))
    counted(text, work)
    weighed(text, work)


def counted(text: Text, work: Path) -> None:
    """Count every context's pairs into `work`."""
    for context in ORDER:
        path = work / f"pairs-{context}.npz"
        if path.exists():
            continue
        begin = time.monotonic()
        pairs = count(text, context, KINDS[context], _LEAST_DOCUMENTS)
        np.savez(path, pairs=pairs.pairs, documents=pairs.documents)
        _say(f"context {context}: {len(pairs.pairs)} pairs, {time.monotonic() - begin:.0f} s")


def weighed(text: Text, work: Path) -> None:
    """Weigh the pairs counted into `work`, unless all are."""
    if all((work / f"worth-{context}.npy").exists() for context in ORDER):
        return
    best = np.full(len(text.text), 1 / 256, np.float32)
    for context in ORDER:
        begin = time.monotonic()
        pairs = _pairs(work, context)
        np.save(work / f"worth-{context}.npy", worth(text, context, KINDS[context] == BY_BYTE, pairs, best))
        rest = -float(np.log2(best[::97]).mean())
        _say(f"context {context}: {rest:.3f} bits a byte are left, {time.monotonic() - begin:.0f} s")


def chosen(work: Path, entries: int = ENTRIES, buckets: int = BUCKETS) -> Bytes:
    """The table of the `entries` pairs worth most."""
    parts = []
    for context in ORDER:
        pairs, documents = _pairs(work, context)
        scores = np.load(work / f"worth-{context}.npy") + np.float32(_AGREEMENT) * documents
        parts.append(
            Candidates(
                (pairs >> np.uint64(8)).astype(np.uint32), (pairs & np.uint64(255)).astype(np.uint8), documents, scores
            )
        )
    every = Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    if len(every.scores) > entries:
        threshold = np.partition(every.scores, len(every.scores) - entries)[len(every.scores) - entries]
        every = Candidates(*(column[every.scores >= threshold] for column in every))
    return lay_out(every, buckets)


def _pairs(work: Path, context: int) -> Pairs:
    with np.load(work / f"pairs-{context}.npz") as arrays:
        return Pairs(arrays["pairs"], arrays["documents"])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


assert all(KINDS[context] != NOTHING for context in ORDER)
