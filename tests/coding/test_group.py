"""Groups: whatever a predictor says, everything comes back, costs what it should, and its bytes never change."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.coding import codec, group, lanes
from lmarc.coding.vocabulary import Vocabulary
from tests.coding import inputs

GOLDEN = Path(__file__).with_name("lanes_golden.json")
ROOT = Path(__file__).parents[2]
MIXING = pytest.mark.parametrize("mixing", [True, False], ids=["mixing", "alone"])
MOST_LANES = 8

Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


def every_byte() -> list[bytes | None]:
    """Pieces that are the 256 bytes."""
    return [bytes([value]) for value in range(256)]


@cache
def table_of(size: int, seed: int = 1) -> Scores:
    """float32[size, size]: scores without rhyme or reason, the same everywhere; some symbols are nearly certain, some
    impossible, some scores not even numbers."""
    source = random.Random(f"{size} {seed}")
    table = np.array([source.randrange(-640, 640) for _ in range(size * size)], dtype=np.float32) / np.float32(64)
    for _ in range(size * size // 9):
        table[source.randrange(size * size)] = source.choice(
            [-np.inf, np.nan, -40, -21.5, 12, 30, 200, 1e29, 3e38, np.inf]
        )
    table = table.reshape(size, size)
    table[source.randrange(size)] = np.nan
    table.setflags(write=False)
    return table


class Predictor:
    """Scores by the last two symbols of a lane: whoever confuses lanes or steps gets others."""

    def __init__(self, size: int, seed: int = 1, *, most_steps: int = 32) -> None:
        self._table, self._most_steps = table_of(size, seed), most_steps
        self._before: npt.NDArray[np.int64] | None = None
        self.steps = 0

    def advance(self, symbols: Ints32) -> Scores:
        """As the method of a session."""
        count, now = symbols.shape
        size = len(self._table)
        assert symbols.dtype == np.int32 and symbols.flags.c_contiguous
        assert 1 <= now <= self._most_steps and 0 <= symbols.min() <= symbols.max() < size
        if self._before is None:
            self._before = np.zeros(count, dtype=np.int64)
        out = np.empty((count, now, size), dtype=np.float32)
        for step in range(now):
            out[:, step] = self._table[(symbols[:, step] + 3 * self._before) % size]
            self._before = symbols[:, step].astype(np.int64)
        self.steps += now
        return out


class Script:
    """Is sure of what is written down for each lane."""

    def __init__(self, vocabulary: Vocabulary, ranks: Ints32, count: int) -> None:
        symbols = vocabulary.sorted.symbols[ranks]
        ends = np.cumsum(group.lane_counts(len(ranks), count))[:-1]
        self._lanes, self._size, self._at = np.split(symbols, ends), vocabulary.size, 0

    def advance(self, symbols: Ints32) -> Scores:
        """As the method of a session."""
        out = np.full((*symbols.shape, self._size), -1000, dtype=np.float32)
        for lane, expected in enumerate(self._lanes):
            for step, symbol in enumerate(expected[self._at : self._at + symbols.shape[1]]):
                out[lane, step, symbol] = 0
        self._at += symbols.shape[1]
        return out


def know_nothing(symbols: Ints32) -> Scores:
    """The scores of 256 symbols by one who knows nothing."""
    return np.zeros((*symbols.shape, 256), dtype=np.float32)


def encode(vocabulary: Vocabulary, ranks: Ints32, count: int = 1, steps: int = 32, mixing: bool = True) -> bytes:
    """The payload with a Predictor."""
    predictor = Predictor(vocabulary.size, most_steps=steps)
    payload = group.encode(ranks, vocabulary, predictor.advance, 0, count, steps, mixing=mixing)
    assert predictor.steps == group.lane_counts(len(ranks), count)[0]
    return payload


def decode(vocabulary: Vocabulary, payload: bytes | memoryview, size: int, mixing: bool = True) -> bytes:
    """The content of a payload with a Predictor; no work without end."""
    reader = group.Reader(payload, size, vocabulary, MOST_LANES, mixing=mixing)
    assert 1 <= reader.lane_count <= min(MOST_LANES, size)
    predictor = Predictor(vocabulary.size, most_steps=1)
    try:
        return reader.decode(predictor.advance, 0)
    finally:
        assert predictor.steps <= size


def decode_or_refuse(vocabulary: Vocabulary, payload: bytes, size: int, mixing: bool) -> bytes | None:
    """The content, of exactly that size, or None for ValueError. Anything else passes on."""
    try:
        content = decode(vocabulary, payload, size, mixing)
    except ValueError:
        return None
    assert len(content) == size
    return content


@cache
def usual() -> Vocabulary:
    """Words of the inputs, spaces, some of the bytes, some symbols twice, some that no text may produce."""
    source, text = random.Random(8), b"".join(inputs.SHORT.values())
    starts = source.sample(range(len(text) - 8), 150)
    pieces: list[bytes | None] = [b"<s>", None, b"", b" " * 64, b"INFO link ", b"\0", b"\0\0\0\0", "语".encode()]
    pieces += [bytes([value]) for value in range(128) if value % 5]
    pieces += [text[at : at + source.randint(2, 6)] for at in starts]
    return Vocabulary([*pieces, *pieces[8:60:3]])


def cases() -> dict[str, tuple[bytes, int]]:
    """What lanes_golden.json is about: texts, and in how many lanes they are coded."""
    texts = {name: (text, 3 if len(text) > 2 else 1) for name, text in inputs.SHORT.items()}
    return texts | {
        "one lane": (inputs.prose(500), 1),
        "eight lanes": (inputs.log(90) + "<|endoftext|>é语🜁\r\n".encode() + bytes(9) + b" " * 70, 8),
        "equal lanes": ((bytes(12) + inputs.prose(24)) * 3, 3),
        "lanes of zeros": (bytes(60), 2),
        "lanes of one symbol": (b"\xff\xfe\xfd\xff\xfe", 5),
    }


def payload_digests(names: tuple[str, ...] | None = None) -> dict[str, str]:
    """What lanes_golden.json holds: the payload of every case, by its hex or, if longer, its sha256."""
    digests = {}
    for name in names or tuple(cases()):
        text, count = cases()[name]
        ranks = usual().spell(text)
        for mixing in (True, False):
            payload = encode(usual(), ranks, min(count, len(ranks)), mixing=mixing)
            shown = payload.hex() if len(payload) <= 40 else f"sha256:{hashlib.sha256(payload).hexdigest()}"
            digests[f"{name}, {'mixing' if mixing else 'alone'}"] = shown
    return digests


@MIXING
@pytest.mark.parametrize("name", cases())
def test_short_inputs_come_back(name: str, mixing: bool) -> None:
    text, count = cases()[name]
    ranks = usual().spell(text)
    payload = encode(usual(), ranks, min(count, len(ranks)), mixing=mixing)
    assert decode(usual(), payload, len(text), mixing) == text


@MIXING
@pytest.mark.parametrize("count", [1, 2, 7])
def test_larger_inputs_come_back(count: int, mixing: bool) -> None:
    text = inputs.prose(5_000) + inputs.log(4_000) + inputs.noise(2_000) + inputs.chinese(2_000) + bytes(2_000)
    payload = encode(usual(), usual().spell(text), count, mixing=mixing)
    assert decode(usual(), payload, len(text), mixing) == text


HOSTILE = [
    b"\0", b"\0" * 70, b" " * 64, b" " * 100, b"<|endoftext|>", b"<|end", b"<s>", b"a", b"ab", b"abc", b"\r\n", b"\n\n",
    "é语🜁".encode(), b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xef\xbb\xbf", b"\x1a", b"\x7f",
]  # fmt: skip
pieces_of_all_kinds = st.lists(
    st.one_of(st.none(), st.just(b""), st.binary(max_size=3), st.sampled_from(HOSTILE)), max_size=24
).map(lambda some: [*some, b"ab"])
texts = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(HOSTILE)), min_size=1, max_size=9).map(b"".join)


@settings(max_examples=80)
@given(pieces_of_all_kinds, texts, st.integers(1, MOST_LANES), st.integers(1, 32), st.booleans())
def test_any_text_comes_back(pieces: list[bytes | None], text: bytes, count: int, steps: int, mixing: bool) -> None:
    vocabulary = Vocabulary(pieces)
    ranks = vocabulary.spell(text)
    if len(text) == 0:
        return
    payload = encode(vocabulary, ranks, min(count, len(ranks)), steps, mixing)
    assert decode(vocabulary, payload, len(text), mixing) == text


@settings(max_examples=80)
@given(st.data(), pieces_of_all_kinds, st.integers(1, MOST_LANES), st.integers(1, 32), st.booleans())
def test_any_symbols_come_back(
    data: st.DataObject, pieces: list[bytes | None], count: int, steps: int, mixing: bool
) -> None:
    """Also those that nobody would spell a text with: short ones, the second of two equal ones."""
    vocabulary = Vocabulary(pieces)
    known = np.flatnonzero(vocabulary.sorted.symbols >= 0).tolist()
    numbers = st.one_of(st.sampled_from(known), st.integers(0, len(vocabulary.entries) - 1))
    ranks = np.array(data.draw(st.lists(numbers, min_size=1, max_size=40)), dtype=np.int32)
    text = vocabulary.spelled(ranks)
    payload = encode(vocabulary, ranks, min(count, len(ranks)), steps, mixing)
    assert decode(vocabulary, payload, len(text), mixing) == text


@MIXING
@pytest.mark.parametrize("count", [1, 3])
def test_the_payload_does_not_depend_on_steps(count: int, mixing: bool) -> None:
    """A model may score as many steps at once as suits the machine."""
    ranks = usual().spell(inputs.log(700) + inputs.noise(60) + b" " * 300)
    payloads = {encode(usual(), ranks, count, steps, mixing) for steps in (1, 2, 5, 32, 1000)}
    assert len(payloads) == 1


@MIXING
def test_the_longest_symbols_have_room(mixing: bool) -> None:
    """The code of a step may be long: symbols of a thousand bytes that the model thinks impossible."""
    source = random.Random(2)
    pieces: list[bytes | None] = [source.randbytes(1024) for _ in range(3)]
    vocabulary = Vocabulary([b"a", *pieces, *(piece[:1000] + source.randbytes(20) for piece in pieces if piece)])
    ranks = vocabulary.ranks([1, 4, 2, 5, 3, 6] * 3)

    def advance(symbols: Ints32) -> Scores:
        out = np.full((*symbols.shape, 7), -np.inf, dtype=np.float32)
        out[:, :, 0] = 0
        return out

    payload = group.encode(ranks, vocabulary, advance, 0, 2, 32, mixing=mixing)
    text = vocabulary.spelled(ranks)
    assert group.Reader(payload, len(text), vocabulary, 2, mixing=mixing).decode(advance, 0) == text


def test_a_payload_says_how_many_symbols_it_has() -> None:
    for count in (1, 3, 8):
        for text in (inputs.prose(500), inputs.noise(200)):
            ranks = usual().spell(text)
            assert group.symbols_of(encode(usual(), ranks, count, mixing=False)) == len(ranks)
    for cut in (b"", head(1), head(1, 300)[:-1], head(1 << 36, 1)):
        with pytest.raises(ValueError, match="head"):
            group.symbols_of(cut)


def test_lanes_are_as_equal_as_can_be() -> None:
    for symbols in (1, 7, 8, 9, 1000):
        for count in range(1, min(symbols, 9)):
            counts = group.lane_counts(symbols, count)
            assert len(counts) == count and sum(counts) == symbols
            assert counts == sorted(counts, reverse=True) and counts[0] - counts[-1] <= 1


def test_buffers_of_all_kinds_are_read() -> None:
    text = inputs.prose(300)
    payload = encode(usual(), usual().spell(text))
    assert decode(usual(), memoryview(payload), len(text)) == text
    assert decode(usual(), memoryview(b"\xff" + payload + b"\0")[1:-1], len(text)) == text


def test_scores_in_arrays_of_all_kinds_are_read() -> None:
    """Whatever they are, no kernel is compiled again, and the payload is the same."""
    ranks = usual().spell(inputs.prose(300))

    def payload(change: Callable[[Scores], Any]) -> bytes:
        predictor = Predictor(usual().size)
        return group.encode(ranks, usual(), lambda symbols: change(predictor.advance(symbols)), 0, 2, 8)

    def protected(scores: Scores) -> Scores:
        scores.setflags(write=False)
        return scores

    usually = payload(lambda scores: scores)
    assert payload(protected) == usually
    assert payload(lambda scores: scores.astype(np.float64)) == usually
    assert payload(lambda scores: scores.astype(">f4")) == usually
    assert payload(np.asfortranarray) == usually
    assert payload(lambda scores: np.repeat(scores, 2, axis=2)[:, :, ::2]) == usually


@pytest.mark.parametrize(
    "wrong",
    [
        lambda scores: scores[:, :, 1:],
        lambda scores: scores[:, 1:],
        lambda scores: scores[1:],
        lambda scores: scores[0],
        lambda scores: np.concatenate([scores, scores], axis=2),
        lambda scores: scores.reshape(-1),
    ],
    ids=["a symbol less", "a step less", "a lane less", "one lane", "more symbols", "flat"],
)
def test_scores_for_something_else_are_refused(wrong: Callable[[Scores], Scores]) -> None:
    """No kernel may read outside what a plugin gave."""
    ranks, predictor = usual().spell(inputs.prose(300)), Predictor(usual().size)
    with pytest.raises(TypeError, match="scores"):
        group.encode(ranks, usual(), lambda symbols: wrong(predictor.advance(symbols)), 0, 2, 8)


# What it costs.


def sampled(count: int, symbols: int) -> tuple[Vocabulary, Scores, Ints32, float]:
    """A vocabulary, scores by the symbol before, symbols drawn as the scores say, and the bits that they cost."""
    source = np.random.default_rng(4)
    words = [bytes(source.integers(97, 103, n).astype(np.uint8)) for n in source.integers(1, 6, 300)]
    vocabulary = Vocabulary([*every_byte()[32:128], *words, None, b""])
    table = (source.integers(-300, 100, (vocabulary.size, vocabulary.size)) / 64).astype(np.float32)
    numbers = vocabulary.sorted.symbols
    known = numbers >= 0
    exact = table.astype(np.float64)
    below = exact[:, np.maximum(numbers, 0)] - exact[:, numbers[known]].max(axis=1, keepdims=True)
    weights = np.where(known, np.exp(below), 2.0**-31)
    chances = weights / weights.sum(axis=1, keepdims=True)
    sums = chances.cumsum(axis=1)
    ranks, bits = [], 0.0
    for length in group.lane_counts(symbols, count):
        last = 0
        for draw in source.random(length):
            rank = min(int(np.searchsorted(sums[last], draw)), len(numbers) - 1)
            bits -= math.log2(chances[last, rank])
            ranks.append(rank)
            last = max(int(numbers[rank]), 0)
    return vocabulary, table, np.array(ranks, dtype=np.int32), bits


@pytest.mark.parametrize("count", [1, 4])
def test_a_model_costs_its_log_loss(count: int) -> None:
    """Alone within 0.05 % and 16 bytes for each lane of what float64 say; and mixing does it little harm even where
    the context models can say nothing that the model does not know."""
    vocabulary, table, ranks, bits = sampled(count, 20_000)

    def advance(symbols: Ints32) -> Scores:
        return table[symbols]

    alone = group.encode(ranks, vocabulary, advance, 0, count, 32, mixing=False)
    assert abs(len(alone) - bits / 8) <= 0.0005 * bits / 8 + 16 * count
    mixed = group.encode(ranks, vocabulary, advance, 0, count, 32)
    assert len(mixed) <= 1.02 * bits / 8 + 16 * count


@MIXING
@pytest.mark.parametrize("count", [1, 4])
def test_certainty_is_cheap(count: int, mixing: bool) -> None:
    """A model that knows what comes: also of what context models never expect."""
    text = inputs.noise(5_000) + inputs.prose(5_000)
    vocabulary = Vocabulary([*every_byte(), *(text[at : at + 3] for at in range(0, len(text), 7))])
    ranks = vocabulary.spell(text)
    payload = group.encode(ranks, vocabulary, Script(vocabulary, ranks, count).advance, 0, count, 32, mixing=mixing)
    assert len(payload) <= 16 + 8 * count
    reader = group.Reader(payload, len(text), vocabulary, count, mixing=mixing)
    assert reader.decode(Script(vocabulary, ranks, count).advance, 0) == text


CONTENTS = {
    "prose": inputs.prose(20_000),
    "log": inputs.log(20_000),
    "chinese": inputs.chinese(12_000),
    "noise": inputs.noise(6_000),
    "zeros": bytes(9_000),
    "documentation": (ROOT / "CONTRIBUTING.md").read_bytes(),
}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("name", CONTENTS)
def test_a_model_that_knows_nothing_does_no_harm(name: str, count: int) -> None:
    """With one, a group costs about what `cm` does."""
    text, vocabulary = CONTENTS[name], Vocabulary(every_byte())
    payload = group.encode(vocabulary.spell(text), vocabulary, know_nothing, 0, count, 32)
    assert len(payload) <= 1.02 * len(codec.encode(text, 2)) + 16 * count


@pytest.mark.parametrize("name", ["prose", "log", "noise"])
def test_a_model_that_is_always_wrong_does_little(name: str) -> None:
    """Sure of something else every time: the mixer soon stops listening to it."""
    text, vocabulary = CONTENTS[name], Vocabulary(every_byte())
    wrong = Script(vocabulary, vocabulary.spell(inputs.noise(len(text), 77)), 1)
    payload = group.encode(vocabulary.spell(text), vocabulary, wrong.advance, 0, 1, 32)
    assert len(payload) <= 1.05 * len(codec.encode(text, 2)) + 64


def test_lanes_learn_from_each_other() -> None:
    """What one lane has seen costs nothing in another."""
    vocabulary, unknown = Vocabulary(every_byte()), inputs.noise(3_000)
    text = unknown + inputs.prose(1_000) + unknown[:2_000]
    payload = group.encode(vocabulary.spell(text), vocabulary, know_nothing, 0, 2, 32)
    assert len(payload) <= 3_000 + len(codec.encode(inputs.prose(1_000), 2)) + 200
    reader = group.Reader(payload, len(text), vocabulary, 2)
    assert reader.decode(know_nothing, 0) == text


# What is damaged, or was never made by an encoder.


@cache
def sound(mixing: bool) -> tuple[bytes, bytes]:
    """A text and its payload."""
    text = inputs.log(250) + inputs.noise(30) + b" " * 90 + "é语🜁".encode()
    return text, encode(usual(), usual().spell(text), 3, mixing=mixing)


def head(*numbers: int) -> bytes:
    """Numbers as the head of a payload has them."""
    out = bytearray()
    for number in numbers:
        while number >= 128:
            out.append(number & 127 | 128)
            number >>= 7
        out.append(number)
    return bytes(out)


@settings(max_examples=120)
@given(st.data(), st.booleans())
def test_damaged_payloads_do_no_harm(data: st.DataObject, mixing: bool) -> None:
    text, payload = sound(mixing)
    broken = bytearray(payload)
    for _ in range(data.draw(st.integers(0, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    broken = broken[: data.draw(st.integers(0, len(broken)) | st.just(len(broken)))]
    broken += data.draw(st.binary(max_size=12) | st.just(b""))
    size = data.draw(st.just(len(text)) | st.integers(1, 500))
    decode_or_refuse(usual(), bytes(broken), size, mixing)


@settings(max_examples=120)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.builds(
            lambda numbers, code: head(*numbers) + code,
            st.lists(st.integers(0, 9) | st.integers(0, 200) | st.integers(0, 1 << 36), max_size=10),
            st.binary(max_size=50),
        ),
        st.builds(
            lambda lengths, symbols, code: head(len(lengths) + 1, symbols, *lengths) + code,
            st.lists(st.integers(1, 30), max_size=7),
            st.integers(1, 60),
            st.binary(max_size=50),
        ),
    ),
    st.integers(1, 300),
    st.booleans(),
)
def test_any_payload_gives_that_many_bytes_or_an_error(payload: bytes, size: int, mixing: bool) -> None:
    decode_or_refuse(usual(), payload, size, mixing)


@MIXING
def test_another_model_gives_other_bytes_or_an_error(mixing: bool) -> None:
    text, payload = sound(mixing)
    for seed in range(2, 6):
        reader = group.Reader(payload, len(text), usual(), MOST_LANES, mixing=mixing)
        try:
            content = reader.decode(Predictor(usual().size, seed).advance, 0)
        except ValueError:
            continue
        assert len(content) == len(text) and content != text


@MIXING
def test_zeros_at_the_end_are_refused(mixing: bool) -> None:
    text, payload = sound(mixing)
    for more in (1, 2, 100, 10_000):
        with pytest.raises(ValueError, match="zero"):
            decode(usual(), payload + bytes(more), len(text), mixing)


@MIXING
def test_payloads_that_go_on_are_refused(mixing: bool) -> None:
    text, payload = sound(mixing)
    with pytest.raises(ValueError, match="payload"):
        decode(usual(), payload + b"\1" * 9, len(text), mixing)


@MIXING
def test_codes_of_nothing_but_ones_or_zeros_do_no_harm(mixing: bool) -> None:
    for size in (1, 40, 900):
        for code in (b"", b"\xff" * 20, b"\xff" * 5_000, b"\0" * 30 + b"\1", b"\1"):
            for count, symbols in ((1, 1), (1, size), (min(8, size), min(9, size))):
                lengths = [size // count] * (count - 1)
                decode_or_refuse(usual(), head(count, symbols, *lengths) + code, size, mixing)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        head(1),
        head(2, 5),
        head(0, 5),
        head(9, 20, *[5] * 8),
        head(1 << 34, 20),
        head(3, 2, 10, 10),
        head(1, 0),
        head(1, 101),
        head(1, 1 << 34),
        head(2, 50, 0),
        head(2, 50, 24),
        head(2, 50, 76),
        head(2, 50, 100),
        head(2, 50, 1 << 34),
        head(8, 8, *[1 << 34] * 7),
        b"\x80\x80\x80\x80\x80\1" + head(5),
        b"\1\xff\xff\xff\xff\xff\xff",
    ],
    ids=[
        "none",
        "only a count",
        "no length",
        "no lanes",
        "too many lanes",
        "countless lanes",
        "empty lane",
        "no symbols",
        "more symbols than bytes",
        "countless symbols",
        "lane of no bytes",
        "first lane too short",
        "second lane too short",
        "lane as long as all",
        "endless lane",
        "endless lanes",
        "endless count",
        "endless number",
    ],
)
def test_impossible_heads_are_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match="head"):
        group.Reader(payload, 100, usual(), MOST_LANES)
    with pytest.raises(ValueError, match="head"):
        group.Reader(memoryview(payload), 100, usual(), MOST_LANES)


@pytest.mark.parametrize("size", [0, -1, group.MOST_BYTES + 1, 1 << 40])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        group.Reader(head(1, 1) + b"x", size, usual(), MOST_LANES)


# That its bytes never change.


def test_payloads_never_change() -> None:
    """Changing one is a new coding version. On purpose: `python -m tests.coding.test_group`."""
    assert payload_digests() == json.loads(GOLDEN.read_text())


TINY = ("one byte", "eight lanes", "equal lanes", "lanes of zeros", "lanes of one symbol")


def in_pure_python(program: str) -> Any:
    """What a program prints, as JSON, with the kernels as plain Python and warnings as errors."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pure_python_means_the_same() -> None:
    program = f"import json; from tests.coding import test_group as t; print(json.dumps(t.payload_digests({TINY!r})))"
    assert in_pure_python(program) == payload_digests(TINY)


