"""Backend `llama`: opens GGUF models with llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

from lmarc.backends.contract import PredictorBackend, PredictorModel, Promise, hookimpl


class Llama(PredictorBackend):
    """A GGUF model predicts; what it predicts with depends on machine and build, so archives name both."""

    name = "llama"
    version = 1
    promise = Promise.MATCHING
    suffixes: ClassVar[tuple[str, ...]] = (".gguf",)

    def missing(self) -> str | None:
        """Whether llama.cpp is there."""
        return None if find_spec("llama_cpp") else "pip install llama-cpp-python"

    def open(self, path: str, params: Mapping[str, Any], threads: int) -> PredictorModel:
        """Open a GGUF file to pack with. Raises ValueError, UnsupportedError."""
        from lmarc_llama.model import LlamaModel

        return LlamaModel(path, params, threads)

    def reopen(self, path: str, settings: Mapping[str, Any], threads: int) -> PredictorModel:
        """Open a GGUF file as an archive says. Raises ValueError, UnsupportedError, LimitError."""
        from lmarc_llama.model import LlamaModel

        return LlamaModel(path, settings, threads, is_archived=True)


@hookimpl
def lmarc_backend() -> Llama:
    """The backend."""
    return Llama()
