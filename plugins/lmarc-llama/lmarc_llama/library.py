"""llama.cpp itself: loaded once, quiet, and what it says kept for error messages."""

from __future__ import annotations

import ctypes
import os
import pathlib
import threading
from collections import deque
from functools import cache
from typing import Any

_ERROR, _CONTINUED = 4, 5
#: Of enum ggml_backend_dev_type: a GPU with memory of its own, and one without.
_GPU_TYPES = (1, 2)
_said: deque[str] = deque(maxlen=8)
_lock = threading.Lock()
_kept: list[Any] = []


@cache
def library() -> Any:
    """The module llama_cpp. Raises ImportError, or OSError where its shared library cannot be loaded."""
    # Kernels that are taken from eight rows on, with other results than those for fewer (ggml-cpu, tiled.cpp).
    os.environ["GGML_CPU_TILED_MM"] = "0"
    # Where it gives up, it would have a debugger look at this process.
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    # Threads that wait by spinning make a busy machine hundreds of times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import llama_cpp

    def listen(level: int, text: bytes, _data: Any) -> None:
        if level in (_ERROR, _CONTINUED):
            with _lock:
                _said.append(text.decode("utf-8", "replace").strip())

    listener = llama_cpp.llama_log_callback(listen)
    # The library keeps the pointer for as long as it lives.
    _kept.append(listener)
    llama_cpp.llama_log_set(listener, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


@cache
def devices() -> list[str]:
    """The devices that layers can be offloaded to, in the order llama.cpp uses them."""
    import llama_cpp._ggml

    ggml = llama_cpp._ggml.libggml
    folder = os.path.join(os.path.dirname(llama_cpp.__file__), "lib")
    base = llama_cpp._ctypes_extensions.load_shared_library("ggml-base", pathlib.Path(folder))
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    base.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_description.argtypes = [ctypes.c_void_p]
    base.ggml_backend_dev_description.restype = ctypes.c_char_p
    found = [ggml.ggml_backend_dev_get(number) for number in range(ggml.ggml_backend_dev_count())]
    gpus = [device for device in found if base.ggml_backend_dev_type(device) in _GPU_TYPES]
    return [base.ggml_backend_dev_description(device).decode("utf-8", "replace") for device in gpus]


def last_error() -> str:
    """What llama.cpp said last of errors, in a line."""
    with _lock:
        lines = [line for line in _said if line.strip(".")]
        _said.clear()
    return "; ".join(lines[-2:]) or "llama.cpp gives no reason"
