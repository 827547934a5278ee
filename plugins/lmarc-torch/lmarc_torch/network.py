"""A decoder-only transformer whose scores are the same on every machine (spec/EXACT.md).

Sums are exact, since they are sums of integers; all else is done number by number with operations that IEEE 754 rounds
one way: addition, multiplication, division, square root, rounding to an integer, and tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lmarc_torch import tables
from lmarc_torch.linear import LIMIT, MOST_TERMS, Device, Embedding, Linear, Quantised, farthest, quantise

Activation = Literal["silu", "gelu", "gelu_tanh"]

#: What a number is cut to before it is squared.
_SQUARED = 2047
#: Attention weights have two parts of so many bits; with 8-bit values, so many keys are summed exactly.
_PART = 256
_KEYS = MOST_TERMS // (_PART * LIMIT)
_MOST_WEIGHT = _PART * _PART - 1
_WEIGHT_UNIT = float(np.float32(1 / _MOST_WEIGHT))
_NOTHING = -1e30


@dataclass(frozen=True)
class Shape:
    """What a network is like. `rotated`: how many numbers of a head turn with the position, the first half of them with
    the second; 0 where positions are learned."""

    heads: int
    kv_heads: int
    head_width: int
    activation: Activation
    rotated: int
    is_parallel: bool = False


@dataclass
class Norm:
    """Root mean square norm, or, with `is_centred`, layer norm."""

    weight: Tensor
    bias: Tensor | None
    epsilon: float
    is_centred: bool

    def __post_init__(self) -> None:
        if self.weight.ndim != 1 or (self.bias is not None and self.bias.shape != self.weight.shape):
            raise ValueError(f"a norm has the shape {[*self.weight.shape]}")

    def __call__(self, x: Tensor, count: int) -> Quantised:
        """The normed rows, quantised in so many blocks."""
        width = x.shape[-1]
        most = farthest(x)
        whole = (x * (most.reciprocal() * _SQUARED)).round_()
        unit = most.double() * (1 / _SQUARED)
        mean_square = (whole * whole).sum(-1, keepdim=True, dtype=torch.float64) * (1 / width)
        if self.is_centred:
            mean = whole.sum(-1, keepdim=True, dtype=torch.float64) * (1 / width)
            mean_square = (mean_square - mean * mean).clamp_(min=0)
            x = x - (mean * unit).float()
        deviation = torch.sqrt(mean_square * (unit * unit) + self.epsilon).float()
        x = x * self.weight
        if self.bias is not None:
            return quantise(x / deviation + self.bias, count)
        out = quantise(x, count)
        return Quantised(out.values, out.units / deviation.unsqueeze(-1))


@dataclass
class Layer:
    """One layer. `mlp_in` gives the gate, then what is gated, where there is a gate."""

    attention_norm: Norm
    qkv: Linear
    attention_out: Linear
    mlp_norm: Norm
    mlp_in: Linear
    mlp_out: Linear
    is_gated: bool
    query_norm: Norm | None = None
    key_norm: Norm | None = None

    def norms(self) -> list[Norm]:
        """All that norms."""
        return [norm for norm in (self.attention_norm, self.mlp_norm, self.query_norm, self.key_norm) if norm]

    def linears(self) -> tuple[Linear, ...]:
        """All that multiplies."""
        return self.qkv, self.attention_out, self.mlp_in, self.mlp_out


@dataclass
class Network:
    """All weights, and the tables for as many positions as the context has."""

    shape: Shape
    embedding: Embedding
    positions: Embedding | None
    layers: list[Layer]
    norm: Norm
    head: Linear
    cosines: Tensor
    sines: Tensor

    def __post_init__(self) -> None:
        self._gate = torch.from_numpy(tables.gate(self.shape.activation))
        self._weights = torch.from_numpy(tables.weights())
        # Scores of attention are in steps of the table of weights.
        self._scale = float(np.float32(tables.STEPS / sqrt(self.shape.head_width)))

    def move(self, device: torch.device, kind: Device) -> None:
        """Go on with another device, and its way of multiplying. The scores stay the same."""
        self.embedding.move(device)
        if self.positions is not None:
            self.positions.move(device)
        for norm in (self.norm, *(norm for layer in self.layers for norm in layer.norms())):
            norm.weight = norm.weight.to(device)
            norm.bias = None if norm.bias is None else norm.bias.to(device)
        for linear in (self.head, *(linear for layer in self.layers for linear in layer.linears())):
            linear.move(device, kind)
        self.cosines, self.sines = self.cosines.to(device), self.sines.to(device)
        self._gate, self._weights = self._gate.to(device), self._weights.to(device)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._weights.device

    @property
    def size(self) -> int:
        """How many weights there are, without those of norms and embeddings."""
        inner = (linear.size for layer in self.layers for linear in layer.linears())
        return self.head.size + sum(inner)

    def advance(self, symbols: Tensor, cache: Cache) -> Tensor:
        """float32[lanes, steps, width]: what comes out of the last layer for the next symbols, int64[lanes, steps]."""
        steps = symbols.shape[1]
        x = self.embedding(symbols)
        if self.positions is not None:
            x += self.positions(torch.arange(cache.filled, cache.filled + steps, device=x.device))
        for number, layer in enumerate(self.layers):
            normed = layer.attention_norm(x, layer.qkv.blocks)
            attended = layer.attention_out(self._attend(number, layer, normed, cache))
            if self.shape.is_parallel:
                x = (x + attended) + self._transform(layer, layer.mlp_norm(x, layer.mlp_in.blocks))
            else:
                x = x + attended
                x = x + self._transform(layer, layer.mlp_norm(x, layer.mlp_in.blocks))
        cache.filled += steps
        return x

    def scores(self, x: Tensor) -> Tensor:
        """float32[..., vocabulary]: scores of what may follow."""
        return self.head(self.norm(x, self.head.blocks))

    def _transform(self, layer: Layer, normed: Quantised) -> Tensor:
        inner = layer.mlp_in(normed)
        if layer.is_gated:
            gate, inner = inner.chunk(2, -1)
            inner = inner * (gate * self._factor(gate))
        else:
            inner = inner * self._factor(inner)
        return layer.mlp_out(quantise(inner, layer.mlp_out.blocks))

    def _factor(self, x: Tensor) -> Tensor:
        reach = tables.REACH * tables.STEPS
        return self._gate[(x * tables.STEPS).round_().clamp_(-reach, reach).add_(reach).int()]

    def _attend(self, number: int, layer: Layer, normed: Quantised, cache: Cache) -> Quantised:
        shape = self.shape
        lanes, steps = normed.values.shape[:2]
        query, key, value = (
            layer.qkv(normed)
            .unflatten(-1, (-1, shape.head_width))
            .split((shape.heads, shape.kv_heads, shape.kv_heads), dim=2)
        )
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = layer.query_norm(query, 1).numbers(), layer.key_norm(key, 1).numbers()
        query, key = self._turn(query, cache.filled), self._turn(key, cache.filled)
        keys, key_units, values, value_units = cache.add(number, quantise(key, 1), quantise(value, 1))
        queries = quantise(query, 1)
        # [lanes, heads of keys, heads of queries for each and steps, ...]
        group = shape.heads // shape.kv_heads
        rows, units = (
            each[..., 0, :].unflatten(2, (shape.kv_heads, group)).permute(0, 2, 3, 1, 4).flatten(2, 3)
            for each in (queries.values, queries.units)
        )
        scores = torch.matmul(rows, keys.transpose(2, 3))
        scores *= units * self._scale
        scores *= key_units
        if steps > 1:
            scores = scores.unflatten(2, (group, steps))
            scores.masked_fill_(cache.later(steps), _NOTHING)
            scores = scores.flatten(2, 3)
        weights = self._weigh(scores)
        whole = weights.sum(-1, keepdim=True, dtype=torch.float64).float()
        weights *= value_units
        most = farthest(weights)
        weights = (weights * (most.reciprocal() * _MOST_WEIGHT)).round_()
        high = (weights * (1 / _PART)).floor_()
        parts = torch.cat((high, weights - high * _PART), 2)
        out: Tensor | None = None
        for start in range(0, parts.shape[-1], _KEYS):
            part = torch.matmul(parts[..., start : start + _KEYS], values[:, :, start : start + _KEYS])
            upper, lower = part.chunk(2, 2)
            part = upper * _PART + lower
            out = part if out is None else out + part
        assert out is not None
        out = out * (most * _WEIGHT_UNIT / whole)
        out = out.unflatten(2, (group, steps)).permute(0, 3, 1, 2, 4).reshape(lanes, steps, -1)
        return quantise(out, layer.attention_out.blocks)

    def _weigh(self, scores: Tensor) -> Tensor:
        below = (scores.amax(-1, keepdim=True) - scores).round_().clamp_(max=tables.WEIGHT_STEPS)
        return self._weights[below.int()]

    def _turn(self, heads: Tensor, position: int) -> Tensor:
        """float32[lanes, steps, heads, head_width], turned by position."""
        if not self.shape.rotated:
            return heads
        steps = heads.shape[1]
        cosines = self.cosines[position : position + steps, None]
        sines = self.sines[position : position + steps, None]
        left, right, rest = heads.split(
            (self.shape.rotated // 2, self.shape.rotated // 2, heads.shape[-1] - self.shape.rotated), dim=-1
        )
        return torch.cat((left * cosines - right * sines, left * sines + right * cosines, rest), -1)


class Cache:
    """Keys and values of all lanes, as 8-bit integers in float32."""

    def __init__(self, shape: Shape, layers: int, lanes: int, context: int, device: torch.device) -> None:
        self.filled = 0
        size = (layers, lanes, shape.kv_heads, context)
        self._keys = torch.zeros(*size, shape.head_width, device=device)
        self._values = torch.zeros(*size, shape.head_width, device=device)
        self._key_units = torch.zeros(*size, device=device)
        self._value_units = torch.zeros(*size, device=device)

    def add(self, layer: int, keys: Quantised, values: Quantised) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Add those of the next steps; return all there are: keys, their units, values, their units."""
        end = self.filled + keys.values.shape[1]
        now = slice(self.filled, end)
        self._keys[layer, :, :, now] = keys.values[..., 0, :].transpose(1, 2)
        self._values[layer, :, :, now] = values.values[..., 0, :].transpose(1, 2)
        self._key_units[layer, :, :, now] = keys.units[..., 0, 0].transpose(1, 2)
        self._value_units[layer, :, :, now] = values.units[..., 0, 0].transpose(1, 2)
        return (
            self._keys[layer, :, :, :end],
            self._key_units[layer, :, :, None, :end],
            self._values[layer, :, :, :end],
            self._value_units[layer, :, :, None, :end],
        )

    def later(self, steps: int) -> Tensor:
        """bool[steps, keys]: which keys are of later steps than each."""
        places = torch.arange(self.filled + steps, device=self._keys.device)
        return places[None, :] > places[self.filled :, None]
