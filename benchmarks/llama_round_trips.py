"""Exact round trips of files by GGUF models, across processes and numbers of threads.

    python -m benchmarks.llama_round_trips MODEL.gguf... --files FILE|DIR... [--bytes N]

Of each file its first N bytes are packed, everything by the model, also what other backends code better, and unpacked
in a process of its own with the other number of threads, 1 and 2. Prints a line for each model and pair of threads, and
ends with exit code 1 if anything came back as something else, or if the two archives are not the same bytes.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: The program, but what the model can code it codes.
_ALWAYS = """
from lmarc.archive.presets import ChunkCoder
ChunkCoder._model = lambda coder, cm, data: ("store", data)
from lmarc.cli.main import main
main()
"""


def slices(given: list[Path], most: int, folder: Path) -> int:
    """Copy the first bytes of the files into a folder; return how many files there are."""
    files = sorted(file for path in given for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    for number, file in enumerate(files):
        (folder / f"{number:03d}-{file.name}").write_bytes(file.read_bytes()[:most])
    return len(files)


def run(*args: str | Path) -> None:
    """Run lmarc so that the model codes all it can."""
    subprocess.run([sys.executable, "-c", _ALWAYS, *args], check=True, stderr=subprocess.DEVNULL)


def is_same(left: Path, right: Path) -> bool:
    """Whether two flat folders hold the same files."""
    names = sorted(os.listdir(left))
    return names == sorted(os.listdir(right)) and filecmp.cmpfiles(left, right, names, shallow=False)[0] == names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--files", nargs="+", type=Path, required=True)
    parser.add_argument("--bytes", type=int, default=30_000)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tree").mkdir()
        count = slices(arguments.files, arguments.bytes, folder / "tree")
        size = sum(file.stat().st_size for file in (folder / "tree").iterdir())
        print(f"{count} files, {size} bytes")
        for model in arguments.models:
            archives = []
            for packing, unpacking in (("1", "2"), ("2", "1")):
                begun = time.monotonic()
                archive, out = folder / f"{packing}.lmarc", folder / f"out-{model.stem}-{packing}"
                run("pack", "-fj", packing, "-m", model, "-o", archive, folder / "tree")
                run("unpack", "-j", unpacking, "-m", model, "-C", out, archive)
                good = is_same(folder / "tree", out / "tree")
                failed |= not good
                archives.append(archive.read_bytes())
                print(
                    f"{model.name:28s} packed by {packing}, unpacked by {unpacking}: "
                    f"{'same' if good else 'DIFFERENT'}, {len(archives[-1])} bytes, {time.monotonic() - begun:.0f} s",
                    flush=True,
                )
            if archives[0] != archives[1]:
                failed = True
                print(f"{model.name:28s} the two archives are DIFFERENT")
    sys.exit(failed)


if __name__ == "__main__":
    main()
