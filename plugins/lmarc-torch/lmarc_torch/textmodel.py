"""What the modes that run a given model share: its folder, tokenizer and context."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lmarc.backends import settings
from lmarc.backends.contract import PredictorModel
from lmarc.errors import UnsupportedError
from lmarc_torch import folder as folders
from lmarc_torch.tokens import Tokens

NAME = "torch"
CONTEXT = 512

Bounds = Mapping[str, tuple[int, int]]
Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


class TextModel(PredictorModel):
    """A model of a folder. Raises ValueError for one that is not understood, UnsupportedError for bad params.

    `params` are what packing wishes or, `is_archived`, the settings that an archive has, which are `needed` all.
    """

    def __init__(
        self, path: str, params: Mapping[str, Any], bounds: Bounds, needed: Collection[str], *, is_archived: bool
    ) -> None:
        folder = os.path.dirname(path)
        self.config = folders.config_of(folder)
        if is_archived:
            settings.refuse_incomplete(NAME, params, needed)
        longest = folders.longest_context(self.config)
        self.context = settings.number(NAME, params, "context", bounds["context"], min(CONTEXT, longest))
        self.keep = settings.number(NAME, params, "keep", bounds["keep"], self.context // 2)
        if self.keep >= self.context or (not is_archived and self.context > longest):
            raise UnsupportedError(f"backend 'torch' cannot look back on {self.context} tokens and keep {self.keep}")
        self._tokens = Tokens(folder)

    def _take_vocabulary(self, size: int) -> None:
        """So many symbols are scored: their bytes, and which one a text begins with."""
        self.vocabulary = self._tokens.pieces(size)
        names = (self.config.get("bos_token_id"), self.config.get("eos_token_id"), "<|endoftext|>", "<s>")
        found = self._tokens.number_of(*names)
        self.first = found if found is not None and found < size else 0

    def tokenize(self, text: bytes) -> Ints32:
        """Symbols of valid UTF-8."""
        return self._tokens.tokenize(text)

    def about(self) -> Mapping[str, Any]:
        """What the folder says of itself, but what it computes in."""
        return {
            "title": str(self.config.get("_name_or_path") or ""),
            "tokenizer": {"kind": self._tokens.kind, "sha256": self._tokens.sha256},
        }


def newest(seen: Tensor, keep: int, first: int) -> Tensor:
    """int64[lanes, keep]: what is read again of a full context, the first of it replaced by the first symbol."""
    kept = seen[:, seen.shape[1] - keep :].clone()
    kept[:, :1] = first
    return kept
