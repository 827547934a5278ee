"""What the trained state of `cm` gains or costs, file by file.

    python -m benchmarks.trained_cost DIRECTORY [--least BYTES]

Payloads of every file of at least that many bytes, from the trained state and from nothing, at both levels; those
that the trained state makes larger come last. A large file unlike the training text must not pay for it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from lmarc.coding import codec, memory, state
from lmarc.coding.level import LEVELS


def sizes(contents: dict[str, bytes], level: int) -> dict[str, int]:
    """Payload bytes by name."""
    return {name: len(codec.encode(data, level)) for name, data in contents.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--least", type=int, default=500_000)
    arguments = parser.parse_args()
    paths = sorted(p for p in arguments.directory.rglob("*") if p.is_file() and p.stat().st_size >= arguments.least)
    contents = {str(p.relative_to(arguments.directory)): p.read_bytes()[: codec.MOST_BYTES] for p in paths}
    trained = {level: sizes(contents, level) for level in LEVELS}
    state.knowledge = lambda: np.zeros(0, np.uint8)
    state.learned = memory.fresh_learned
    untrained = {level: sizes(contents, level) for level in LEVELS}
    costs = {name: [100 * trained[level][name] / untrained[level][name] - 100 for level in LEVELS] for name in contents}
    print(f"{'file':32} {'bytes':>9} " + " ".join(f"{'trained':>9} {'untrained':>9} {'change':>8}" for _ in LEVELS))
    for name in sorted(contents, key=lambda name: max(costs[name])):
        columns = (
            f"{trained[level][name]:9} {untrained[level][name]:9} {cost:+6.2f} %"
            for level, cost in zip(LEVELS, costs[name], strict=True)
        )
        print(f"{name:32} {len(contents[name]):9} " + " ".join(columns))


if __name__ == "__main__":
    main()
