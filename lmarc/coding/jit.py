"""The one place where kernels meet numba: our options, typed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import config

F = TypeVar("F", bound=Callable[..., object])

# Casts an index known not to be negative. Without it numba provides for negative indices at every access,
# which costs a fifth of the speed. In the pure-Python meaning it is plain `int`.
index = cast(Callable[[int], int], int if vars(config)["DISABLE_JIT"] else np.uint64)

# `_nrt=False`: kernels allocate nothing, so they need not count references to their arrays, which would
# cost a third of the speed. Arrays are allocated outside and passed in.
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}


def kernel(function: F) -> F:
    """Compile `function` on its first call, without the GIL, and keep the machine code on disk.

    A kernel may not allocate. With `NUMBA_DISABLE_JIT=1` the function itself comes back: that is the
    reference meaning. Where no directory for machine code can be written, every process compiles anew.
    """
    try:
        compiled: F = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba: "no locator available"
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled


def sources_stamp() -> int:
    """A number that changes with any source file of this package.

    numba's disk cache looks only at the file of the kernel it caches, not at the helpers inlined into it,
    but values a kernel closes over are part of the cache's key. A kernel that closes over this number is
    compiled again whenever any helper changed.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:4], "big")
