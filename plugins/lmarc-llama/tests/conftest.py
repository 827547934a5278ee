"""Models to test with, and a home in which no other model is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lmarc_llama.model import LlamaModel

from fixtures import random_models
from tests import predicting
from tests.cli import program

TRAINED = Path(random_models.__file__).parent / "model" / "lmarc-tiny.gguf"
RANDOM = ("spm", "rwkv7", "mamba", "ugm", "wpm")

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
    with predicting.at_home(home):
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
    return predicting.run_always
