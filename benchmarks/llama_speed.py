"""How fast groups are coded with a GGUF model, against a bare loop of the same llama_decode calls.

    python -m fixtures.random_models FOLDER smol135 qwen05 --quantise q8_0
    python -m benchmarks.llama_speed FOLDER/smol135-q8_0.gguf [--lanes 16] [--steps 24] [--threads 1]

The loop shows every lane a token and asks for the logits of all. Loop, packing and unpacking take turns, --rounds of
them; the best of each counts. Ratios are tokens per second of the whole against those of the loop of the same shape:
several steps at once for packing, single steps for unpacking.
"""

from __future__ import annotations

import argparse
import random
import time

import numpy as np

from lmarc.archive.predictors import open_for_packing
from lmarc.coding import group
from lmarc.coding.vocabulary import Vocabulary
from lmarc.models.identity import model_file


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    lanes, steps = arguments.lanes, arguments.steps
    opened = open_for_packing("llama", model_file(arguments.model), {"lanes": lanes}, arguments.threads)
    model = opened.codec.model
    vocabulary = Vocabulary(model.vocabulary)
    source = random.Random(1)
    ranks = np.array([source.randrange(len(vocabulary.entries)) for _ in range(lanes * steps)], dtype=np.int32)
    shown = np.maximum(vocabulary.sorted.symbols[ranks], 0).reshape(lanes, steps)
    size = len(vocabulary.spelled(ranks))
    best = {"loop of several steps": 1e9, "packing": 1e9, "loop of single steps": 1e9, "unpacking": 1e9}

    def note(name: str, start: float) -> None:
        best[name] = min(best[name], time.monotonic() - start)

    payload = b""
    for _ in range(arguments.rounds + 1):
        for name, at_once in (("loop of several steps", model.steps), ("loop of single steps", 1)):
            session, start = model.session(lanes), time.monotonic()
            for step in range(0, steps, at_once):
                session.advance(np.ascontiguousarray(shown[:, step : step + at_once]))
            note(name, start)
        session, start = model.session(lanes), time.monotonic()
        payload = group.encode(ranks, vocabulary, session.advance, model.first, lanes, model.steps)
        note("packing", start)
        session, start = model.session(lanes), time.monotonic()
        group.Reader(payload, size, vocabulary, lanes).decode(session.advance, model.first)
        note("unpacking", start)
    print(opened.reference.params)
    for name, seconds in best.items():
        print(f"{name:22} {lanes * steps / seconds:8.1f} tokens/s")
    print(
        f"packing {best['loop of several steps'] / best['packing']:.3f}, "
        f"unpacking {best['loop of single steps'] / best['unpacking']:.3f} of the loop"
    )


if __name__ == "__main__":
    main()
