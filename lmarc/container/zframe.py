"""One zstd frame of known size, decoded within bounds (FORMAT.md section 2.3)."""

from __future__ import annotations

from lmarc.container import wire
from lmarc.errors import DamagedError, LimitError

#: A zstd frame header is never longer.
_MAX_FRAME_HEADER = 18
#: Of `distant` compression, as powers of two.
_SMALLEST_WINDOW, _LARGEST_WINDOW = 17, 24


def compress(data: bytes | bytearray | memoryview, level: int, *, distant: bool = False) -> bytes:
    """Compress into a single frame that declares its content size and carries no checksum of its own.

    `distant`: see repetitions wherever they are in the data, which low levels otherwise do not.
    """
    import zstandard

    if not distant:
        return zstandard.ZstdCompressor(level=level, write_checksum=False, write_content_size=True).compress(data)
    window = min(max((len(data) - 1).bit_length(), _SMALLEST_WINDOW), _LARGEST_WINDOW)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), window_log=window, enable_ldm=True, write_checksum=0, write_content_size=1
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def decompress(frame: bytes | memoryview, size: int) -> bytes:
    """Decompress a frame that must hold exactly size > 0 bytes and end where the data ends.

    Raises DamagedError, or LimitError for a window beyond the format's.
    """
    import zstandard

    try:
        # The declared size is what zstandard allocates, so it is compared before anything is decoded.
        parameters = zstandard.get_frame_parameters(bytes(frame[:_MAX_FRAME_HEADER]))
        if parameters.content_size != size or size == 0:
            raise DamagedError(f"a zstd frame does not declare the {size} bytes it must hold")
        if parameters.window_size > wire.MAX_ZSTD_WINDOW:
            raise LimitError(f"a zstd window of {parameters.window_size} bytes, more than {wire.MAX_ZSTD_WINDOW}")
        if parameters.dict_id:
            raise DamagedError("a zstd frame asks for a dictionary")
        data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise DamagedError("a zstd frame cannot be decoded") from error
    if len(data) != size:
        raise DamagedError("a zstd frame does not hold what it declares")
    return data
