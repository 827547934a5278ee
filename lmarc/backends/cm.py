"""Backend `cm`: the built-in context-mixing model, what everyone gets without downloading anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lmarc.backends.contract import CodecBackend, Promise, hookimpl
from lmarc.errors import UnsupportedError

LEVELS = (1, 2)


class ContextMixing(CodecBackend):
    """Payload = arithmetic code of the content under the model of spec/CM.md. Parameter `level`: 1, or 2 for the larger
    model."""

    name = "cm"
    version = 2
    promise = Promise.PORTABLE
    defaults: ClassVar[Mapping[str, Any]] = {"level": 1}

    def decodes(self, version: int) -> bool:
        """Version 2 only: 1 was never released."""
        return version == self.version

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Code data of at most 16 MiB."""
        level = _level(params)
        from lmarc.coding import codec

        return codec.encode(data, level)

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decode a payload; whatever its bytes, exactly size bytes come out or ValueError is raised."""
        level = _level(params)
        from lmarc.coding import codec

        return codec.decode(payload, size, level)

    def prepare(self, params: Mapping[str, Any]) -> None:
        """Load the kernel of the level and what it has learned; the first time after installing, compile it."""
        level = _level(params)
        from lmarc.coding import codec

        codec.prepare(level)

    def memory_bound(self, size: int, params: Mapping[str, Any]) -> int:
        """Tables, buffers, code and the table of knowledge, for a chunk of that size."""
        level = _level(params)
        from lmarc.coding import codec

        return codec.memory_bound(size, level)

    def memory_shared(self, params: Mapping[str, Any]) -> int:
        """The table of knowledge."""
        from lmarc.coding import knowledge, state

        return state.BUCKETS * knowledge.BUCKET_BYTES


def _level(params: Mapping[str, Any]) -> int:
    """The level that parameters ask for. Raises UnsupportedError for one there is not."""
    level = params.get("level", 1)
    if type(level) is not int or level not in LEVELS:
        raise UnsupportedError(f"backend 'cm' has no level {level!r:.20}")
    return level


@hookimpl
def lmarc_backend() -> ContextMixing:
    """The backend."""
    return ContextMixing()
