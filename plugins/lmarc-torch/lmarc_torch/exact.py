"""The exact engine as a predictor: portable, in as many lanes and steps at once as is convenient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from lmarc.backends import settings
from lmarc.backends.contract import Session
from lmarc.backends.machine import memory
from lmarc.errors import LimitError
from lmarc_torch import folder as folders
from lmarc_torch.linear import Device
from lmarc_torch.network import Cache, Network
from lmarc_torch.textmodel import NAME, Ints32, Scores, TextModel, newest

MODE = "exact"
#: The version of spec/EXACT.md that scores follow.
ENGINE = 1
_LANES = 32
_BOUNDS = {"lanes": (1, 256), "context": (16, 1 << 13), "keep": (0, 1 << 13), "engine": (ENGINE, ENGINE)}
#: Small models gain nothing from more lanes but speed in unpacking, and lanes cost a little size.
_SMALL, _LANES_OF_SMALL = 20_000_000, 4
#: What the scores of one call may take, in bytes, and how many symbols of all lanes one may have.
_MOST_SCORES = 128 << 20
_MOST_ROWS = 1024
#: What attention takes for each row, head and key.
_ATTENTION_BYTES = 24
#: What keys and values may take, as a part of the memory there is.
_CACHE_SHARE = 4


class ExactModel(TextModel):
    """A model whose scores are the same on every machine. Raises ValueError for a folder that is not understood.

    `params` are what packing wishes or, `is_archived`, the settings that an archive has.
    """

    def __init__(self, path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool = False) -> None:
        super().__init__(path, params, _BOUNDS, _BOUNDS, is_archived=is_archived)
        settings.number(NAME, params, "engine", _BOUNDS["engine"], ENGINE)
        self._network = folders.network(path, self.context)
        positions = self._network.positions
        if positions is not None and positions.rows < self.context:
            raise ValueError(f"it has {positions.rows} positions, fewer than {self.context}")
        if torch.cuda.is_available():
            self._network.move(torch.device("cuda"), Device.INTEGERS)
        # Small models lose more by waiting for other threads than those do for them.
        self._threads = 1 if self._network.size < _SMALL else max(threads, 1)
        self._take_vocabulary(self._network.head.outputs)
        lane = self.context * self._cache_bytes()
        self.lanes = settings.number(NAME, params, "lanes", _BOUNDS["lanes"], self._usual_lanes(lane))
        if self.lanes * lane > memory() // 2:
            raise LimitError(f"{self.lanes} lanes of {self.context} tokens take more memory than there is")
        self.steps = self._most_steps()
        self._try()
        self.settings = {
            "mode": MODE,
            "engine": ENGINE,
            "lanes": self.lanes,
            "context": self.context,
            "keep": self.keep,
        }

    def _try(self) -> None:
        """Raise ValueError for a network whose parts do not fit each other."""
        try:
            self.session(1).advance(np.full((1, 2), self.first, dtype=np.int32))
        except (RuntimeError, IndexError, ValueError) as error:
            raise ValueError(f"its parts do not fit each other: {error}") from error

    def _usual_lanes(self, lane: int) -> int:
        """As many as are of use and as memory allows, of which a lane takes so many bytes."""
        usual = _LANES_OF_SMALL if self._network.size < _SMALL else _LANES
        return max(min(usual, memory() // _CACHE_SHARE // lane), 1)

    def _most_steps(self) -> int:
        """How many steps of all lanes are computed at once: as many as memory for scores and attention allows."""
        attention = self._network.shape.heads * self.context * _ATTENTION_BYTES
        rows = min(_MOST_ROWS, _MOST_SCORES // (4 * len(self.vocabulary)), _MOST_SCORES // attention)
        return max(min(rows // self.lanes, self.context), 1)

    def _cache_bytes(self) -> int:
        shape = self._network.shape
        return len(self._network.layers) * shape.kv_heads * (shape.head_width + 1) * 2 * 4

    def session(self, lanes: int) -> Session:
        """A session of that many lanes."""
        torch.set_num_threads(self._threads)
        return ExactSession(self, self._network, lanes)

    def about(self) -> Mapping[str, Any]:
        """What the folder says of itself."""
        names = self.config.get("architectures")
        name = names[0] if type(names) is list and names and type(names[0]) is str else ""
        architecture = name or str(self.config.get("model_type", ""))
        return {**super().about(), "architecture": architecture, "quantisation": "int8"}


class ExactSession(Session):
    """Lanes of the exact engine. When the context is full, the newest symbols are read again from its beginning."""

    def __init__(self, model: ExactModel, network: Network, lanes: int) -> None:
        self._model, self._network = model, network
        self._cache = Cache(network.shape, len(network.layers), lanes, model.context, network.device)
        self._room: torch.Tensor | None = None
        self._seen = torch.zeros(lanes, model.context, dtype=torch.int64)

    @torch.inference_mode()
    def advance(self, symbols: Ints32) -> Scores:
        """The next symbols of all lanes, int32[lanes, steps]; returns float32[lanes, steps, vocabulary]."""
        given = torch.from_numpy(symbols.astype(np.int64))
        parts: list[torch.Tensor] = []
        while given.shape[1]:
            if self._cache.filled == self._model.context:
                self._slide()
            now, given = given.tensor_split([self._model.context - self._cache.filled], 1)
            # Only where all is one part, since the next would take its place.
            room = self._room_for(now.shape) if not parts and not given.shape[1] else None
            parts.append(self._network.scores(self._take(now), room))
        # What is no number makes the sum none: one pass, and a closer look only then.
        if not all(part.sum().isfinite() or part.isfinite().all() for part in parts):
            raise ValueError("it gives scores that are not numbers")
        scores: Scores = (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).cpu().numpy()
        return scores

    def _room_for(self, shape: torch.Size) -> torch.Tensor | None:
        """Memory for scores of that many lanes and steps, the same for every call. A GPU does without."""
        size = (*shape, self._network.head.outputs)
        if self._network.device.type == "cpu" and (self._room is None or self._room.shape != size):
            self._room = torch.empty(size)
        return self._room

    def _take(self, symbols: torch.Tensor) -> torch.Tensor:
        start = self._cache.filled
        self._seen[:, start : start + symbols.shape[1]] = symbols
        return self._network.advance(symbols.to(self._network.device), self._cache)

    def _slide(self) -> None:
        self._cache.filled = 0
        if self._model.keep:
            for part in newest(self._seen, self._model.keep, self._model.first).split(self._model.steps, 1):
                self._take(part)
