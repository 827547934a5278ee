"""Products of matrices that are exact: 8-bit integers times 8-bit integers, summed as integers (spec/EXACT.md 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum

import torch
from torch import Tensor

from lmarc_torch.rows import FASTEST_ON_CPU, LIMIT, MOST_TERMS, Quantised, Rows

MOST_COLUMNS = MOST_TERMS // (LIMIT * LIMIT)


def blocks(columns: int) -> int:
    """How many equal blocks a sum over so many columns is cut into."""
    return next(count for count in range(1, columns + 1) if columns % count == 0 and columns // count <= MOST_COLUMNS)


class Linear:
    """A layer of weights, float32[outputs, inputs], as 8-bit integers, and what is added to its outputs."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
            raise ValueError(f"a matrix has the shape {[*weight.shape]}")
        self.size = weight.numel()
        self.blocks = blocks(weight.shape[1])
        quantised = Rows().quantise(weight.float(), self.blocks)
        self.outputs = weight.shape[0]
        self._products = [product_for(quantised.values[:, block], Device.FLOATS) for block in range(self.blocks)]
        self._units = quantised.units[..., 0].T.contiguous()
        self._bias = None if bias is None else bias.float()
        self._rows = FASTEST_ON_CPU

    def __call__(self, rows: Quantised, room: Tensor | None = None) -> Tensor:
        """float32[..., outputs]. What several layers are given is quantised once.

        `room`, of that shape, may be used for it: new memory for large results costs a fifth of the product's time.
        """
        out: Tensor | None = None
        for block, product in enumerate(self._products):
            sums = product(rows.values[..., block, :], room if block == 0 else None)
            out = self._rows.scale(sums, rows.units, block, self._units[block], out)
        assert out is not None
        if self._bias is not None:
            out += self._bias
        return out

    def move(self, device: torch.device, kind: Device) -> None:
        """Go on with another device, and its way of multiplying."""
        self._products = [product_for(product.weight().to(device), kind) for product in self._products]
        self._units, self._rows = self._units.to(device), kind.rows()
        self._bias = None if self._bias is None else self._bias.to(device)


class Embedding:
    """Rows of 8-bit integers to look up; the same ones as a Linear of the same weights has."""

    def __init__(self, weight: Tensor) -> None:
        if weight.ndim != 2:
            raise ValueError(f"an embedding has the shape {[*weight.shape]}")
        self.rows = len(weight)
        quantised = Rows().quantise(weight.float(), blocks(weight.shape[1]))
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

    def rows(self) -> Rows:
        """What does the rest there."""
        return FASTEST_ON_CPU if self is Device.FLOATS else Rows()


class Product(ABC):
    """Multiplies rows of integers in float32 with a matrix of such, exactly, into integers in float32."""

    @abstractmethod
    def __call__(self, rows: Tensor, room: Tensor | None = None) -> Tensor:
        """float32[..., outputs] of float32[..., columns], in `room` if it is of use."""

    @abstractmethod
    def weight(self) -> Tensor:
        """The matrix, float32[outputs, columns]."""


class _Floats(Product):
    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self._columns = weight.T.to(dtype).contiguous()

    def __call__(self, rows: Tensor, room: Tensor | None = None) -> Tensor:
        if room is not None and self._columns.dtype is torch.float32:
            return torch.matmul(rows, self._columns, out=room)
        return torch.matmul(rows.to(self._columns.dtype), self._columns).float()

    def weight(self) -> Tensor:
        return self._columns.T.float()


class _Integers(Product):
    """By torch._int_mm, which wants more than 16 rows, and multiples of 8 otherwise."""

    def __init__(self, weight: Tensor) -> None:
        self._outputs, self._inputs = weight.shape
        padding = (0, -self._inputs % 8, 0, -self._outputs % 8)
        self._columns = torch.nn.functional.pad(weight, padding).to(torch.int8).T

    def __call__(self, rows: Tensor, room: Tensor | None = None) -> Tensor:
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
