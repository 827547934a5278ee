"""Backend `zstd`: one zstd frame, the fast and plain fallback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmarc.backends.contract import CodecBackend, Promise, hookimpl
from lmarc.container import zframe

DEFAULT_LEVEL = 3


class Zstd(CodecBackend):
    """Payload = one zstd frame of declared size (FORMAT.md section 6).

    For packing only: parameters `level` and `distant`, whether to look for repetitions at any distance.
    """

    name = "zstd"
    version = 1
    promise = Promise.PORTABLE

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Compress at params["level"], 1 to 22."""
        return zframe.compress(data, params.get("level", DEFAULT_LEVEL), distant=params.get("distant", False))

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decompress a frame that declares exactly size bytes."""
        return zframe.decompress(payload, size)

    def memory_bound(self, size: int, params: Mapping[str, Any]) -> int:
        """Window, hash tables and buffers of zstd's levels up to 19 for content of that size."""
        return 3 * size + (16 << 20)


@hookimpl
def lmarc_backend() -> Zstd:
    """The backend."""
    return Zstd()
