"""Presets and how a chunk's backend is chosen: by trying, cheaply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from blake3 import blake3

from lmarc._version import __version__
from lmarc.archive import predictors, verify
from lmarc.archive.kept import TAG_SIZE, Kept
from lmarc.archive.predictors import OpenPredictor
from lmarc.backends import registry
from lmarc.backends.contract import CodecBackend
from lmarc.container.frames import CHECK_SIZE
from lmarc.container.header import BackendRef, Header
from lmarc.errors import BackendError, UsageError
from lmarc.models.identity import NO_MODEL, ModelFile

MIB = 1 << 20


@dataclass(frozen=True)
class Preset:
    """What a pack does unless told otherwise. `chunk_size` bounds the decoded chunk, the unit of random access."""

    backend: str
    chunk_size: int
    params: Mapping[str, Any] = field(default_factory=dict)
    model: ModelFile | None = None
    is_verified: bool = False
    #: Whether the backend codes whatever it makes smaller, also where another would make it smaller still.
    is_alone: bool = False


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
#: A group of a predictor is a chunk that takes minutes: what an interrupt loses.
GROUP_SIZE = MIB

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
    """A coded chunk: backend by name, payload, decoded size and check."""

    backend: str
    payload: bytes
    size: int
    check: bytes


class ChunkCoder:
    """Codes chunks with one backend, and falls back where it does not help. Used by several threads at once."""

    def __init__(self, preset: Preset, threads: int = 1, kept: Kept | None = None) -> None:
        """`kept` are chunks that need not be coded again, and those coded are added to it."""
        self._kept, self._manner = kept, b""
        self._name = preset.backend
        self._params = preset.params
        self._preset, self._threads = preset, threads
        self._zstd = registry.codec("zstd")
        self._predictor: OpenPredictor | None = None
        self._codec: CodecBackend | None = None
        used: dict[str, Mapping[str, Any]] = {"store": {}, "zstd": {}}
        if preset.model is None:
            self._codec = registry.codec(preset.backend)
            used[preset.backend] = preset.params
        else:
            registry.predictor(preset.backend)
        # cm is what replaces a plugin that fails on a chunk or a model that is worse at it.
        self._cm: CodecBackend | None = None
        if preset.backend == "cm" or preset.backend not in BUILT_IN:
            used.setdefault("cm", {} if preset.model is None else PRESETS["best"].params)
            self._cm = registry.codec("cm")
        self._cm_params = used.get("cm", {})
        self._refs = {name: _reference(registry.codec(name), used[name]) for name in used}

    def backends(self, used: set[str] | None = None) -> list[BackendRef]:
        """The backends for the header: those used, or all that may be."""
        refs = dict(self._refs)
        if self._preset.model is not None and (used is None or self._name in used):
            refs[self._name] = self._open().reference
        return [ref for name, ref in sorted(refs.items()) if used is None or name in used]

    def options(self, used: set[str] | None = None) -> dict[str, Any]:
        """The header's options: what is needed of them for the backends used."""
        options: dict[str, Any] = {} if used is not None else {"chunking": {"size": self._preset.chunk_size}}
        if self._preset.model is not None and (used is None or self._name in used):
            if self._open().model_row is not None:
                options["models"] = [self._open().model_row]
            options["chunking"] = {"size": self._preset.chunk_size} | self._open().chunking
        return options

    def prepare(self) -> None:
        """Make the backend ready, before the first chunk."""
        if self._preset.model is not None:
            self._open()
            assert self._cm is not None
            self._cm.prepare(self._cm_params)
        elif self._codec is not None:
            self._codec.prepare(self._params)
        if self._kept is not None:
            self._manner = self._how()

    @property
    def tag(self) -> bytes:
        """What chunks are kept with: how they are coded."""
        return self._manner[:TAG_SIZE]

    def _how(self) -> bytes:
        """A hash of all but the content that decides what a chunk becomes."""
        header = Header(__version__, tuple(self.backends()), self.options()).to_bytes()
        return blake3(header + f"{self._name} {self._preset.is_verified} {self._preset.is_alone}".encode()).digest()

    @property
    def predictor(self) -> OpenPredictor | None:
        """The predictor, if one is open."""
        return self._predictor

    def close(self) -> None:
        """Free what a predictor holds."""
        if self._predictor is not None:
            self._predictor.codec.close()
            self._predictor = None

    def _open(self) -> OpenPredictor:
        if self._predictor is None:
            assert self._preset.model is not None
            opened = predictors.open_for_packing(self._name, self._preset.model, self._params, self._threads)
            opened.verify = verify.decodes_elsewhere if self._preset.is_verified else None
            self._predictor = opened
        return self._predictor

    def code(self, pieces: list[bytes]) -> Coded:
        """Code one chunk, given in pieces, with whatever makes it smallest among what is worth trying."""
        data = b"".join(pieces)
        hashed = blake3(data)
        check = hashed.digest(CHECK_SIZE)
        if self._kept is None:
            return Coded(*self._coded(data), len(data), check)
        key = blake3(self._manner + hashed.digest()).digest()
        found = self._kept.get(key)
        if found is not None:
            known, _, payload = found.partition(b"\0")
            return Coded(known.decode(), payload, len(data), check)
        name, payload = self._coded(data)
        self._kept.put(key, self.tag, name.encode() + b"\0" + payload, len(data))
        return Coded(name, payload, len(data), check)

    def _coded(self, data: bytes) -> tuple[str, bytes]:
        name, payload = self._try(data)
        return (name, payload) if len(payload) < len(data) else ("store", data)

    def _try(self, data: bytes) -> tuple[str, bytes]:
        if self._name == "store":
            return "store", data
        if self._preset.model is not None:
            return self._predict(data)
        if self._name != "cm":
            assert self._codec is not None
            try:
                return self._name, self._codec.compress(data, self._params)
            except BackendError:
                if self._cm is None:
                    raise
        assert self._cm is not None
        return self._model(self._cm, data)

    def _predict(self, data: bytes) -> tuple[str, bytes]:
        """The chunk by the predictor, or as without one where that is smaller, or where its group cannot be trusted."""
        assert self._cm is not None
        name, payload = ("store", data) if self._preset.is_alone else self._model(self._cm, data)
        coded = self._open().code(data)
        return (self._name, coded) if coded is not None and len(coded) < len(payload) else (name, payload)

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


