"""The exact engine gives the same bits in every shape, and those that spec/EXACT.md says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch_folders as folders
import torch_reference as reference
from lmarc_torch import linear
from lmarc_torch.exact import ExactModel
from safetensors.numpy import save_file

KINDS = [*folders.CONFIGS]
MAKE = {
    "llama": reference.of_llama,
    "mistral": reference.of_llama,
    "qwen2": reference.of_llama,
    "qwen3": reference.of_llama,
    "gpt2": reference.of_gpt2,
    "gpt_neox": reference.of_neox,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, folders.Tensors]]:
    """The folder and tensors of a model of each kind."""
    out = {}
    for name in KINDS:
        folder = tmp_path_factory.mktemp(name)
        out[name] = folder, folders.write(folder, name)
    return out


def opened(folder: Path, params: Mapping[str, Any] | None = None, threads: int = 1) -> ExactModel:
    return ExactModel(str(folder / "model.safetensors"), params or {}, threads)


def bits(model: ExactModel, symbols: npt.NDArray[np.int32], steps: int) -> npt.NDArray[np.int32]:
    """int32[lanes, steps, vocabulary]: the bits of the scores, so many steps at once."""
    session = model.session(len(symbols))
    parts = [session.advance(symbols[:, at : at + steps]).copy() for at in range(0, symbols.shape[1], steps)]
    return np.concatenate(parts, axis=1).view(np.int32)


def some_symbols(model: ExactModel, lanes: int, steps: int) -> npt.NDArray[np.int32]:
    return np.random.default_rng(3).integers(0, len(model.vocabulary), (lanes, steps), dtype=np.int32)


@pytest.mark.parametrize("name", KINDS)
def test_as_the_page_says(made: Mapping[str, tuple[Path, folders.Tensors]], name: str) -> None:
    folder, tensors = made[name]
    model = opened(folder)
    symbols = some_symbols(model, 1, 7)
    found = bits(model, symbols, 7)[0]
    by_the_page = MAKE[name](tensors, folders.CONFIGS[name])
    for step, symbol in enumerate(symbols[0]):
        wanted = np.array(by_the_page.scores(int(symbol)), dtype=np.float32)
        assert np.array_equal(found[step], wanted.view(np.int32)), f"step {step}"


@pytest.mark.parametrize("name", KINDS)
def test_shape_does_not_matter(made: Mapping[str, tuple[Path, folders.Tensors]], name: str) -> None:
    """Nor do threads, also when the context has been full several times."""
    folder, _ = made[name]
    settings = {"context": 64, "keep": 24}
    symbols = some_symbols(opened(folder), 128, 150)
    wanted = bits(opened(folder, settings), symbols, 150)
    for lanes, steps, threads in ((128, 1, 2), (1, 150, 2), (1, 1, 1), (2, 7, 1), (3, 64, 2), (17, 16, 2), (65, 33, 1)):
        model = opened(folder, settings, threads)
        # So small a model would take one thread.
        model._threads = threads
        assert np.array_equal(bits(model, symbols[:lanes], steps), wanted[:lanes]), f"{lanes} {steps} {threads}"


def test_products_are_exact() -> None:
    """As many terms as there may be, all as large as they may be, in every way that torch multiplies."""
    rng = np.random.default_rng(5)
    terms = linear.MOST_COLUMNS
    for rows in (1, 2, 3, 16, 33, 129):
        left = rng.integers(-127, 128, (rows, terms))
        left[0] = 127
        right = rng.integers(-127, 128, (terms, 40))
        right[:, 0] = 127
        wanted = left @ right
        left32, right32 = (torch.from_numpy(each.astype(np.float32)) for each in (left, right.T))
        for kind in linear.Device:
            product = linear.product_for(right32, kind)
            assert np.array_equal(product(left32).numpy().astype(np.int64), wanted), kind
            assert torch.equal(product.weight(), right32)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", linear.Device)
def test_ways_of_multiplying_do_not_matter(
    made: Mapping[str, tuple[Path, folders.Tensors]], name: str, kind: linear.Device
) -> None:
    model = opened(made[name][0])
    symbols = some_symbols(model, 5, 30)
    wanted = bits(model, symbols, 30)
    model._network.move(torch.device("cpu"), kind)
    for lanes, steps in ((5, 30), (1, 30), (5, 1), (2, 7)):
        assert np.array_equal(bits(model, symbols[:lanes], steps), wanted[:lanes])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("name", KINDS)
def test_a_gpu_gives_the_same(made: Mapping[str, tuple[Path, folders.Tensors]], name: str) -> None:
    model = opened(made[name][0], {"context": 64})
    symbols = some_symbols(model, 33, 150)
    wanted = bits(model, symbols, 150)
    assert model._network.device.type == "cuda"
    model._network.move(torch.device("cpu"), linear.Device.FLOATS)
    assert np.array_equal(bits(model, symbols, 150), wanted)


_SCORES = """
import sys
import numpy as np
import torch
from lmarc_torch.exact import ExactModel
if sys.argv[2] == "plain":
    torch.backends.mkldnn.enabled = False
