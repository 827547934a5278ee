"""Whole archives of single files against `xz -9e`, file by file.

    python benchmarks/against_xz.py DIR [--preset balanced] [--only text source logs json]

Every archive is unpacked again and compared. A line ends in `LARGER` where lmarc's archive is not smaller.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import time
from pathlib import Path

import lmarc


def xz_size(path: Path) -> int:
    """Bytes that xz -9e makes of a file."""
    return len(subprocess.run(["xz", "-9e", "-c", "-T1", path], check=True, capture_output=True).stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--only", nargs="*", default=[], help="top folders to look at")
    args = parser.parse_args()
    totals = [0, 0, 0]
    larger = 0
    for path in sorted(path for path in args.dir.rglob("*") if path.is_file()):
        name = path.relative_to(args.dir)
        if args.only and name.parts[0] not in args.only:
            continue
        sink = io.BytesIO()
        start = time.perf_counter()
        lmarc.pack([path], sink, preset=args.preset)
        seconds = time.perf_counter() - start
        sink.seek(0)
        with lmarc.open(sink) as archive:
            assert archive.read(path.name) == path.read_bytes()
        sizes = path.stat().st_size, len(sink.getvalue()), xz_size(path)
        totals = [total + size for total, size in zip(totals, sizes, strict=True)]
        mark = "" if sizes[1] < sizes[2] else "  LARGER"
        larger += bool(mark)
        share = f"{100 * sizes[1] / sizes[2]:5.1f} %"
        print(
            f"{name!s:36} {sizes[0]:9} {sizes[1]:9} xz {sizes[2]:9} {share} {sizes[0] / seconds / 1e3:7.0f} kB/s{mark}"
        )
    print(f"{'all':36} {totals[0]:9} {totals[1]:9} xz {totals[2]:9}; {larger} not smaller")


if __name__ == "__main__":
    main()
