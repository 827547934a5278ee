"""Backend `torch`: opens models as Hugging Face lays them out: safetensors, config.json, tokenizer.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, ClassVar

from lmarc.backends.contract import PredictorBackend, PredictorModel, Promise, hookimpl
from lmarc.backends.settings import choice, refuse_incomplete, refuse_unknown
from lmarc.models.files import SAFETENSORS, is_safetensors

_LEARNER = "learner.json"
_ONLINE_GROUP = 1 << 24
_WISHES = {
    "exact": ("mode", "lanes", "context", "keep"),
    "float": ("mode", "lanes", "context", "keep", "dtype", "device"),
    "online": ("mode", "lanes", "width", "layers", "segment", "rate", "seed", "threads"),
}


class Torch(PredictorBackend):
    """A language model in torch. Its exact engine gives the same scores on every machine."""

    name = "torch"
    version = 1
    promise = Promise.PORTABLE
    suffixes: ClassVar[tuple[str, ...]] = (SAFETENSORS,)

    def missing(self) -> str | None:
        """Whether torch is there."""
        absent = [name for name in ("torch", "tokenizers", "safetensors") if find_spec(name) is None]
        return f"pip install {' '.join(absent)}" if absent else None

    def own_model(self, params: Mapping[str, Any]) -> str | None:
        """What describes the learner that nobody has to bring."""
        return os.path.join(os.path.dirname(__file__), _LEARNER) if params.get("mode") == "online" else None

    def group_size(self, params: Mapping[str, Any]) -> int | None:
        """A learner begins each group anew."""
        return _ONLINE_GROUP if params.get("mode") == "online" else None

    def open(self, path: str, params: Mapping[str, Any], threads: int) -> PredictorModel:
        """Open a safetensors file's folder to pack with. Raises ValueError, UnsupportedError."""
        refuse_unknown(self.name, params, _WISHES[_mode(params)])
        return _model(path, params, threads, is_archived=False)

    def reopen(self, path: str, settings: Mapping[str, Any], threads: int) -> PredictorModel:
        """Open a safetensors file's folder as an archive says. Raises ValueError, UnsupportedError, LimitError."""
        refuse_incomplete(self.name, settings, ("mode",))
        return _model(path, settings, threads, is_archived=True)


def _mode(params: Mapping[str, Any]) -> str:
    return choice(Torch.name, params, "mode", _WISHES, "exact")


def _model(path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool) -> PredictorModel:
    mode = _mode(params)
    if mode != "online" and not is_safetensors(path):
        raise ValueError("it is no safetensors file")
    # Threads that wait by spinning make a busy machine hundreds of times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if mode == "online":
        from lmarc_torch.online import OnlineModel

        return OnlineModel(path, params, threads, is_archived=is_archived)
    if mode == "float":
        from lmarc_torch.floating import FloatModel

        return FloatModel(path, params, threads, is_archived=is_archived)
    from lmarc_torch.exact import ExactModel

    return ExactModel(path, params, threads, is_archived=is_archived)


@hookimpl
def lmarc_backend() -> Torch:
    """The backend."""
    return Torch()
