"""Real archives by torch: packed and unpacked by the program, each in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch_folders as folders

import lmarc
from lmarc.backends import registry
from lmarc.backends.predicted import PredictorCodec
from lmarc.testing.contents import CONTENTS, PROSE, write_tree
from tests.cli import program

Paths = dict[str, Path]
Run = Callable[..., program.Result]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all hostile contents; not to be changed."""
    return write_tree(tmp_path_factory.mktemp("hostile") / "tree")


@pytest.fixture(scope="module")
def packed(models: Paths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive by the trained model."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "a.txt").write_bytes(PROSE * 4)
    program.run("pack", "-m", models["tiny"], "a.txt", cwd=folder)
    return folder / "a.txt.lmarc"


def test_round_trip_with_other_threads(models: Paths, run_always: Run, tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tree.lmarc"
    run_always("pack", "-j", "2", "-m", models["gpt2"], "-o", archive, tree)
    with lmarc.open(archive) as opened:
        refs = [opened.header.backends[chunk.codec] for chunk in opened.chunks]
        assert {(ref.name, ref.promise) for ref in refs} == {("torch", "portable")}
    program.run("unpack", "-j", "1", "-m", models["gpt2"], "-C", tmp_path, archive)
    assert {path.name: path.read_bytes() for path in (tmp_path / "tree").iterdir()} == CONTENTS


@pytest.mark.parametrize("kind", ["mamba", "rwkv"])
def test_recurrent_models_in_floating_point(tmp_path: Path, kind: str) -> None:
    folders.write_recurrent(tmp_path, kind)
    path = str(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="knows no models"):
        registry.predictor("torch").open(path, {}, 1)
    backend = registry.predictor("torch")
    model = backend.open(path, {"mode": "float", "context": 16, "lanes": 2}, 1)
    payload = PredictorCodec(backend, model).compress(PROSE, {})
    again = backend.reopen(path, dict(model.settings), 1)
    assert PredictorCodec(backend, again).decompress(memoryview(payload), len(PROSE), {}) == PROSE


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "lmarc-tiny.safetensors"])
def test_another_file_in_the_folder(models: Paths, packed: Path, tmp_path: Path, name: str) -> None:
    """A changed byte of anything that the model is made of: exit code 13, nothing written."""
    shutil.copytree(models["tiny"], tmp_path / "model")
    changed = bytearray((tmp_path / "model" / name).read_bytes())
    changed[-2] ^= 1
    (tmp_path / "model" / name).write_bytes(changed)
    result = program.run("unpack", "-m", tmp_path / "model", "-C", tmp_path / "out", packed, code=13)
    assert name in result.err or "not on this disk" in result.err
    assert not list((tmp_path / "out").iterdir())
    program.run("unpack", "-m", tmp_path / "model", "-m", models["tiny"], "-C", tmp_path / "out", packed)
    assert (tmp_path / "out" / "a.txt").read_bytes() == PROSE * 4


def test_info_and_list_need_no_model(packed: Path) -> None:
    assert "torch 1 (portable)" in program.run("info", packed).text
    assert "a.txt" in program.run("list", packed).text


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("mode=fast", "mode"),
        ("lanes=0", "lanes"),
        ("depth=1", "depth"),
        ("context=4096", "look back"),
        ("keep=512", "keep"),
    ],
)
def test_set_what_cannot_be(models: Paths, tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    assert said in program.run("pack", "--set", setting, "-m", models["tiny"], "a.txt", cwd=tmp_path, code=2).err
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    (tmp_path / "model").mkdir()
    assert "safetensors" in program.run("pack", "-m", "model", "a.txt", cwd=tmp_path, code=2).err
    (tmp_path / "model" / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nothing to read!")
    assert "cannot use" in program.run("pack", "-m", "model", "a.txt", cwd=tmp_path, code=13).err
