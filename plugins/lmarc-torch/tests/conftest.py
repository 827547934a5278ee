"""A home in which no model is, models to test with, and the program with small groups that the model always codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli import program

# Beside this file: models and the engine as its page describes it.
sys.path.insert(0, str(Path(__file__).parent))
import torch_folders as folders

_UNSET = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "LMARC_MODEL_PATH", "SOURCE_DATE_EPOCH")
_ALWAYS = """
from lmarc.archive.presets import ChunkCoder
from lmarc.backends import predicted
predicted._LEAST_SYMBOLS = 300
ChunkCoder._model = lambda coder, cm, data: ("store", data)
from lmarc.cli.main import main
main()
"""
Run = Callable[..., program.Result]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a trained model ("tiny") and of untrained ones of other kinds; not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    folders.copy_tiny(folder / "tiny")
    folders.write(folder / "gpt2", "gpt2")
    return {name: folder / name for name in ("tiny", "gpt2")}


@pytest.fixture(scope="module", autouse=True)
def _at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No model is found but those that a test gives."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in _UNSET:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "OLLAMA_MODELS"):
            patch.setenv(name, str(home / name.lower()))
        patch.setenv("OMP_WAIT_POLICY", "passive")
        yield


@pytest.fixture
def run_always() -> Run:
    """Runs the program so that the model codes whatever it can."""

    def run(*args: str | Path, cwd: Path | None = None, code: int | None = 0) -> program.Result:
        return program.run(*args, cwd=cwd, code=code, command=(sys.executable, "-c", _ALWAYS))

    return run
