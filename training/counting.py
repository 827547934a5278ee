"""Counting what followed what in the training text: for every context, which symbols, in how many documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding.contexts import BY_BYTE, mix
from lmarc.coding.jit import index, kernel, wide
from training.walk import hashes_before

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
_DOCUMENT_BITS = 24


class Text(NamedTuple):
    """Documents behind one another. text: uint8[n]; ends: int64[documents], where each ends."""

    text: Bytes
    ends: npt.NDArray[np.int64]


class Pairs(NamedTuple):
    """Context and symbol pairs that several documents have: uint64[n] `key << 8 | symbol`, and int32[n] how many do."""

    pairs: Words
    documents: npt.NDArray[np.int32]


def joined(documents: Iterable[bytes]) -> Text:
    """The documents as one array."""
    pieces = list(documents)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    return Text(np.frombuffer(b"".join(pieces), dtype=np.uint8).copy(), ends)


@kernel
def _append(piece: Bytes, hashed: Ints, document: int, whole: bool, out: Words, at: int) -> int:
    """Append `key << 32 | symbol << 24 | document` for every byte or nibble of a document; returns the end.

    hashed: int64[len(piece)], what `hashes_before` says.
    """
    for position in range(len(piece)):
        symbol = wide(piece[index(position)])
        key = hashed[index(position)]
        if whole:
            out[index(at)] = (np.uint64(key) << np.uint64(32)) | np.uint64(symbol << _DOCUMENT_BITS | document)
            at += 1
        else:
            high, low = symbol >> 4, symbol & 15
            out[index(at)] = (np.uint64(key) << np.uint64(32)) | np.uint64(high << _DOCUMENT_BITS | document)
            key = mix(key, 16 | high)
            out[index(at + 1)] = (np.uint64(key) << np.uint64(32)) | np.uint64(low << _DOCUMENT_BITS | document)
            at += 2
    return at


@kernel
def _count(keys: Words, pairs: Words, documents: npt.NDArray[np.int32], least: int) -> int:
    """Of sorted keys, the pairs that at least `least` documents have; returns how many there are."""
    found = 0
    i = 0
    while i < len(keys):
        pair = keys[index(i)] >> np.uint64(_DOCUMENT_BITS)
        last = keys[index(i)]
        count = 1
        i += 1
        while i < len(keys) and keys[index(i)] >> np.uint64(_DOCUMENT_BITS) == pair:
            count += keys[index(i)] != last
            last = keys[index(i)]
            i += 1
        if count >= least:
            pairs[index(found)] = pair
            documents[index(found)] = count
            found += 1
    return found


def count(text: Text, context: int, kind: int, least: int) -> Pairs:
    """The pairs of one context that at least `least` documents have."""
    whole = kind == BY_BYTE
    keys = np.zeros(len(text.text) * (1 if whole else 2), np.uint64)
    at, start = 0, 0
    for document, end in enumerate(text.ends.tolist()):
        piece = text.text[start:end]
        at = _append(piece, hashes_before(piece, context), document, whole, keys, at)
        start = end
    keys.sort()
    pairs, documents = np.zeros(len(keys) // least + 1, np.uint64), np.zeros(len(keys) // least + 1, np.int32)
    found = _count(keys, pairs, documents, least)
    return Pairs(pairs[:found].copy(), documents[:found].copy())
