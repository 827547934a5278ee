"""A llama.cpp context as lanes in lockstep: batches in, logits out, without copies, with a sliding context."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmarc.backends.contract import Session
from lmarc_llama.library import last_error, library

Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]

#: Types of keys and values in the KV cache by ggml's numbers. With the first, flash attention computes all shapes one
#: way and keys can be moved; to move keys of type bf16 ends the process.
MOVABLE = "f16/bf16"
KV_TYPES = {MOVABLE: (1, 30), "bf16/bf16": (30, 30)}
#: What happens when a lane's context is full: what is kept of it is moved to its front or computed anew, or nothing.
SHIFT, AGAIN, NEVER = "shift", "again", "never"


@dataclass(frozen=True)
class Shape:
    """Everything that a session's scores may depend on besides model and machine.

    lanes: most lanes. rows: fewest that are computed; where fewer are used, some compute for nothing. steps: most at
    once. threads: 0 where their number does not matter. extra: whether weights are laid out anew for faster kernels.
    offload: how many layers are computed by a GPU.

    context: tokens that a lane may look back on. keep: how many of them stay when it is full, by SHIFT or AGAIN; slide
    is NEVER for models whose state does not grow.
    """

    lanes: int
    rows: int
    steps: int
    context: int
    keep: int
    slide: str
    kv: str
    flash: int
    extra: int
    threads: int
    offload: int


class LaneSession(Session):
    """The lanes of one llama.cpp context. Every call advances all of them by the same number of steps."""

    def __init__(self, model: Any, shape: Shape, used: int, threads: int) -> None:
        llama = library()
        lanes = max(used, shape.rows)
        self._shape, self._lanes, self._used = shape, lanes, used
        self._vocabulary_size = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
        rows = shape.steps * lanes
        params = llama.llama_context_default_params()
        params.n_ctx = lanes * shape.context
        params.n_batch = params.n_ubatch = max(rows, 32)
        params.n_seq_max = lanes
        params.n_threads = params.n_threads_batch = shape.threads or threads
        params.flash_attn_type = shape.flash
        params.type_k, params.type_v = KV_TYPES[shape.kv]
        params.kv_unified = False
        params.swa_full = True
        # Without layers on it, a GPU would still be lent the larger products.
        params.offload_kqv = params.op_offload = shape.offload > 0
        params.no_perf = True
        self._context = llama.llama_init_from_model(model, params)
        if not self._context:
            raise ValueError(f"llama.cpp cannot run {lanes} lanes of {shape.context} tokens: {last_error()}")
        self._memory = llama.llama_get_memory(self._context)
        self._batch = _Batch(rows)
        self._at = 0
        # What is in the context of every lane, to compute it again.
        self._seen = np.zeros((lanes, shape.context if shape.slide == AGAIN else 0), dtype=np.int32)

    def advance(self, symbols: Ints32) -> Scores:
        """Decode the next tokens of all lanes, int32[lanes, steps]. Returns float32[lanes, steps, vocabulary]."""
        steps = symbols.shape[1]
        if self._shape.slide != NEVER and self._at + steps > self._shape.context:
            self._slide()
        if self._used < self._lanes:
            symbols = np.concatenate([symbols, np.repeat(symbols[:1], self._lanes - self._used, axis=0)])
        return self._decode(symbols, True)[: self._used]

    def _decode(self, symbols: Ints32, wanted: bool) -> Scores:
        llama = library()
        steps = symbols.shape[1]
        if self._shape.slide == AGAIN:
            self._seen[:, self._at : self._at + steps] = symbols
        self._batch.fill(symbols, self._at, wanted)
        code = llama.llama_decode(self._context, self._batch.batch)
        if code != 0:
            raise RuntimeError(f"llama_decode ended with {code}: {last_error()}")
        self._at += steps
        if not wanted:
            return np.zeros((0, 0, 0), dtype=np.float32)
        scores = np.ctypeslib.as_array(
            llama.llama_get_logits(self._context), (self._lanes * steps, self._vocabulary_size)
        )
        return scores.reshape(self._lanes, steps, self._vocabulary_size)

    def _slide(self) -> None:
        """Make room: of every lane the newest tokens stay."""
        gone = self._at - self._shape.keep
        if self._shape.slide == SHIFT:
            llama = library()
            for lane in range(self._lanes):
                llama.llama_memory_seq_rm(self._memory, lane, 0, gone)
                llama.llama_memory_seq_add(self._memory, lane, gone, -1, -gone)
            self._at = self._shape.keep
            return
        newest = self._seen[:, gone : self._at].copy()
        library().llama_memory_clear(self._memory, True)
        self._at = 0
        for start in range(0, newest.shape[1], self._shape.steps):
            self._decode(np.ascontiguousarray(newest[:, start : start + self._shape.steps]), False)

    def close(self) -> None:
        """Free the context and its KV cache."""
        if self._context:
            self._batch.close()
            library().llama_free(self._context)
            self._context = None


class _Batch:
    """A llama_batch whose C arrays are numpy arrays, so that filling it is a few assignments."""

    def __init__(self, rows: int) -> None:
        llama = library()
        self.batch = llama.llama_batch_init(rows, 0, 1)
        self._tokens = np.ctypeslib.as_array(self.batch.token, (rows,))
        self._positions = np.ctypeslib.as_array(self.batch.pos, (rows,))
        np.ctypeslib.as_array(self.batch.n_seq_id, (rows,))[:] = 1
        wanted = ctypes.cast(self.batch.logits, ctypes.POINTER(ctypes.c_int8))
        self._wanted = np.ctypeslib.as_array(wanted, (rows,))
        # One array for the lane of every row, in place of the one-element arrays that llama_batch_init allocates.
        self._lanes = np.zeros(rows, dtype=np.int32)
        self._pointers = ctypes.cast(self.batch.seq_id, ctypes.POINTER(ctypes.c_void_p))
        self._originals = [self._pointers[row] for row in range(rows)]
        for row in range(rows):
            self._pointers[row] = self._lanes.ctypes.data + 4 * row

    def fill(self, symbols: Ints32, position: int, wanted: bool) -> None:
        """Put int32[lanes, steps] in place, lane after lane; all lanes are at `position`."""
        lanes, steps = symbols.shape
        rows = lanes * steps
        self._tokens[:rows] = symbols.reshape(-1)
        self._positions[:rows] = np.tile(np.arange(position, position + steps, dtype=np.int32), lanes)
        self._lanes[:rows] = np.repeat(np.arange(lanes, dtype=np.int32), steps)
        self._wanted[:rows] = wanted
        self.batch.n_tokens = rows

    def close(self) -> None:
        """Free the C arrays."""
        for row, original in enumerate(self._originals):
            self._pointers[row] = original
        library().llama_batch_free(self.batch)
