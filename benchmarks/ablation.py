"""What each expert of `cm` earns: the model without it, trained anew, against the whole model.

    python -m benchmarks.ablation DIRECTORY --train TRAIN [--packages DIR] [--level 2] [--only NAME ...] [--share 4]

For every variant the model learns whom to trust from a share of the documents that training holds out, then codes
the first 250 kB of every file below DIRECTORY. Columns: bytes in all, change against the whole model in percent, then
the change for each folder. `untrained` starts from nothing, `no knowledge` from trained weights alone.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from lmarc.coding import arrays, codec, memory, model, state
from lmarc.coding.jit import sources_stamp
from lmarc.coding.level import LEVELS
from training import corpus
from training.knowledge import is_held_out
from training.trust import pieces, trusting

_MOST = 250_000
_NOTHING = np.zeros(0, np.uint8)
NAMES = (
    "order 2", "order 3", "order 4", "order 6", "word", "word pair", "shape", "column", "expected",
    "indirect", "order 5", "three words", "bracket and word", "field", "field above",
    "field above and start", "line head and word", "number",
)  # fmt: skip


def coded(directory: Path, level: int) -> Counter[str]:
    """Bytes by folder."""
    sizes: Counter[str] = Counter()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        sizes[path.relative_to(directory).parts[0]] += len(codec.encode(path.read_bytes()[:_MOST], level))
    return sizes


def variant(name: str, number: int, off: int, content: list[bytes], directory: Path) -> Counter[str]:
    """Sizes with some contexts off, trained anew unless `untrained`."""
    level = LEVELS[number]
    kernel = model.build(level, sources_stamp(), off)
    known = _NOTHING if name in ("untrained", "no knowledge") else state.knowledge()
    kept = model.kernel_of, state.knowledge, state.learned
    model.kernel_of = lambda level: kernel  # type: ignore[assignment]
    try:
        learned = memory.fresh_learned(level) if name == "untrained" else trusting(level, known, content)
        state.knowledge = lambda: known
        state.learned = lambda level: memory.Learned(*map(arrays.copied, learned))  # type: ignore[arg-type]
        return coded(directory, number)
    finally:
        model.kernel_of, state.knowledge, state.learned = kept


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--level", type=int, choices=(1, 2), default=1)
    parser.add_argument("--only", nargs="*", help="names of contexts, untrained, no knowledge")
    parser.add_argument("--share", type=int, default=4, help="learn from one in so many pieces")
    arguments = parser.parse_args()
    documents = corpus.documents(arguments.train, arguments.packages)
    content = pieces(d for d in documents if is_held_out(d))[:: arguments.share]
    variants = {"whole": 0, "untrained": 0, "no knowledge": 0}
    variants |= {name: 1 << i for i, name in enumerate(NAMES[: LEVELS[arguments.level].contexts])}
    whole: Counter[str] = Counter()
    for name, off in variants.items():
        if arguments.only and name not in (*arguments.only, "whole"):
            continue
        sizes = variant(name, arguments.level, off, content, arguments.directory)
        whole = whole or sizes
        changes = " ".join(f"{folder} {100 * sizes[folder] / whole[folder] - 100:+.2f}" for folder in sorted(whole))
        print(f"{name:22} {sizes.total():9} {100 * sizes.total() / whole.total() - 100:+6.2f} %  {changes}", flush=True)


if __name__ == "__main__":
    main()
