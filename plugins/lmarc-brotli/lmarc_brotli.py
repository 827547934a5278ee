"""Brotli (RFC 7932) as an lmarc backend: the payload is one brotli stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmarc.backends.contract import CodecBackend, Promise, hookimpl
from lmarc.errors import DamagedError

_QUALITY = 11
_WINDOW_BITS = 24


class Brotli(CodecBackend):
    """Parameters for packing: `quality` 0 to 11, `window_bits` 10 to 24. Decoding needs none."""

    name = "brotli"
    version = 1
    promise = Promise.PORTABLE

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Compress into one stream."""
        import brotli

        quality, window = params.get("quality", _QUALITY), params.get("window_bits", _WINDOW_BITS)
        return bytes(brotli.compress(bytes(data), quality=quality, lgwin=window))

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decompress one stream of exactly size bytes; a longer one is stopped, not expanded."""
        import brotli

        decoder = brotli.Decompressor()
        data = decoder.process(bytes(payload), output_buffer_limit=size + 1)
        while len(data) <= size and not decoder.is_finished() and (more := decoder.process(b"")):
            data += more
        if len(data) != size or not decoder.is_finished():
            raise DamagedError("a brotli stream is cut off or of the wrong length")
        return bytes(data)

    def memory_bound(self, size: int, params: Mapping[str, Any]) -> int:
        """The encoder's hash tables and ring buffer at quality 11."""
        return 8 * size + (96 << 20)


@hookimpl
def lmarc_backend() -> Brotli:
    """The backend."""
    return Brotli()