model = ExactModel(sys.argv[1], {"context": 64}, 2)
symbols = np.random.default_rng(3).integers(0, len(model.vocabulary), (20, 70), dtype=np.int32)
session = model.session(20)
sys.stdout.buffer.write(session.advance(symbols[:, :60]).tobytes() + session.advance(symbols[:, 60:]).tobytes())
"""


def test_instruction_sets_and_libraries_do_not_matter(tmp_path: Path) -> None:
    path = folders.copy_tiny(tmp_path)
    found = set()
    for capability, library in (("default", "onednn"), ("avx2", "onednn"), ("avx512", "onednn"), ("avx2", "plain")):
        env = os.environ | {
            "ATEN_CPU_CAPABILITY": capability,
            "ONEDNN_MAX_CPU_ISA": "AVX2" if capability == "avx2" else "ALL",
        }
        command = [sys.executable, "-c", _SCORES, str(path), library]
        found.add(subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True).stdout)
    assert len(found) == 1
    assert len(found.pop()) == 20 * 70 * 2048 * 4


def test_close_to_floating_point(made: Mapping[str, tuple[Path, folders.Tensors]], tmp_path: Path) -> None:
    """What transformers makes of the same weights differs by what 8 bits lose of rows so short, not by more."""
    pytest.importorskip("transformers")
    from lmarc_torch.floating import FloatModel

    for name in KINDS:
        folder = tmp_path / name
        shutil.copytree(made[name][0], folder)
        save_file(folders.tensors(folders.CONFIGS[name], outliers=1), folder / "model.safetensors")
        exact, floating = opened(folder), FloatModel(str(folder / "model.safetensors"), {}, 1)
        symbols = some_symbols(exact, 3, 40)
        session = floating.session(3)
        steps = [session.advance(symbols[:, step : step + 1]).copy() for step in range(40)]
        wanted = np.concatenate(steps, axis=1)
        with torch.inference_mode():
            at_once = floating._model(torch.from_numpy(symbols.astype(np.int64))).logits.numpy()
        assert np.abs(wanted - at_once).max() < 1e-4
        found = exact.session(3).advance(symbols)
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.99, name


def test_nothing_is_kept(made: Mapping[str, tuple[Path, folders.Tensors]]) -> None:
    model = opened(made["llama"][0], {"context": 16, "keep": 0})
    symbols = some_symbols(model, 2, 50)
    assert np.array_equal(bits(model, symbols, 50), bits(model, symbols, 1))


def changed(tmp_path: Path, name: str, tensors: folders.Tensors, config: Mapping[str, Any]) -> Path:
    """A model's folder with other tensors and another config."""
    folders.write(tmp_path, name)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(folders.COMMON | folders.CONFIGS[name] | config))
    return tmp_path


def test_rows_of_next_to_nothing(tmp_path: Path) -> None:
    """What is divided by them is a number all the same, on every device the same."""
    tensors = folders.tensors(folders.CONFIGS["llama"])
    tensors["model.embed_tokens.weight"][5] *= np.float32(1e-37)
    tensors["model.layers.0.mlp.down_proj.weight"][2] *= np.float32(1e-36)
    tensors["model.layers.1.input_layernorm.weight"][:] = 1e-38
    model = opened(changed(tmp_path, "llama", tensors, {}))
    symbols = np.full((2, 9), 5, dtype=np.int32)
    wanted = bits(model, symbols, 9)
    model._network.move(torch.device("cpu"), linear.Device.INTEGERS)
    assert np.array_equal(bits(model, symbols, 9), wanted)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("gpt2", {"n_head": 7}),
        ("gpt2", {"n_positions": 2000, "max_position_embeddings": 2000}),
        ("llama", {"num_attention_heads": 8}),
        ("llama", {"num_key_value_heads": 3}),
        ("llama", {"head_dim": 4096}),
        ("llama", {"hidden_size": 30}),
        ("llama", {"num_hidden_layers": 3}),
        ("llama", {"num_hidden_layers": "2"}),
        ("llama", {"hidden_act": "relu"}),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}),
        ("llama", {"model_type": "bert"}),
        ("gpt_neox", {"rotary_pct": 7}),
    ],
)
def test_configs_that_do_not_fit(tmp_path: Path, name: str, config: Mapping[str, Any]) -> None:
    folder = changed(tmp_path, name, folders.tensors(folders.CONFIGS[name]), config)
    with pytest.raises(ValueError):
        opened(folder)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    tensors = folders.tensors(folders.CONFIGS["llama"])
    tensors["model.norm.weight"][3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        opened(changed(tmp_path, "llama", tensors, {}))
