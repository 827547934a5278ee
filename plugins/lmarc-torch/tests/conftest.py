"""A home in which no model is, models to test with, and the program with small groups that the model always codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import predicting
from tests.cli import program

# Beside this file: models and the engine as its page describes it.
sys.path.insert(0, str(Path(__file__).parent))
import torch_folders as folders

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
    with predicting.at_home(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture
def run_always() -> Run:
    """Runs the program so that the model codes whatever it makes smaller than it is."""
    return predicting.run_always
