"""Sizes and speeds of backend `cm`, each file as one chunk, every round trip checked.

    python benchmarks/cm_sizes.py DIRECTORY [--level 2] [--xz]

Columns: bytes, bytes of the payload (an archive adds about 150), bits per byte, kB of content per second of CPU
time both ways, and with --xz the size `xz -9e` reaches and the payload in percent of it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lmarc.coding import codec


class Row(NamedTuple):
    """What one file came to; speeds in bytes per second, xz 0 when not asked for."""

    name: str
    size: int
    payload: int
    encoding: float
    decoding: float
    xz: int


def measured(path: Path, name: str, level: int, xz: bool) -> Row:
    """Code the file both ways and time it."""
    data = path.read_bytes()
    start = time.process_time()
    payload = codec.encode(data, level)
    middle = time.process_time()
    if codec.decode(payload, len(data), level) != data:
        sys.exit(f"{path}: the round trip failed")
    end = time.process_time()
    speeds = len(data) / max(middle - start, 1e-9), len(data) / max(end - middle, 1e-9)
    return Row(name, len(data), len(payload), *speeds, xz=xz_size(path) if xz else 0)


def xz_size(path: Path) -> int:
    """Bytes of the file under `xz -9e`."""
    return len(subprocess.run(["xz", "-9e", "-c", path], capture_output=True, check=True).stdout)


def rendered(row: Row) -> str:
    """A line of the table."""
    bits = 8 * row.payload / max(row.size, 1)
    line = f"{row.name:36} {row.size:9} {row.payload:9} {bits:6.3f} {row.encoding / 1e3:6.0f} {row.decoding / 1e3:6.0f}"
    return f"{line} {row.xz:9} {100 * row.payload / row.xz:6.1f}" if row.xz else line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--level", type=int, choices=(1, 2), default=1)
    parser.add_argument("--xz", action="store_true", help="compare with xz -9e")
    arguments = parser.parse_args()
    if arguments.xz and shutil.which("xz") is None:
        parser.error("xz is not here")
    codec.prepare(arguments.level)
    print(f"{'file':36} {'bytes':>9} {'payload':>9} {'bpb':>6} {'enc':>6} {'dec':>6}", end="")
    print(f" {'xz -9e':>9} {'%':>6}" if arguments.xz else "")
    rows = []
    for path in sorted(p for p in arguments.directory.rglob("*") if p.is_file()):
        rows.append(measured(path, str(path.relative_to(arguments.directory)), arguments.level, arguments.xz))
        print(rendered(rows[-1]), flush=True)
    if rows:
        size, payload = sum(r.size for r in rows), sum(r.payload for r in rows)
        seconds = [sum(r.size / getattr(r, way) for r in rows) for way in ("encoding", "decoding")]
        print(rendered(Row("all", size, payload, size / seconds[0], size / seconds[1], sum(r.xz for r in rows))))


if __name__ == "__main__":
    main()
