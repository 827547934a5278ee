"""Any vocabulary spells any byte string, and no tokenizer can keep it from doing so."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.coding import spelling
from lmarc.coding.spelling import Tokenize
from lmarc.coding.vocabulary import MOST_SYMBOL_BYTES, MOST_SYMBOLS, Vocabulary
from tests.coding import inputs

FRAGMENTS = [b"a", b"ab", b"abc", b"\n", b"\r\n", b"\0", b"  ", b" " * 64, "é".encode(), "语".encode(), "🜁".encode()]
BROKEN = [b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"]

pieces_of_all_kinds = st.lists(
    st.one_of(st.none(), st.just(b""), st.binary(max_size=4), st.sampled_from(FRAGMENTS + BROKEN)), max_size=50
).flatmap(lambda some: st.permutations([*some, b"ab"]))
texts = st.lists(
    st.one_of(st.binary(max_size=30), st.text(max_size=30).map(str.encode), st.sampled_from(FRAGMENTS + BROKEN)),
    max_size=12,
).map(b"".join)


def every_byte() -> list[bytes | None]:
    """Pieces that are the 256 bytes."""
    return [bytes([value]) for value in range(256)]


def greedy(vocabulary: Vocabulary) -> Callable[[bytes], list[int]]:
    """A tokenizer that finds the longest piece, and -1 where there is none."""

    def tokenize(text: bytes) -> list[int]:
        assert text, "nothing to tokenize"
        text.decode()  # raises if it is no UTF-8
        return [int(vocabulary.sorted.symbols[rank]) for rank in vocabulary.spell(text)]

    return tokenize


@settings(max_examples=150)
@given(pieces_of_all_kinds)
def test_the_entries_are_sorted_and_complete(pieces: list[bytes | None]) -> None:
    vocabulary = Vocabulary(pieces)
    symbols, data, starts = vocabulary.sorted
    entries = [data[a:b].tobytes() for a, b in pairwise(starts.tolist())]
    assert entries == vocabulary.entries == sorted(entries)
    assert [array.dtype.name for array in vocabulary.sorted] == ["int32", "uint8", "int64"]
    assert len(symbols) == len(entries) and starts[-1] == len(data) and starts[0] == 0
    spelled = [(symbol, piece) for symbol, piece in zip(symbols.tolist(), entries, strict=True) if symbol >= 0]
    assert sorted(spelled) == [(symbol, piece) for symbol, piece in enumerate(pieces) if piece]
    literals = [piece for symbol, piece in zip(symbols.tolist(), entries, strict=True) if symbol < 0]
    assert literals == [byte for byte in every_byte() if byte not in pieces]
    for rank in range(1, len(entries)):
        assert entries[rank - 1] != entries[rank] or symbols[rank - 1] < symbols[rank]


@settings(max_examples=100)
@given(pieces_of_all_kinds)
def test_every_node_of_the_trie_is_an_interval(pieces: list[bytes | None]) -> None:
    entries = Vocabulary(pieces).entries
    for node in {piece[:depth] for piece in entries for depth in range(len(piece) + 1)}:
        inside = [rank for rank, piece in enumerate(entries) if piece.startswith(node)]
        assert inside == list(range(inside[0], inside[-1] + 1))
        ending = [rank for rank in inside if entries[rank] == node]
        assert ending == inside[: len(ending)], "what ends at a node comes first"


@settings(max_examples=150)
@given(pieces_of_all_kinds, texts)
def test_any_text_is_spelled(pieces: list[bytes | None], text: bytes) -> None:
    vocabulary = Vocabulary(pieces)
    ranks = vocabulary.spell(text)
    assert ranks.dtype == np.int32
    assert vocabulary.spelled(ranks) == text
    rest = text
    for rank in ranks.tolist():
        longest = max(len(piece) for piece in vocabulary.entries if rest.startswith(piece))
        assert len(vocabulary.entries[rank]) == longest
        assert vocabulary.entries.index(vocabulary.entries[rank]) == rank, "the first of equal ones"
        rest = rest[longest:]


@given(pieces_of_all_kinds)
def test_ranks_are_the_inverse_of_symbols(pieces: list[bytes | None]) -> None:
    vocabulary = Vocabulary(pieces)
    numbers = list(range(len(pieces)))
    ranks = vocabulary.ranks(numbers)
    assert ranks.dtype == np.int32
    for number, rank in zip(numbers, ranks.tolist(), strict=True):
        if pieces[number]:
            assert vocabulary.sorted.symbols[rank] == number
            assert vocabulary.entries[rank] == pieces[number]
        else:
            assert rank == -1
    outside = [-1, -2, len(pieces), 1 << 31, (1 << 32) + 1, -(1 << 63), (1 << 63) - 1]
    assert (vocabulary.ranks(outside) == -1).all()
    assert len(vocabulary.ranks([])) == 0


def test_pieces_that_are_too_long_are_left_out() -> None:
    vocabulary = Vocabulary([b"x" * MOST_SYMBOL_BYTES, b"y" * (MOST_SYMBOL_BYTES + 1)])
    assert vocabulary.ranks([0])[0] >= 0
    assert vocabulary.ranks([1])[0] == -1
    assert max(map(len, vocabulary.entries)) == MOST_SYMBOL_BYTES
    text = b"y" * 1100 + b"x" * 2100
    assert vocabulary.spelled(vocabulary.spell(text)) == text


@pytest.mark.parametrize("count", [0, MOST_SYMBOLS + 1], ids=["none", "too many"])
def test_impossible_vocabularies_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        Vocabulary(range(count))  # type: ignore[arg-type]


def liars(size: int) -> st.SearchStrategy[Callable[[list[int]], list[int]]]:
    """What tokenizers may do to the symbols they should give."""
    anything = st.one_of(
        st.integers(-3, size + 3), st.sampled_from([-(1 << 63), 1 << 31, (1 << 63) - 1, 1 << 64, -(1 << 80)])
    )

    def one_wrong(wrong: int) -> Callable[[list[int]], list[int]]:
        return lambda symbols: [*symbols[: len(symbols) // 2], wrong, *symbols[len(symbols) // 2 + 1 :]]

    def given_anyway(symbols: list[int]) -> Callable[[list[int]], list[int]]:
        return lambda _: symbols

    return st.one_of(
        st.sampled_from([lambda s: s, lambda s: s[:-1], lambda s: s[1:], lambda s: s + s[:1], lambda s: s[::-1]]),
        st.lists(anything, max_size=5).map(given_anyway),
        anything.map(one_wrong),
    )


@settings(max_examples=150)
@given(st.data(), pieces_of_all_kinds, texts)
def test_tokenizers_may_lie(data: st.DataObject, pieces: list[bytes | None], text: bytes) -> None:
    vocabulary = Vocabulary(pieces)
    honest, lie = greedy(vocabulary), data.draw(liars(len(pieces)))

    def tokenize(piece: bytes) -> Sequence[int] | npt.NDArray[np.int32]:
        return lie(honest(piece))

    ranks = spelling.spell(text, vocabulary, tokenize)
    assert ranks.dtype == np.int32
    assert vocabulary.spelled(ranks) == text


@pytest.mark.parametrize("name", inputs.SHORT)
def test_short_inputs_are_spelled(name: str) -> None:
    vocabulary = Vocabulary([None, b"the", b"INFO", b"  ", b"\0\0\0\0", *every_byte()[::3]])
    text = inputs.SHORT[name]
    assert vocabulary.spelled(spelling.spell(text, vocabulary, greedy(vocabulary))) == text


def test_what_a_tokenizer_says_is_used() -> None:
    """Not the longest symbols, if it chose others: a model has learned what its tokenizer does."""
    vocabulary = Vocabulary([*every_byte(), b"ab", b"ab"])

    def tokenize(text: bytes) -> list[int]:
        return [257 if c == "ab" else ord(c) for c in text.decode().replace("ab", "ab|").split("|") for c in _cut(c)]

    text = b"xxabyyabzz abababab"
    ranks = spelling.spell(text, vocabulary, tokenize)
    assert vocabulary.sorted.symbols[ranks].tolist() == tokenize(text)
    assert 257 in tokenize(text)
    assert not np.array_equal(ranks, vocabulary.spell(text))


def _cut(part: str) -> list[str]:
    """Characters, and "ab" at the end as one."""
    return [*part[:-2], "ab"] if part.endswith("ab") else list(part)


def test_only_valid_text_is_tokenized() -> None:
    """All of it, but for short runs in the midst of other bytes."""
    vocabulary = Vocabulary(every_byte())
    asked: list[bytes] = []

    def tokenize(text: bytes) -> npt.NDArray[np.int32]:
        asked.append(text)
        return np.frombuffer(text, np.uint8).astype(np.int32)

    first, second = "die Bäume 🜁 und\n".encode(), "die Straßen sind leer".encode()
    text = first + b"\xff\xc0\xaf" + b"short" + b"\xed\xa0\x80" + second + b"\xe2\x82"
    assert vocabulary.spelled(spelling.spell(text, vocabulary, tokenize)) == text
    assert asked == [first, second]
    asked.clear()
    assert vocabulary.spelled(spelling.spell(b"short", vocabulary, tokenize)) == b"short"
    assert asked == [b"short"]
    assert len(spelling.spell(b"", vocabulary, tokenize)) == 0
    assert asked == [b"short"]


@given(st.binary(max_size=64))
def test_valid_means_what_python_means(text: bytes) -> None:
    """No text is invalid to us and valid to Python, or the other way round."""
    asked: list[bytes] = []

    def tokenize(piece: bytes) -> list[int]:
        asked.append(piece)
        return list(piece)

    spelling.spell(text, Vocabulary(every_byte()), tokenize)
    try:
        text.decode()
    except UnicodeDecodeError:
        assert b"".join(asked) != text
        for piece in asked:
            piece.decode()
    else:
        assert b"".join(asked) == text


def test_every_code_point_is_valid_text() -> None:
    vocabulary = Vocabulary(every_byte())
    text = "".join(map(chr, [*range(0, 0xD800, 7), 0xD7FF, *range(0xE000, 0x110000, 101), 0xFFFF, 0x10FFFF])).encode()
    asked: list[bytes] = []

    def tokenize(piece: bytes) -> npt.NDArray[np.int32]:
        piece.decode()
        asked.append(piece)
        return np.frombuffer(piece, np.uint8).astype(np.int32)

    assert vocabulary.spelled(spelling.spell(text, vocabulary, tokenize)) == text
    assert b"".join(asked) == text


@pytest.mark.parametrize(
    "text",
    [inputs.chinese(200_000), inputs.prose(150_000), b"\n" * 70_000, "🜁".encode() * 40_000 + b"\xff", b"a" * 65_537],
    ids=["no lines", "lines", "only ends of lines", "four bytes", "one more"],
)
def test_long_texts_are_cut_between_characters(text: bytes) -> None:
    vocabulary = Vocabulary(every_byte())
    asked: list[bytes] = []

    def tokenize(piece: bytes) -> npt.NDArray[np.int32]:
        piece.decode()
        asked.append(piece)
        return np.frombuffer(piece, np.uint8).astype(np.int32)

    assert vocabulary.spelled(spelling.spell(text, vocabulary, tokenize)) == text
    assert b"".join(asked) == text.rstrip(b"\xff")
    assert 1 < len(asked) <= len(text) // 50_000 + 1
    if b" " in text:
        assert all(piece.endswith(b"\n") for piece in asked[:-1])


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (b"\r", b"one line\nanother\rline\nand\r\none more\n"),
        (b"\x7f", b"first\nsec\x7fond\nthird"),
        (b"q", inputs.log(3_000) + b"quick\n" + inputs.log(3_000)),
    ],
    ids=["carriage return", "one byte", "log"],
)
def test_the_rest_is_spelled_as_the_tokenizer_says(wrong: bytes, text: bytes) -> None:
    """A tokenizer that loses a byte spoils the line with it, no more."""
    vocabulary = Vocabulary([*every_byte(), *every_byte()])

    def tokenize(piece: bytes) -> list[int]:
        # The second symbol of each byte, which spelling without a tokenizer never takes.
        return [256 + byte for byte in piece.replace(wrong, b"")]

    ranks = spelling.spell(text, vocabulary, tokenize)
    assert vocabulary.spelled(ranks) == text
    symbols = vocabulary.sorted.symbols[ranks].tolist()
    expected: list[int] = []
    for line in text.splitlines(keepends=True):
        expected += [byte if wrong in line else 256 + byte for byte in line]
    assert symbols == expected


def test_random_tokenizers_of_real_vocabularies() -> None:
    """Any way of cutting a text into pieces is as good as another."""
    source = random.Random(9)
    text = inputs.prose(3_000) + inputs.chinese(900)
    some = {text[at : at + source.randint(2, 7)] for at in source.choices(range(len(text)), k=400)}
    pieces: list[bytes | None] = [*every_byte(), *sorted(some), None, b""]
    numbers = {piece: number for number, piece in enumerate(pieces)}

    def tokenize(piece: bytes) -> list[int]:
        out, at = [], 0
        while at < len(piece):
            fitting = [length for length in range(1, 8) if piece[at : at + length] in numbers]
            length = min(source.choice(fitting), len(piece) - at)
            out.append(numbers[piece[at : at + length]])
            at += length
        return out

    used: Tokenize = tokenize
    vocabulary = Vocabulary(pieces)
    ranks = spelling.spell(text, vocabulary, used)
    assert vocabulary.spelled(ranks) == text
    assert len(ranks) < len(text)
