"""A GGUF model, open: its vocabulary, how its lanes are to be run, and what its scores depend on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lmarc.backends import settings
from lmarc.backends.contract import PredictorModel, Session
from lmarc.backends.machine import memory
from lmarc.errors import BackendMissingError, LimitError, UnsupportedError
from lmarc.models.gguf import read_info
from lmarc_llama import vocabulary
from lmarc_llama.engine import AGAIN, KV_TYPES, MOVABLE, NEVER, SHIFT, LaneSession, Shape
from lmarc_llama.library import devices, last_error, library

_NAME = "llama"
_CONTEXT = 1024
_LANES, _LANES_OF_SMALL = 16, 2
#: Models with fewer weights gain no speed from more lanes or threads.
_SMALL = 20_000_000
_STEPS = 8
#: What the scores of one call may take, in bytes.
_MOST_SCORES = 256 << 20
#: What the KV cache may take, as a part of the memory there is.
_KV_SHARE = 4
_LIMITS = {
    "lanes": (1, 256),
    "rows": (1, 256),
    "steps": (1, 512),
    "context": (64, 1 << 20),
    "keep": (0, 1 << 20),
    "flash": (0, 1),
    "extra": (0, 1),
    "threads": (0, 256),
    "offload": (0, 1 << 16),
}
#: What packing may wish.
_WISHES = ("context", "keep", "kv", "lanes", "offload", "slide", "steps")
#: What llama.cpp keeps for every token of the KV cache besides keys and values, in bytes.
_CELL_BYTES = 64
_PROBE_SEED = 1


class LlamaModel(PredictorModel):
    """A model loaded by llama.cpp. Raises ValueError for a file that it cannot load or that is no decoder.

    `params` are what packing wishes or, `is_archived`, the settings that an archive has.
    """

    def __init__(self, path: str, params: Mapping[str, Any], threads: int, *, is_archived: bool = False) -> None:
        llama = library()
        self._path = path
        self._model: Any = None
        self._vocabulary: Any = None
        archived = _shape_of(params) if is_archived else None
        if archived is None:
            settings.refuse_unknown(_NAME, params, _WISHES)
        self._extra = True
        self._offload = _number(params, "offload", 0)
        if self._offload and not (llama.llama_supports_gpu_offload() and devices()):
            raise BackendMissingError("backend 'llama' finds no GPU that its llama.cpp can offload to")
        self._load(params.get("extra", 1) == 1)
        # Small models lose more by waiting for other threads than those do for them.
        is_small = llama.llama_model_n_params(self._model) < _SMALL
        self._threads = 1 if is_small else max(threads, 1)
        self._session: LaneSession | None = None
        if vocabulary.kind(self._vocabulary) == "none":
            self.close()
            raise ValueError("it has no vocabulary")
        self.vocabulary = vocabulary.pieces(self._vocabulary)
        self.first = vocabulary.first_token(self._vocabulary)
        self._is_recurrent = bool(llama.llama_model_is_recurrent(self._model))
        try:
            self._shape = self._agreeing(self._choose(params)) if archived is None else self._affordable(archived)
        except BaseException:
            self.close()
            raise
        self.lanes, self.steps = self._shape.lanes, self._shape.steps
        self.settings = asdict(self._shape)

    def _load(self, extra: bool) -> None:
        """Load the file, or load it again where that is to be done another way. Raises ValueError."""
        llama = library()
        if self._model is not None:
            if self._extra == extra:
                return
            llama.llama_model_free(self._model)
            self._model = None
        params = llama.llama_model_default_params()
        params.n_gpu_layers = self._offload
        params.use_extra_bufts = extra
        overrides = (llama.llama_model_kv_override * 2)()
        # A text does not begin with a space that nobody wrote.
        overrides[0].tag = llama.LLAMA_KV_OVERRIDE_TYPE_BOOL
        overrides[0].key = b"tokenizer.ggml.add_space_prefix"
        overrides[0].value.val_bool = False
        params.kv_overrides = overrides
        last_error()
        self._extra = extra
        self._model = llama.llama_model_load_from_file(os.fsencode(self._path), params)
        if not self._model:
            raise ValueError(f"llama.cpp cannot load it: {last_error()}")
        self._vocabulary = llama.llama_model_get_vocab(self._model)

    def _choose(self, params: Mapping[str, Any]) -> Shape:
        """How to run the lanes, as far as model and memory decide. Raises UnsupportedError for wishes out of bounds."""
        llama = library()
        context = min(_number(params, "context", _CONTEXT), max(llama.llama_model_n_ctx_train(self._model), 64))
        context -= context % 64
        fit = memory() // _KV_SHARE // max(self._kv_bytes() * context, 1)
        usual = _LANES if llama.llama_model_n_params(self._model) >= _SMALL else _LANES_OF_SMALL
        lanes = max(min(_number(params, "lanes", usual), fit), 1)
        steps = _number(params, "steps", _STEPS)
        is_mixed = self._is_recurrent or llama.llama_model_is_hybrid(self._model)
        if is_mixed and not read_info(self._path).architecture.startswith("rwkv"):
            # What several steps give may differ in the last bits, and first after many of them.
            steps = 1
        while steps > 1 and lanes * steps * len(self.vocabulary) * 4 > _MOST_SCORES:
            steps //= 2
        shape = Shape(
            lanes=lanes,
            rows=1,
            steps=steps,
            context=context,
            keep=_number(params, "keep", context // 2),
            slide=NEVER if self._is_recurrent else settings.choice(_NAME, params, "slide", (SHIFT, AGAIN), SHIFT),
            kv=settings.choice(_NAME, params, "kv", KV_TYPES, MOVABLE),
            flash=1,
            extra=1,
            threads=0,
            offload=self._offload,
        )
        return self._affordable(_possible(shape))

    def _affordable(self, shape: Shape) -> Shape:
        """The shape. Raises LimitError if this machine has not the memory that it takes."""
        lanes = max(shape.lanes, shape.rows)
        kv = lanes * shape.context * (self._kv_bytes() + _CELL_BYTES)
        if max(kv, lanes * shape.steps * len(self.vocabulary) * 4) > memory() // 2:
            raise LimitError(f"{lanes} lanes of {shape.context} tokens take more memory than there is")
        return shape

    def _agreeing(self, shape: Shape) -> Shape:
        """The shape with the fewest rows for which several steps at once, single steps and other numbers of lanes and
        threads give the same bits; one of lockstep alone, with all lanes and this number of threads, if none does.

        benchmarks/llama_matching.py shows what differs otherwise.
        """
        rng = np.random.default_rng(_PROBE_SEED)
        symbols = rng.integers(0, len(self.vocabulary), (max(shape.lanes, 2), 2 * shape.steps), dtype=np.int32)
        for extra in (1, 0):
            self._load(extra == 1)
            wanted = self._probe(shape, symbols, shape.steps, self._threads)
            if not library().llama_model_has_decoder(self._model) or (wanted == wanted[..., :1]).all():
                raise ValueError("it predicts nothing")
            if shape.steps == 1:
                break
            for rows in sorted({1, 2, min(8, len(symbols)), len(symbols)}):
                tried = replace(shape, rows=rows, extra=extra)
                if self._agrees(tried, symbols, wanted):
                    return tried
        self._load(True)
        return replace(shape, rows=shape.lanes, steps=1, threads=self._threads)

    def _agrees(self, shape: Shape, symbols: npt.NDArray[np.int32], wanted: npt.NDArray[np.int32]) -> bool:
        """Whether what a decoder can do gives what was computed with all lanes, several steps at once."""
        others = (self._threads, self._threads % 2 + 1)
        return all(
            np.array_equal(self._probe(shape, symbols[:lanes], steps, threads), wanted[:lanes])
            for lanes in (shape.rows, len(symbols))
            for steps in (1, shape.steps)
            for threads in others
        )

    def _probe(self, shape: Shape, symbols: npt.NDArray[np.int32], steps: int, threads: int) -> npt.NDArray[np.int32]:
        """int32[lanes, all steps, vocabulary]: the bits of the scores of symbols, taken so many steps at once."""
        session = LaneSession(self._model, shape, len(symbols), threads)
        try:
            parts = [
                session.advance(np.ascontiguousarray(symbols[:, at : at + steps])).copy()
                for at in range(0, symbols.shape[1], steps)
            ]
        finally:
            session.close()
        return np.concatenate(parts, axis=1).view(np.int32)

    def _kv_bytes(self) -> int:
        """What one token of one lane takes in the KV cache at most."""
        llama = library()
        heads = max(llama.llama_model_n_head(self._model), 1)
        width = llama.llama_model_n_embd(self._model) * llama.llama_model_n_head_kv(self._model) // heads
        return int(llama.llama_model_n_layer(self._model) * width * 2 * 2)

    def tokenize(self, text: bytes) -> npt.NDArray[np.int32]:
        """Tokens of valid UTF-8."""
        return vocabulary.tokenize(self._vocabulary, text)

    def session(self, lanes: int) -> Session:
        """A session; there is one at a time."""
        if self._session is not None:
            self._session.close()
        self._session = LaneSession(self._model, self._shape, lanes, self._threads)
        return self._session

    def environment(self) -> Mapping[str, str]:
        """The build of llama.cpp, and the instructions it uses."""
        llama = library()
        where = {"devices": ", ".join(devices())} if self._offload else {}
        return where | {
            "llama-cpp-python": str(llama.__version__),
            "machine": platform.machine(),
            "instructions": " ".join(re.findall(r"(\w+) = 1", llama.llama_print_system_info().decode())),
        }

    def about(self) -> Mapping[str, Any]:
        """What the GGUF file says of itself."""
        info = read_info(self._path)
        advice = "it was made for instructions: a base model predicts text better" if info.is_instruct else ""
        return {
            "advice": advice,
            "title": info.name,
            "architecture": info.architecture,
            "quantisation": info.quantisation,
            "source": info.source,
            "tokenizer": {"kind": info.tokenizer, "sha256": info.tokenizer_sha256},
        }

    def close(self) -> None:
        """Free session and model."""
        if self._session is not None:
            self._session.close()
        if self._model is not None:
            library().llama_model_free(self._model)
            self._model = None


def _shape_of(params: Mapping[str, Any]) -> Shape:
    """The shape that an archive's settings ask for. Raises UnsupportedError for those that mean nothing."""
    numbers = {key: _number(params, key) for key in _LIMITS}
    slide = settings.choice(_NAME, params, "slide", (SHIFT, AGAIN, NEVER))
    return _possible(Shape(slide=slide, kv=settings.choice(_NAME, params, "kv", KV_TYPES), **numbers))


def _number(params: Mapping[str, Any], key: str, usual: int | None = None) -> int:
    return settings.number(_NAME, params, key, _LIMITS[key], usual)


def _possible(shape: Shape) -> Shape:
    """The shape. Raises UnsupportedError if its parts do not go together."""
    is_possible = shape.keep < shape.context and shape.rows <= max(shape.lanes, 2)
    if not is_possible or shape.context % shape.steps or shape.keep % shape.steps:
        raise UnsupportedError("backend 'llama' cannot run lanes of such a shape")
    if shape.slide == SHIFT and shape.kv != MOVABLE:
        raise UnsupportedError("backend 'llama' cannot move a KV cache of that type")
    return shape
