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


# The sizes balance random access against ratio (benchmarks/chunk_sizes.py): with cm, 2 MiB take some two to three
# seconds to decode and cost 0.1 % against 16 MiB; 1 MiB would cost 0.8 %, 0.5 MiB 2.2 %.
PRESETS: Mapping[str, Preset] = {
    "fast": Preset("zstd", 8 * MIB, {"level": 3}),
    "balanced": Preset("cm", 2 * MIB),
    "best": Preset("cm", 16 * MIB, {"level": 2}),
}
DEFAULT_PRESET = "balanced"
BUILT_IN = frozenset({"store", "zstd", "cm"})
PLUGIN_CHUNK_SIZE = 4 * MIB

# Before a chunk is coded with cm, a quick zstd that sees repetitions at any distance says what to expect of it.
_QUICK = {"level": 5, "distant": True}
#: What the quick one must save of a chunk before `cm` is used without trying it on a sample.
_ENOUGH = 0.02
_SAMPLE = 32 << 10
# zstd at its best takes a quarter of cm's time, so it is spared when cm has made less than a part of what a worse one
# makes. Of the data tried that cm does not make far smaller still, the best made at least 0.7 of what the quick one
# did, and at least 0.77 of what the closer one did.
_SURE = 2 / 3
_CLOSER = {"level": 12, "distant": True}
_SURE_OF_CLOSER = 3 / 4
_BEST = {"level": 19}


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
        used: dict[str, Mapping[str, Any]] = {"store": {}, "zstd": {}, backend: params}
        # cm is what a plugin that fails on a chunk is replaced by.
        self._cm: CodecBackend | None = None
        if backend == "cm" or backend not in BUILT_IN:
            used.setdefault("cm", {})
            self._cm = registry.codec("cm")
        self._cm_params = used.get("cm", {})
        self._refs = {name: _reference(registry.codec(name), used[name]) for name in used}

    def backends(self, used: set[str] | None = None) -> list[BackendRef]:
        """The backends for the header: those used, or all that may be."""
        return [ref for name, ref in sorted(self._refs.items()) if used is None or name in used]

    def prepare(self) -> None:
        """Make the backend ready, before the first chunk."""
        self._codec.prepare(self._params)

    def code(self, pieces: list[bytes]) -> Coded:
        """Code one chunk, given in pieces, with whatever makes it smallest among what is worth trying."""
        data = b"".join(pieces)
        check = blake3(data).digest(CHECK_SIZE)
        name, payload = self._try(data)
        if len(payload) >= len(data):
            name, payload = "store", data
        return Coded(name, len(data), check, payload)

    def _try(self, data: bytes) -> tuple[str, bytes]:
        if self._name == "store":
            return "store", data
        if self._name != "cm":
            try:
                return self._name, self._codec.compress(data, self._params)
            except BackendError:
                if self._cm is None:
                    raise
        assert self._cm is not None
        return self._model(self._cm, data)

    def _model(self, cm: CodecBackend, data: bytes) -> tuple[str, bytes]:
        """The chunk by cm, or by zstd at its best where that is smaller, or where cm need not be tried."""
        quick = len(self._zstd.compress(data, _QUICK))
        tried = self._is_worth_modelling(cm, data, quick)
        coded = cm.compress(data, self._cm_params) if tried else data
        if tried and (len(coded) <= quick * _SURE or len(coded) <= self._closer(data) * _SURE_OF_CLOSER):
            return "cm", coded
        best = self._zstd.compress(data, _BEST)
        return ("zstd", best) if len(best) < len(coded) else ("cm", coded)

    def _closer(self, data: bytes) -> int:
        return len(self._zstd.compress(data, _CLOSER))

    def _is_worth_modelling(self, cm: CodecBackend, data: bytes, quick: int) -> bool:
        """Whether cm can be expected to save anything: zstd does, or cm does on a sample from the middle."""
        if len(data) <= _SAMPLE or quick < len(data) * (1 - _ENOUGH):
            return True
        middle = len(data) // 2 - _SAMPLE // 2
        sample = data[middle : middle + _SAMPLE]
        return len(cm.compress(sample, self._cm_params)) < _SAMPLE * (1 - _ENOUGH)


def _reference(codec: CodecBackend, params: Mapping[str, Any]) -> BackendRef:
    """The backend for the header, with what decoding needs to know."""
    properties: dict[str, Any] = {} if codec.promise == "portable" else {"promise": str(codec.promise)}
    told = {key: params[key] for key, usual in codec.defaults.items() if params.get(key, usual) != usual}
    if told:
        properties["params"] = told
    return BackendRef(codec.name, codec.version, properties)


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
