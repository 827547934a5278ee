"""Backend `store`: the content as it is, for data that does not compress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmarc.backends.contract import CodecBackend, Promise, hookimpl
from lmarc.errors import DamagedError


class Store(CodecBackend):
    """Payload = content (FORMAT.md section 6)."""

    name = "store"
    version = 1
    promise = Promise.PORTABLE

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Return data."""
        return bytes(data)

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Return the payload, which must be size bytes long."""
        if len(payload) != size:
            raise DamagedError(f"{len(payload)} stored bytes where {size} belong")
        return bytes(payload)

    def memory_bound(self, size: int, params: Mapping[str, Any]) -> int:
        """None beyond the data."""
        return 0


@hookimpl
def lmarc_backend() -> Store:
    """The backend."""
    return Store()
