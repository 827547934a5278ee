"""What tests of predictors share: a home without models, and the program when the model codes whatever it can."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli import program

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


@contextmanager
def at_home(home: Path) -> Iterator[None]:
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


def run_always(*args: str | bytes | Path, **options: object) -> program.Result:
    """Run the program so that the model codes whatever it makes smaller than it is."""
    return program.run(*args, command=(sys.executable, "-c", _ALWAYS), **options)  # type: ignore[arg-type]
