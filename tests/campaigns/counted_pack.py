"""The real program, with small chunks, that notes in a file which chunks it codes: for counting what is done twice.

``python -m tests.campaigns.counted_pack LOG ARGUMENTS...``
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from blake3 import blake3

from lmarc.archive import presets
from lmarc.cli import main as program

#: Workers.
JOBS = 2
_CHUNK = 16 << 10


def note_coding(log: str) -> None:
    """Have every chunk that is coded, and not taken from what was kept, noted in the log as it begins."""
    coded: Callable[[presets.ChunkCoder, bytes], tuple[str, bytes]] = presets.ChunkCoder._coded
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def noting(coder: presets.ChunkCoder, data: bytes) -> tuple[str, bytes]:
        os.write(fd, blake3(data).hexdigest().encode() + b"\n")
        return coded(coder, data)

    presets.ChunkCoder._coded = noting  # type: ignore[method-assign]


def main() -> NoReturn:
    """Run lmarc's command line."""
    note_coding(sys.argv[1])
    presets.PRESETS = {**presets.PRESETS, "balanced": presets.Preset("cm", _CHUNK)}
    sys.argv = ["lmarc", *sys.argv[2:], "--jobs", str(JOBS)]
    program.main()


if __name__ == "__main__":
    main()
