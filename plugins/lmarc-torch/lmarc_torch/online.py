"""A byte model that learns what it has just coded, on both sides alike: no model need exist before.

The code is then a description of the text by the program alone (prequential coding; F. Bellard, NNCP, 2019). Weights
start from a seed; every group starts anew. Matching: training is in floating point.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmarc.backends import settings
from lmarc.backends.contract import PredictorModel, Promise, Session
from lmarc_torch.folder import read_json
from lmarc_torch.textmodel import NAME, Ints32, Scores

MODE = "online"
BYTES = 256
#: What every lane begins with: no byte.
FIRST = BYTES
_BOUNDS = {
    "lanes": (1, 32),
    "width": (8, 1024),
    "layers": (1, 4),
    "segment": (2, 64),
    "rate": (1, 1_000_000),
    "seed": (0, 1 << 32),
    "threads": (1, 256),
}

#: What each layer remembers: float32[lanes, width] twice.
States = list[tuple[Tensor, Tensor]]


class Learner(nn.Module):
    """LSTMs over bytes, each fed with the byte and with what is below it; scores are made from all of them."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(BYTES + 1, width)
        self.layers = nn.ModuleList(
            nn.LSTM(width if number == 0 else 2 * width, width, batch_first=True) for number in range(layers)
        )
        self.head = nn.Linear(width * layers, BYTES)

    def forward(self, symbols: Tensor, states: States) -> Tensor:
        """float32[lanes, steps, 256] of int64[lanes, steps]: scores of what follows."""
        embedded = self.embedding(symbols)
        below, outputs = embedded, []
        for layer, (hidden, cell) in zip(self.layers, states, strict=True):
            out, _ = layer(below, (hidden[None], cell[None]))
            outputs.append(out)
            below = torch.cat((embedded, out), -1)
        scores: Tensor = self.head(torch.cat(outputs, -1))
        return scores

    def step(self, symbols: Tensor, states: States) -> tuple[Tensor, States]:
        """float32[lanes, 256] of int64[lanes], and the states after that: for single steps, many times faster."""
        embedded = self.embedding(symbols)
        below, after = embedded, []
        for layer, (hidden, cell) in zip(self.layers, states, strict=True):
            from_below, from_before, below_bias, before_bias = layer.parameters()
            gates = torch.addmm(below_bias, below, from_below.T)
            gates += torch.addmm(before_bias, hidden, from_before.T)
            come, stay, new, out = gates.chunk(4, 1)
            cell = stay.sigmoid() * cell + come.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh()
            after.append((hidden, cell))
            below = torch.cat((embedded, hidden), 1)
        return self.head(torch.cat([hidden for hidden, _ in after], 1)), after


class OnlineModel(PredictorModel):
    """What a file says of a learner's shape. Raises ValueError for one that says nothing of the kind."""

    promise = Promise.MATCHING

    def __init__(self, path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool = False) -> None:
        usual = read_json(path)
        if type(usual) is not dict or usual.get("kind") != "lmarc online learner":
            raise ValueError("it is no description of a learner")
        if is_archived:
            settings.refuse_incomplete(NAME, params, _BOUNDS)
        wished = {**dict.fromkeys(_BOUNDS, 1), **usual, **params}
        self._numbers = numbers = {key: settings.number(NAME, wished, key, _BOUNDS[key]) for key in _BOUNDS}
        self.vocabulary = [bytes((byte,)) for byte in range(BYTES)] + [None]
        self.first = FIRST
        self.lanes, self.steps = numbers["lanes"], 1
        # Until it has been trained twice.
        self.canary_steps = 2 * numbers["segment"] + 2
        self.settings = {"mode": MODE} | numbers

    def tokenize(self, text: bytes) -> Ints32:
        """The bytes."""
        return np.frombuffer(text, dtype=np.uint8).astype(np.int32)

    def session(self, lanes: int) -> Session:
        """A learner that has learned nothing yet."""
        return OnlineSession(self._numbers, lanes)

    def environment(self) -> Mapping[str, str]:
        """Version and instructions."""
        return {
            "torch": torch.__version__,
            "machine": platform.machine(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
        }

    def about(self) -> Mapping[str, Any]:
        """What it is."""
        return {"title": "online learner", "architecture": "LSTM", "quantisation": "float32"}


class OnlineSession(Session):
    """Lanes in lockstep; after every segment the learner is trained on what it was shown."""

    def __init__(self, numbers: Mapping[str, int], lanes: int) -> None:
        torch.set_num_threads(numbers["threads"])
        self._learner = Learner(numbers["width"], numbers["layers"])
        generator = torch.Generator().manual_seed(numbers["seed"])
        with torch.no_grad():
            for name, parameter in self._learner.named_parameters():
                reach = 1.7 if "embedding" in name else numbers["width"] ** -0.5
                parameter.uniform_(-reach, reach, generator=generator)
        self._rate = numbers["rate"] * 1e-6
        self._optimizer = torch.optim.Adam(self._learner.parameters(), lr=self._rate, betas=(0.9, 0.99), eps=1e-8)
        zeros = torch.zeros(lanes, numbers["width"])
        self._states: States = [(zeros, zeros) for _ in range(numbers["layers"])]
        self._before = self._states
        self._shown: list[Tensor] = []
        self._segment = numbers["segment"]
        self._trained = 0

    def advance(self, symbols: Ints32) -> Scores:
        """The next byte of all lanes, int32[lanes, 1]; returns float32[lanes, 1, 257]."""
        shown = torch.from_numpy(symbols.astype(np.int64))
        if len(self._shown) == self._segment:
            self._train(shown)
        self._shown.append(shown)
        with torch.no_grad():
            scores, self._states = self._learner.step(shown[:, 0], self._states)
            out: Scores = F.pad(scores, (0, 1))[:, None].numpy()
        return out

    def _train(self, last: Tensor) -> None:
        """Learn the segment, whose last byte's successor is `last`; the states then are those of what was learned."""
        inputs = torch.cat(self._shown, 1)
        targets = torch.cat((inputs[:, 1:], last), 1)
        scores = self._learner(inputs, self._before)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=FIRST)
        self._optimizer.zero_grad()
        usual = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            loss.backward()
        finally:
            torch.use_deterministic_algorithms(usual)
        nn.utils.clip_grad_norm_(self._learner.parameters(), 1.0)
        self._trained += 1
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate / (1 + self._trained / 4000) ** 0.5
        self._optimizer.step()
        self._before = self._states
        self._shown = []
