"""The symbols of a tokenizer.json: the exact bytes of each, and the tokenizer itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from lmarc_torch.folder import read_json

_BYTE = re.compile(r"<0x([0-9A-F]{2})>\Z")
_SPACE = "\u2581"


class Tokens:
    """A tokenizer. Raises ValueError for one whose tokens are not runs of bytes."""

    def __init__(self, folder: str) -> None:
        from tokenizers import Tokenizer

        path = os.path.join(folder, "tokenizer.json")
        table = read_json(path)
        with open(path, "rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").digest()
        with _panics():
            self._tokenizer = Tokenizer.from_file(path)
        # What looks like a control token is text, and what the tokenizer would add or cut off is not.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.kind = str(table.get("model", {}).get("type", "")).lower()
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        self._special = {
            token["content"] for token in table.get("added_tokens", []) if type(token) is dict and token.get("special")
        }
        parts = set(_types(table.get("decoder"))) | set(_types(table.get("pre_tokenizer")))
        parts |= set(_types(table.get("normalizer")))
        self._is_bytewise = "ByteLevel" in parts
        if not self._is_bytewise and not _has_byte_tokens(self._vocabulary):
            raise ValueError(f"tokenizer.json: tokens of kind {self.kind or 'unknown'} are not runs of bytes")

    def pieces(self, size: int) -> list[bytes | None]:
        """The bytes of each of so many symbols; None for those that no text may produce."""
        out: list[bytes | None] = [None] * size
        letters = {letter: byte for byte, letter in enumerate(_letters())}
        for text, number in self._vocabulary.items():
            if number < size and text not in self._special:
                out[number] = self._piece(text, letters)
        return out

    def _piece(self, text: str, letters: Mapping[str, int]) -> bytes | None:
        if self._is_bytewise:
            # A token that was added stands for its text.
            known = all(letter in letters for letter in text)
            return bytes(letters[letter] for letter in text) if known else text.encode("utf-8", "replace")
        match = _BYTE.match(text)
        if match is not None:
            return bytes.fromhex(match[1])
        return text.replace(_SPACE, " ").encode("utf-8", "replace")

    def number_of(self, *names: object) -> int | None:
        """The first of these that is a token, by its text or number."""
        for name in names:
            if type(name) is int and name >= 0:
                return name
            if type(name) is str and name in self._vocabulary:
                return self._vocabulary[name]
        return None

    def tokenize(self, text: bytes) -> npt.NDArray[np.int32]:
        """int32[]: symbols of a text that is valid UTF-8."""
        with _panics():
            encoded = self._tokenizer.encode(text.decode("utf-8"), add_special_tokens=False)
        return np.array(encoded.ids, dtype=np.int32)


@contextmanager
def _panics() -> Iterator[None]:
    """Turns what the tokenizers library raises into ValueError; its panics are no Exceptions."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"tokenizer.json: {error}") from error


def _types(part: Any) -> list[str]:
    """Types of a part of a tokenizer and of the parts in it."""
    if type(part) is list:
        return [kind for each in part for kind in _types(each)]
    if type(part) is not dict:
        return []
    inner = [kind for value in part.values() for kind in _types(value)]
    return [*inner, part["type"]] if type(part.get("type")) is str else inner


def _has_byte_tokens(vocabulary: Mapping[str, int]) -> bool:
    return "<0x00>" in vocabulary and "<0xFF>" in vocabulary


def _letters() -> list[str]:
    """How byte-level tokenizers write each byte (GPT-2's bytes_to_unicode): as itself where it can be seen."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in seen}
    hidden = (byte for byte in range(256) if byte not in letters)
    return [letter for _, letter in sorted((letters | {byte: chr(256 + n) for n, byte in enumerate(hidden)}).items())]
