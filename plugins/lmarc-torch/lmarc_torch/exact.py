"""The exact engine as a predictor: portable, in as many lanes and steps at once as is convenient."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lmarc.backends.contract import PredictorModel, Session
from lmarc.errors import LimitError, UnsupportedError
from lmarc_torch import folder as folders
from lmarc_torch.linear import Device
from lmarc_torch.network import Cache, Network
from lmarc_torch.tokens import Tokens

MODE = "exact"
#: The version of spec/EXACT.md that scores follow.
ENGINE = 1
_CONTEXT = 512
_LANES = 32
_LIMITS = {"lanes": (1, 256), "context": (16, 1 << 13), "keep": (0, 1 << 13), "engine": (ENGINE, ENGINE)}
#: Small models gain nothing from more lanes but speed in unpacking, and lanes cost a little size.
_SMALL, _LANES_OF_SMALL = 20_000_000, 4
#: What the scores of one call may take, in bytes, and how many symbols of all lanes one may have.
_MOST_SCORES = 128 << 20
_MOST_ROWS = 1024
#: What attention takes for each row, head and key.
_ATTENTION_BYTES = 24
#: What keys and values may take, as a part of the memory there is.
_CACHE_SHARE = 4

Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


class ExactModel(PredictorModel):
    """A model whose scores are the same on every machine. Raises ValueError for a folder that is not understood.

    `params` are what packing wishes or, `is_archived`, the settings that an archive has.
    """

    def __init__(self, path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool = False) -> None:
        self._folder = os.path.dirname(path)
        self._config = folders.config_of(self._folder)
        if is_archived and not _LIMITS.keys() <= params.keys():
            raise UnsupportedError("backend 'torch': the archive's settings are not whole")
        longest = folders.longest_context(self._config)
        context = _checked(params, "context", min(_CONTEXT, longest))
        keep = _checked(params, "keep", context // 2)
        _checked(params, "engine", ENGINE)
        if keep >= context or (not is_archived and context > longest):
            raise UnsupportedError(f"backend 'torch' cannot look back on {context} tokens and keep {keep}")
        self._network = folders.network(path, context)
        positions = self._network.positions
        if positions is not None and positions.rows < context:
            raise ValueError(f"it has {positions.rows} positions, fewer than {context}")
        if torch.cuda.is_available():
            self._network.move(torch.device("cuda"), Device.INTEGERS)
        self._tokens = Tokens(self._folder)
        # Small models lose more by waiting for other threads than those do for them.
        self._threads = 1 if self._network.size < _SMALL else max(threads, 1)
        self.vocabulary = self._tokens.pieces(self._network.head.outputs)
        self.first = self._first()
        lanes = _checked(params, "lanes", self._usual_lanes(context))
        if lanes * context * self._cache_bytes() > _memory() // 2:
            raise LimitError(f"{lanes} lanes of {context} tokens take more memory than there is")
        self._keep, self._context = keep, context
        self.lanes = lanes
        self.steps = self._most_steps(lanes)
        self._try()
        self.settings = {"mode": MODE, "engine": ENGINE, "lanes": lanes, "context": context, "keep": keep}

    def _try(self) -> None:
        """Raise ValueError for a network whose parts do not fit each other."""
        try:
            self.session(1).advance(np.full((1, 2), self.first, dtype=np.int32))
        except (RuntimeError, IndexError) as error:
            raise ValueError(f"its parts do not fit each other: {error}") from error

    def _usual_lanes(self, context: int) -> int:
        usual = _LANES_OF_SMALL if self._network.size < _SMALL else _LANES
        return max(min(usual, _memory() // _CACHE_SHARE // (context * self._cache_bytes())), 1)

    def _most_steps(self, lanes: int) -> int:
        """How many steps of all lanes are computed at once: as many as memory for scores and attention allows."""
        attention = self._network.shape.heads * self._context * _ATTENTION_BYTES
        rows = min(_MOST_ROWS, _MOST_SCORES // (4 * len(self.vocabulary)), _MOST_SCORES // attention)
        return max(min(rows // lanes, self._context), 1)

    def _cache_bytes(self) -> int:
        shape = self._network.shape
        return len(self._network.layers) * shape.kv_heads * (shape.head_width + 1) * 2 * 4

    def _first(self) -> int:
        names = (self._config.get("bos_token_id"), self._config.get("eos_token_id"), "<|endoftext|>", "<s>")
        found = self._tokens.number_of(*names)
        return found if found is not None and found < len(self.vocabulary) else 0

    def tokenize(self, text: bytes) -> Ints32:
        """Symbols of valid UTF-8."""
        return self._tokens.tokenize(text)

    def session(self, lanes: int) -> Session:
        """A session of that many lanes."""
        torch.set_num_threads(self._threads)
        return ExactSession(self._network, lanes, self._context, self._keep, self.first, self.steps)

    def about(self) -> Mapping[str, Any]:
        """What the folder says of itself."""
        with open(os.path.join(self._folder, "tokenizer.json"), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        names = self._config.get("architectures")
        name = names[0] if type(names) is list and names and type(names[0]) is str else ""
        return {
            "title": str(self._config.get("_name_or_path") or ""),
            "architecture": name or str(self._config.get("model_type", "")),
            "quantisation": "int8",
            "tokenizer": {"kind": self._tokens.kind, "sha256": digest},
        }


class ExactSession(Session):
    """Lanes of the exact engine. When the context is full, the newest symbols are read again from its beginning."""

    def __init__(self, network: Network, lanes: int, context: int, keep: int, first: int, steps: int) -> None:
        self._steps = steps
        self._network, self._context, self._keep, self._first = network, context, keep, first
        self._cache = Cache(network.shape, len(network.layers), lanes, context, network.device)
        self._seen = torch.zeros(lanes, context, dtype=torch.int64)

    @torch.inference_mode()
    def advance(self, symbols: Ints32) -> Scores:
        """The next symbols of all lanes, int32[lanes, steps]; returns float32[lanes, steps, vocabulary]."""
        given = torch.from_numpy(symbols.astype(np.int64))
        parts = []
        while given.shape[1]:
            if self._cache.filled == self._context:
                self._slide()
            now, given = given.tensor_split([self._context - self._cache.filled], 1)
            parts.append(self._network.scores(self._take(now)))
        if not all(part.isfinite().all() for part in parts):
            raise ValueError("it gives scores that are not numbers")
        scores: Scores = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).cpu().numpy()
        return scores

    def _take(self, symbols: torch.Tensor) -> torch.Tensor:
        start = self._cache.filled
        self._seen[:, start : start + symbols.shape[1]] = symbols
        return self._network.advance(symbols.to(self._network.device), self._cache)

    def _slide(self) -> None:
        newest = self._seen[:, self._context - self._keep :].clone()
        newest[:, :1] = self._first
        self._cache.filled = 0
        if self._keep:
            for part in newest.split(self._steps, 1):
                self._take(part)


def _checked(params: Mapping[str, Any], key: str, usual: int) -> int:
    """A number of the settings. Raises UnsupportedError if it is out of its bounds."""
    value = params.get(key, usual)
    least, most = _LIMITS[key]
    if type(value) is not int or not least <= value <= most:
        raise UnsupportedError(f"backend 'torch' knows no {key} {value!r:.20}")
    return value


def _memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
