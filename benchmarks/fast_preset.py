"""`--preset fast` against `tar | zstd -3` over one tree, whole processes, both ways, in one run.

    python benchmarks/fast_preset.py DIR [--runs 7] [--work /dev/shm]

Prints the best and the median of wall and CPU time of each, the ratios of the medians, and the sizes.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def timed(command: str) -> tuple[float, float]:
    """Wall and CPU seconds of a shell command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["bash", "-c", command], check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--work", type=Path, help="where archives and extracted trees go")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=args.work))
    tree, above = args.dir.resolve().name, args.dir.resolve().parent
    lmarc = f"{sys.executable} -m lmarc"
    commands = {
        "tar|zstd -3": f"cd {above} && tar cf - {tree} | zstd -q -3 -f -o {work}/a.tar.zst",
        "lmarc pack": f"cd {above} && {lmarc} pack -q -f -p fast {tree} -o {work}/a.lmarc",
        "zstd -d|tar": f"mkdir {work}/t && zstd -dcq {work}/a.tar.zst | tar xf - -C {work}/t",
        "lmarc unpack": f"{lmarc} unpack -q {work}/a.lmarc -C {work}/l",
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    try:
        for _ in range(args.runs):
            for name, command in commands.items():
                times[name].append(timed(command))
                # What was extracted goes at once: each begins with the same disk.
                for extracted in ("t", "l"):
                    shutil.rmtree(work / extracted, ignore_errors=True)
        for name, values in times.items():
            wall, cpu = zip(*values, strict=True)
            print(f"{name:12}  wall best {min(wall):.3f} median {statistics.median(wall):.3f} s", end="   ")
            print(f"CPU median {statistics.median(cpu):.3f} s")
        for theirs, ours in (("tar|zstd -3", "lmarc pack"), ("zstd -d|tar", "lmarc unpack")):
            ratio = statistics.median(w for w, _ in times[ours]) / statistics.median(w for w, _ in times[theirs])
            print(f"{ours}: {ratio:.2f} times the wall time of {theirs}")
        sizes = (work / "a.tar.zst").stat().st_size, (work / "a.lmarc").stat().st_size
        print(f"size: {sizes[0]} tar.zst, {sizes[1]} lmarc: {100 * (sizes[1] / sizes[0] - 1):+.2f} %")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
