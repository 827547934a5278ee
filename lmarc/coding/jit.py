"""The one place where kernels meet numba: our options, typed."""

from __future__ import annotations

import hashlib
import operator
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

# Widens an array's element to 64 bits, signed. In the pure-Python meaning it is plain `int`.
wide = cast(Callable[[Any], int], int if vars(config)["DISABLE_JIT"] else np.int64)

# `_nrt=False`: kernels allocate nothing, so they need not count references to their arrays, which would
# cost a third of the speed. Arrays are allocated outside and passed in.
_OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False}


def kernel(function: F, **options: Any) -> F:
    """Compile `function` on its first call, without the GIL. A kernel may not allocate. `options` are more of numba's.

    Its machine code becomes part of the kernels that call it. With `NUMBA_DISABLE_JIT=1` the function itself comes
    back: that is the reference meaning.
    """
    compiled: F = numba.njit(**_OPTIONS, **options)(function)
    return compiled


def entry(function: F, **options: Any) -> F:
    """A kernel whose machine code is kept on disk, with that of all kernels it calls.

    Numba compiles it again when its own file or what it closes over has changed. So one that takes anything from
    another file than this closes over `sources_stamp()`. (Were the kernels it calls kept too, old ones would get into
    new ones.) Where no directory for machine code can be written, every process compiles anew.
    """
    try:
        compiled: F = numba.njit(cache=True, **_OPTIONS, **options)(function)
    except RuntimeError:  # numba: "no locator available"
        compiled = numba.njit(**_OPTIONS, **options)(function)
    return compiled


def sources_stamp() -> int:
    """A number that changes with any source file of this package, for `entry`."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:4], "big")


def _define_narrow(name: str) -> Callable[[Any, Any], Any]:
    """`add32` or `multiply32`: the sum or product of two int32 that is known to fit one.

    Numba would widen to 64 bits, which halves what a vector instruction does.
    """
    if vars(config)["DISABLE_JIT"]:
        return {"add": operator.add, "mul": operator.mul}[name]

    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def narrow(typing_context: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return types.int32(types.int32, types.int32), generate

    return cast(Callable[[Any, Any], Any], narrow)


add32 = _define_narrow("add")
multiply32 = _define_narrow("mul")


def _define_prefetch() -> Callable[[Any, int], None]:
    """`prefetch(array, i)`: ask for the cache line of element i, without waiting for it."""

    def nothing(array: Any, i: int) -> None:
        """The pure-Python meaning."""

    if vars(config)["DISABLE_JIT"]:
        return nothing

    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    helpers: Any = cgutils

    @intrinsic
    def prefetch(typing_context: Any, array: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = signature.args[0]
            view = context.make_array(kind)(context, builder, arguments[0])
            place = helpers.get_item_pointer(context, builder, kind, view, [arguments[1]], wraparound=False)
            byte, word = ir.IntType(8), ir.IntType(32)
            pointer = builder.bitcast(place, byte.as_pointer())
            shape = ir.FunctionType(ir.VoidType(), [byte.as_pointer(), word, word, word])
            function = helpers.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0i8")
            builder.call(function, [pointer, word(1), word(3), word(1)])
            return context.get_dummy_value()

        return types.void(array, i), generate

    return cast(Callable[[Any, int], None], prefetch)


prefetch = _define_prefetch()
