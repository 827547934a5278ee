"""A predictor with an open model, as a codec: groups in, payloads out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from lmarc.backends.contract import CodecBackend, PredictorBackend, PredictorModel, Promise, Session
from lmarc.errors import (
    BackendError,
    BackendMissingError,
    DamagedError,
    EnvironmentMismatchError,
    LmarcError,
    UnsupportedError,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: What a canary is: a digest of so many bytes.
CANARY_BYTES = 16
#: A lane is worth its beginning, of which its model knows nothing, from so many symbols on.
_LEAST_SYMBOLS = 4096
#: What the environment may hold, for a header that stays small.
_MOST_ENTRIES, _MOST_TEXT = 16, 400


class PredictorCodec(CodecBackend):
    """Codes groups with an open model. Several threads may call it; one group is coded at a time.

    Without `mixing` the context models are left out: the code is then as long as the model's own log loss.
    """

    def __init__(self, backend: PredictorBackend, model: PredictorModel, *, mixing: bool = True) -> None:
        from lmarc.coding.vocabulary import Vocabulary

        _check(model)
        self.name = backend.name  # type: ignore[misc]
        self.version = backend.version  # type: ignore[misc]
        self.promise = model.promise or backend.promise  # type: ignore[misc]
        self.model = model
        self._mixing = mixing
        self._vocabulary = Vocabulary(model.vocabulary)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        #: Told, by whatever thread codes, how many bytes of the group in work are done.
        self.watch: Callable[[int], None] | None = None

    @classmethod
    def beside(cls, other: PredictorCodec, *, mixing: bool) -> PredictorCodec:
        """A codec with the model of another, with or without the context models."""
        codec = cls.__new__(cls)
        codec.__dict__ |= other.__dict__ | {"_mixing": mixing}
        return codec

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Code a group. Raises BackendError if the model fails."""
        from lmarc.coding import group, spelling

        model = self.model
        with self._lock, _named(self.name, BackendError):
            ranks = spelling.spell(bytes(data), self._vocabulary, model.tokenize)
            lanes = max(min(model.lanes, len(ranks) // _LEAST_SYMBOLS), 1)
            session = model.session(lanes)
            try:
                return group.encode(
                    ranks,
                    self._vocabulary,
                    self._finite(session),
                    model.first,
                    lanes,
                    model.steps,
                    mixing=self._mixing,
                    watch=self._told,
                )
            finally:
                session.close()

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decode a group. Raises DamagedError."""
        from lmarc.coding import group

        model = self.model
        with self._lock, _named(self.name, DamagedError):
            reader = group.Reader(payload, size, self._vocabulary, model.lanes, mixing=self._mixing)
            session = model.session(reader.lane_count)
            try:
                return reader.decode(session.advance, model.first, self._told)
            finally:
                session.close()

    def _finite(self, session: Session) -> Callable[[npt.NDArray[np.int32]], npt.NDArray[np.float32]]:
        """advance() of a session, that raises ValueError for scores that are not finite numbers."""
        from math import isfinite

        import numpy as np

        symbols = self._vocabulary.sorted.symbols
        usable = symbols[symbols >= 0]

        def advance(shown: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
            scores = session.advance(shown)
            # What is no number makes the sum none: one pass, and another only then.
            with np.errstate(invalid="ignore"):
                total = float(np.sum(scores, dtype=np.float64))
            if not isfinite(total) and not np.isfinite(scores[..., usable]).all():
                raise ValueError("advance() gave scores that are not finite numbers")
            return scores

        return advance

    def _told(self, done: int) -> None:
        if self._closed.is_set():
            raise LmarcError(f"backend {self.name!r} was closed while it was at work")
        if self.watch is not None:
            self.watch(done)

    def measure(self, steps_at_once: int = 1, seconds: float = 1.0) -> float:
        """Symbols in a second that the model scores, all lanes together; from so many seconds of doing it.

        Unpacking takes single steps, packing `model.steps` at once. Raises BackendError if the model fails.
        """
        import time

        import numpy as np

        model = self.model
        with self._lock, _named(self.name, BackendError):
            session = model.session(model.lanes)
            symbols = np.resize(_spelling(model), (model.lanes, steps_at_once))
            try:
                session.advance(symbols)
                start, steps = time.monotonic(), 0
                while time.monotonic() - start < seconds or steps < 2:
                    session.advance(symbols)
                    steps += steps_at_once
                return steps * model.lanes / (time.monotonic() - start)
            finally:
                session.close()

    def symbols_of(self, payload: memoryview) -> int:
        """How many symbols a payload says it has. Raises DamagedError."""
        from lmarc.coding import group

        with _named(self.name, DamagedError):
            return group.symbols_of(payload)

    def symbols_in(self, data: bytes) -> int:
        """How many symbols data is spelled with. Raises BackendError if the tokenizer fails."""
        from lmarc.coding import spelling

        with _named(self.name, BackendError):
            return len(spelling.spell(data, self._vocabulary, self.model.tokenize))

    def canary(self, keys: Collection[str] | None = None) -> bytes:
        """A digest of the scores of fixed symbols, taken as a decoder takes them, and of the settings, or of those that
        an archive has.

        Raises BackendMissingError if the model cannot be run here.
        """
        from blake3 import blake3

        from lmarc.container import wire

        with _named(self.name, BackendMissingError):
            told = {key: value for key, value in self.model.settings.items() if keys is None or key in keys}
            digest = blake3(wire.pack_msgpack(_plain(told)))
            self._take_scores(digest.update)
            return digest.digest(CANARY_BYTES)

    def _take_scores(self, take: Callable[[bytes], object]) -> None:
        """Hand on the sums of weights, of every lane at every step of the canary."""
        import numpy as np

        from lmarc.coding.weights import weigh_here

        model = self.model
        symbols = _spelling(model)
        with self._lock:
            for lanes in sorted({1, model.lanes}):
                session = model.session(lanes)
                try:
                    for step in range(model.canary_steps):
                        chosen = (np.arange(lanes) * 7919 + step * 104729 + 1) % len(symbols)
                        shown = symbols[chosen][:, np.newaxis]
                        for scores in session.advance(shown if step else np.full_like(shown, model.first)):
                            take(weigh_here(scores[0], self._vocabulary).tobytes())
                finally:
                    session.close()

    def properties(self) -> dict[str, Any]:
        """What the header says of the backend: settings, and for a matching one its environment and canary."""
        out: dict[str, Any] = {"params": _plain(self.model.settings)}
        if self.promise == "matching":
            out |= {
                "promise": "matching",
                "environment": environment_of(self.model),
                "canary": self.canary(),
            }
        return out

    def check(self, properties: Mapping[str, Any]) -> None:
        """Compare this machine with an archive's properties. Raises EnvironmentMismatchError, saying what differs."""
        if self.promise != "matching" or properties.get("canary") == self.canary(properties.get("params", {}).keys()):
            return
        there: Any = properties.get("environment", {})
        there = there if isinstance(there, dict) else {}
        here = environment_of(self.model)
        differing = [
            f"{key}: {there.get(key, 'nothing')!s:.120} there, {here.get(key, 'nothing'):.120} here"
            for key in sorted({*there, *here})
            if there.get(key) != here.get(key)
        ]
        what = "; ".join(differing) if differing else "nothing that the archive names: its settings were changed"
        raise EnvironmentMismatchError(
            f"backend {self.name!r} does not give the scores here that the archive was written with. Differs: {what}. "
            f"It can be unpacked where these are as they were"
        )

    def close(self) -> None:
        """Free the model. A group that is in work in another thread ends with an error."""
        self._closed.set()
        with self._lock:
            self.model.close()


def reopen(backend: PredictorBackend, path: str, settings: Mapping[str, Any], threads: int) -> PredictorModel:
    """A model opened by what an archive has of its settings. Raises UnsupportedError for those it does not go by."""
    for key, value in settings.items():
        if type(value) not in (int, str):
            raise UnsupportedError(f"backend {backend.name!r} has no setting {key!s:.40} that is {value!r:.40}")
    model = backend.reopen(path, settings, threads)
    for key, value in settings.items():
        if key not in model.settings or model.settings[key] != value:
            model.close()
            raise UnsupportedError(f"backend {backend.name!r} cannot run a model with {key!s:.40} {value!r:.40}")
    return model


def _check(model: Any) -> None:
    """Raise TypeError for a model that is not what the contract says, with what it has to be."""
    if not isinstance(model, PredictorModel):
        raise TypeError(f"open() returned {type(model).__name__}, not a PredictorModel")
    for name in ("vocabulary", "settings"):
        if not hasattr(model, name):
            raise TypeError(f"the model has no attribute {name}")
    for symbol, piece in enumerate(model.vocabulary):
        if piece is not None and type(piece) is not bytes:
            raise TypeError(f"symbol {symbol} of vocabulary is {type(piece).__name__}, not bytes or None")
    if type(model.first) is not int or not 0 <= model.first < len(model.vocabulary):
        raise TypeError(f"first is {model.first!r}, not one of {len(model.vocabulary)} symbols")
    for name in ("lanes", "steps", "canary_steps"):
        value = getattr(model, name)
        if type(value) is not int or value < 1:
            raise TypeError(f"{name} is {value!r}, not an integer of at least 1")
    if model.promise not in (None, *Promise):
        raise TypeError(f"promise is {model.promise!r}, not a Promise or None")
    for key, value in model.settings.items():
        if type(key) is not str or type(value) not in (int, str):
            raise TypeError(f"setting {key!r:.40} is {value!r:.40}: settings are integers and strings by name")


def _spelling(model: PredictorModel) -> npt.NDArray[np.int32]:
    """int32[]: the symbols that have bytes, in order; the first symbol where none has."""
    import numpy as np

    found = [symbol for symbol, piece in enumerate(model.vocabulary) if piece]
    return np.array(found or [model.first], dtype=np.int32)


def environment_of(model: PredictorModel) -> dict[str, str]:
    """The model's environment, cut to what a header takes."""
    entries = sorted((str(key), str(value)) for key, value in model.environment().items())
    return {key[:_MOST_TEXT]: value[:_MOST_TEXT] for key, value in entries[:_MOST_ENTRIES]}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): settings[key] for key in sorted(settings)}


class _named:
    """Turns whatever a plugin raises into an error of ours that names it; our own errors pass."""

    def __init__(self, name: str, kind: Callable[[str], LmarcError]) -> None:
        self._name, self._kind = name, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _at: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, LmarcError):
            raise self._kind(f"backend {self._name!r}: {type(error).__name__}: {error}") from error
