"""Presets and how a chunk's backend is chosen: by trying, cheaply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from blake3 import blake3

from lmarc.backends import registry
from lmarc.backends.contract import CodecBackend
from lmarc.container.frames import CHECK_SIZE
from lmarc.container.header import BackendRef
from lmarc.errors import BackendError, UsageError

MIB = 1 << 20


@dataclass(frozen=True)
class Preset:
    """What a pack does unless told otherwise. `chunk_size` bounds the decoded chunk, the unit of random access."""

    backend: str
    chunk_size: int
    params: Mapping[str, Any] = field(default_factory=dict)


# The sizes balance random access against ratio (benchmarks/chunk_sizes.py): with cm, 2 MiB take some three seconds to
# decode and cost 1 % against 16 MiB; below, the price doubles with each halving.
PRESETS: Mapping[str, Preset] = {
    "fast": Preset("zstd", 8 * MIB, {"level": 3}),
    "balanced": Preset("cm", 2 * MIB),
    "best": Preset("cm", 16 * MIB),
}
DEFAULT_PRESET = "balanced"
BUILT_IN = frozenset({"store", "zstd", "cm"})
PLUGIN_CHUNK_SIZE = 4 * MIB

#: What zstd at its fastest must save of a chunk before `cm` is used without trying it first.
_ENOUGH = 0.02
_SAMPLE = 32 << 10
_TRIAL_LEVEL = 1


class Coded(NamedTuple):
    """A coded chunk: backend by name, decoded size, check and payload."""

    backend: str
    size: int
    check: bytes
    payload: bytes


class ChunkCoder:
    """Codes chunks with one backend, and falls back where it does not help. Used by several threads at once."""

    def __init__(self, backend: str, params: Mapping[str, Any]) -> None:
        self._name = backend
        self._codec = registry.codec(backend)
        self._params = params
        self._zstd = registry.codec("zstd")
        names = {"store", "zstd", backend}
        self._fallback: CodecBackend | None = None
        if backend not in BUILT_IN:
            names.add("cm")
            self._fallback = registry.codec("cm")
        self._refs = {name: BackendRef(name, registry.codec(name).version, _properties(name)) for name in names}

    def backends(self, used: set[str] | None = None) -> list[BackendRef]:
        """The backends for the header: those used, or all that may be."""
        return [ref for name, ref in sorted(self._refs.items()) if used is None or name in used]

    def code(self, pieces: list[bytes]) -> Coded:
        """Code one chunk, given in pieces, with whatever makes it smallest among what is worth trying."""
        data = b"".join(pieces)
        check = blake3(data).digest(CHECK_SIZE)
        name, payload = self._try(data)
        if payload is None or len(payload) >= len(data):
            name, payload = "store", data
        return Coded(name, len(data), check, payload)

    def _try(self, data: bytes) -> tuple[str, bytes | None]:
        if self._name == "store" or (self._name == "cm" and not self._is_worth_modelling(data)):
            return self._name, None
        try:
            return self._name, self._codec.compress(data, self._params)
        except BackendError:
            if self._fallback is None:
                raise
            return "cm", self._fallback.compress(data, {})

    def _is_worth_modelling(self, data: bytes) -> bool:
        """Whether cm can be expected to save anything: zstd does, or cm does on a sample from the middle."""
        if len(data) <= _SAMPLE:
            return True
        quick = self._zstd.compress(data, {"level": _TRIAL_LEVEL})
        if len(quick) < len(data) * (1 - _ENOUGH):
            return True
        middle = len(data) // 2 - _SAMPLE // 2
        sample = data[middle : middle + _SAMPLE]
        return len(self._codec.compress(sample, self._params)) < _SAMPLE * (1 - _ENOUGH)


def _properties(name: str) -> dict[str, Any]:
    promise = registry.load(name).promise
    return {} if promise == "portable" else {"promise": str(promise)}


def resolve(preset: str, backend: str | None) -> Preset:
    """The preset of that name, with another backend if one is given. Raises UsageError."""
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    if backend is None or backend == chosen.backend:
        return chosen
    if backend == "zstd":
        return Preset("zstd", chosen.chunk_size, {"level": 19 if preset == "best" else 3})
    return Preset(backend, chosen.chunk_size if backend in ("cm", "store") else PLUGIN_CHUNK_SIZE)
