"""Makes small model folders, as Hugging Face lays them out, with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from fixtures import random_models

TINY = Path(random_models.__file__).parent / "model"
VOCABULARY = 300
Tensors = dict[str, np.ndarray[Any, np.dtype[np.float32]]]

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama",
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "intermediate_size": 40,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": True,
    },
    "mistral": {
        "model_type": "mistral",
        "hidden_size": 20,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 1100,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": 128,
        "tie_word_embeddings": False,
    },
    "qwen2": {
        "model_type": "qwen2",
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "has_biases": True,
    },
    "qwen3": {
        "model_type": "qwen3",
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 32,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "has_head_norms": True,
    },
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 3,
        "n_positions": 128,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    },
    "gpt_neox": {
        "model_type": "gpt_neox",
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 48,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "rotary_pct": 0.5,
        "rotary_emb_base": 10000.0,
        "use_parallel_residual": True,
    },
}
COMMON = {"vocab_size": VOCABULARY, "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0}


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and sizes of a model's tensors."""
    kind = config["model_type"]
    out: dict[str, tuple[int, ...]] = {}
    if kind == "gpt2":
        width = config["n_embd"]
        out["transformer.wte.weight"] = (VOCABULARY, width)
        out["transformer.wpe.weight"] = (config["n_positions"], width)
        for number in range(config["n_layer"]):
            part = f"transformer.h.{number}."
            for name, size in (
                ("attn.c_attn", (width, 3 * width)),
                ("attn.c_proj", (width, width)),
                ("mlp.c_fc", (width, 4 * width)),
                ("mlp.c_proj", (4 * width, width)),
            ):
                out |= {f"{part}{name}.weight": size, f"{part}{name}.bias": size[1:]}
            out |= _norms(part, ("ln_1", "ln_2"), width)
        return out | _norms("transformer.", ("ln_f",), width)
    width = config["hidden_size"]
    if kind == "gpt_neox":
        inner = config["intermediate_size"]
        out["gpt_neox.embed_in.weight"] = out["embed_out.weight"] = (VOCABULARY, width)
        for number in range(config["num_hidden_layers"]):
            part = f"gpt_neox.layers.{number}."
            for name, size in (
                ("attention.query_key_value", (3 * width, width)),
                ("attention.dense", (width, width)),
                ("mlp.dense_h_to_4h", (inner, width)),
                ("mlp.dense_4h_to_h", (width, inner)),
            ):
                out |= {f"{part}{name}.weight": size, f"{part}{name}.bias": size[:1]}
            out |= _norms(part, ("input_layernorm", "post_attention_layernorm"), width)
        return out | _norms("gpt_neox.", ("final_layer_norm",), width)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or width // heads
    inner = config["intermediate_size"]
    out["model.embed_tokens.weight"] = (VOCABULARY, width)
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = (VOCABULARY, width)
    for number in range(config["num_hidden_layers"]):
        part = f"model.layers.{number}."
        sizes = {
            "self_attn.q_proj": (heads * head, width),
            "self_attn.k_proj": (kv_heads * head, width),
            "self_attn.v_proj": (kv_heads * head, width),
            "self_attn.o_proj": (width, heads * head),
            "mlp.gate_proj": (inner, width),
            "mlp.up_proj": (inner, width),
            "mlp.down_proj": (width, inner),
        }
        out |= {f"{part}{name}.weight": size for name, size in sizes.items()}
        if config.get("has_biases"):
            out |= {f"{part}self_attn.{each}_proj.bias": sizes[f"self_attn.{each}_proj"][:1] for each in "qkv"}
        if config.get("has_head_norms"):
            out |= {f"{part}self_attn.{each}_norm.weight": (head,) for each in "qk"}
        out |= {f"{part}{name}.weight": (width,) for name in ("input_layernorm", "post_attention_layernorm")}
    return out | {"model.norm.weight": (width,)}


def _norms(part: str, names: tuple[str, ...], width: int) -> dict[str, tuple[int, ...]]:
    return {f"{part}{name}.{kind}": (width,) for name in names for kind in ("weight", "bias")}


def tensors(config: dict[str, Any], outliers: float = 8) -> Tensors:
    """Random weights, some of them far from the others, as trained models have them."""
    rng = np.random.default_rng(1)
    out: Tensors = {}
    for name, size in shapes(config).items():
        tensor = rng.standard_normal(size)
        if len(size) == 2:
            tensor *= 1 / np.sqrt(size[1])
            tensor[:, rng.integers(size[1])] *= outliers
        elif name.endswith("bias"):
            tensor *= 0.1 * outliers**0.5
        else:
            tensor = 1 + 0.15 * outliers**0.5 * tensor
        out[name] = tensor.astype(np.float32)
    return out


def write(folder: Path, name: str) -> Tensors:
    """Write a model's folder, with the tokenizer of the tiny model cut to 300 tokens; return its tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIGS[name]
    found = tensors(config)
    save_file({key: np.ascontiguousarray(value) for key, value in found.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(COMMON | config))
    _write_tokenizer(folder)
    return found


def _write_tokenizer(folder: Path) -> None:
    table = json.loads((TINY / "tokenizer.json").read_text("utf-8"))
    words = table["model"]["vocab"]
    table["model"]["vocab"] = {word: number for word, number in words.items() if number < VOCABULARY}
    table["model"]["merges"] = table["model"]["merges"][: VOCABULARY - 257]
    (folder / "tokenizer.json").write_text(json.dumps(table))


def write_recurrent(folder: Path, kind: str) -> None:
    """A Mamba or RWKV with random weights, as transformers makes it."""
    import torch
    import transformers

    torch.manual_seed(1)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "mamba":
        config: Any = transformers.MambaConfig(**sizes, state_size=4)
    else:
        config = transformers.RwkvConfig(**sizes, context_length=256, attention_hidden_size=32)
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    _write_tokenizer(folder)


def copy_tiny(folder: Path) -> Path:
    """The trained model in a folder of its own; returns its main file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "lmarc-tiny.safetensors"):
        shutil.copy(TINY / name, folder / name)
    return folder / "lmarc-tiny.safetensors"