def resolve(
    preset: str,
    backend: str | None,
    model: ModelFile | None = None,
    *,
    is_verified: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Preset:
    """The preset of that name, with another backend if one is given, or the model that a predictor is to use, and how.

    Raises UsageError.
    """
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    if model is not None:
        name = backend or registry.predictor_for(model.file_name) or registry.predictor_for(model.path)
        if name is None:
            raise UsageError(f"no backend here opens {model.file_name}: name one with --backend")
        settings = settings or {}
        if model is not NO_MODEL and not registry.predictor(name).needs_model:
            raise UsageError(f"backend {name!r} has no use for a model file")
        size = registry.ask(name, lambda: registry.predictor(name).group_size(settings)) or GROUP_SIZE
        return Preset(name, size, settings, model, is_verified)
    if settings:
        raise UsageError("--set, --float and --online are for a model: --model FILE, or a backend that has its own")
    if backend is not None and backend not in BUILT_IN and registry.needs_model(backend):
        raise UsageError(f"backend {backend!r} needs a model: --model FILE")
    if backend is None or backend == chosen.backend:
        return chosen
    if backend == "zstd":
        return Preset("zstd", chosen.chunk_size, {"level": 19 if preset == "best" else 3})
    return Preset(backend, chosen.chunk_size if backend in ("cm", "store") else PLUGIN_CHUNK_SIZE)
