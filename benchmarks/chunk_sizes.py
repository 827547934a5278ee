"""Ratio against random access: one tree packed with several chunk sizes.

    python benchmarks/chunk_sizes.py DIR [--backend cm] [--sizes 1 2 4 8 16]

For each size in MiB: bytes of the archive, relative to the largest size, and the seconds it takes to decode the largest
chunk, which is what reading one byte of one member costs at most.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import lmarc
from lmarc.archive.decode import ChunkDecoder
from lmarc.archive.filters import Filters
from lmarc.archive.jobs import default_jobs
from lmarc.archive.observer import Observer
from lmarc.archive.pack import Packer
from lmarc.archive.presets import Preset
from lmarc.archive.save import SaveFile
from lmarc.archive.walk import Roots
from lmarc.packing import find_sources

MIB = 1 << 20


def pack(tree: str, output: Path, preset: Preset) -> None:
    """Pack with a preset of our own."""
    with SaveFile(str(output)) as file, Roots() as roots:
        packer = Packer(file, preset, jobs=default_jobs(), observer=Observer())
        packer.pack(find_sources(roots, [tree], [], Filters(), packer.observer))
        packer.finish()


def largest_chunk_seconds(path: Path) -> float:
    """Time to decode the largest chunk."""
    with lmarc.open(path) as archive:
        chunk = max(archive.chunks, key=lambda chunk: chunk.size)
        decoder = ChunkDecoder(archive._container)
        start = time.perf_counter()
        decoder.decode(chunk)
        return time.perf_counter() - start


def main() -> None:
    """Pack with each size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir")
    parser.add_argument("--backend", default="cm")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 1, 2, 4, 8, 16])
    args = parser.parse_args()
    params = {"level": 3} if args.backend == "zstd" else {}
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for size in args.sizes:
            path = Path(work) / f"{size}.lmarc"
            pack(args.dir, path, Preset(args.backend, int(size * MIB), params))
            rows.append((size, os.path.getsize(path), largest_chunk_seconds(path)))
    best = rows[-1][1]
    for size, total, seconds in rows:
        print(f"{size:5g} MiB  {total:10d} bytes  {100 * (total / best - 1):+6.2f} %  one chunk {seconds:6.2f} s")


if __name__ == "__main__":
    main()
