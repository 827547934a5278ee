"""Backend `cm`: the built-in context-mixing model, what everyone gets without downloading anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmarc.backends.contract import CodecBackend, Promise, hookimpl


class ContextMixing(CodecBackend):
    """Payload = arithmetic code of the content under the model of spec/CM.md."""

    name = "cm"
    version = 1
    promise = Promise.PORTABLE

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Code data; no parameters."""
        from lmarc.coding import model

        return model.encode(data)

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decode a payload; whatever its bytes, exactly size bytes come out or ValueError is raised."""
        from lmarc.coding import model

        return model.decode(payload, size)

    def memory_bound(self, size: int) -> int:
        """Tables, buffers and code for a chunk of that size."""
        from lmarc.coding import model

        return model.memory_bound(size)


@hookimpl
def lmarc_backend() -> ContextMixing:
    """The backend."""
    return ContextMixing()
