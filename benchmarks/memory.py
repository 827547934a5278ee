"""Peak memory of pack, list, test and unpack over a 4 GB sparse file and 100,000 small files.

python benchmarks/memory.py [--files 100000] [--work DIR] [--preset fast]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SPARSE_SIZE = 4 << 30


def make_tree(root: Path, files: int) -> None:
    """One sparse file with data at both ends and in the middle, and small files in directories of 200."""
    root.mkdir()
    with (root / "sparse.img").open("wb") as image:
        image.truncate(SPARSE_SIZE)
        for offset in (0, SPARSE_SIZE // 2, SPARSE_SIZE - 4096):
            image.seek(offset)
            image.write(os.urandom(4096))
    for number in range(files):
        folder = root / f"{number // 200:04d}"
        if number % 200 == 0:
            folder.mkdir()
        (folder / f"{number:06d}.txt").write_text(f"file number {number}\n" * (1 + number % 7))


def measured(label: str, arguments: list[str], cwd: Path) -> None:
    """Run lmarc in a child of its own and print its time and peak resident memory."""
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.chdir(cwd)
        subprocess_code = subprocess.call([sys.executable, "-m", "lmarc", *arguments], stdout=subprocess.DEVNULL)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"{label:8} exit {subprocess_code}  {time.perf_counter() - start:6.2f} s  peak {peak / 1024:7.1f} MiB")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def main() -> None:
    """Make the tree, run the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--preset", default="fast")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        work = Path(name)
        make_tree(work / "tree", args.files)
        measured("pack", ["pack", "-q", "-p", args.preset, "tree"], work)
        measured("list", ["list", "tree.lmarc"], work)
        measured("test", ["test", "-q", "tree.lmarc"], work)
        measured("unpack", ["unpack", "-q", "tree.lmarc", "-C", "out"], work)
        measured("diff", ["diff", "tree.lmarc", "-C", "out"], work)


if __name__ == "__main__":
    main()
