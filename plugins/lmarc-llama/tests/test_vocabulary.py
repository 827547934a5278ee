"""Every kind of vocabulary: exact bytes of tokens, and texts that come out as they went in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lmarc_llama.model import LlamaModel

from lmarc.coding import spelling
from lmarc.coding.vocabulary import Vocabulary

OpenModel = Callable[[str], LlamaModel]

#: Their tokenizers are exact; those of the others forget spaces, case, or what they do not know.
EXACT = ["bpe", "spm", "rwkv7"]
ALL = [*EXACT, "ugm", "wpm"]
CONTROL = {"bpe": [0], "spm": [0, 1, 2], "rwkv7": [0], "ugm": [0, 1, 2], "wpm": [0, 1, 2, 3, 4]}
SPECIAL = b"<|endoftext|><s></s><unk><pad>[CLS][SEP][UNK][MASK]<|user|><0x41><|im_start|>"
TEXTS = {
    "prose": b"The quick brown fox jumps over the lazy dog, and it does so again. " * 3,
    "code": b"def f(x):\n\treturn {'a': x[0] * 2}  # doubled\n\n\nif __name__ == '__main__':\n    f([1])\n",
    "ascii": bytes(range(1, 128)),
    "spaces": b" " * 80 + b"x" + b" " * 7,
    "leading space": b" leading",
    "no space": b"Hello",
    "line ends": b"a\r\nb\rc\n\n\n\r\n\td\n",
    "long run": b"abcdefghij" * 60,
    "numbers": b"3.14159265358979 0x7fffffff 1,000,000",
    "special": SPECIAL,
    "NUL": b"a\0b\0\0c",
}


def pieces_of(model: LlamaModel, text: bytes) -> list[bytes | None]:
    return [model.vocabulary[token] for token in model.tokenize(text)]


@cache
def vocabulary_of(model: LlamaModel) -> Vocabulary:
    return Vocabulary(model.vocabulary)


def spelled(model: LlamaModel, data: bytes) -> bytes:
    """The data as what it is spelled with says it."""
    vocabulary = vocabulary_of(model)
    return vocabulary.spelled(spelling.spell(data, vocabulary, model.tokenize))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("name", EXACT)
def test_tokens_are_the_text(opened: OpenModel, name: str, text: bytes) -> None:
    model = opened(name)
    # llama.cpp's tokenizer for RWKV takes the text of a control token for it; the core's speller then takes over.
    wanted = text.replace(b"<s>", b"") if name == "rwkv7" else text
    assert b"".join(piece or b"" for piece in pieces_of(model, text)) == wanted


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("name", ALL)
def test_what_is_coded_spells_the_text(opened: OpenModel, name: str, text: bytes) -> None:
    assert spelled(opened(name), text) == text


@pytest.mark.parametrize("name", EXACT)
def test_tokens_say_more_than_bytes(opened: OpenModel, name: str) -> None:
    assert len(pieces_of(opened(name), TEXTS["prose"])) < len(TEXTS["prose"]) / 2


@pytest.mark.parametrize("name", ALL)
def test_control_tokens_have_no_bytes(opened: OpenModel, name: str) -> None:
    model = opened(name)
    assert [token for token, piece in enumerate(model.vocabulary) if piece is None] == CONTROL[name]
    assert model.first in CONTROL[name]
    assert not any(piece == b"" for piece in model.vocabulary)


@pytest.mark.parametrize("name", ALL)
def test_what_looks_like_a_control_token_is_text(opened: OpenModel, name: str) -> None:
    model = opened(name)
    if name in ("bpe", "spm"):
        assert not {*CONTROL[name]} & {*model.tokenize(SPECIAL).tolist()}
    ranks = spelling.spell(SPECIAL, vocabulary_of(model), model.tokenize)
    assert not {*CONTROL[name]} & {*vocabulary_of(model).sorted.symbols[ranks].tolist()}


def test_byte_fallback_tokens_are_bytes(opened: OpenModel) -> None:
    model = opened("spm")
    assert model.vocabulary[3 : 3 + 256] == [bytes([byte]) for byte in range(256)]
    # What no piece has comes as the bytes it is made of.
    assert pieces_of(model, "\U0001f98a".encode()) == [bytes([byte]) for byte in "\U0001f98a".encode()]


def test_rwkv_tokens_are_unescaped(opened: OpenModel) -> None:
    assert opened("rwkv7").vocabulary[1:257] == [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize("text", [b"Hello", b"the", b"\tx", b"\n\nthe end", b"1"])
def test_nothing_is_put_before_a_text(opened: OpenModel, text: bytes) -> None:
    model = opened("spm")
    first = pieces_of(model, text)[0]
    assert first is not None and text.startswith(first)
    assert model.first not in model.tokenize(text)


@pytest.mark.parametrize("name", ALL)
def test_every_byte_can_be_spelled(opened: OpenModel, name: str) -> None:
    model = opened(name)
    every = bytes(range(256))
    assert spelled(model, every) == every
    assert vocabulary_of(model).spelled(vocabulary_of(model).spell(every[::-1] * 2)) == every[::-1] * 2
    assert all(spelled(model, bytes([byte])) == bytes([byte]) for byte in range(256))


@pytest.mark.parametrize("name", ALL)
def test_symbols_are_those_of_the_model(opened: OpenModel, name: str) -> None:
    model = opened(name)
    vocabulary = vocabulary_of(model)
    for symbol, entry in zip(vocabulary.sorted.symbols.tolist(), vocabulary.entries, strict=True):
        assert symbol == -1 or model.vocabulary[symbol] == entry


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=25, deadline=None)
@given(
    st.one_of(st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=200))
)
def test_whatever_is_spelled_comes_back(opened: OpenModel, name: str, data: bytes) -> None:
    assert spelled(opened(name), data) == data


@pytest.mark.parametrize("name", ALL)
def test_no_text_is_no_tokens(opened: OpenModel, name: str) -> None:
    assert spelled(opened(name), b"") == b""
    assert name in ("ugm", "wpm") or not len(opened(name).tokenize(b""))
