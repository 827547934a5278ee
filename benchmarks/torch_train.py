"""Train a small model of another shape than fixtures/model, to measure with it what the exact engine loses.

    python -m benchmarks.torch_train gpt2|gpt_neox|qwen3 --train TRAIN --output FOLDER [--minutes 30] [--threads 1]
    python -m benchmarks.torch_exact loss FOLDER FILE...

TRAIN is the folder of training text that training/SOURCES.md describes; texts, shares and tokenizer are those of
fixtures/model. The architecture is that of transformers, so this is also its float32. Seeds are fixed, but the schedule
is by the clock.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, PretrainedConfig, Qwen3Config

from fixtures.model import train as fixture
from fixtures.model.llama import SHAPE, load_tokenizer

TOKENIZER = Path(__file__).resolve().parent.parent / "fixtures" / "model" / "tokenizer.json"
WIDTH, LAYERS, HEADS = 128, 4, 4
#: Wider than one block of exact sums (spec/EXACT.md 4).
INNER = 1088
RATE = 0.004


def config(kind: str) -> PretrainedConfig:
    """One of three shapes, of about two million weights."""
    ends = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": SHAPE.vocabulary}
    if kind == "gpt2":
        sizes = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_inner": INNER, "n_positions": SHAPE.context}
        drops = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        return GPT2Config(**sizes, **drops, **ends)
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": SHAPE.context,
    }
    if kind == "gpt_neox":
        return GPTNeoXConfig(**sizes, **ends)
    return Qwen3Config(
        **sizes, **ends, num_key_value_heads=HEADS // 2, head_dim=WIDTH // HEADS, tie_word_embeddings=True
    )


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("gpt2", "gpt_neox", "qwen3"))
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    begun = time.monotonic()
    texts, _ = fixture.chosen(arguments.train)
    batches = fixture.Batches(fixture.packed(texts, load_tokenizer(TOKENIZER)))
    fixture.report(begun, "read", texts=len(texts))
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config(arguments.kind), attn_implementation="sdpa")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.97), weight_decay=0.02, fused=True)
    forward = torch.compile(lambda inputs: model(inputs, use_cache=False).logits)
    start, step, mean = time.monotonic(), 0, 0.0
    while (done := (time.monotonic() - start) / (60 * arguments.minutes)) < 1:
        inputs, targets = batches.next()
        with torch.autocast("cpu", torch.bfloat16):
            outputs = forward(inputs)
        loss = F.cross_entropy(outputs.float().flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * fixture.pace(done)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        mean += (loss.item() - mean) * max(0.01, 1 / step)
        if step % 50 == 0:
            fixture.report(begun, "step", step=step, tokens=step * inputs.numel(), loss=f"{mean:.4f}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(arguments.output)
    shutil.copy(TOKENIZER, arguments.output)


if __name__ == "__main__":
    main()
