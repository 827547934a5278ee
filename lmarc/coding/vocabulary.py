"""A vocabulary as the coder sees it: symbols sorted by their bytes, so that every node of their trie is an interval.

Symbols that no text may produce are left out. Bytes that no symbol spells alone come in as *literals*, entries of
their own, so that every byte string can be spelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Symbols with more bytes than this are left out: a trie may not be deeper.
MOST_SYMBOL_BYTES = 1024
#: Most symbols a vocabulary may have.
MOST_SYMBOLS = 1 << 24

Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class Sorted(NamedTuple):
    """The sorted vocabulary of S entries, for the kernels.

    symbols: int32[S], the model's number of each entry, -1 for literals. data: uint8[], the bytes of all entries, one
    behind the other. starts: int64[S + 1], where the bytes of each begin in `data`.
    """

    symbols: Ints32
    data: Bytes
    starts: Ints


class Vocabulary:
    """The bytes of a model's symbols, `pieces`; None or nothing for a symbol that no text may produce.

    Raises ValueError for none or too many.
    """

    def __init__(self, pieces: Sequence[bytes | None]) -> None:
        if not 0 < len(pieces) <= MOST_SYMBOLS:
            raise ValueError(f"a vocabulary of {len(pieces)} symbols")
        usable = [(piece, symbol) for symbol, piece in enumerate(pieces) if piece and len(piece) <= MOST_SYMBOL_BYTES]
        alone = {piece for piece, _ in usable if len(piece) == 1}
        literals = [byte for byte in (bytes([value]) for value in range(256)) if byte not in alone]
        # Of entries with the same bytes, the one of the lowest number comes first.
        entries = sorted(usable + [(byte, -1) for byte in literals])
        self.size = len(pieces)
        self.entries = [piece for piece, _ in entries]
        symbols = np.array([symbol for _, symbol in entries], dtype=np.int32)
        lengths = np.array([len(piece) for piece in self.entries], dtype=np.int64)
        starts = np.zeros(len(entries) + 1, dtype=np.int64)
        np.cumsum(lengths, out=starts[1:])
        self.sorted = Sorted(symbols, np.frombuffer(b"".join(self.entries), dtype=np.uint8), starts)
        self._rank_of_symbol = np.full(len(pieces), -1, dtype=np.int32)
        known = symbols >= 0
        self._rank_of_symbol[symbols[known]] = np.flatnonzero(known)
        self._first_rank: dict[bytes, int] = {}
        for rank, piece in enumerate(self.entries):
            self._first_rank.setdefault(piece, rank)
        # By first byte, the lengths that entries have, the longest first.
        found: list[set[int]] = [set() for _ in range(256)]
        for piece in self._first_rank:
            found[piece[0]].add(len(piece))
        self._lengths = [sorted(each, reverse=True) for each in found]

    def ranks(self, symbols: Sequence[int] | Ints32) -> Ints32:
        """int32[]: the ranks in the sorted vocabulary of a model's symbols; -1 for those that cannot be used."""
        try:
            asked = np.asarray(symbols, dtype=np.int64)
        except OverflowError:
            return np.full(1, -1, dtype=np.int32)
        out = np.full(len(asked), -1, dtype=np.int32)
        inside = (asked >= 0) & (asked < self.size)
        out[inside] = self._rank_of_symbol[asked[inside]]
        return out

    def spelled(self, ranks: Ints32) -> bytes:
        """The bytes of ranks, joined."""
        return b"".join([self.entries[rank] for rank in ranks.tolist()])

    def spell(self, text: bytes) -> Ints32:
        """int32[]: ranks whose bytes, joined, are `text`: at each place the longest entry that fits."""
        out = []
        position = 0
        while position < len(text):
            for length in self._lengths[text[position]]:
                rank = self._first_rank.get(text[position : position + length])
                if rank is not None and position + length <= len(text):
                    out.append(rank)
                    position += length
                    break
        return np.array(out, dtype=np.int32)
