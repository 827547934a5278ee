"""Small files: `cm` with its trained state against `zstd -19` with a dictionary trained on the same training text.

    python -m benchmarks.small_files DIRECTORY --train TRAIN [--packages PACKAGES] [--dictionary BYTES]

Sizes are those of payloads and of zstd frames without content size and checksum. `untrained` is level 1 from nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import zstandard

from lmarc.coding import codec, memory
from lmarc.coding.contexts import TEXT
from lmarc.coding.level import LEVELS
from lmarc.coding.segments import Segment
from training import corpus

_SAMPLE = 8 << 10
_MOST_TRAINING = 100 << 20


def dictionary(train: Path, packages: Path | None, size: int) -> zstandard.ZstdCompressionDict:
    """A dictionary of that size from the beginnings of all training documents."""
    samples: list[bytes | bytearray | memoryview] = [
        document.data[:_SAMPLE] for document in corpus.documents(train, packages)
    ]
    step = -(-sum(map(len, samples)) // _MOST_TRAINING)
    return zstandard.train_dictionary(size, samples[::step])


def untrained(data: bytes) -> int:
    """Level 1 from nothing."""
    text, code = np.frombuffer(data, np.uint8).copy(), np.zeros(3 * len(data) + 1000, np.uint8)
    learned, level = memory.fresh_learned(LEVELS[1]), LEVELS[1]
    return codec.run(text, code, [Segment(len(data), TEXT)], False, level, learned, np.zeros(0, np.uint8))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--dictionary", type=int, default=1 << 20)
    arguments = parser.parse_args()
    learned = dictionary(arguments.train, arguments.packages, arguments.dictionary)
    coder = zstandard.ZstdCompressor(level=19, dict_data=learned, write_content_size=False, write_dict_id=False)
    totals = [0] * 5
    print(f"{'file':22} {'bytes':>8} {'zstd':>8} {'untrained':>9} {'level 1':>8} {'level 2':>8}")
    for path in sorted(p for p in arguments.directory.rglob("*") if p.is_file()):
        data = path.read_bytes()
        row = [len(data), len(coder.compress(data)), untrained(data), *(len(codec.encode(data, n)) for n in LEVELS)]
        totals = [a + b for a, b in zip(totals, row, strict=True)]
        print(f"{path.name:22} " + " ".join(f"{value:8}" for value in row))
    print(f"{'all':22} " + " ".join(f"{value:8}" for value in totals))
    zstd, nothing, one = totals[1:4]
    print(f"level 1 is {100 - 100 * one / zstd:.1f} % below zstd, {100 - 100 * one / nothing:.1f} % below untrained")


if __name__ == "__main__":
    main()