class Guarded(np.ndarray[Any, Any]):
    """An array that has no negative indices, as the compiled kernels' arrays have none."""

    def __getitem__(self, key: Any) -> Any:
        self._check(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._check(key)
        super().__setitem__(key, value)

    @staticmethod
    def _check(key: Any) -> None:
        if (min(key) if isinstance(key, tuple) else key) < 0:
            raise IndexError(f"a negative index: {key}")


def guarded(argument: Any) -> Any:
    """An argument of the kernel whose arrays are guarded."""
    if isinstance(argument, np.ndarray):
        return argument.view(Guarded)
    return type(argument)(*map(guarded, argument)) if isinstance(argument, tuple) else argument


def round_trips_with_guards() -> int:
    """How many round trips went well in which no kernel reached outside its arrays."""
    kernel: Callable[..., int] = lanes.kernel_of()
    lanes.kernel_of = lambda: lambda *arguments: kernel(*map(guarded, arguments))  # type: ignore[assignment]
    texts = {b"x": 1, bytes(24): 2, inputs.prose(12) * 2 + b"\xff\n": 2, b"ab\n(1, 2)\n" * 2: 3}
    for text, count in texts.items():
        for mixing in (True, False):
            payload = encode(usual(), usual().spell(text), count, mixing=mixing)
            assert decode(usual(), payload, len(text), mixing) == text
    for broken in (payload[:-2], payload[:4] + b"\x55" * 20):
        decode_or_refuse(usual(), broken, len(text), True)
    return len(texts)


def test_no_kernel_reaches_outside_its_arrays() -> None:
    """Compiled, nothing would tell."""
    program = "from tests.coding import test_group as t; print(t.round_trips_with_guards())"
    assert in_pure_python(program) == 4


def test_impossible_groups_are_refused() -> None:
    ranks = usual().spell(b"some text")
    for wrong, count in ((ranks[:0], 1), (ranks, len(ranks) + 1)):
        with pytest.raises(ValueError, match="impossible group"):
            group.encode(wrong, usual(), Predictor(usual().size).advance, 0, count, 32)


def test_one_is_told_how_much_is_done() -> None:
    text = inputs.prose(300)
    ranks = usual().spell(text)
    told: list[int] = []
    payload = group.encode(ranks, usual(), Predictor(usual().size).advance, 0, 2, 32, watch=told.append)
    assert told == sorted(told) and told[-1] == len(text)
    told.clear()
    reader = group.Reader(payload, len(text), usual(), 2)
    assert reader.decode(Predictor(usual().size).advance, 0, told.append) == text
    assert told == sorted(told) and told[-1] == len(text)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(payload_digests(), indent=1) + "\n")
