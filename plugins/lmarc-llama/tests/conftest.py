"""Models to test with, and a home in which no other model is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lmarc_llama.model import LlamaModel

from fixtures import random_models
from tests.cli import program

TRAINED = Path(random_models.__file__).parent / "model" / "lmarc-tiny.gguf"
RANDOM = ("spm", "rwkv7", "mamba", "ugm", "wpm")
_UNSET = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "LLAMA_CACHE", "LMARC_MODEL_PATH", "SOURCE_DATE_EPOCH")
#: The program, but what the model can code it codes, also where cm is better at it, and in more lanes.
_ALWAYS = """
from lmarc.archive.presets import ChunkCoder
from lmarc.backends import predicted
predicted._LEAST_SYMBOLS = 300
ChunkCoder._model = lambda coder, cm, data: ("store", data)
from lmarc.cli.main import main
main()
"""

Paths = dict[str, Path]
OpenModel = Callable[[str], LlamaModel]
Run = Callable[..., program.Result]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A model with every kind of vocabulary and of state; not to be changed. "bpe" has learned something."""
    folder = tmp_path_factory.mktemp("models")
    for name in RANDOM:
        random_models.MODELS[name](folder / f"{name}.gguf")
    return {"bpe": TRAINED} | {name: folder / f"{name}.gguf" for name in RANDOM}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home directory in which nothing is."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module", autouse=True)
def _at_home(home: Path) -> Iterator[None]:
    """No model is found but those that a test gives."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _UNSET:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(home))
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "OLLAMA_MODELS"):
            patch.setenv(name, str(home / name.lower()))
        # An abort is a failure, and needs no debugger.
        patch.setenv("GGML_NO_BACKTRACE", "1")
        # Threads that wait spin otherwise, and take processors from those that have something to do.
        patch.setenv("OMP_WAIT_POLICY", "passive")
        yield


@pytest.fixture(scope="session")
def opened(models: Paths) -> Iterator[OpenModel]:
    """Opens a model by name, each once: for what only asks its vocabulary."""
    found: dict[str, LlamaModel] = {}

    def model(name: str) -> LlamaModel:
        if name not in found:
            found[name] = LlamaModel(str(models[name]), {}, 1)
        return found[name]

    yield model
    for each in found.values():
        each.close()


@pytest.fixture
def run_always() -> Run:
    """Runs the program so that the model codes whatever it makes smaller than it is."""

    def run(*args: str | bytes | Path, **options: object) -> program.Result:
        return program.run(*args, command=(sys.executable, "-c", _ALWAYS), **options)  # type: ignore[arg-type]

    return run
