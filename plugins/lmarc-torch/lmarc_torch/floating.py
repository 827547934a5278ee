"""Any causal language model that transformers loads, in floating point: matching, all lanes step by step."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from lmarc.backends import settings
from lmarc.backends.contract import Promise, Session
from lmarc.errors import BackendMissingError, LimitError
from lmarc.models.parts import weights_of
from lmarc_torch.textmodel import NAME, Ints32, Scores, TextModel, newest

MODE = "float"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_LANES = 16
_BOUNDS = {"lanes": (1, 256), "context": (16, 1 << 16), "keep": (0, 1 << 16), "threads": (1, 256)}
_CHOICES = {"dtype": tuple(_DTYPES), "device": ("cpu", "cuda")}
#: Where models have what they remember, by the names that versions of transformers give it.
_STATES = ("cache", "past_key_values", "cache_params", "state")


class FloatModel(TextModel):
    """A model as transformers runs it. Its scores depend on machine, library, threads and lanes, so all are settled.

    Raises ValueError for a folder that transformers cannot load, BackendMissingError where it or a device is missing.
    """

    promise = Promise.MATCHING

    def __init__(self, path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool = False) -> None:
        super().__init__(path, params, _BOUNDS, {*_BOUNDS, *_CHOICES}, is_archived=is_archived)
        threads = min(max(threads, 1), _BOUNDS["threads"][1])
        self._threads = settings.number(NAME, params, "threads", _BOUNDS["threads"], threads)
        dtype = settings.choice(NAME, params, "dtype", _CHOICES["dtype"], "float32")
        device = settings.choice(NAME, params, "device", _CHOICES["device"], "cpu")
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendMissingError("backend 'torch' finds no CUDA device here")
        self._device = torch.device(device)
        self._model = _loaded(path, self.config, _DTYPES[dtype]).to(self._device)
        self._take_vocabulary(self._model.get_output_embeddings().weight.shape[0])
        self.lanes = settings.number(NAME, params, "lanes", _BOUNDS["lanes"], _LANES)
        if self.lanes * len(self.vocabulary) * 4 > 1 << 30:
            raise LimitError(f"{self.lanes} lanes take more memory than there is")
        self.settings = {
            "mode": MODE,
            "lanes": self.lanes,
            "context": self.context,
            "keep": self.keep,
            "threads": self._threads,
            "dtype": dtype,
            "device": device,
        }

    def session(self, lanes: int) -> Session:
        """A session; all lanes are computed, however many are used."""
        torch.set_num_threads(self._threads)
        return FloatSession(self, self._model, self._device, lanes)

    def environment(self) -> Mapping[str, str]:
        """Versions, instructions and device."""
        import transformers

        device = (
            torch.cuda.get_device_name() if self._device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
        )
        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "machine": platform.machine(),
            "device": device,
        }

    def about(self) -> Mapping[str, Any]:
        """What the folder says of itself."""
        dtype = str(self.settings["dtype"])
        return {**super().about(), "architecture": type(self._model).__name__, "quantisation": dtype}


def _loaded(path: str, table: dict[str, Any], dtype: torch.dtype) -> Any:
    """The model of a main file and its config. Raises ValueError if transformers cannot load it."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    except ImportError as error:
        raise BackendMissingError("the float mode needs transformers: pip install 'lmarc-torch[float]'") from error
    try:
        # Only files whose hashes the archive has are read.
        tensors: dict[str, torch.Tensor] = {}
        for name in weights_of(path):
            tensors |= load_file(os.path.join(os.path.dirname(path), name))
        config = CONFIG_MAPPING[str(table.get("model_type"))].from_dict(table)
        with torch.device("meta"):
            kind: Any = type(AutoModelForCausalLM.from_config(config, trust_remote_code=False))
        model, loading = kind.from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, output_loading_info=True
        )
        if loading["missing_keys"] or loading["mismatched_keys"]:
            raise ValueError(
                f"tensors are missing, {[*loading['missing_keys'], *loading['mismatched_keys']][:1]} first"
            )
    except Exception as error:
        raise ValueError(f"transformers cannot load it: {error}") from error
    return model.eval()


class FloatSession(Session):
    """Lanes in lockstep. When the context is full, the newest symbols are read again from its beginning.

    A recurrent model's never is.
    """

    def __init__(self, settled: FloatModel, model: Any, device: torch.device, used: int) -> None:
        self._settled, self._model, self._device, self._used = settled, model, device, used
        # What a recurrent model remembers does not grow: it never forgets all at once.
        self._slides = not getattr(model, "_is_stateful", False)
        self._seen = torch.zeros(settled.lanes, settled.context, dtype=torch.int64)
        self._filled = 0
        self._state: dict[str, Any] = {}

    @torch.inference_mode()
    def advance(self, symbols: Ints32) -> Scores:
        """The next symbol of all lanes, int32[lanes, 1]; returns float32[lanes, 1, vocabulary]."""
        if self._slides and self._filled == self._settled.context:
            self._filled, self._state = 0, {}
            if self._settled.keep:
                self._take(newest(self._seen, self._settled.keep, self._settled.first))
        given = torch.zeros(len(self._seen), 1, dtype=torch.int64)
        given[: self._used] = torch.from_numpy(symbols.astype(np.int64))
        scores: Scores = self._take(given)[: self._used, -1:].float().cpu().numpy()
        return scores

    def _take(self, symbols: torch.Tensor) -> torch.Tensor:
        if self._slides:
            end = self._filled + symbols.shape[1]
            self._seen[:, self._filled : end] = symbols
            self._filled = end
        out = self._model(input_ids=symbols.to(self._device), use_cache=True, **self._state)
        key = next((key for key in _STATES if out.get(key) is not None), None)
        self._state = {} if key is None else {key: out[key]}
        logits: torch.Tensor = out["logits"]
        return logits
