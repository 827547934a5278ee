"""A model's folder as Hugging Face lays it out: config.json and safetensors, read into a network. Nothing else runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from lmarc.models import jsonfile
from lmarc.models.parts import weights_of
from lmarc_torch import tables
from lmarc_torch.linear import MOST_COLUMNS, Embedding, Linear
from lmarc_torch.network import Activation, Layer, Network, Shape
from lmarc_torch.rows import Norm

_LLAMA = ("llama", "mistral", "qwen2", "qwen3")
_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
_MOST_JSON = 256 << 20
#: What a config may ask for.
_LIMITS = {"layers": 512, "width": 65_536, "heads": 1024}


class Weights:
    """Tensors of all safetensors files of a model, by name, as float32."""

    def __init__(self, path: str) -> None:
        self._files: dict[str, str] = {}
        for name in weights_of(path):
            part = os.path.join(os.path.dirname(path), name)
            with safe_open(part, framework="pt") as file:
                self._files |= dict.fromkeys(file.keys(), part)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def get(self, name: str) -> Tensor | None:
        """A tensor, if there is one of that name. Raises ValueError if it has a number that is none."""
        if name not in self._files:
            return None
        with safe_open(self._files[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        tensor = tensor.float()
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} has numbers that are not finite")
        return tensor

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.get(name)
        if tensor is None:
            raise ValueError(f"it has no tensor {name}")
        return tensor


def read_json(path: str) -> Any:
    """A JSON file of bounded size. Raises ValueError."""
    try:
        return jsonfile.load(path, _MOST_JSON)
    except ValueError as error:
        raise ValueError(f"{os.path.basename(path)}: {error}") from error


def config_of(folder: str) -> dict[str, Any]:
    """config.json. Raises ValueError."""
    config = read_json(os.path.join(folder, "config.json"))
    if type(config) is not dict:
        raise ValueError("config.json is not a map")
    return config


def longest_context(config: Mapping[str, Any]) -> int:
    """How many symbols the model has been made to look back on."""
    lengths = [config.get(key) for key in ("max_position_embeddings", "n_positions", "n_ctx", "sliding_window")]
    found = [length for length in lengths if type(length) is int and length > 0]
    return min(found, default=1024)


def network(path: str, context: int) -> Network:
    """The network of a model by its main file, with positions for such a context.

    Raises ValueError for one that is not understood.
    """
    config, weights = config_of(os.path.dirname(path)), Weights(path)
    kind = config.get("model_type")
    if kind in _LLAMA:
        return _llama(config, weights, context)
    if kind == "gpt2":
        return _gpt2(config, weights, context)
    if kind == "gpt_neox":
        return _neox(config, weights, context)
    raise ValueError(f"the exact engine knows no models of type {kind!r:.40}: {', '.join(_LLAMA)}, gpt2, gpt_neox")


def _number(config: Mapping[str, Any], *keys: str, most: int, usual: int | None = None) -> int:
    for key in keys:
        value = config.get(key)
        if value is not None:
            if type(value) is not int or not 0 < value <= most:
                raise ValueError(f"config.json: {key} is {value!r:.40}")
            return value
    if usual is None:
        raise ValueError(f"config.json has no {keys[0]}")
    return usual


def _head_width(width: int, heads: int) -> int:
    # A query times a key is one sum of so many products.
    if width % heads or width // heads > MOST_COLUMNS:
        raise ValueError(f"config.json: {heads} heads of {width} numbers")
    return width // heads


def _activation(config: Mapping[str, Any], *keys: str, usual: str) -> Activation:
    name = next((config[key] for key in keys if config.get(key) is not None), usual)
    if name not in _ACTIVATIONS:
        raise ValueError(f"the exact engine knows no activation {name!r:.40}")
    return _ACTIVATIONS[name]


def _epsilon(config: Mapping[str, Any], *keys: str, usual: float) -> float:
    value = next((config[key] for key in keys if config.get(key) is not None), usual)
    if type(value) not in (int, float) or not 0 < value < 1:
        raise ValueError(f"config.json: {keys[0]} is {value!r:.40}")
    return float(value)


def _base(config: Mapping[str, Any]) -> float:
    """The base of rotary positions. Raises ValueError for ways of scaling that are not known."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default")) if type(rope) is dict else rope
    if kind not in ("default", None):
        raise ValueError(f"the exact engine knows no rotary positions of type {kind!r:.40}")
    base = rope.get("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000.0)))
    if type(base) not in (int, float) or not 1 < base < 1e12:
        raise ValueError(f"config.json: rope_theta is {base!r:.40}")
    return float(base)


def _rotations(base: float, rotated: int, context: int) -> tuple[Tensor, Tensor]:
    if rotated < 2 or rotated % 2:
        raise ValueError(f"config.json: {rotated} numbers of a head cannot turn in pairs")
    cosines, sines = tables.rotations(tables.frequencies(base, rotated), context)
    return torch.from_numpy(cosines), torch.from_numpy(sines)


def _joined(*tensors: Tensor | None) -> Tensor | None:
    given = [tensor for tensor in tensors if tensor is not None]
    return torch.cat(given) if given else None


def _norm(weights: Weights, name: str, epsilon: float) -> Norm:
    """A layer norm."""
    return Norm(weights[f"{name}.weight"], weights.get(f"{name}.bias"), epsilon, True)


def _linear(weights: Weights, name: str) -> Linear:
    return Linear(weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def _network(
    shape: Shape,
    weights: Weights,
    layers: list[Layer],
    norm: Norm,
    *,
    embedding: str,
    head: str,
    rotations: tuple[Tensor, Tensor],
    positions: Embedding | None = None,
) -> Network:
    """The network of these parts. Without a head, the embedding of symbols is one."""
    embedded, headed = weights[embedding], weights.get(head)
    cosines, sines = rotations
    return Network(
        shape=shape,
        embedding=Embedding(embedded),
        positions=positions,
        layers=layers,
        norm=norm,
        head=Linear(embedded if headed is None else headed),
        cosines=cosines,
        sines=sines,
    )


def _llama(config: Mapping[str, Any], weights: Weights, context: int) -> Network:
    width = _number(config, "hidden_size", most=_LIMITS["width"])
    heads = _number(config, "num_attention_heads", most=_LIMITS["heads"])
    head_width = _number(config, "head_dim", most=MOST_COLUMNS, usual=_head_width(width, heads))
    shape = Shape(
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads", most=heads, usual=heads),
        head_width=head_width,
        activation=_activation(config, "hidden_act", usual="silu"),
        rotated=head_width,
    )
    epsilon = _epsilon(config, "rms_norm_eps", usual=1e-6)

    def norm(name: str) -> Norm:
        return Norm(weights[name], None, epsilon, False)

    layers = []
    for number in range(_number(config, "num_hidden_layers", most=_LIMITS["layers"])):
        part = f"model.layers.{number}."
        attention, mlp = part + "self_attn.", part + "mlp."
        has_norms = attention + "q_norm.weight" in weights
        for name, count in (("q", heads), ("k", shape.kv_heads), ("v", shape.kv_heads)):
            if len(weights[f"{attention}{name}_proj.weight"]) != count * head_width:
                raise ValueError(f"{attention}{name}_proj.weight has not the heads that config.json says")
        layers.append(
            Layer(
                attention_norm=norm(part + "input_layernorm.weight"),
                qkv=Linear(
                    torch.cat([weights[f"{attention}{each}_proj.weight"] for each in "qkv"]),
                    _joined(*(weights.get(f"{attention}{each}_proj.bias") for each in "qkv")),
                ),
                attention_out=Linear(weights[attention + "o_proj.weight"], weights.get(attention + "o_proj.bias")),
                mlp_norm=norm(part + "post_attention_layernorm.weight"),
                mlp_in=Linear(
                    torch.cat([weights[f"{mlp}{each}_proj.weight"] for each in ("gate", "up")]),
                    _joined(*(weights.get(f"{mlp}{each}_proj.bias") for each in ("gate", "up"))),
                ),
                mlp_out=Linear(weights[mlp + "down_proj.weight"], weights.get(mlp + "down_proj.bias")),
                is_gated=True,
                query_norm=norm(attention + "q_norm.weight") if has_norms else None,
                key_norm=norm(attention + "k_norm.weight") if has_norms else None,
            )
        )
    return _network(
        shape,
        weights,
        layers,
        norm("model.norm.weight"),
        embedding="model.embed_tokens.weight",
        head="lm_head.weight",
        rotations=_rotations(_base(config), shape.rotated, context),
    )


def _gpt2(config: Mapping[str, Any], weights: Weights, context: int) -> Network:
    start = "transformer." if "transformer.wte.weight" in weights else ""
    width = _number(config, "n_embd", "hidden_size", most=_LIMITS["width"])
    heads = _number(config, "n_head", "num_attention_heads", most=_LIMITS["heads"])
    shape = Shape(
        heads=heads,
        kv_heads=heads,
        head_width=_head_width(width, heads),
        activation=_activation(config, "activation_function", usual="gelu_new"),
        rotated=0,
    )
    epsilon = _epsilon(config, "layer_norm_epsilon", usual=1e-5)

    def linear(name: str) -> Linear:
        # GPT-2 has its matrices the other way round.
        return Linear(weights[f"{name}.weight"].T, weights.get(f"{name}.bias"))

    layers = [
        Layer(
            attention_norm=_norm(weights, f"{part}.ln_1", epsilon),
            qkv=linear(f"{part}.attn.c_attn"),
            attention_out=linear(f"{part}.attn.c_proj"),
            mlp_norm=_norm(weights, f"{part}.ln_2", epsilon),
            mlp_in=linear(f"{part}.mlp.c_fc"),
            mlp_out=linear(f"{part}.mlp.c_proj"),
            is_gated=False,
        )
        for number in range(_number(config, "n_layer", "num_hidden_layers", most=_LIMITS["layers"]))
        for part in [f"{start}h.{number}"]
    ]
    return _network(
        shape,
        weights,
        layers,
        _norm(weights, start + "ln_f", epsilon),
        embedding=start + "wte.weight",
        head="lm_head.weight",
        rotations=(torch.zeros(context, 0), torch.zeros(context, 0)),
        positions=Embedding(weights[start + "wpe.weight"][:context]),
    )


def _neox(config: Mapping[str, Any], weights: Weights, context: int) -> Network:
    width = _number(config, "hidden_size", most=_LIMITS["width"])
    heads = _number(config, "num_attention_heads", most=_LIMITS["heads"])
    head_width = _head_width(width, heads)
    part_rotated = config.get("rotary_pct", (config.get("rope_parameters") or {}).get("partial_rotary_factor", 0.25))
    if type(part_rotated) not in (int, float) or not 0 < part_rotated <= 1:
        raise ValueError(f"config.json: rotary_pct is {part_rotated!r:.40}")
    shape = Shape(
        heads=heads,
        kv_heads=heads,
        head_width=head_width,
        activation=_activation(config, "hidden_act", usual="gelu"),
        rotated=int(head_width * part_rotated),
        is_parallel=config.get("use_parallel_residual", True) is True,
    )
    epsilon = _epsilon(config, "layer_norm_eps", usual=1e-5)

    def by_kind(tensor: Tensor) -> Tensor:
        # Query, key and value of a head stand beside each other; here those of all heads do.
        parts: Tensor = tensor.unflatten(0, (heads, 3, head_width))
        return parts.transpose(0, 1).flatten(0, 2)

    layers = []
    for number in range(_number(config, "num_hidden_layers", most=_LIMITS["layers"])):
        part = f"gpt_neox.layers.{number}"
        bias = weights.get(f"{part}.attention.query_key_value.bias")
        layers.append(
            Layer(
                attention_norm=_norm(weights, f"{part}.input_layernorm", epsilon),
                qkv=Linear(
                    by_kind(weights[f"{part}.attention.query_key_value.weight"]),
                    None if bias is None else by_kind(bias),
                ),
                attention_out=_linear(weights, f"{part}.attention.dense"),
                mlp_norm=_norm(weights, f"{part}.post_attention_layernorm", epsilon),
                mlp_in=_linear(weights, f"{part}.mlp.dense_h_to_4h"),
                mlp_out=_linear(weights, f"{part}.mlp.dense_4h_to_h"),
                is_gated=False,
            )
        )
    return _network(
        shape,
        weights,
        layers,
        _norm(weights, "gpt_neox.final_layer_norm", epsilon),
        embedding="gpt_neox.embed_in.weight",
        head="embed_out.weight",
        rotations=_rotations(_base(config), shape.rotated, context),
    )
