"""Any causal language model that transformers loads, in floating point: matching, all lanes step by step."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file

from lmarc.backends.contract import PredictorModel, Promise, Session
from lmarc.errors import BackendMissingError, LimitError, UnsupportedError
from lmarc.models.parts import weights_of
from lmarc_torch import folder as folders
from lmarc_torch.tokens import Tokens

MODE = "float"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CONTEXT = 512
_LANES = 16
_LIMITS = {"lanes": (1, 256), "context": (16, 1 << 16), "keep": (0, 1 << 16), "threads": (1, 256)}
_CHOICES = {"dtype": tuple(_DTYPES), "device": ("cpu", "cuda")}
#: Where models have what they remember, by the names that versions of transformers give it.
_STATES = ("cache", "past_key_values", "cache_params", "state")

Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


class FloatModel(PredictorModel):
    """A model as transformers runs it. Its scores depend on machine, library, threads and lanes, so all are settled.

    Raises ValueError for a folder that transformers cannot load, BackendMissingError where it or a device is missing.
    """

    promise = Promise.MATCHING

    def __init__(self, path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool = False) -> None:
        self._folder = os.path.dirname(path)
        self._config = folders.config_of(self._folder)
        if is_archived and not {*_LIMITS, *_CHOICES} <= params.keys():
            raise UnsupportedError("backend 'torch': the archive's settings are not whole")
        longest = folders.longest_context(self._config)
        context = _number(params, "context", min(_CONTEXT, longest))
        keep = _number(params, "keep", context // 2)
        self._threads = _number(params, "threads", min(max(threads, 1), 256))
        dtype, device = _choice(params, "dtype", "float32"), _choice(params, "device", "cpu")
        if keep >= context or (not is_archived and context > longest):
            raise UnsupportedError(f"backend 'torch' cannot look back on {context} tokens and keep {keep}")
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendMissingError("backend 'torch' finds no CUDA device here")
        self._device = torch.device(device)
        self._tokens = Tokens(self._folder)
        self._model = _loaded(path, _DTYPES[dtype]).to(self._device)
        self.vocabulary = self._tokens.pieces(self._model.get_output_embeddings().weight.shape[0])
        self.first = self._first()
        self.lanes = _number(params, "lanes", _LANES)
        if self.lanes * len(self.vocabulary) * 4 > 1 << 30:
            raise LimitError(f"{self.lanes} lanes take more memory than there is")
        self._context, self._keep = context, keep
        self.settings = {
            "mode": MODE,
            "lanes": self.lanes,
            "context": context,
            "keep": keep,
            "threads": self._threads,
            "dtype": dtype,
            "device": device,
        }

    def _first(self) -> int:
        names = (self._config.get("bos_token_id"), self._config.get("eos_token_id"), "<|endoftext|>", "<s>")
        found = self._tokens.number_of(*names)
        return found if found is not None and found < len(self.vocabulary) else 0

    def tokenize(self, text: bytes) -> Ints32:
        """Symbols of valid UTF-8."""
        return self._tokens.tokenize(text)

    def session(self, lanes: int) -> Session:
        """A session; all lanes are computed, however many are used."""
        torch.set_num_threads(self._threads)
        return FloatSession(self._model, self._device, self.lanes, lanes, self._context, self._keep, self.first)

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
        with open(os.path.join(self._folder, "tokenizer.json"), "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        return {
            "title": str(self._config.get("_name_or_path") or ""),
            "architecture": type(self._model).__name__,
            "quantisation": str(self.settings["dtype"]),
            "tokenizer": {"kind": self._tokens.kind, "sha256": digest},
        }


def _loaded(path: str, dtype: torch.dtype) -> Any:
    """The model of a main file. Raises ValueError if transformers cannot load it."""
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
        table = folders.config_of(os.path.dirname(path))
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

    def __init__(
        self, model: Any, device: torch.device, lanes: int, used: int, context: int, keep: int, first: int
    ) -> None:
        self._model, self._device, self._used = model, device, used
        self._context, self._keep, self._first = context, keep, first
        # What a recurrent model remembers does not grow: it never forgets all at once.
        self._slides = not getattr(model, "_is_stateful", False)
        self._seen = torch.zeros(lanes, context, dtype=torch.int64)
        self._filled = 0
        self._state: dict[str, Any] = {}

    @torch.inference_mode()
    def advance(self, symbols: Ints32) -> Scores:
        """The next symbol of all lanes, int32[lanes, 1]; returns float32[lanes, 1, vocabulary]."""
        if self._slides and self._filled == self._context:
            newest = self._seen[:, self._context - self._keep :].clone()
            newest[:, :1] = self._first
            self._filled, self._state = 0, {}
            if self._keep:
                self._take(newest)
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


def _number(params: Mapping[str, Any], key: str, usual: int) -> int:
    """A number of the settings. Raises UnsupportedError if it is out of its bounds."""
    value = params.get(key, usual)
    least, most = _LIMITS[key]
    if type(value) is not int or not least <= value <= most:
        raise UnsupportedError(f"backend 'torch' knows no {key} {value!r:.20}")
    return value


def _choice(params: Mapping[str, Any], key: str, usual: str) -> str:
    """A word of the settings. Raises UnsupportedError if it is not one of those there are."""
    value = params.get(key, usual)
    if value not in _CHOICES[key]:
        raise UnsupportedError(f"backend 'torch' knows no {key} {value!r:.20}: {', '.join(_CHOICES[key])}")
    return str(value)
