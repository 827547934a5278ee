"""GGUF metadata: what is read, how the tokenizer is named, and that nothing hostile does more than fail."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.errors import BackendMissingError, UsageError
from lmarc.models import gguf
from tests.models import build
from tests.models.build import Typed

TOKENS = [b"<s>", b"a", b"b\xff", b""] + [b"token %d" % number for number in range(5000)]
WHOLE: dict[str, Any] = {
    "general.architecture": "qwen2",
    "general.name": "Some Model",
    "general.file_type": 18,
    "general.source.url": "https://example.org/model",
    "qwen2.context_length": Typed(build.U64, 32768),
    "qwen2.rope.freq_base": 10000.0,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.scores": Typed(build.F32, [0.5] * len(TOKENS)),
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.bos_token_id": 1,
}


def write(folder: Path, data: bytes) -> Path:
    path = folder / "x.gguf"
    path.write_bytes(data)
    return path


def info(folder: Path, pairs: Any, **options: Any) -> gguf.GgufInfo:
    return gguf.read_info(write(folder, build.gguf(pairs, **options)))


@pytest.mark.parametrize("version", [2, 3])
def test_what_is_read(version: int, tmp_path: Path) -> None:
    found = info(tmp_path, WHOLE, version=version)
    assert found.version == version
    assert (found.name, found.architecture, found.quantisation) == ("Some Model", "qwen2", "Q6_K")
    assert (found.context_length, found.tokenizer) == (32768, "gpt2/qwen2")
    assert (found.is_instruct, found.source) == (False, "https://example.org/model")


def test_nothing_said(tmp_path: Path) -> None:
    assert info(tmp_path, {}) == gguf.GgufInfo(3, "", "", "", 0, "", b"", False, "")


def test_values_of_other_types_say_nothing(tmp_path: Path) -> None:
    odd = {"general.name": 7, "general.file_type": "Q8", "general.architecture": ["llama"], "general.tags": "x"}
    found = info(tmp_path, odd | {"llama.context_length": 1.5})
    assert found == gguf.GgufInfo(3, "", "", "", 0, "", b"", False, "")


def test_a_real_file_ends_where_tensors_begin(tmp_path: Path) -> None:
    # The size of what follows matters as little as its content.
    path = write(tmp_path, build.gguf(WHOLE))
    os.truncate(path, 1 << 33)
    assert gguf.read_info(path).name == "Some Model"


NAMES = {0: "F32", 1: "F16", 7: "Q8_0", 11: "Q3_K_S", 15: "Q4_K_M", 18: "Q6_K", 19: "IQ2_XXS", 27: "IQ3_M", 28: "IQ2_S"}
NAMES |= {32: "BF16", 36: "TQ1_0", 38: "MXFP4_MOE", 1024 + 15: "Q4_K_M", 999: "type 999"}


@pytest.mark.parametrize(("number", "name"), NAMES.items())
def test_quantisation(number: int, name: str, tmp_path: Path) -> None:
    assert info(tmp_path, {"general.file_type": number}).quantisation == name


@pytest.mark.parametrize(
    ("pairs", "instruct"),
    [
        ({"general.name": "Gemma 2 2b It"}, True),
        ({"general.name": "gemma-2-2b-it"}, True),
        ({"general.finetune": "Instruct"}, True),
        ({"general.finetune": "it"}, True),
        ({"general.basename": "TinyLlama-chat"}, True),
        ({"general.tags": ["text-generation", "chat"]}, True),
        ({"general.tags": ["text-generation", "it", "de"]}, False),
        ({"tokenizer.chat_template": "{{ messages }}"}, True),
        ({"tokenizer.chat_template": "x" * 100_000}, True),
        ({"general.name": "Italian Writer", "general.finetune": "italics"}, False),
        ({"general.name": "Mistral 7B v0.1"}, False),
    ],
)
def test_is_instruct(pairs: dict[str, Any], instruct: bool, tmp_path: Path) -> None:
    assert info(tmp_path, pairs).is_instruct is instruct


def test_source(tmp_path: Path) -> None:
    pairs = {"general.url": "a", "general.source.huggingface.repository": "org/b"}
    assert info(tmp_path, pairs).source == "org/b"
    assert info(tmp_path, {"general.url": "a"}).source == "a"


# --- the tokenizer's name ----------------------------------------------------------------------------------


def test_tokenizer_sha256_is_what_its_docstring_says(tmp_path: Path) -> None:
    pairs = {key: value for key, value in WHOLE.items() if key.startswith("tokenizer.")}
    digests = [hashlib.sha256(build.pair(key, pairs[key])).digest() for key in sorted(pairs)]
    expected = hashlib.sha256(b"".join(digests)).digest()
    assert info(tmp_path, WHOLE).tokenizer_sha256 == expected


def test_tokenizer_sha256_ignores_order_and_all_else(tmp_path: Path) -> None:
    expected = info(tmp_path, WHOLE).tokenizer_sha256
    more = {"general.name": "another", "tokenizer.chat_template": "x", "tokenizer.chat_template.tool_use": "y"}
    assert info(tmp_path, dict(reversed(WHOLE.items())) | more).tokenizer_sha256 == expected
    assert info(tmp_path, WHOLE, version=2).tokenizer_sha256 == expected


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer.ggml.tokens": [*TOKENS[:-1], b"another"]},
        {"tokenizer.ggml.pre": "llama-bpe"},
        {"tokenizer.ggml.add_bos_token": True},
        {"tokenizer.ggml.unheard_of": 1},
    ],
)
def test_tokenizer_sha256_sees_every_change(change: dict[str, Any], tmp_path: Path) -> None:
    assert info(tmp_path, WHOLE | change).tokenizer_sha256 != info(tmp_path, WHOLE).tokenizer_sha256


# --- values ------------------------------------------------------------------------------------------------

_SIGNED = {build.I8: 8, build.I16: 16, build.I32: 32, build.I64: 64}
_UNSIGNED = {build.U8: 8, build.U16: 16, build.U32: 32, build.U64: 64}
_NUMBERS = st.one_of(
    *(st.integers(-(1 << bits - 1), (1 << bits - 1) - 1).map(partial(Typed, kind)) for kind, bits in _SIGNED.items()),
    *(st.integers(0, (1 << bits) - 1).map(partial(Typed, kind)) for kind, bits in _UNSIGNED.items()),
)
_VALUES = st.text(max_size=20) | st.booleans() | _NUMBERS | st.lists(st.binary(max_size=20), max_size=20)


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=20), _VALUES, max_size=12), st.sampled_from([2, 3]))
def test_all_values_come_back(tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, Any], version: int) -> None:
    path = tmp_path_factory.mktemp("gguf") / "x.gguf"
    path.write_bytes(build.gguf(pairs, version=version))
    plain = {key: given.value if isinstance(given, Typed) else given for key, given in pairs.items()}
    assert gguf.read_metadata(path) == plain


def test_large_values_only_when_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, build.gguf(WHOLE | {"x.long": "long " * 1000}))
    values = gguf.read_metadata(path)
    assert {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "x.long"}.isdisjoint(values)
    assert values["tokenizer.ggml.bos_token_id"] == 1
    values = gguf.read_metadata(path, ("tokenizer.ggml.tokens", "tokenizer.ggml.scores", "x.long"))
    assert values["tokenizer.ggml.tokens"] == TOKENS
    assert values["tokenizer.ggml.scores"] == [0.5] * len(TOKENS)
    assert values["x.long"] == "long " * 1000


@pytest.mark.parametrize("size", [gguf._BLOCK - 200, gguf._BLOCK, 3 * gguf._BLOCK + 1])
def test_strings_longer_than_the_window(size: int, tmp_path: Path) -> None:
    tokens = [b"a" * size, b"", b"b" * size, b"c"]
    path = write(tmp_path, build.gguf({"tokenizer.x": tokens, "y": 1}))
    assert gguf.read_metadata(path, ["tokenizer.x"]) == {"tokenizer.x": tokens, "y": 1}
    digest = hashlib.sha256(build.pair("tokenizer.x", tokens)).digest()
    assert gguf.read_info(path).tokenizer_sha256 == hashlib.sha256(digest).digest()


# --- hostile files -----------------------------------------------------------------------------------------


def _head(pairs: int, *, version: int = 3, tensors: int = 1) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def _pair(key: bytes, kind: int, value: bytes) -> bytes:
    return _head(1) + build.string(key) + struct.pack("<I", kind) + value


HUGE = 2**64 - 1
HOSTILE = {
    "empty": (b"", "does not begin"),
    "short": (b"GGU", "does not begin"),
    "other": (b"PK\3\4" + bytes(60), "does not begin"),
    "no version": (b"GGUF", "ends within"),
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), "version 1"),
    "version 4": (_head(0, version=4), "version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "tensors": (_head(0, tensors=HUGE), "tensors"),
    "pairs": (_head(HUGE), "keys"),
    "more pairs than bytes": (_head(8000) + bytes(1000), "ends within"),
    "key": (_head(1) + struct.pack("<Q", HUGE) + bytes(99), "key of"),
    "key cut": (_head(1) + struct.pack("<Q", 200) + bytes(99), "ends within"),
    "type": (_pair(b"k", 13, bytes(99)), "type 13"),
    "string": (_pair(b"k", build.STRING, struct.pack("<Q", HUGE)), "string of"),
    "string cut": (_pair(b"k", build.STRING, struct.pack("<Q", 1 << 20) + bytes(99)), "ends within"),
    "array": (_pair(b"k", build.ARRAY, struct.pack("<IQ", build.U8, HUGE)), "array of"),
    "array cut": (_pair(b"k", build.ARRAY, struct.pack("<IQ", build.F64, 1000) + bytes(999)), "ends within"),
    "array type": (_pair(b"k", build.ARRAY, struct.pack("<IQ", 77, 1) + bytes(99)), "type 77"),
    "array of arrays": (_pair(b"k", build.ARRAY, struct.pack("<IQ", build.ARRAY, 1) + bytes(99)), "array of arrays"),
    "strings": (_pair(b"k", build.ARRAY, struct.pack("<IQQ", build.STRING, 1, HUGE)), "string of"),
    "strings cut": (_pair(b"k", build.ARRAY, struct.pack("<IQQ", build.STRING, 2, 1) + bytes(8)), "ends within"),
    "key twice": (build.gguf([build.pair("k", 1), build.pair("k", 1)]), "twice"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    data, reason = HOSTILE[name]
    path = write(tmp_path, data)
    with pytest.raises(BackendMissingError, match=reason) as caught:
        gguf.read_info(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "size", "reason"),
    [
        (struct.pack("<IQ", build.STRING, gguf.MAX_STRING), gguf.MAX_STRING, "metadata of more than"),
        (struct.pack("<IIQ", build.ARRAY, build.U8, gguf.MAX_ELEMENTS), gguf.MAX_ELEMENTS, "arrays of more than"),
    ],
    ids=["strings", "arrays"],
)
def test_many_large_values_are_refused(value: bytes, size: int, reason: str, tmp_path: Path) -> None:
    # Their content is holes, so that this costs no disk.
    path = tmp_path / "x.gguf"
    with path.open("wb") as file:
        file.write(_head(20))
        for number in range(20):
            file.write(build.string(f"k{number}") + value)
            file.seek(size, os.SEEK_CUR)
        file.truncate()
    with pytest.raises(BackendMissingError, match=reason):
        gguf.read_info(path)


SMALL = build.gguf({**WHOLE, "tokenizer.ggml.tokens": TOKENS[:9], "tokenizer.ggml.scores": Typed(build.F32, [0.5] * 9)})


def _only_that_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    started = time.monotonic()
    try:
        gguf.read_info(path)
        gguf.read_metadata(path, ["tokenizer.ggml.tokens"])
    except BackendMissingError:
        pass
    assert time.monotonic() - started < 5


def test_every_truncation(tmp_path: Path) -> None:
    end = len(SMALL) - len(b"tensors")
    for size in [*range(0, end, 3), *range(end - 10, len(SMALL))]:
        path = write(tmp_path, SMALL[:size])
        if size < end:
            with pytest.raises(BackendMissingError):
                gguf.read_info(path)
        else:
            assert gguf.read_info(path).name == "Some Model"


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bits(tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for at, mask in flips:
        data[at] ^= mask
    _only_that_error(tmp_path_factory.getbasetemp() / "flipped.gguf", bytes(data))


@settings(max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 4))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, pairs: int) -> None:
    _only_that_error(tmp_path_factory.getbasetemp() / "any.gguf", _head(pairs) + data)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="not a regular file"):
            gguf.read_info(path)
    with pytest.raises(FileNotFoundError):
        gguf.read_info(tmp_path / "none")


def test_is_gguf(tmp_path: Path) -> None:
    assert gguf.is_gguf(write(tmp_path, SMALL))
    assert not gguf.is_gguf(write(tmp_path, b"GGML" + bytes(10)))
    assert not gguf.is_gguf(write(tmp_path, b""))
