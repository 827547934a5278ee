"""Is something we train on in the files we measure with?

`python -m training.overlap DIR [PACKAGES] --against PATH...` looks for every window of 48 bytes and every 8 words
in a row of the training text in the reference files, and for phrases of well known texts that we may not have here.
A run of one byte counts as one window, so that rules and indentation are not taken for text in common.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from training.corpus import DOMAINS, EXCLUDED, Document, documents
from training.markers import Marked, marked

WINDOW = 48
GRAM = 8
MAX_SHARE = 0.05
MIN_WINDOWS = 10
BATCH_BYTES = 64_000_000
LISTED = 40

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]
Positions = NDArray[np.int64]
Slots = NDArray[np.int32]
F = TypeVar("F", bound=Callable[..., object])

_BASE = np.uint64(0x9E3779B97F4A7C15)
_LEAVING = np.uint64(pow(int(_BASE), WINDOW, 1 << 64))
_MIX = np.uint64(0xD6E8FEB86659FD93)
_ONE = np.uint64(1)
_HALF = np.uint64(32)


def _jit(function: F) -> F:
    return cast(F, numba.njit(cache=True)(function))


class Overlap(NamedTuple):
    """What of a document is in the reference files; `where` is the file that has the most of it."""

    document: str
    windows: int
    windows_found: int
    grams: int
    grams_found: int
    where: str

    @property
    def share(self) -> float:
        return self.windows_found / max(1, self.windows)

    @property
    def gram_share(self) -> float:
        return self.grams_found / max(1, self.grams)

    @property
    def excluded(self) -> bool:
        return self.share > MAX_SHARE and self.windows_found >= MIN_WINDOWS

    def __str__(self) -> str:
        windows = f"{self.share:7.2%} of {self.windows} windows"
        return f"{windows}, {self.gram_share:7.2%} of {self.grams} word 8-grams: {self.document} ({self.where})"


class _Reference:
    """Some reference files, their windows and word 8-grams findable."""

    def __init__(self, names: Sequence[str], texts: Sequence[bytes]) -> None:
        self.names = names
        self.ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self.text = np.frombuffer(b"".join(texts), np.uint8)
        bits = max(10, (2 * len(self.text)).bit_length())
        self.slots: Slots = np.full(1 << bits, -1, np.int32)
        self.shift = np.uint64(64 - bits)
        for begin, end in zip([0, *self.ends[:-1]], self.ends, strict=True):
            _insert(self.slots, self.shift, self.text, int(begin), int(end))
        self.grams: Hashes = np.unique(np.concatenate([_grams(np.frombuffer(text, np.uint8)) for text in texts]))

    def find(self, data: Bytes, found: Flags, hits: Positions) -> None:
        _find(self.slots, self.shift, self.text, self.ends, data, found, hits)

    def find_grams(self, grams: Hashes) -> Flags:
        at = np.searchsorted(self.grams, grams)
        flags: Flags = self.grams[np.minimum(at, len(self.grams) - 1)] == grams if len(self.grams) else grams != grams
        return flags


@_jit
def _slot(hash_: np.uint64, shift: np.uint64) -> np.int64:
    mixed = (hash_ ^ (hash_ >> _HALF)) * _MIX
    return np.int64((mixed ^ (mixed >> _HALF)) * _MIX >> shift)


@_jit
def _same(one: Bytes, at: int, other: Bytes, there: int) -> bool:
    for i in range(WINDOW):  # noqa: SIM110 - numba has no all()
        if one[at + i] != other[there + i]:
            return False
    return True


@_jit
def _insert(slots: Slots, shift: np.uint64, text: Bytes, begin: int, end: int) -> None:
    rolled = np.uint64(0)
    for i in range(begin, end):
        rolled = rolled * _BASE + np.uint64(text[i]) + _ONE
        if i - begin >= WINDOW:
            rolled -= (np.uint64(text[i - WINDOW]) + _ONE) * _LEAVING
        first = i - WINDOW + 1
        if first >= begin and text[i] != text[i - 1]:
            slot = _slot(rolled, shift)
            while slots[slot] >= 0 and not _same(text, slots[slot], text, first):
                slot = (slot + 1) % len(slots)
            if slots[slot] < 0:
                slots[slot] = first


@_jit
def _find(
    slots: Slots, shift: np.uint64, text: Bytes, ends: Positions, data: Bytes, found: Flags, hits: Positions
) -> None:
    """Flag the ends of the windows of `data` that are in `text`, and count hits by file."""
    rolled = np.uint64(0)
    for i in range(len(data)):
        rolled = rolled * _BASE + np.uint64(data[i]) + _ONE
        if i >= WINDOW:
            rolled -= (np.uint64(data[i - WINDOW]) + _ONE) * _LEAVING
        first = i - WINDOW + 1
        if first >= 0 and data[i] != data[i - 1]:
            slot = _slot(rolled, shift)
            while slots[slot] >= 0 and not _same(text, slots[slot], data, first):
                slot = (slot + 1) % len(slots)
            if slots[slot] >= 0:
                found[i] = True
                hits[np.searchsorted(ends, slots[slot], side="right")] += 1


@_jit
def _grams(data: Bytes) -> Hashes:
    """A hash of every 8 words in a row. Words are of letters, digits and bytes beyond ASCII; case is ignored."""
    words = np.empty(len(data) // 2 + 1, np.uint64)
    count = 0
    word = np.uint64(0)
    for i in range(len(data) + 1):
        byte = data[i] if i < len(data) else np.uint8(32)
        if 65 <= byte <= 90:
            byte += np.uint8(32)
        if byte >= 128 or 97 <= byte <= 122 or 48 <= byte <= 57:
            word = (word + np.uint64(byte)) * _BASE
            word ^= word >> _HALF
        elif word != 0:
            words[count] = word
            count += 1
            word = np.uint64(0)
    hashes = np.zeros(max(0, count - GRAM + 1), np.uint64)
    for i in range(len(hashes)):
        for j in range(GRAM):
            hashes[i] = (hashes[i] + words[i + j]) * _MIX
            hashes[i] ^= hashes[i] >> _HALF
    return hashes


def overlaps(trained_on: Sequence[Document], references: Sequence[Path]) -> list[Overlap]:
    """For every document what of it is in the files that are, or are below, `references`."""
    found = [np.zeros(len(document.data), np.bool_) for document in trained_on]
    found_grams: list[Flags] = [np.zeros(0, np.bool_) for _ in trained_on]
    hits: list[Counter[str]] = [Counter() for _ in trained_on]
    for reference in _batches(references):
        for i, document in enumerate(trained_on):
            data = np.frombuffer(document.data, np.uint8)
            by_file = np.zeros(len(reference.names), np.int64)
            reference.find(data, found[i], by_file)
            hits[i].update({reference.names[int(file)]: int(by_file[file]) for file in np.flatnonzero(by_file)})
            flags = reference.find_grams(_grams(data))
            found_grams[i] = flags | found_grams[i] if len(found_grams[i]) else flags
    return [_overlap(document, int(found[i].sum()), found_grams[i], hits[i]) for i, document in enumerate(trained_on)]


def _overlap(document: Document, found: int, found_grams: Flags, hits: Counter[str]) -> Overlap:
    data = np.frombuffer(document.data, np.uint8)
    windows = int(np.count_nonzero(data[WINDOW - 1 :] != data[WINDOW - 2 : -1])) if len(data) >= WINDOW else 0
    where = hits.most_common(1)[0][0] if hits else "-"
    return Overlap(document.path, windows, found, len(found_grams), int(found_grams.sum()), where)


def _batches(references: Sequence[Path]) -> Iterator[_Reference]:
    names: list[str] = []
    texts: list[bytes] = []
    for path in _files(references):
        data = path.read_bytes()
        for begin in range(0, len(data), BATCH_BYTES):
            if texts and sum(map(len, texts)) + len(data) - begin > BATCH_BYTES:
                yield _Reference(names, texts)
                names, texts = [], []
            names.append(path.name)
            texts.append(data[max(0, begin - WINDOW + 1) : begin + BATCH_BYTES])
    if texts:
        yield _Reference(names, texts)


def _files(paths: Iterable[Path]) -> list[Path]:
    below = (sorted(path.rglob("*")) if path.is_dir() else [path] for path in paths)
    return [file for files in below for file in files if file.is_file()]


def exclusions(found: Iterable[Overlap], marks: Iterable[Marked]) -> dict[str, str]:
    """The documents to leave out, with the reason."""
    reasons = {
        overlap.document: f"{overlap.share:.1%} of its windows are in {overlap.where}"
        for overlap in found
        if overlap.excluded
    }
    for mark in marks:
        if mark.excluded and mark.document not in reasons:
            reasons[mark.document] = f"is or quotes {mark.title}: {mark.why}"
    return dict(sorted(reasons.items()))


def write_excluded(reasons: dict[str, str], path: Path) -> None:
    lines = (f"{name}\t{reason}\n" for name, reason in reasons.items())
    path.write_text(
        "# Written by python -m training.overlap: texts that are not trained on.\n" + "".join(lines), "utf-8"
    )


def _print_statistics(found: Sequence[Overlap]) -> None:
    by_domain: dict[str, list[Overlap]] = defaultdict(list)
    for overlap in found:
        by_domain[overlap.document.partition("/")[0]].append(overlap)
    print("domain         texts     windows    found     8-grams    found  texts with any  > 1 %")
    for domain in DOMAINS:
        part = by_domain[domain]
        windows = f"{sum(o.windows for o in part):>12}{sum(o.windows_found for o in part):>9}"
        grams = f"{sum(o.grams for o in part):>12}{sum(o.grams_found for o in part):>9}"
        texts = f"{sum(o.windows_found > 0 for o in part):>16}{sum(o.share > 0.01 for o in part):>7}"
        print(f"{domain:<12}{len(part):>8}{windows}{grams}{texts}")


def _print_list(title: str, items: Sequence[object]) -> None:
    print(f"\n{title}: {len(items)}")
    for item in items[:LISTED]:
        print(f"  {item}")


def _report(found: Sequence[Overlap], path: Path) -> None:
    rows = (
        "\t".join(map(str, (o.document, o.windows, o.windows_found, o.grams, o.grams_found, o.where))) for o in found
    )
    path.write_text("\n".join(["document\twindows\tfound\tgrams\tfound\twhere", *rows, ""]), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="training.overlap", description="Look for training text in reference files.")
    parser.add_argument("train", type=Path, metavar="DIR", help="holds DOMAIN.tar.zst")
    parser.add_argument("packages", type=Path, nargs="?", metavar="PACKAGES", help="what training.fetch made")
    parser.add_argument(
        "--against", type=Path, nargs="+", required=True, metavar="PATH", help="reference files, folders"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the figures of every text there")
    parser.add_argument("--write", action="store_true", help=f"write {EXCLUDED.name}")
    options = parser.parse_args()
    texts = list(documents(options.train, options.packages, None))
    found = overlaps(texts, options.against)
    marks = [mark for text in texts for mark in marked(text)]
    _print_statistics(found)
    ordered = sorted(found, key=lambda overlap: -overlap.share)
    _print_list(f"over {MAX_SHARE:.0%} and at least {MIN_WINDOWS} windows", [o for o in ordered if o.excluded])
    _print_list("the most of the rest", [o for o in ordered if o.windows_found and not o.excluded][:20])
    marks.sort(key=lambda mark: (not mark.excluded, mark))
    _print_list("phrases or names of well known texts", marks)
    reasons = exclusions(found, marks)
    size = sum(len(text.data) for text in texts if text.path in reasons)
    print(f"\nleft out: {len(reasons)} texts, {size} bytes")
    if options.report:
        _report(found, options.report)
    if options.write:
        write_excluded(reasons, EXCLUDED)


if __name__ == "__main__":
    main()
