"""What spec/EXACT.md does number by number with rows, between the products of matrices.

`Rows` does it with tensors, on any device; `CompiledRows` the same on a CPU, bit for bit, several times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba.core import config
from torch import Tensor

from lmarc_torch import kernels, tables

#: The largest number of an 8-bit operand, of either sign.
LIMIT = 127
#: What a division by a constant is: on some devices torch divides by multiplying anyway, and not as exactly.
UNIT = float(np.float32(1 / LIMIT))
#: So many products of two of them are still below 2^24, up to which float32 holds every integer.
MOST_TERMS = 1 << 24
#: Rows with nothing above this are rows of zeros.
LEAST = 2.0**-100
#: What a number is cut to before it is squared.
_SQUARED = 2047
#: Attention weights have two parts of so many bits; with 8-bit values, so many keys are summed exactly.
_PART = 256
KEYS = MOST_TERMS // (_PART * LIMIT)
_MOST_WEIGHT = _PART * _PART - 1
_WEIGHT_UNIT = float(np.float32(1 / _MOST_WEIGHT))
_NOTHING = -float("inf")
#: Where tables end. The smaller number of two, of which one is none, is the other.
_WEIGHT_STEPS = torch.tensor(float(tables.WEIGHT_STEPS))
_REACH = torch.tensor(float(tables.REACH * tables.STEPS))


@dataclass(frozen=True)
class Quantised:
    """Rows of 8-bit integers in blocks, as float32[..., blocks, columns of a block], and float32[..., blocks, 1]: what
    a unit of each block is."""

    values: Tensor
    units: Tensor

    def numbers(self) -> Tensor:
        """float32[..., columns]: what they stand for."""
        return (self.values * self.units).flatten(-2)


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


def farthest(rows: Tensor) -> Tensor:
    """float32[..., 1]: the largest magnitude in each row; 1 where that is next to nothing, so that all of it becomes 0.

    Its inverse is then a number. What is no number stays none.
    """
    most = rows.abs().amax(-1, keepdim=True)
    return torch.where(most <= LEAST, torch.ones_like(most), most)


class Rows:
    """With tensors. Rows with what is no number lead to nothing that is one, and to no place beyond a table."""

    def quantise(self, rows: Tensor, count: int) -> Quantised:
        """Rows as 8-bit integers: of each of `count` blocks, the number farthest from 0 becomes 127 or -127."""
        parts = rows.unflatten(-1, (count, -1))
        most = farthest(parts)
        values = (parts * (most.reciprocal() * LIMIT)).round_()
        return Quantised(values, most * UNIT)

    def norm(self, norm: Norm, x: Tensor, count: int) -> Quantised:
        """The normed rows, quantised in so many blocks."""
        width = x.shape[-1]
        most = farthest(x)
        whole = (x * (most.reciprocal() * _SQUARED)).round_()
        unit = most.double() * (1 / _SQUARED)
        mean_square = (whole * whole).sum(-1, keepdim=True, dtype=torch.float64) * (1 / width)
        if norm.is_centred:
            mean = whole.sum(-1, keepdim=True, dtype=torch.float64) * (1 / width)
            mean_square = (mean_square - mean * mean).clamp_(min=0)
            x = x - (mean * unit).float()
        deviation = torch.sqrt(mean_square * (unit * unit) + norm.epsilon).float()
        x = x * norm.weight
        if norm.bias is not None:
            return self.quantise(x / deviation + norm.bias, count)
        out = self.quantise(x, count)
        return Quantised(out.values, out.units / deviation.unsqueeze(-1))

    def scale(self, sums: Tensor, units: Tensor, block: int, column_units: Tensor, out: Tensor | None) -> Tensor:
        """float32[..., outputs]: sums times the units of rows, float32[..., blocks, 1], and of columns; added to what
        other blocks gave, if any did. `sums` may be lost."""
        sums *= units[..., block, :]
        sums *= column_units
        return sums if out is None else out.add_(sums)

    def activate(self, inner: Tensor, table: Tensor, is_gated: bool, count: int) -> Quantised:
        """Activated by a table of factors, quantised. With a gate, the first half activated times the second."""
        if is_gated:
            gate, inner = inner.chunk(2, -1)
            return self.quantise(inner * (gate * _factor(gate, table)), count)
        return self.quantise(inner * _factor(inner, table), count)

    def turn(
        self, rows: Tensor, start: int, heads: int, width: int, angles: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Of rows float32[lanes, steps, ...] the heads from column `start`, turned by cosines and sines, float32[steps,
        half of the dimensions turned], and quantised: float32[lanes, heads, steps, width] and the units."""
        parts = rows[..., start : start + heads * width].unflatten(-1, (heads, width)).transpose(1, 2)
        cosines, sines = angles
        half = cosines.shape[1]
        left, right, rest = parts.split((half, half, width - 2 * half), dim=-1)
        turned = torch.cat((left * cosines - right * sines, left * sines + right * cosines, rest), -1)
        quantised = self.quantise(turned, 1)
        return quantised.values[..., 0, :], quantised.units[..., 0, 0]

    def weigh(
        self,
        scores: Tensor,
        units: tuple[Tensor, Tensor, Tensor],
        scale: float,
        table: Tensor,
        steps: int,
    ) -> tuple[Tensor, Tensor]:
        """Attention weights in two parts, and what the sums with them are multiplied with.

        `scores`: float32[lanes, kv heads, heads of each * steps, keys], products of queries and keys; lost. Of the
        keys the last `steps` are those of the rows themselves. `units`: of queries, float32[lanes, kv heads, heads of
        each * steps], of keys and of values, float32[lanes, kv heads, keys]. Returns float32[lanes, kv heads, 2 * heads
        of each * steps, keys], the high parts first, and float32[lanes, kv heads, heads of each * steps].
        """
        of_queries, of_keys, of_values = units
        scores *= of_queries[..., None] * scale
        scores *= of_keys[:, :, None]
        if steps > 1:
            keys = scores.shape[-1]
            places = torch.arange(keys, device=scores.device)
            later = places[None, :] > places[keys - steps :, None]
            scores = scores.unflatten(2, (-1, steps)).masked_fill_(later, _NOTHING).flatten(2, 3)
        below = (scores.amax(-1, keepdim=True) - scores).round_()
        weights = table[torch.fmin(below, _WEIGHT_STEPS).int()]
        total = weights.sum(-1, dtype=torch.float64).float()
        weights *= of_values[:, :, None]
        most = farthest(weights)
        weights = (weights * (most.reciprocal() * _MOST_WEIGHT)).round_()
        high = (weights * (1 / _PART)).floor_()
        return torch.cat((high, weights - high * _PART), 2), most[..., 0] * _WEIGHT_UNIT / total

    def collect(self, sums: Tensor, out: Tensor | None) -> Tensor:
        """float32[lanes, kv heads, rows, width]: sums of high and low parts, float32[lanes, kv heads, 2 * rows, width],
        together; added to what other runs of keys gave, if any did."""
        high, low = sums.chunk(2, 2)
        part = high * _PART + low
        return part if out is None else out + part

    def merge(self, heads: Tensor, factors: Tensor, count: int) -> Quantised:
        """Heads, float32[lanes, heads, steps, width], times float32[lanes, heads, steps], beside each other as rows
        float32[lanes, steps, ...], quantised."""
        return self.quantise((heads * factors[..., None]).transpose(1, 2).flatten(2), count)


