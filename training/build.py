"""Rebuild the trained state of cm, bit for bit, from the training text.

    python -m training.fetch PACKAGES                        # about 60 MB of text from the package registries
    python -m training.build --train TRAIN --packages PACKAGES --work WORK [--output lmarc/coding/cm.state]

TRAIN is the folder of training text (SOURCES.md). WORK receives about 1.5 GB of intermediate files; counts that are
there already are not made again. Takes half an hour and 6 GB of memory on one core. Prints the BLAKE3 of the
state, which lmarc/coding/state.py and spec/CM.md name.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from blake3 import blake3

from lmarc.coding import state
from lmarc.coding.level import LEVELS
from training import corpus, knowledge
from training.trust import pieces, trusting


def main() -> None:
    """Build the state."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--packages", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=state.PATH)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    documents = list(corpus.documents(arguments.train, arguments.packages))
    print(f"{len(documents)} documents, {sum(len(d.data) for d in documents)} bytes", file=sys.stderr)
    knowledge.weighed_into(documents, arguments.work)
    table = knowledge.chosen(arguments.work)
    held_out = pieces(document for document in documents if knowledge.is_held_out(document))
    learned = {}
    for number, level in LEVELS.items():
        begin = time.monotonic()
        learned[number] = trusting(level, table, held_out)
        print(f"level {number} has learned, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    content = state.serialised(table, learned)
    arguments.output.write_bytes(content)
    print(f"{arguments.output}: {len(content)} bytes, BLAKE3 {blake3(content).hexdigest()}")


if __name__ == "__main__":
    main()
