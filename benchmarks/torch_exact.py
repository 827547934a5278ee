"""What the exact engine of lmarc-torch loses against floating point, and how fast it is.

    python -m benchmarks.torch_exact loss FOLDER FILE... [--bytes 100000]
    python -m benchmarks.torch_exact speed [FOLDER] [--threads 2] [--lanes 32]

`loss`: bits per byte of each file by the float mode (transformers, float32) and by the exact engine, in windows of the
same context, and the difference in percent. `speed`: of FOLDER, or of random weights in the shape of SmolLM2-135M: the
machine's rate of float32 products, tokens per second of scoring a window at once and what that is of the machine's
rate, and of stepping with one lane and with many.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lmarc_torch.exact import ExactModel
from lmarc_torch.floating import FloatModel
from safetensors.torch import save_file

from lmarc.backends.contract import Session
from lmarc.models.parts import main_file

SMOL = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}


def bits(session: Session, symbols: list[int], first: int, steps: int) -> float:
    """The summed log loss of symbols, in bits."""
    given = np.array([[first, *symbols[:-1]]], dtype=np.int32)
    lost = 0.0
    for at in range(0, len(symbols), steps):
        scores = torch.from_numpy(session.advance(given[:, at : at + steps])[0].copy()).double()
        wanted = torch.tensor(symbols[at : at + steps])
        lost += torch.nn.functional.cross_entropy(scores, wanted, reduction="sum").item()
    return lost / float(np.log(2))


def loss(path: str, files: list[Path], most: int) -> None:
    """Print a line for each file."""
    exact, floating = ExactModel(path, {}, 2), FloatModel(path, {"lanes": 1}, 2)
    print("   bytes   float   exact  differ")
    for file in files:
        data = file.read_bytes()[:most].decode("utf-8", "replace").encode()
        symbols = [int(symbol) for symbol in exact.tokenize(data)]
        wanted = bits(floating.session(1), symbols, floating.first, 1) / len(data)
        found = bits(exact.session(1), symbols, exact.first, exact.steps) / len(data)
        print(f"{len(data):8} {wanted:7.4f} {found:7.4f} {100 * (found / wanted - 1):+6.2f} %  {file}", flush=True)


def rate(work: Callable[[], object], count: float, seconds: float = 3.0) -> float:
    """How many of `count` that work does in a second."""
    work()
    begun, times = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        work()
        times += 1
    return times * count / (time.monotonic() - begun)


def random_folder(folder: Path, tokenizer: Path) -> str:
    """A model with random weights in the shape of SmolLM2-135M; its tokenizer only has to be one."""
    torch.manual_seed(1)
    width, inner = int(SMOL["hidden_size"]), int(SMOL["intermediate_size"])  # type: ignore[call-overload]
    sizes = {"q": (576, width), "k": (192, width), "v": (192, width), "o": (width, 576)}
    tensors = {"model.embed_tokens.weight": torch.randn(49152, width) * 0.05, "model.norm.weight": torch.ones(width)}
    for number in range(30):
        part = f"model.layers.{number}."
        for name, size in sizes.items():
            tensors[f"{part}self_attn.{name}_proj.weight"] = torch.randn(size) * 0.04
        for name, size in (("gate", (inner, width)), ("up", (inner, width)), ("down", (width, inner))):
            tensors[f"{part}mlp.{name}_proj.weight"] = torch.randn(size) * 0.04
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{part}{name}.weight"] = torch.ones(width)
    save_file({name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SMOL))
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return str(folder / "model.safetensors")


def speed(path: str, threads: int, lanes: int) -> None:
    """Print speeds and ratios."""
    model = ExactModel(path, {"lanes": lanes}, threads)
    torch.set_num_threads(threads)
    products = [linear for layer in model._network.layers for linear in layer.linears()] + [model._network.head]
    work = 2.0 * sum(linear.size for linear in products)
    left, right = torch.randn(512, 1024), torch.randn(1024, 2048)
    gemm = rate(lambda: left @ right, 2.0 * 512 * 1024 * 2048)
    print(f"float32 products           {gemm / 1e9:8.1f} GFLOP/s, {threads} threads")
    symbols = np.random.default_rng(1).integers(0, 1000, (1, 512), dtype=np.int32)

    def prefill() -> None:
        session = model.session(1)
        for at in range(0, 512, at_once):
            session.advance(symbols[:, at : at + at_once])

    # As packing does, as far as memory for the scores goes.
    at_once = ExactModel(path, {"lanes": 1}, threads).steps
    scored = rate(prefill, 512)
    print(
        f"512 tokens, {at_once:3} at once    {scored:8.1f} tokens/s, {scored * work / gemm:.2f} of the machine's rate"
    )
    for count in (1, lanes):
        session = model.session(count)
        one = symbols[:, :1].repeat(count, 0)
        for _ in range(64):
            session.advance(one)
        steps = rate(lambda session=session, one=one: session.advance(one), count)  # type: ignore[misc]
        print(f"stepping, {count:3} lanes       {steps:8.1f} tokens/s, {steps / scored:.3f} of that")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("loss", "speed"))
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--bytes", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=32)
    arguments = parser.parse_args()
    if arguments.what == "loss":
        loss(main_file(str(arguments.folder)), arguments.files, arguments.bytes)
        return
    with tempfile.TemporaryDirectory() as name:
        given = arguments.folder
        tokenizer = Path(__file__).resolve().parent.parent / "fixtures" / "model" / "tokenizer.json"
        path = main_file(str(given)) if given is not None else random_folder(Path(name), tokenizer)
        speed(path, arguments.threads, arguments.lanes)


if __name__ == "__main__":
    main()
