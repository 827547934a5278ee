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
from lmarc_torch.linear import Device, Embedding, Linear
from lmarc_torch.rows import FASTEST_ON_CPU, KEYS, Norm, Quantised

#: So many steps of queries meet their keys at once.
_QUERIES = 128

Activation = Literal["silu", "gelu", "gelu_tanh"]


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
        shape = self.shape
        for layer in self.layers:
            if layer.qkv.outputs != (shape.heads + 2 * shape.kv_heads) * shape.head_width:
                raise ValueError(
                    f"queries, keys and values have {layer.qkv.outputs} numbers, which are not those heads"
                )
        self._gate = torch.from_numpy(tables.gate(self.shape.activation))
        self._weights = torch.from_numpy(tables.weights())
        # Scores of attention are in steps of the table of weights.
        self._scale = float(np.float32(tables.STEPS / sqrt(self.shape.head_width)))
        self._rows = FASTEST_ON_CPU

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
        self._rows = kind.rows()

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
            normed = self._rows.norm(layer.attention_norm, x, layer.qkv.blocks)
            attended = layer.attention_out(self._attend(number, layer, normed, cache))
            if self.shape.is_parallel:
                x = (x + attended) + self._transform(layer, x)
            else:
                x = x + attended
                x = x + self._transform(layer, x)
        cache.filled += steps
        return x

    def scores(self, x: Tensor, room: Tensor | None = None) -> Tensor:
        """float32[..., vocabulary]: scores of what may follow, in `room` if that is of use."""
        return self.head(self._rows.norm(self.norm, x, self.head.blocks), room)

    def _transform(self, layer: Layer, x: Tensor) -> Tensor:
        inner = layer.mlp_in(self._rows.norm(layer.mlp_norm, x, layer.mlp_in.blocks))
        return layer.mlp_out(self._rows.activate(inner, self._gate, layer.is_gated, layer.mlp_out.blocks))

    def _attend(self, number: int, layer: Layer, normed: Quantised, cache: Cache) -> Quantised:
        shape, rows = self.shape, self._rows
        lanes, steps = normed.values.shape[:2]
        width = shape.head_width
        heads = layer.qkv(normed)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key, value = heads.unflatten(-1, (-1, width)).split(
                (shape.heads, shape.kv_heads, shape.kv_heads), dim=2
            )
            query, key = (
                rows.norm(norm, each.contiguous(), 1).numbers()
                for norm, each in ((layer.query_norm, query), (layer.key_norm, key))
            )
            heads = torch.cat((query, key, value), 2).flatten(2)
        now = slice(cache.filled, cache.filled + steps)
        angles = self.cosines[now], self.sines[now]
        still = self.cosines[now, :0], self.sines[now, :0]
        keys, key_units, values, value_units = cache.add(
            number,
            rows.turn(heads, shape.heads * width, shape.kv_heads, width, angles),
            rows.turn(heads, (shape.heads + shape.kv_heads) * width, shape.kv_heads, width, still),
        )
        queries, query_units = (
            each.unflatten(1, (shape.kv_heads, -1)) for each in rows.turn(heads, 0, shape.heads, width, angles)
        )
        attended, factors = [], []
        for first in range(0, steps, _QUERIES):
            # Keys behind the last of these are of no use to them.
            now = slice(first, min(first + _QUERIES, steps))
            end = cache.filled + now.stop
            part = self._attend_to(
                queries[:, :, :, now].flatten(2, 3),
                query_units[:, :, :, now].flatten(2, 3),
                (keys[:, :, :end], key_units[:, :, :end], values[:, :, :end], value_units[:, :, :end]),
                now.stop - first,
            )
            by_head = (lanes, shape.heads, now.stop - first)
            attended.append(part[0].view(*by_head, width))
            factors.append(part[1].view(by_head))
        return rows.merge(torch.cat(attended, 2), torch.cat(factors, 2), layer.attention_out.blocks)

    def _attend_to(
        self, queries: Tensor, units: Tensor, known: tuple[Tensor, Tensor, Tensor, Tensor], steps: int
    ) -> tuple[Tensor, Tensor]:
        """What queries, float32[lanes, kv heads, heads of each * steps, width], get, and what that is multiplied with.

        Of the keys and values known the last are those of these steps.
        """
        keys, key_units, values, value_units = known
        scores = torch.matmul(queries, keys.transpose(2, 3))
        parts, factors = self._rows.weigh(scores, (units, key_units, value_units), self._scale, self._weights, steps)
        out: Tensor | None = None
        for start in range(0, parts.shape[-1], KEYS):
            run = slice(start, start + KEYS)
            out = self._rows.collect(torch.matmul(parts[..., run], values[:, :, run]), out)
        assert out is not None
        return out, factors


class Cache:
    """Keys and values of all lanes, as 8-bit integers in float32."""

    def __init__(self, shape: Shape, layers: int, lanes: int, context: int, device: torch.device) -> None:
        self.filled = 0
        size = (layers, lanes, shape.kv_heads, context)
        self._keys = torch.zeros(*size, shape.head_width, device=device)
        self._values = torch.zeros(*size, shape.head_width, device=device)
        self._key_units = torch.zeros(*size, device=device)
        self._value_units = torch.zeros(*size, device=device)

    def add(self, layer: int, *new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Add keys and values of the next steps, float32[lanes, kv heads, steps, width], each with its units; return
        all there are: keys, their units, values, their units."""
        room = self._keys, self._key_units, self._values, self._value_units
        for tensor, each in zip(room, (each for pair in new for each in pair), strict=True):
            end = self.filled + each.shape[2]
            tensor[layer, :, :, self.filled : end] = each
        keys, key_units, values, value_units = (tensor[layer, :, :, :end] for tensor in room)
        return keys, key_units, values, value_units
