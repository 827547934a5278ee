"""Which settings change the logits of a llama.cpp model on this machine, bit for bit.

    python -m benchmarks.llama_matching MODEL.gguf [--tokens 320] [--lanes 8] [--only NAME ...]

A decoder can only step: N lanes x 1 token. An encoder may step too, or have K tokens of every lane scored at once, with
other threads. Each row of the table is a configuration, in a process of its own. Its N lanes are stepped with one
thread; then all is done again with one thing changed, and the float32 logits are compared bit for bit:

    2thr 3thr    threads; 1/3 is n_threads 1 with n_threads_batch 3
    1 2 3 5 32   so many lanes; after the eighth their texts come again
    K4 K16 K64   so many tokens of every lane at once; mixed: now 5, now 1, 32, 2; 1K2 1K64: of one lane only
    order        the tokens of K16 in the order of steps, not of lanes
    place        every text in another lane
    gaps         only every second sequence is used
    ubatch       K16 with n_ubatch 3 N: fewer tokens at once than asked for

"=" stands for the same bits in all logits, a number for the largest difference seen (at one position in 16; "!=" where
those are the same), "-" for what llama.cpp refuses. Configurations with the same logits have the same letter; the last
row is the first one again. The key-value cache grows by 256 cells at a time: with 320 tokens it gets to 512, from where
on llama.cpp has another way of attention. A row takes 45,000 tokens. Needs numpy and llama_cpp.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TEXTS = 8
KEPT = 16  # logits of one position in so many are kept, to tell how large a difference is
MOST = 512  # tokens in a call
KINDS = {"f32": 0, "f16": 1, "q8_0": 8, "bf16": 30}  # ggml_type


@dataclass(frozen=True)
class Setting:
    """A configuration of llama.cpp, and the shape and order in which tokens are given to it."""

    lanes: int
    steps: tuple[int, ...] = (1,)
    threads: tuple[int, int] = (1, 1)
    keys: str = "f16"
    values: str = "bf16"
    flash: bool = True
    unified: bool = False
    buffers: bool = False
    tiled: bool = False
    swa_full: bool = True
    ubatch: int = MOST
    by_step: bool = False
    moved: int = 0
    gap: int = 1


@dataclass
class Seen:
    """What logits of one run are compared with: a hash of every row, and some rows."""

    hashes: Array
    rows: Array


def configurations(lanes: int) -> dict[str, Setting]:
    """The one to use, and each of its parts otherwise."""
    use = Setting(lanes)
    return {
        "f16/bf16 cache": use,
        "bf16 cache": replace(use, keys="bf16"),
        "q8_0 cache": replace(use, keys="q8_0", values="q8_0"),
        "f16 cache": replace(use, values="f16"),
        "f32 cache": replace(use, keys="f32", values="f32"),
        "no flash attention": replace(use, values="f16", flash=False),
        "unified cache": replace(use, unified=True),
        "short SWA cache": replace(use, swa_full=False),
        "extra buffers": replace(use, buffers=True),
        "tiled matmul": replace(use, tiled=True),
        "as it comes": replace(use, values="f16", buffers=True, tiled=True),
        "f16/bf16, again": use,
    }


def changes(use: Setting) -> dict[str, Setting]:
    """One thing otherwise than in stepping all lanes with one thread."""
    wide = replace(use, steps=(16,))
    return {
        "2thr": replace(use, threads=(2, 2)),
        "3thr": replace(use, threads=(3, 3)),
        "1/3": replace(use, threads=(1, 3)),
        **{str(lanes): replace(use, lanes=lanes) for lanes in (1, 2, 3, 5, 32)},
        **{f"K{steps}": replace(use, steps=(steps,)) for steps in (4, 16, 64)},
        "1K2": replace(use, lanes=1, steps=(2,)),
        "1K64": replace(use, lanes=1, steps=(64,)),
        "mixed": replace(use, steps=(5, 1, 32, 2)),
        "order": replace(wide, by_step=True),
        "place": replace(use, moved=3),
        "gaps": replace(use, gap=2),
        "ubatch": replace(wide, ubatch=3 * use.lanes),
    }


@functools.cache
def silence() -> Any:
    """What llama.cpp calls for each of its messages, kept for as long as the process lives."""
    import llama_cpp

    return llama_cpp.llama_log_callback(lambda *_: None)


def loaded(path: str, setting: Setting) -> Any:
    """The model, on the processor alone and silent."""
    import llama_cpp

    llama_cpp.llama_log_set(silence(), ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = 0
    parameters.use_extra_bufts = setting.buffers
    model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {path}")
    return model


def context(model: Any, setting: Setting, tokens: int) -> Any:
    """Room for `tokens` in each lane, and none to spare but what llama.cpp rounds up."""
    import llama_cpp

    parameters = llama_cpp.llama_context_default_params()
    parameters.n_seq_max = setting.lanes * setting.gap
    parameters.n_ctx = -(-tokens // 256) * 256 * parameters.n_seq_max
    parameters.n_batch, parameters.n_ubatch = MOST, setting.ubatch
    parameters.n_threads, parameters.n_threads_batch = setting.threads
    parameters.flash_attn_type = int(setting.flash)
    parameters.type_k, parameters.type_v = KINDS[setting.keys], KINDS[setting.values]
    parameters.kv_unified = setting.unified
    parameters.swa_full = setting.swa_full
    made = llama_cpp.llama_init_from_model(model, parameters)
    if not made:
        raise ValueError("llama.cpp makes no such context")
    return made


def scored(model: Any, setting: Setting, texts: Array) -> Iterator[tuple[int, int, Array]]:
    """Text, first position and logits, all that one call gives for that text at a time."""
    import llama_cpp

    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    made = context(model, setting, texts.shape[1])
    batch = llama_cpp.llama_batch_init(MOST, 0, 1)
    texts_of = (np.arange(setting.lanes) + setting.moved) % setting.lanes % TEXTS
    position = turn = 0
    try:
        while position < texts.shape[1]:
            most = min(MOST // setting.lanes, texts.shape[1] - position)
            steps = min(setting.steps[turn % len(setting.steps)], most)
            places = [(lane, step) for lane in range(setting.lanes) for step in range(steps)]
            if setting.by_step:
                places.sort(key=lambda place: place[1])
            for row, (lane, step) in enumerate(places):
                batch.token[row] = texts[texts_of[lane], position + step]
                batch.pos[row] = position + step
                batch.seq_id[row][0] = lane * setting.gap
                batch.n_seq_id[row] = batch.logits[row] = 1
            batch.n_tokens = len(places)
            if llama_cpp.llama_decode(made, batch):
                raise ValueError("llama.cpp does not decode this")
            logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(made), (len(places), size))
            for lane in range(setting.lanes):
                rows = [row for row, place in enumerate(places) if place[0] == lane]
                yield int(texts_of[lane]), position, logits[rows]
            position += steps
            turn += 1
    finally:
        llama_cpp.llama_batch_free(batch)
        llama_cpp.llama_free(made)


def hashed(row: Array) -> int:
    """Of the bits: 0 and -0 are not the same."""
    return int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "little")


def seen(model: Any, setting: Setting, texts: Array) -> Seen:
    """The run that the others are compared with."""
    hashes = np.zeros(texts.shape, np.uint64)
    rows: list[Any] = [[] for _ in range(TEXTS)]
    for text, first, logits in scored(model, setting, texts):
        for position, row in enumerate(logits, first):
            hashes[text, position] = hashed(row)
            if position % KEPT == 0 and len(rows[text]) == position // KEPT:
                rows[text].append(row.copy())
    return Seen(hashes, np.array(rows))


def compared(model: Any, setting: Setting, texts: Array, before: Seen) -> str:
    """A cell of the table."""
    same, largest = True, 0.0
    try:
        for text, first, logits in scored(model, setting, texts):
            for position, row in enumerate(logits, first):
                same &= hashed(row) == int(before.hashes[text, position])
                if position % KEPT == 0 and not same:
                    largest = max(largest, float(np.abs(row - before.rows[text, position // KEPT]).max()))
    except ValueError:
        return "-"
    if same:
        return "="
    return f"{largest:.0e}" if largest else "!="


def row(path: str, use: Setting, tokens: int) -> tuple[int, dict[str, str]]:
    """A hash of all logits of the configuration, and its cells."""
    import llama_cpp

    model = loaded(path, use)
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    texts = np.random.default_rng(1).integers(1, size, (TEXTS, tokens))
    before = seen(model, use, texts)
    cells = {name: compared(model, setting, texts, before) for name, setting in changes(use).items()}
    return hashed(before.hashes), cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=320, help="of each lane")
    parser.add_argument("--lanes", type=int, default=TEXTS, help=f"that all is compared with, at least {TEXTS}")
    parser.add_argument("--only", nargs="*", help="names of configurations")
    arguments = parser.parse_args()
    if arguments.lanes < TEXTS:
        parser.error(f"fewer than {TEXTS} lanes")
    names = list(changes(Setting(arguments.lanes)))
    print(f"{'':20} " + " ".join(f"{name:>6}" for name in ["logits", *names]))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # more threads than processors
    letters: dict[int, str] = {}
    for name, use in configurations(arguments.lanes).items():
        if arguments.only and name not in arguments.only:
            continue
        os.environ["GGML_CPU_TILED_MM"] = str(int(use.tiled))  # read once in each process
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            try:
                total, cells = pool.submit(row, str(arguments.model), use, arguments.tokens).result()
            except (BrokenProcessPool, ValueError):
                print(f"{name:20}  refused", flush=True)
                continue
        letter = letters.setdefault(total, chr(ord("A") + len(letters)))
        print(f"{name:20} " + " ".join(f"{cell:>6}" for cell in [letter, *cells.values()]), flush=True)


if __name__ == "__main__":
    main()
