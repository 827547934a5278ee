"""From text to entries of a vocabulary whose bytes, joined, are that text, whatever a tokenizer makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lmarc.coding.vocabulary import Vocabulary

#: A model's tokenizer: from bytes that are valid UTF-8 to its symbols.
Tokenize = Callable[[bytes], Sequence[int] | npt.NDArray[np.int32]]

Ints32 = npt.NDArray[np.int32]

# Runs of valid UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF (Unicode, table 3-7).
_VALID = re.compile(
    rb"(?:[\x00-\x7f]++|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2})++"
)
#: Tokenizers are given pieces of about this size: some take much longer for long ones.
_PIECE = 1 << 16
#: Valid runs shorter than this, in the midst of other bytes, are not worth a tokenizer's while.
_LEAST = 16


def spell(text: bytes, vocabulary: Vocabulary, tokenize: Tokenize) -> Ints32:
    """int32[]: ranks in the sorted vocabulary. The tokenizer sees valid UTF-8 only, and is believed only if its symbols
    spell what it was given."""
    parts: list[Ints32] = []
    for piece, is_text in _pieces(text):
        parts.append(_spell_piece(piece, vocabulary, tokenize) if is_text else vocabulary.spell(piece))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)


def _spell_piece(piece: bytes, vocabulary: Vocabulary, tokenize: Tokenize) -> Ints32:
    ranks = vocabulary.ranks(tokenize(piece))
    if (ranks >= 0).all() and vocabulary.spelled(ranks) == piece:
        return ranks
    lines = piece.splitlines(keepends=True)
    if len(lines) > 1:
        # What the tokenizer cannot do lies in one of them.
        return np.concatenate([_spell_piece(line, vocabulary, tokenize) for line in lines])
    return vocabulary.spell(piece)


def _pieces(text: bytes) -> Iterator[tuple[bytes, bool]]:
    """The text in order, as pieces that are valid UTF-8 (True) and pieces that are not, or are too short to matter."""
    done = 0
    for run in _VALID.finditer(text):
        if len(run[0]) < _LEAST and len(run[0]) < len(text):
            continue
        if run.start() > done:
            yield text[done : run.start()], False
        done = run.end()
        yield from ((piece, True) for piece in _cut(run[0]))
    if done < len(text):
        yield text[done:], False


def _cut(run: bytes) -> Iterator[bytes]:
    """Pieces of valid UTF-8: they end with a line where they can, at least between characters."""
    start = 0
    while len(run) - start > _PIECE:
        end = run.rfind(b"\n", start, start + _PIECE) + 1
        if end == 0:
            end = start + _PIECE
            while run[end] & 0xC0 == 0x80:
                end -= 1
        yield run[start:end]
        start = end
    yield run[start:]
