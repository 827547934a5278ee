"""The x86 branch filter: relative targets of CALL and JMP become absolute, so that calls of one function look alike.

A target is rewritten where the opcode E8 or E9 is followed by four bytes of which the last is 0 or 255; the
low 25 bits carry the target, which keeps that last byte 0 or 255. The encoder goes from the end to the start and the
decoder the other way, so that each step back meets the very bytes that its step left.
Source of the idea: the E8E9 filters of LZX, 7z and zpaq.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.jit import entry, index, kernel, wide

Bytes = npt.NDArray[np.uint8]

_MASK = (1 << 25) - 1


@kernel
def _rewrite(code: Bytes, i: int, direction: int) -> None:
    """Move the target behind the opcode at `i`, if there is one, by `direction` times `i`."""
    last = wide(code[index(i + 4)])
    if code[index(i)] & 0xFE != 0xE8 or (last != 0 and last != 255):
        return
    target = wide(code[index(i + 1)]) | wide(code[index(i + 2)]) << 8 | wide(code[index(i + 3)]) << 16
    target = ((target | (last & 1) << 24) + direction * i) & _MASK
    code[index(i + 1)] = target & 255
    code[index(i + 2)] = (target >> 8) & 255
    code[index(i + 3)] = (target >> 16) & 255
    code[index(i + 4)] = 255 * (target >> 24)


@entry
def make_absolute(code: Bytes) -> None:
    """Make targets absolute, in place; positions count from the array's start."""
    for i in range(len(code) - 5, -1, -1):
        _rewrite(code, i, 1)


@entry
def make_relative(code: Bytes) -> None:
    """Undo `make_absolute`."""
    for i in range(len(code) - 4):
        _rewrite(code, i, -1)
