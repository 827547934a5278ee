"""spec/EXACT.md in plain Python: sums are sums of Python integers, everything else is single numpy numbers.

Written from the page, for one lane and one symbol at a time. Only the tables' exact values come from `fractions` and
`decimal`, not from the plugin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, getcontext
from functools import cache
from math import sqrt
from typing import Any

import numpy as np

getcontext().prec = 60
F = np.float32
D = np.float64
Row = list[np.float32]
Table = Mapping[str, Any]


def inverse(x: np.float32) -> np.float32:
    return F(1) / x


def most(row: Row) -> np.float32:
    found = max((abs(x) for x in row), default=F(0))
    return found if found > F(2.0**-100) else F(1)


def nearest(x: np.float32) -> int:
    return int(np.rint(x))


def quantise(row: Row, count: int) -> list[tuple[list[int], np.float32]]:
    size = len(row) // count
    parts = []
    for at in range(0, len(row), size):
        part = row[at : at + size]
        m = most(part)
        scale = inverse(m) * F(127)
        parts.append(([nearest(x * scale) for x in part], m * F(1 / 127)))
    return parts


def blocks(inputs: int) -> int:
    return next(count for count in range(1, inputs + 1) if inputs % count == 0 and inputs // count <= 1040)


def dot(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))


class Matrix:
    def __init__(self, rows: Any, bias: Any = None) -> None:
        self.count = blocks(len(rows[0]))
        self.rows = [quantise([F(x) for x in row], self.count) for row in rows]
        self.bias = None if bias is None else [F(x) for x in bias]

    def __call__(self, row: list[tuple[list[int], np.float32]]) -> Row:
        out = []
        for number, weights in enumerate(self.rows):
            parts = [F(dot(x, w)) * xu * wu for (x, xu), (w, wu) in zip(row, weights, strict=True)]
            y = parts[0]
            for part in parts[1:]:
                y = y + part
            out.append(y if self.bias is None else y + self.bias[number])
        return out

    def row(self, number: int) -> Row:
        return [F(value) * unit for values, unit in self.rows[number] for value in values]


@cache
def pi() -> Decimal:
    def arctan(n: int) -> Decimal:
        total, power, k = Decimal(0), Decimal(1) / n, 1
        while abs(power) > Decimal(10) ** -58:
            total += power / k
            power /= -n * n
            k += 2
        return total

    return 16 * arctan(5) - 4 * arctan(239)


def sine_cosine(x: Decimal) -> tuple[Decimal, Decimal]:
    x %= 2 * pi()
    sine = cosine = Decimal(0)
    term, k = Decimal(1), 0
    while k < 4 or abs(term) > Decimal(10) ** -50:
        if k % 2:
            sine += term if k % 4 == 1 else -term
        else:
            cosine += term if k % 4 == 0 else -term
        k += 1
        term *= x / k
    return sine, cosine


def whole(x: Decimal) -> int:
    return int(x.to_integral_value("ROUND_HALF_EVEN"))


@cache
def weight(i: int) -> int:
    return whole(2**16 * (Decimal(-i) / 512).exp()) if i < 6144 else 0


def normal(x: Decimal) -> Decimal:
    total, term, k = Decimal(0), x, 0
    while abs(term) > Decimal(10) ** -50:
        total += term / (2 * k + 1)
        k += 1
        term *= -x * x / (2 * k)
    return Decimal("0.5") + total / (2 * pi()).sqrt()


@cache
def gate(kind: str, i: int) -> np.float32:
    if i < 0:
        return F(1 << 24) / F(1 << 24) - gate(kind, -i)
    x = Decimal(i) / 512
    if kind == "silu":
        value = 1 / (1 + (-x).exp())
    elif kind == "gelu":
        value = normal(x) if x < 8 else Decimal(1)
    else:
        value = 1 / (1 + (-2 * (2 / pi()).sqrt() * (x + Decimal("0.044715") * x**3)).exp())
    return F(min(whole(value * 2**24), 1 << 24)) / F(1 << 24)


@dataclass
class Norm:
    weight: Row
    bias: Row | None
    epsilon: float
    is_layer: bool

    def __call__(self, x: Row, count: int) -> list[tuple[list[int], np.float32]]:
        n, m = len(x), most(x)
        scale = inverse(m) * F(2047)
        q = [nearest(value * scale) for value in x]
        u = D(m) * D(1 / 2047)
        s = D(sum(value * value for value in q)) * D(1 / n)
        if self.is_layer:
            a = D(sum(q)) * D(1 / n)
            s = max(s - a * a, D(0))
            x = [value - F(a * u) for value in x]
        d = F(np.sqrt(s * (u * u) + D(self.epsilon)))
        x = [value * w for value, w in zip(x, self.weight, strict=True)]
        if self.bias is not None:
            return quantise([value / d + b for value, b in zip(x, self.bias, strict=True)], count)
        return [(values, unit / d) for values, unit in quantise(x, count)]


@dataclass
class Layer:
    attention_norm: Norm
    qkv: Matrix
    out: Matrix
    mlp_norm: Norm
    mlp_in: Matrix
    mlp_out: Matrix
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    keys: list[list[tuple[list[int], np.float32]]] = field(default_factory=list)
    values: list[list[tuple[list[int], np.float32]]] = field(default_factory=list)


@dataclass
class Reference:
    """A network as the page describes it; `scores` takes the next symbol."""

    heads: int
    kv_heads: int
    head_width: int
    activation: str
    rotated: int
    base: float
    is_parallel: bool
    is_gated: bool
    embedding: Matrix
    positions: Matrix | None
    layers: list[Layer]
    norm: Norm
    head: Matrix
    position: int = 0

    def scores(self, symbol: int) -> Row:
        x = self.embedding.row(symbol)
        if self.positions is not None:
            x = [a + b for a, b in zip(x, self.positions.row(self.position), strict=True)]
        for layer in self.layers:
            attended = self._attend(layer, layer.attention_norm(x, layer.qkv.count))
            if self.is_parallel:
                inner = self._transform(layer, layer.mlp_norm(x, layer.mlp_in.count))
                x = [(a + b) + c for a, b, c in zip(x, attended, inner, strict=True)]
            else:
                x = [a + b for a, b in zip(x, attended, strict=True)]
                inner = self._transform(layer, layer.mlp_norm(x, layer.mlp_in.count))
                x = [a + b for a, b in zip(x, inner, strict=True)]
        self.position += 1
        return self.head(self.norm(x, self.head.count))

    def _act(self, y: np.float32) -> np.float32:
        return y * gate(self.activation, max(min(nearest(y * F(512)), 8192), -8192))

    def _transform(self, layer: Layer, normed: list[tuple[list[int], np.float32]]) -> Row:
        y = layer.mlp_in(normed)
        if self.is_gated:
            half = len(y) // 2
            inner = [up * self._act(g) for g, up in zip(y[:half], y[half:], strict=True)]
        else:
            inner = [self._act(value) for value in y]
        return layer.mlp_out(quantise(inner, layer.mlp_out.count))

    def _turn(self, head: Row) -> Row:
        half = self.rotated // 2
        out = list(head)
        for i in range(half):
            frequency = (-(Decimal(2 * i) / self.rotated) * Decimal(self.base).ln()).exp()
            sine, cosine = (F(whole(v * 2**30)) / F(1 << 30) for v in sine_cosine(self.position * frequency))
            out[i] = head[i] * cosine - head[half + i] * sine
            out[half + i] = head[i] * sine + head[half + i] * cosine
        return out

    def _attend(self, layer: Layer, normed: list[tuple[list[int], np.float32]]) -> Row:
        row, h = layer.qkv(normed), self.head_width
        heads = [row[at : at + h] for at in range(0, len(row), h)]
        queries, rest = heads[: self.heads], heads[self.heads :]
        keys, values = rest[: self.kv_heads], rest[self.kv_heads :]

        def prepared(head: Row, norm: Norm | None) -> tuple[list[int], np.float32]:
            if norm is not None:
                numbers, unit = norm(head, 1)[0]
                head = [F(number) * unit for number in numbers]
            return quantise(self._turn(head), 1)[0]

        layer.keys.append([prepared(head, layer.key_norm) for head in keys])
        layer.values.append([quantise(head, 1)[0] for head in values])
        out: Row = []
        for number, query in enumerate(queries):
            q, unit = prepared(query, layer.query_norm)
            of = number // (self.heads // self.kv_heads)
            scale = unit * F(512 / sqrt(h))
            scores = [F(dot(q, k[of][0])) * scale * k[of][1] for k in layer.keys]
            top = max(scores)
            w = [weight(min(nearest(top - score), 6144)) for score in scores]
            total = F(sum(w))
            v = [F(a) * value[of][1] for a, value in zip(w, layer.values, strict=True)]
            m = most(v)
            ks = [nearest(a * (inverse(m) * F(65535))) for a in v]
            for column in range(h):
                y: np.float32 | None = None
                for at in range(0, len(ks), 516):
                    run = range(at, min(at + 516, len(ks)))
                    high = F(sum((ks[t] // 256) * layer.values[t][of][0][column] for t in run))
                    low = F(sum((ks[t] % 256) * layer.values[t][of][0][column] for t in run))
                    part = high * F(256) + low
                    y = part if y is None else y + part
                assert y is not None
                out.append(y * (m * F(1 / 65535) / total))
        return layer.out(quantise(out, layer.out.count))


def of_llama(tensors: Table, config: Table) -> Reference:
    """A Llama, Mistral or Qwen from its tensors, by name."""
    layers = []
    epsilon = config["rms_norm_eps"]

    def norm(name: str) -> Norm:
        return Norm([F(x) for x in tensors[name]], None, epsilon, False)

    def stacked(names: Sequence[str], kind: str) -> Any:
        found = [tensors[f"{name}.{kind}"] for name in names if f"{name}.{kind}" in tensors]
        return np.concatenate(found) if found else None

    for number in range(config["num_hidden_layers"]):
        part = f"model.layers.{number}."
        qkv = [f"{part}self_attn.{each}_proj" for each in "qkv"]
        mlp = [f"{part}mlp.{each}_proj" for each in ("gate", "up")]
        has_norms = f"{part}self_attn.q_norm.weight" in tensors
        layers.append(
            Layer(
                norm(part + "input_layernorm.weight"),
                Matrix(stacked(qkv, "weight"), stacked(qkv, "bias")),
                Matrix(tensors[part + "self_attn.o_proj.weight"]),
                norm(part + "post_attention_layernorm.weight"),
                Matrix(stacked(mlp, "weight")),
                Matrix(tensors[part + "mlp.down_proj.weight"]),
                norm(part + "self_attn.q_norm.weight") if has_norms else None,
                norm(part + "self_attn.k_norm.weight") if has_norms else None,
            )
        )
    embedding = tensors["model.embed_tokens.weight"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return Reference(
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_width=width,
        activation="silu",
        rotated=width,
        base=config["rope_theta"],
        is_parallel=False,
        is_gated=True,
        embedding=Matrix(embedding),
        positions=None,
        layers=layers,
        norm=norm("model.norm.weight"),
        head=Matrix(tensors.get("lm_head.weight", embedding)),
    )


def of_gpt2(tensors: Table, config: Table) -> Reference:
    """A GPT-2 from its tensors, by name."""

    def norm(name: str) -> Norm:
        epsilon = config["layer_norm_epsilon"]
        return Norm([F(x) for x in tensors[name + ".weight"]], [F(x) for x in tensors[name + ".bias"]], epsilon, True)

    def matrix(name: str) -> Matrix:
        return Matrix(tensors[name + ".weight"].T, tensors[name + ".bias"])

    embedding = tensors["transformer.wte.weight"]
    parts = [f"transformer.h.{number}." for number in range(config["n_layer"])]
    return Reference(
        heads=config["n_head"],
        kv_heads=config["n_head"],
        head_width=config["n_embd"] // config["n_head"],
        activation="gelu_tanh",
        rotated=0,
        base=1.0,
        is_parallel=False,
        is_gated=False,
        embedding=Matrix(embedding),
        positions=Matrix(tensors["transformer.wpe.weight"]),
        layers=[
            Layer(
                norm(part + "ln_1"),
                matrix(part + "attn.c_attn"),
                matrix(part + "attn.c_proj"),
                norm(part + "ln_2"),
                matrix(part + "mlp.c_fc"),
                matrix(part + "mlp.c_proj"),
            )
            for part in parts
        ],
        norm=norm("transformer.ln_f"),
        head=Matrix(embedding),
    )


def of_neox(tensors: Table, config: Table) -> Reference:
    """A GPT-NeoX from its tensors, by name."""
    heads = config["num_attention_heads"]
    width = config["hidden_size"] // heads

    def norm(name: str) -> Norm:
        epsilon = config["layer_norm_eps"]
        return Norm([F(x) for x in tensors[name + ".weight"]], [F(x) for x in tensors[name + ".bias"]], epsilon, True)

    def matrix(name: str) -> Matrix:
        return Matrix(tensors[name + ".weight"], tensors[name + ".bias"])

    def qkv(name: str) -> Matrix:
        rows = [(head * 3 + kind) * width + i for kind in range(3) for head in range(heads) for i in range(width)]
        return Matrix(tensors[name + ".weight"][rows], tensors[name + ".bias"][rows])

    parts = [f"gpt_neox.layers.{number}." for number in range(config["num_hidden_layers"])]
    return Reference(
        heads=heads,
        kv_heads=heads,
        head_width=width,
        activation="gelu",
        rotated=int(width * config["rotary_pct"]),
        base=config["rotary_emb_base"],
        is_parallel=config["use_parallel_residual"],
        is_gated=False,
        embedding=Matrix(tensors["gpt_neox.embed_in.weight"]),
        positions=None,
        layers=[
            Layer(
                norm(part + "input_layernorm"),
                qkv(part + "attention.query_key_value"),
                matrix(part + "attention.dense"),
                norm(part + "post_attention_layernorm"),
                matrix(part + "mlp.dense_h_to_4h"),
                matrix(part + "mlp.dense_4h_to_h"),
            )
            for part in parts
        ],
        norm=norm("gpt_neox.final_layer_norm"),
        head=Matrix(tensors["embed_out.weight"]),
    )
