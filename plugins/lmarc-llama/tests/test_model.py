"""Models as the backend opens them: settings that open again to the same scores, in whatever shape it promises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGUFWriter
from lmarc_llama.model import LlamaModel

from fixtures import random_models
from fixtures.model.export import finish
from lmarc.errors import UnsupportedError

Paths = dict[str, Path]
OpenModel = Callable[[str], LlamaModel]

#: Opens each file that it is given, and says in a line what came of it.
_OPEN_ALL = """
import json, sys
from lmarc.backends import registry
params = json.loads(sys.argv[1])
for path in sys.argv[2:]:
    try:
        backend = registry.predictor("llama")
        model = (backend.reopen if params else backend.open)(path, params, 1)
        session = model.session(model.lanes)
        print("opened", flush=True)
        session.close()
        model.close()
    except Exception as error:
        print(type(error).__name__, json.dumps(str(error)), flush=True)
"""
#: A context that is full soon, and more lanes than small models are given.
SHORT: dict[str, Any] = {"context": 64, "lanes": 16}
KINDS = ["bpe", "spm", "rwkv7", "mamba"]


@contextmanager
def model_of(path: Path, params: Mapping[str, Any], threads: int = 1) -> Iterator[LlamaModel]:
    """The model as packing opens it with these wishes, or as unpacking does with settings."""
    model = LlamaModel(str(path), params, threads, is_archived=len(params) > 3)
    try:
        yield model
    finally:
        model.close()


def some_symbols(model: LlamaModel, lanes: int, steps: int) -> npt.NDArray[np.int32]:
    return np.random.default_rng(7).integers(0, len(model.vocabulary), (lanes, steps), dtype=np.int32)


def bits(model: LlamaModel, symbols: npt.NDArray[np.int32], steps: int) -> npt.NDArray[np.int32]:
    """int32[lanes, all steps, vocabulary]: the bits of the scores, asked for so many steps at once."""
    session = model.session(len(symbols))
    parts = []
    for at in range(0, symbols.shape[1], steps):
        scores = session.advance(np.ascontiguousarray(symbols[:, at : at + steps]))
        assert scores.shape == (len(symbols), min(steps, symbols.shape[1] - at), len(model.vocabulary))
        assert scores.dtype == np.float32
        parts.append(scores.copy())
    session.close()
    return np.concatenate(parts, axis=1).view(np.int32)


@pytest.mark.parametrize("name", [*KINDS, "ugm", "wpm"])
def test_settings_open_again_to_the_same(models: Paths, name: str) -> None:
    with model_of(models[name], {}) as model:
        settings = dict(model.settings)
        lanes, steps, first, vocabulary = model.lanes, model.steps, model.first, model.vocabulary
    assert all(type(value) in (int, str) for value in settings.values())
    assert (settings["lanes"], settings["steps"]) == (lanes, steps)
    assert lanes >= 1 and steps >= 1
    with model_of(models[name], settings, 2) as again:
        assert dict(again.settings) == settings
        assert (again.lanes, again.steps, again.first) == (lanes, steps, first)
        assert again.vocabulary == vocabulary


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("name", ["bpe", "rwkv7", "mamba"])
def test_settings_for_few_lanes_open_again(models: Paths, name: str, lanes: int) -> None:
    with model_of(models[name], {"lanes": lanes}) as model:
        settings = dict(model.settings)
        assert model.lanes == lanes
    with model_of(models[name], settings) as again:
        assert dict(again.settings) == settings


def test_choosing_twice_gives_the_same(models: Paths) -> None:
    with model_of(models["spm"], {}) as one, model_of(models["spm"], {}, 2) as two:
        assert dict(one.settings) == dict(two.settings)


@pytest.mark.parametrize("name", ["rwkv7", "mamba"])
def test_recurrent_models_do_not_slide(models: Paths, name: str) -> None:
    with model_of(models[name], SHORT) as model:
        assert model.settings["slide"] == "never"


@pytest.mark.parametrize(("name", "slide"), [*((name, "shift") for name in KINDS), ("bpe", "again"), ("spm", "again")])
def test_steps_lanes_and_threads_do_not_matter(models: Paths, name: str, slide: str) -> None:
    """Also when the context has been full three times."""
    with model_of(models[name], SHORT | {"slide": slide}) as model:
        assert model.settings["slide"] in (slide, "never")
        settings = dict(model.settings)
        symbols = some_symbols(model, 16, 179)
        wanted = bits(model, symbols, 1)
        assert np.array_equal(bits(model, symbols, model.steps), wanted)
        for lanes in (1, 2, 5, 16):
            assert np.array_equal(bits(model, symbols[:lanes], 1), wanted[:lanes]), f"{lanes} lanes"
        assert np.array_equal(bits(model, symbols[:1], model.steps), wanted[:1])
    for threads in (1, 2):
        with model_of(models[name], settings, threads) as again:
            assert np.array_equal(bits(again, symbols[:5], 1), wanted[:5]), f"{threads} threads"


@pytest.mark.parametrize("kind", ["q8_0", "q4_k_m"])
def test_quantised_models(models: Paths, tmp_path: Path, kind: str) -> None:
    """Of other types of weights, other shapes agree."""
    path = tmp_path / f"{kind}.gguf"
    random_models.quantise(models["bpe"], path, kind)
    with model_of(path, SHORT) as model:
        assert model.about()["quantisation"] != "F16"
        settings = dict(model.settings)
        symbols = some_symbols(model, 9, 99)
        wanted = bits(model, symbols, 1)
        assert np.array_equal(bits(model, symbols, model.steps), wanted)
        assert np.array_equal(bits(model, symbols[:1], 1), wanted[:1])
    with model_of(path, settings, 2) as again:
        assert np.array_equal(bits(again, symbols[:3], 1), wanted[:3])


def test_scores_follow_from_what_was_seen(models: Paths) -> None:
    """A model that looks at nothing would pass all other tests."""
    with model_of(models["bpe"], {}) as model:
        symbols = some_symbols(model, 2, 24)
        symbols[1, 8:] = symbols[0, 8:]
        scores = bits(model, symbols, 1).view(np.float32)
        assert not np.array_equal(scores[0, 8], scores[1, 8])
        assert np.isfinite(scores).all()


def test_a_session_begins_anew(models: Paths) -> None:
    for name in ("bpe", "rwkv7"):
        with model_of(models[name], {}) as model:
            symbols = some_symbols(model, 2, 9)
            wanted = bits(model, symbols, 1)
            model.session(3).advance(some_symbols(model, 3, 1))
            assert np.array_equal(bits(model, symbols, 1), wanted)


def test_another_process_gives_the_same_canary(models: Paths) -> None:
    from lmarc.backends import registry
    from lmarc.backends.predicted import PredictorCodec

    with model_of(models["bpe"], {}) as model:
        here = PredictorCodec(registry.predictor("llama"), model).canary().hex()
    script = (
        "import sys; from lmarc.backends import registry; from lmarc.backends.predicted import PredictorCodec as P; "
        "b = registry.predictor('llama'); print(P(b, b.open(sys.argv[1], {}, 2)).canary().hex())"
    )
    done = subprocess.run([sys.executable, "-c", script, models["bpe"]], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == here


def open_all(paths: list[Path], params: Mapping[str, Any] | None = None) -> list[str]:
    """A line for each file, from a process that has opened them all."""
    command = [sys.executable, "-c", _OPEN_ALL, json.dumps(dict(params or {})), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stdout}{done.stderr[-3000:]}"
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths), lines
    return lines


def assert_refused(lines: list[str], kind: str = "ValueError") -> None:
    for line in lines:
        name, _, text = line.partition(" ")
        assert name == kind, line
        message = json.loads(text)
        assert message and "\n" not in message and len(message) < 1000, message


def test_what_is_no_model_is_refused(models: Paths, tmp_path: Path) -> None:
    whole = models["spm"].read_bytes()
    wrong = {
        "empty": b"",
        "junk": os.urandom(5000),
        "text": b"Once upon a time\n" * 100,
        "magic": b"GGUF",
        "version": b"GGUF\x63\0\0\0" + whole[8:],
        "head": whole[:20],
        "metadata": whole[:9000],
        "half": whole[: len(whole) // 2],
        "almost": whole[:-40],
        "architecture": whole.replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0lamma", 1),
    }
    paths = []
    for name, data in wrong.items():
        paths.append(tmp_path / f"{name}.gguf")
        paths[-1].write_bytes(data)
    assert_refused(open_all([*paths, tmp_path, tmp_path / "nowhere.gguf"]))


def test_a_model_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"

    def add_none(writer: GGUFWriter) -> int:
        writer.add_tokenizer_model("no_vocab")
        return 300

    random_models._transformer(path, "llama", random_models._tiny(context=512), add_none)
    assert_refused(open_all([path]))


def test_a_model_that_predicts_nothing_is_refused(tmp_path: Path) -> None:
    """A BERT, which turns texts into vectors."""
    path, width = tmp_path / "bert.gguf", 64
    writer = GGUFWriter(path, "bert")
    vocabulary = random_models._add_wpm(writer)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(name, np.full(shape, 0.01, np.float32))

    for name, rows in (("token_embd", vocabulary), ("token_types", 2), ("position_embd", 512)):
        add(f"{name}.weight", rows, width)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"):
        add(f"blk.0.{name}.weight", width, width)
        add(f"blk.0.{name}.bias", width)
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        add(f"{name}.weight", width)
        add(f"{name}.bias", width)
    finish(writer)
    assert_refused(open_all([path]))


def test_a_model_that_gives_no_numbers_is_refused(models: Paths, tmp_path: Path) -> None:
    data = bytearray(models["spm"].read_bytes())
    data[-64 * 4 :] = b"\xff\xff\xff\x7f" * 64
    (tmp_path / "nan.gguf").write_bytes(data)
    assert_refused(open_all([tmp_path / "nan.gguf"]))


def test_a_model_can_be_opened_after_one_that_cannot(models: Paths, tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + bytes(100))
    lines = open_all([junk, models["spm"], junk, models["spm"]])
    assert lines[1] == lines[3] == "opened"
    assert_refused(lines[::2])


ABSURD: list[dict[str, Any]] = [
    *({"lanes": value} for value in (0, -1, 1 << 20, 1 << 40, True, 16.0, "16", None, [16], {})),
    *({"rows": value} for value in (0, -1, 200, "2", None)),
    *({"steps": value} for value in (0, -8, 1 << 30, 7, None, "8")),
    *({"context": value} for value in (0, -64, 1, 100, 1 << 31, None, "512")),
    *({"keep": value} for value in (-8, 1 << 19, 1 << 21, 3, None)),
    *({"slide": value} for value in ("", "sometimes", 1, None, ["again"])),
    *({"kv": value} for value in ("", "q4_0", "f16", 1, None, {"bf16": 1})),
    *({"flash": value} for value in (-1, 2, None, True)),
    *({"extra": value} for value in (-1, 2, None, "1")),
    *({"threads": value} for value in (-1, 1 << 20, None, "1")),
    *({"offload": value} for value in (-1, 1 << 20, None, "1")),
]


@pytest.mark.parametrize("change", ABSURD, ids=str)
def test_absurd_settings_are_refused(models: Paths, opened: OpenModel, change: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError), model_of(models["spm"], opened("spm").settings | change):
        pass


def test_settings_left_out_are_refused(models: Paths, opened: OpenModel) -> None:
    settings = opened("spm").settings
    with model_of(models["spm"], settings):
        pass
    for left_out in settings:
        with (
            pytest.raises(UnsupportedError),
            model_of(models["spm"], {key: value for key, value in settings.items() if key != left_out}),
        ):
            pytest.fail(f"opened without {left_out}")


#: Slides, and all that one may be asked to do it with, in every way that a header may name.
_SLIDE = """
import itertools, sys, warnings
import numpy as np
from lmarc.backends import registry
from lmarc.errors import LmarcError
backend = registry.predictor("llama")
usual = dict(backend.open(sys.argv[1], {}, 1).settings) | {"context": 64, "keep": 32}
ways = itertools.product(("shift", "again", "never"), ("f16/bf16", "bf16/bf16", "f16", "bf16", "q8_0"), (0, 1))
for slide, kv, flash in ways:
    try:
        model = backend.reopen(sys.argv[1], usual | {"slide": slide, "kv": kv, "flash": flash}, 1)
        session = model.session(2)
        for _ in range(20):
            session.advance(np.full((2, model.steps), 5, dtype=np.int32))
        session.close()
        model.close()
    except (LmarcError, ValueError, RuntimeError) as error:
        print(slide, kv, flash, error)
print("done")
"""


@pytest.mark.parametrize("name", ["bpe", "spm", "rwkv7"])
def test_settings_that_would_end_the_process(models: Paths, name: str) -> None:
    command = [sys.executable, "-c", _SLIDE, str(models[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["done"]), done.stdout + done.stderr[-2000:]
