"""The walk over a document that says what a context is before every byte."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding.contexts import ALL, ALL_FIELDS, TEXT, advance, class_table, hashes
from lmarc.coding.jit import index, kernel
from lmarc.coding.special import advance_special, role_table, special_hashes

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


@kernel
def _walk(
    piece: Bytes,
    wanted: int,
    class_of: Bytes,
    roles: Bytes,
    context: Ints,
    followers: npt.NDArray[np.uint16],
    hashed: Ints,
    out: Ints,
) -> None:
    for position in range(len(piece)):
        hashes(context, position, hashed)
        special_hashes(context, followers, piece, 0, position, TEXT, 1, 1, hashed)
        out[index(position)] = hashed[wanted]
        advance(context, piece, position + 1, class_of)
        advance_special(context, followers, piece, position + 1, roles)


def hashes_before(piece: Bytes, wanted: int) -> Ints:
    """int64[len(piece)]: the 32-bit hash of the context of that number before every byte of a document of text."""
    out = np.zeros(len(piece), np.int64)
    context, followers, hashed = np.zeros(ALL_FIELDS, np.int64), np.zeros(65536, np.uint16), np.zeros(ALL, np.int64)
    _walk(piece, wanted, class_table(), role_table(), context, followers, hashed, out)
    return out
