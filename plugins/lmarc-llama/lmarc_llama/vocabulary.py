"""A model's vocabulary: the exact bytes of every token, as llama.cpp defines them, and its tokenizer."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt

from lmarc_llama.library import library

_UNKNOWN, _UNUSED, _CONTROL = 1, 2, 8
_ROOM = 256
#: Tokens with longer texts are not used.
_MOST_BYTES = 1 << 16

KINDS = {1: "spm", 2: "bpe", 3: "wpm", 4: "ugm", 5: "rwkv", 6: "plamo2"}


def kind(vocabulary: Any) -> str:
    """The kind of a vocabulary; "none" where the model has none."""
    return KINDS.get(library().llama_vocab_type(vocabulary), "none")


def pieces(vocabulary: Any) -> list[bytes | None]:
    """The bytes of every token; None for control, unknown and unused ones, which no text may produce."""
    count = library().llama_vocab_n_tokens(vocabulary)
    return [_piece(vocabulary, token) for token in range(count)]


def _piece(vocabulary: Any, token: int) -> bytes | None:
    llama = library()
    if llama.llama_vocab_get_attr(vocabulary, token) & (_UNKNOWN | _UNUSED | _CONTROL):
        return None
    room = _ROOM
    while room <= _MOST_BYTES:
        buffer = ctypes.create_string_buffer(room)
        length = llama.llama_token_to_piece(vocabulary, token, buffer, room, 0, False)
        if length >= 0:
            return buffer.raw[:length]
        room = -length
    return None


def first_token(vocabulary: Any) -> int:
    """What a text begins with: the token for that, else the one that ends a text, else the first of all."""
    llama = library()
    for token in (llama.llama_vocab_bos(vocabulary), llama.llama_vocab_eos(vocabulary)):
        if 0 <= token < llama.llama_vocab_n_tokens(vocabulary):
            return int(token)
    return 0


def tokenize(vocabulary: Any, text: bytes) -> npt.NDArray[np.int32]:
    """int32[]: tokens of a text, which must be valid UTF-8: of other bytes, llama.cpp may end the process.

    Nothing is added, and text that looks like a control token stays text.
    """
    llama = library()
    room = len(text) + 16
    tokens = np.empty(room, dtype=np.int32)
    place = tokens.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    count = llama.llama_tokenize(vocabulary, text, len(text), place, room, False, False)
    return tokens[: max(count, 0)]
