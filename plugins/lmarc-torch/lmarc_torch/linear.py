"""Products of matrices that are exact: 8-bit integers times 8-bit integers, summed as integers (spec/EXACT.md 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

#: The largest number of an 8-bit operand, of either sign.
LIMIT = 127
#: What a division by a constant is: on some devices torch divides by multiplying anyway, and not as exactly.
UNIT = float(np.float32(1 / LIMIT))
#: So many products of two of them are still below 2^24, up to which float32 holds every integer.
MOST_TERMS = 1 << 24
#: Rows with nothing above this are rows of zeros.
LEAST = 2.0**-100
MOST_COLUMNS = MOST_TERMS // (LIMIT * LIMIT)


def blocks(columns: int) -> int:
    """How many equal blocks a sum over so many columns is cut into."""
    return next(count for count in range(1, columns + 1) if columns % count == 0 and columns // count <= MOST_COLUMNS)


@dataclass(frozen=True)
class Quantised:
    """Rows of 8-bit integers in blocks, as float32[..., blocks, columns of a block], and float32[..., blocks, 1]: what
    a unit of each block is."""

    values: Tensor
    units: Tensor

    def numbers(self) -> Tensor:
        """float32[..., columns]: what they stand for."""
        return (self.values * self.units).flatten(-2)


def quantise(rows: Tensor, count: int) -> Quantised:
    """Rows as 8-bit integers: of every block, the number farthest from 0 becomes 127 or -127."""
    parts = rows.unflatten(-1, (count, -1))
    most = farthest(parts)
    values = (parts * (most.reciprocal() * LIMIT)).round_()
    return Quantised(values, most * UNIT)


def farthest(rows: Tensor) -> Tensor:
    """float32[..., 1]: the largest magnitude in each row; 1 where that is next to nothing, so that all of it becomes 0.

    Its inverse is then a number.
    """
    most = rows.abs().amax(-1, keepdim=True)
    return torch.where(most > LEAST, most, torch.ones_like(most))


class Linear:
    """A layer of weights, float32[outputs, inputs], as 8-bit integers, and what is added to its outputs."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            raise ValueError(f"a matrix has the shape {[*weight.shape]}")
        self.size = weight.numel()
        self.blocks = blocks(weight.shape[1])
        quantised = quantise(weight.float(), self.blocks)
        self.outputs = weight.shape[0]
        self._products = [product_for(quantised.values[:, block], Device.FLOATS) for block in range(self.blocks)]
        self._units = quantised.units[..., 0].T.contiguous()
        self._bias = None if bias is None else bias.float()

    def __call__(self, rows: Quantised) -> Tensor:
        """float32[..., outputs]. What several layers are given is quantised once."""
        out: Tensor | None = None
        for block, product in enumerate(self._products):
            part = product(rows.values[..., block, :])
            part *= rows.units[..., block, :]
            part *= self._units[block]
            out = part if out is None else out.add_(part)
        assert out is not None
        if self._bias is not None:
            out += self._bias
        return out

    def move(self, device: torch.device, kind: Device) -> None:
        """Go on with another device, and its way of multiplying."""
        self._products = [product_for(product.weight().to(device), kind) for product in self._products]
        self._units = self._units.to(device)
        self._bias = None if self._bias is None else self._bias.to(device)


class Embedding:
    """Rows of 8-bit integers to look up; the same ones as a Linear of the same weights has."""

    def __init__(self, weight: Tensor) -> None:
        if weight.ndim != 2:
            raise ValueError(f"an embedding has the shape {[*weight.shape]}")
        self.rows = len(weight)
        quantised = quantise(weight.float(), blocks(weight.shape[1]))
        self._values, self._units = quantised.values.to(torch.int8), quantised.units

    def __call__(self, symbols: Tensor) -> Tensor:
        """float32[..., width]"""
        return Quantised(self._values[symbols].float(), self._units[symbols]).numbers()

    def move(self, device: torch.device) -> None:
        """Go on with another device."""
        self._values, self._units = self._values.to(device), self._units.to(device)


class Device(Enum):
    """How a device multiplies 8-bit integers fastest: as floats or doubles that hold integers, or as what they are."""

    FLOATS = "floats"
    DOUBLES = "doubles"
    INTEGERS = "integers"


class Product(ABC):
    """Multiplies rows of integers in float32 with a matrix of such, exactly, into integers in float32."""

    @abstractmethod
    def __call__(self, rows: Tensor) -> Tensor:
        """float32[..., outputs] of float32[..., columns]"""

    @abstractmethod
    def weight(self) -> Tensor:
        """The matrix, float32[outputs, columns]."""


class _Floats(Product):
    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self._columns = weight.T.to(dtype).contiguous()

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.matmul(rows.to(self._columns.dtype), self._columns).float()

    def weight(self) -> Tensor:
        return self._columns.T.float()


class _Integers(Product):
    """By torch._int_mm, which wants more than 16 rows, and multiples of 8 otherwise."""

    def __init__(self, weight: Tensor) -> None:
        self._outputs, self._inputs = weight.shape
        padding = (0, -self._inputs % 8, 0, -self._outputs % 8)
        self._columns = torch.nn.functional.pad(weight, padding).to(torch.int8).T

    def __call__(self, rows: Tensor) -> Tensor:
        flat = rows.reshape(-1, self._inputs)
        padding = (0, -self._inputs % 8, 0, max(-len(flat) % 8, 24 - len(flat)))
        whole = torch._int_mm(torch.nn.functional.pad(flat, padding).to(torch.int8), self._columns)
        return whole[: len(flat), : self._outputs].float().view(*rows.shape[:-1], self._outputs)

    def weight(self) -> Tensor:
        return self._columns.T[: self._outputs, : self._inputs].float()


def product_for(weight: Tensor, kind: Device) -> Product:
    """A product with a matrix of integers, float32[outputs, columns], of at most MOST_COLUMNS columns."""
    if kind is Device.INTEGERS:
        return _Integers(weight)
    return _Floats(weight, torch.float64 if kind is Device.DOUBLES else torch.float32)