def _factor(x: Tensor, table: Tensor) -> Tensor:
    reach = tables.REACH * tables.STEPS
    steps = torch.fmin((x * tables.STEPS).round_(), _REACH).clamp_(min=-reach)
    return table[steps.add_(reach).int()]


class CompiledRows(Rows):
    """On a CPU, once over each row. Raises ValueError for shapes that do not fit: kernels do not look."""

    def quantise(self, rows: Tensor, count: int) -> Quantised:
        out = _room(rows.shape, count)
        kernels.quantise(_flat(rows), count, _flat(out.values, 2), _flat(out.units, 2))
        return out

    def norm(self, norm: Norm, x: Tensor, count: int) -> Quantised:
        _check(norm.weight.shape == x.shape[-1:])
        out = _room(x.shape, count)
        bias = x.new_empty(0) if norm.bias is None else norm.bias
        kernels.norm(
            _flat(x),
            norm.weight.numpy(),
            bias.numpy(),
            norm.epsilon,
            norm.is_centred,
            count,
            _flat(out.values, 2),
            _flat(out.units, 2),
        )
        return out

    def scale(self, sums: Tensor, units: Tensor, block: int, column_units: Tensor, out: Tensor | None) -> Tensor:
        _check(column_units.shape == sums.shape[-1:] and units.shape[:-2] == sums.shape[:-1])
        _check(0 <= block < units.shape[-2] and units.shape[-1] == 1 and (out is None or out.shape == sums.shape))
        kernels.scale(
            _flat(sums),
            _flat(units, 2),
            block,
            column_units.numpy(),
            _flat(sums if out is None else out),
            out is not None,
        )
        return sums if out is None else out

    def activate(self, inner: Tensor, table: Tensor, is_gated: bool, count: int) -> Quantised:
        width = inner.shape[-1] // (2 if is_gated else 1)
        _check(len(table) > 2 * tables.REACH * tables.STEPS and inner.shape[-1] == width * (2 if is_gated else 1))
        out = _room((*inner.shape[:-1], width), count)
        kernels.activate(_flat(inner), table.numpy(), is_gated, count, _flat(out.values, 2), _flat(out.units, 2))
        return out

    def turn(
        self, rows: Tensor, start: int, heads: int, width: int, angles: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        lanes, steps, columns = rows.shape
        cosines, sines = (each.numpy() for each in angles)
        _check(start >= 0 and start + heads * width <= columns and sines.shape == cosines.shape)
        _check(2 * cosines.shape[1] <= width and len(cosines) == steps)
        values, units = torch.empty(lanes, heads, steps, width), torch.empty(lanes, heads, steps)
        room = np.empty(width, dtype=np.float32)
        kernels.turn(_flat(rows), start, cosines, sines, room, values.numpy(), units.numpy())
        return values, units

    def weigh(
        self,
        scores: Tensor,
        units: tuple[Tensor, Tensor, Tensor],
        scale: float,
        table: Tensor,
        steps: int,
    ) -> tuple[Tensor, Tensor]:
        lanes, heads, rows, keys = scores.shape
        of_queries, of_keys, of_values = units
        _check(of_queries.shape == (lanes, heads, rows) and of_keys.shape == of_values.shape == (lanes, heads, keys))
        _check(1 <= steps <= keys and rows % steps == 0 and len(table) > tables.WEIGHT_STEPS)
        parts, factors = torch.empty(lanes, heads, 2 * rows, keys), torch.empty(lanes, heads, rows)
        kernels.weigh(
            scores.numpy(),
            of_queries.numpy(),
            np.float32(scale),
            of_keys.numpy(),
            of_values.numpy(),
            table.numpy(),
            steps,
            parts.numpy(),
            factors.numpy(),
        )
        return parts, factors

    def collect(self, sums: Tensor, out: Tensor | None) -> Tensor:
        lanes, heads, rows, width = sums.shape
        _check(rows % 2 == 0 and (out is None or out.shape == (lanes, heads, rows // 2, width)))
        to = torch.empty(lanes, heads, rows // 2, width) if out is None else out
        kernels.collect(sums.numpy(), out is None, to.numpy())
        return to

    def merge(self, heads: Tensor, factors: Tensor, count: int) -> Quantised:
        lanes, number, steps, width = heads.shape
        _check(factors.shape == heads.shape[:-1])
        out = _room((lanes, steps, number * width), count)
        kernels.merge(heads.numpy(), factors.numpy(), count, _flat(out.values, 2), _flat(out.units, 2))
        return out


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError("shapes of rows and what they meet differ")


def _room(shape: tuple[int, ...], count: int) -> Quantised:
    """What rows of that shape become."""
    *leading, width = shape
    _check(width % count == 0)
    return Quantised(torch.empty(*leading, count, width // count), torch.empty(*leading, count, 1))


def _flat(rows: Tensor, trailing: int = 1) -> Any:
    """A matrix of what is contiguous: the last dimensions as columns."""
    columns = int(np.prod(rows.shape[-trailing:]))
    return rows.view(-1, columns).numpy()


#: Compiled code without a compiler is a hundred times slower than tensors.
FASTEST_ON_CPU: Rows = Rows() if vars(config)["DISABLE_JIT"] else CompiledRows()
