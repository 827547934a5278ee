"""Counting what followed what in the training text: for every context, which symbols, in how many documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding.contexts import ALL, ALL_FIELDS, BY_BYTE, TEXT, advance, class_table, hashes, mix
from lmarc.coding.jit import index, kernel, wide
from lmarc.coding.special import advance_special, role_table, special_hashes

Bytes = npt.NDArray[np.uint8]
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
def _keys(
    text: Bytes,
    start: int,
    end: int,
    document: int,
    wanted: int,
    whole: bool,
    class_of: Bytes,
    roles: Bytes,
    context: npt.NDArray[np.int64],
    followers: npt.NDArray[np.uint16],
    hashed: npt.NDArray[np.int64],
    out: Words,
    at: int,
) -> int:
    """Append `key << 32 | symbol << 24 | document` for every byte or nibble of a document; returns the end."""
    piece = text[start:end]
    for position in range(end - start):
        hashes(context, position, hashed)
        special_hashes(context, followers, piece, 0, position, TEXT, 1, 1, hashed)
        symbol = wide(piece[index(position)])
        key = hashed[wanted]
        if whole:
            out[index(at)] = (np.uint64(key) << np.uint64(32)) | np.uint64(symbol << _DOCUMENT_BITS | document)
            at += 1
        else:
            high, low = symbol >> 4, symbol & 15
            out[index(at)] = (np.uint64(key) << np.uint64(32)) | np.uint64(high << _DOCUMENT_BITS | document)
            key = mix(key, 16 | high)
            out[index(at + 1)] = (np.uint64(key) << np.uint64(32)) | np.uint64(low << _DOCUMENT_BITS | document)
            at += 2
        advance(context, piece, position + 1, class_of)
        advance_special(context, followers, piece, position + 1, roles)
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
        state, followers, hashed = np.zeros(ALL_FIELDS, np.int64), np.zeros(65536, np.uint16), np.zeros(ALL, np.int64)
        at = _keys(
            text.text, start, end, document, context, whole, class_table(), role_table(), state, followers, hashed,
            keys, at,
        )  # fmt: skip
        start = end
    keys.sort()
    pairs, documents = np.zeros(len(keys) // least + 1, np.uint64), np.zeros(len(keys) // least + 1, np.int32)
    found = _count(keys, pairs, documents, least)
    return Pairs(pairs[:found].copy(), documents[:found].copy())
