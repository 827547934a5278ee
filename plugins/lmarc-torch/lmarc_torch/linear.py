"""Products of matrices that are exact: 8-bit integers times 8-bit integers, summed as integers (spec/EXACT.md 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: The largest number of an 8-bit operand, of either sign.
LIMIT = 127
#: What a division by a constant is: on some devices torch divides by multiplying anyway, and not as exactly.
UNIT = float(np.float32(1 / LIMIT))
#: So many products of two of them are still below 2^24, up to which float32 holds every integer.
MOST_TERMS = 1 << 24
MOST_COLUMNS = MOST_TERMS // (LIMIT * LIMIT)


def blocks(columns: int, whole: int = 1) -> int:
    """How many equal blocks, of a multiple of `whole` columns, a sum over so many columns is cut into."""
    parts = columns // whole
    return next(count for count in range(1, parts + 1) if parts % count == 0 and columns // count <= MOST_COLUMNS)


@dataclass(frozen=True)
class Quantised:
    """Rows of 8-bit integers in blocks, as float32[..., blocks, columns of a block], and float32[..., blocks, 1]: what
    a unit of each block is."""

    values: Tensor
    units: Tensor


def quantise(rows: Tensor, count: int) -> Quantised:
    """Rows as 8-bit integers: of every block, the number farthest from 0 becomes 127 or -127."""
    parts = rows.unflatten(-1, (count, -1))
    most = parts.abs().amax(-1, keepdim=True)
    # A block of zeros stays one, whatever its unit.
    most = torch.where(most > 0, most, torch.ones_like(most))
    values = (parts * (most.reciprocal() * LIMIT)).round_()
    return Quantised(values, most * UNIT)


class Linear:
    """A layer of weights, float32[outputs, inputs], as 8-bit integers, and what is added to its outputs."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.blocks = blocks(weight.shape[1])
        quantised = quantise(weight.float(), self.blocks)
        # [blocks, columns of a block, outputs]
        self._values = quantised.values.permute(1, 2, 0).contiguous()
        self._units = quantised.units[..., 0].T.contiguous()
        self._bias = None if bias is None else bias.float()

    @property
    def size(self) -> int:
        """How many weights there are."""
        return self._values.numel()

    @property
    def outputs(self) -> int:
        """How many numbers come out."""
        return self._values.shape[2]

    def __call__(self, rows: Quantised) -> Tensor:
        """float32[..., outputs]. What several layers are given is quantised once."""
        out: Tensor | None = None
        for block in range(self.blocks):
            part = product(rows.values[..., block, :], self._values[block])
            part *= rows.units[..., block, :]
            part *= self._units[block]
            out = part if out is None else out.add_(part)
        assert out is not None
        if self._bias is not None:
            out += self._bias
        return out

    def to(self, device: torch.device) -> Linear:
        """The same on a device."""
        self._values, self._units = self._values.to(device), self._units.to(device)
        self._bias = None if self._bias is None else self._bias.to(device)
        return self


class Embedding:
    """Rows of 8-bit integers to look up; the same ones as a Linear of the same weights has."""

    def __init__(self, weight: Tensor) -> None:
        quantised = quantise(weight.float(), blocks(weight.shape[1]))
        self._values, self._units = quantised.values.to(torch.int8), quantised.units

    def __call__(self, symbols: Tensor) -> Tensor:
        """float32[..., width]"""
        return (self._values[symbols].float() * self._units[symbols]).flatten(-2)


def product(rows: Tensor, columns: Tensor) -> Tensor:
    """float32 product of integers, exact as long as no sum of magnitudes reaches 2^24."""
    return torch.matmul(rows, columns)
