"""Backends by name: found through entry points, imported only when needed, kept from breaking anything else."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lmarc.backends.contract import PROJECT, Backend, CodecBackend, PredictorBackend, Promise
from lmarc.container.header import BACKEND_NAME
from lmarc.errors import BackendError, BackendMissingError, DamagedError, LmarcError

_CORE = "lmarc"
_NO_MATCHING = "promises matching, which lmarc can check of predictors only"
#: What lmarc calls methods with, by the class that has them.
_CALLS: dict[type[Backend], dict[str, tuple[Any, ...]]] = {
    Backend: {"missing": (), "decodes": (1,), "at": (1,)},
    CodecBackend: {
        "compress": (b"", {}),
        "decompress": (b"", 0, {}),
        "prepare": ({},),
        "memory_bound": (0, {}),
        "memory_shared": ({},),
    },
    PredictorBackend: {"own_model": ({},), "group_size": ({},), "open": ("", {}, 1), "reopen": ("", {}, 1)},
}
#: pip names of plugins that people may meet in archives before they have them.
KNOWN_PLUGINS = {"brotli": "lmarc-brotli", "llama": "lmarc-llama", "torch": "lmarc-torch", "order2": "lmarc-order2"}


class PluginWarning(UserWarning):
    """A plugin that cannot be used; names its distribution and version."""


@dataclass(frozen=True)
class Found:
    """A backend that some installed distribution offers; nothing of it is imported yet."""

    name: str
    distribution: str
    distribution_version: str
    entry_point: EntryPoint

    @property
    def label(self) -> str:
        """distribution==version, for messages."""
        return f"{self.distribution}=={self.distribution_version}"


@cache
def found() -> dict[str, Found]:
    """All backends on offer by name. lmarc's own come first; of two plugins with one name the first by name stands."""
    offers = [Found(point.name, *_distribution(point), point) for point in entry_points(group=PROJECT)]
    offers.sort(key=lambda offer: (offer.distribution != _CORE, offer.distribution, offer.name))
    out: dict[str, Found] = {}
    for offer in offers:
        taken = out.setdefault(offer.name, offer)
        if taken.label != offer.label:
            _warn(offer, f"the name {offer.name!r} is taken by {taken.label}")
    return out


def _distribution(point: EntryPoint) -> tuple[str, str]:
    """Name and version, "?" where a broken installation has left none."""
    metadata: Mapping[str, Any] = point.dist.metadata.json if point.dist else {}
    return str(metadata.get("name") or "?"), str(metadata.get("version") or "?")


_lock = threading.RLock()
_loaded: dict[str, Backend | str] = {}


def load(name: str) -> Backend:
    """The backend of that name. Raises BackendMissingError, with what to do, if it is not there or broken."""
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name)
        backend = _loaded[name]
    if isinstance(backend, str):
        raise BackendMissingError(backend)
    return backend


def codec(name: str, version: int | None = None) -> CodecBackend:
    """The codec backend of that name, able to run here and, if version is given, to decode it.

    What it raises and returns is checked (see GuardedCodec). Raises BackendMissingError.
    """
    backend = able(name, version)
    if isinstance(backend, PredictorBackend):
        raise BackendMissingError(f"backend {name!r} needs a model")
    if backend.promise == Promise.MATCHING:
        raise BackendMissingError(f"backend {name!r} {_NO_MATCHING}")
    if not isinstance(backend, CodecBackend):
        raise BackendMissingError(f"backend {name!r} is of a kind that this lmarc cannot run")
    return backend if found()[name].distribution == _CORE else GuardedCodec(backend)


def predictor(name: str, version: int | None = None) -> PredictorBackend:
    """The predictor backend of that name, as `codec`. Raises BackendMissingError."""
    backend = able(name, version)
    if not isinstance(backend, PredictorBackend):
        raise BackendMissingError(f"backend {name!r} predicts nothing: it has no use for a model")
    return backend


def predictor_for(path: str) -> str | None:
    """The name of the backend that opens model files with that ending, if one on offer does."""
    for name in sorted(found()):
        try:
            backend = load(name)
        except BackendMissingError:
            continue
        if isinstance(backend, PredictorBackend) and path.lower().endswith(backend.suffixes or ("\0",)):
            return name
    return None


def needs_model(name: str) -> bool:
    """Whether the backend of that name is there and is a predictor."""
    try:
        return isinstance(load(name), PredictorBackend)
    except BackendMissingError:
        return False


def able(name: str, version: int | None = None) -> Backend:
    """The backend of that name, able to run here and to decode that version. Raises BackendMissingError."""
    backend = load(name)
    reason = ask(name, backend.missing)
    if reason:
        raise BackendMissingError(f"backend {name!r} cannot run here: {reason}")
    if version is not None and not ask(name, lambda: backend.decodes(version)):
        way_out = "upgrade" if version > backend.version else "use the older release that wrote it of"
        raise BackendMissingError(
            f"backend {name!r} is at version {backend.version} and does not decode version {version}: "
            f"{way_out} {found()[name].distribution}"
        )
    if version is None:
        return backend
    older: Backend = ask(name, lambda: _at(name, backend, version))
    return older


def _at(name: str, backend: Backend, version: int) -> Backend:
    """The backend for a version, checked. Raises TypeError."""
    older = backend.at(version)
    if older is backend:
        return backend
    _check(found()[name], older)
    if older.version != version:
        raise TypeError(f"at({version}) returned a backend of version {older.version}")
    return older


class GuardedCodec(CodecBackend):
    """A third-party codec whose failures are named with its distribution and version, in one warning for each.

    Whatever it raises becomes BackendError when compressing and DamagedError when decompressing.
    """

    def __init__(self, inner: CodecBackend) -> None:
        self._inner = inner
        self.name = inner.name  # type: ignore[misc]
        self.version = inner.version  # type: ignore[misc]
        self.promise = inner.promise  # type: ignore[misc]
        self.defaults = inner.defaults  # type: ignore[misc]

    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Compress. Raises BackendError."""
        try:
            payload = self._inner.compress(data, params)
            if not isinstance(payload, bytes):
                raise TypeError(f"compress() returned {type(payload).__name__}, not bytes")
            return payload
        except Exception as error:
            warn_broken(self.name, f"cannot compress: {type(error).__name__}: {error}")
            raise BackendError(f"backend {self.name!r} failed") from error

    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decompress. Raises DamagedError."""
        try:
            data = self._inner.decompress(payload, size, params)
            if not isinstance(data, bytes):
                raise TypeError(f"decompress() returned {type(data).__name__}, not bytes")
            return data
        except LmarcError:
            # It says what is wrong in our own terms.
            raise
        except Exception as error:
            warn_broken(self.name, f"cannot decompress: {type(error).__name__}: {error}")
            raise DamagedError(f"backend {self.name!r} cannot decode it: {error}") from error

    def prepare(self, params: Mapping[str, Any]) -> None:
        """Prepare; where that fails, coding will show what comes of it."""
        try:
            self._inner.prepare(params)
        except Exception as error:
            warn_broken(self.name, f"prepare() failed: {type(error).__name__}: {error}")

    def memory_bound(self, size: int, params: Mapping[str, Any]) -> int:
        """The codec's bound, or the size where it has none to give."""
        try:
            return int(self._inner.memory_bound(size, params))
        except Exception as error:
            warn_broken(self.name, f"memory_bound() failed: {type(error).__name__}: {error}")
            return size

    def memory_shared(self, params: Mapping[str, Any]) -> int:
        """The codec's answer, or nothing where it has none to give."""
        try:
            return int(self._inner.memory_shared(params))
        except Exception as error:
            warn_broken(self.name, f"memory_shared() failed: {type(error).__name__}: {error}")
            return 0


def ask(name: str, question: Callable[[], Any]) -> Any:
    """What a backend answers about itself. Raises BackendMissingError, after a warning, if it cannot even do that."""
    try:
        return question()
    except LmarcError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        warn_broken(name, reason)
        raise BackendMissingError(f"backend {name!r} of {found()[name].label} is broken: {reason}") from error


def describe(name: str) -> dict[str, Any]:
    """What there is to say of a backend on offer, broken or not, for listings."""
    label = found()[name].label
    row: dict[str, Any] = {"name": name, "version": None, "promise": None, "distribution": label}
    try:
        backend = load(name)
        row |= {"version": backend.version, "promise": str(backend.promise)}
        is_unchecked = backend.promise == Promise.MATCHING and not isinstance(backend, PredictorBackend)
        row["missing"] = _NO_MATCHING if is_unchecked else ask(name, backend.missing)
    except BackendMissingError as error:
        row["missing"] = " ".join(str(error).split())
    return row


def _load(name: str) -> Backend | str:
    offer = found().get(name)
    if offer is None:
        package = KNOWN_PLUGINS.get(name)
        hint = f"pip install {package}" if package else "install the plugin that provides it"
        return f"backend {name!r} is not installed: {hint}"
    try:
        return _check(offer, _call_hook(offer))
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        _warn(offer, reason)
        return f"backend {name!r} of {offer.label} is broken: {reason}"


def _call_hook(offer: Found) -> Any:
    import pluggy

    from lmarc.backends.contract import HookSpecs

    # A manager for each plugin: what one registers can neither shadow nor break another.
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    manager.register(offer.entry_point.load(), offer.name)
    manager.check_pending()
    if not manager.hook.lmarc_backend.get_hookimpls():
        raise TypeError("has no hook lmarc_backend()")
    return manager.hook.lmarc_backend()


def _check(offer: Found, backend: Any) -> Backend:
    if not isinstance(backend, Backend):
        raise TypeError(f"lmarc_backend() returned {type(backend).__name__}, not a Backend")
    if getattr(backend, "name", None) != offer.name or not BACKEND_NAME.match(offer.name):
        raise TypeError(f"backend is called {getattr(backend, 'name', None)!r}, its entry point {offer.name!r}")
    if type(getattr(backend, "version", None)) is not int or backend.version < 1:
        raise TypeError("attribute version must be an integer >= 1")
    if getattr(backend, "promise", None) not in tuple(Promise):
        raise TypeError("attribute promise must be a Promise")
    if not isinstance(getattr(backend, "defaults", None), Mapping):
        raise TypeError("attribute defaults must be a mapping")
    if isinstance(backend, PredictorBackend):
        suffixes = backend.suffixes
        if type(suffixes) is not tuple or not all(type(suffix) is str and suffix[:1] == "." for suffix in suffixes):
            raise TypeError(f"attribute suffixes is {suffixes!r}, not a tuple of endings such as ('.gguf',)")
        if type(backend.needs_model) is not bool:
            raise TypeError("attribute needs_model must be True or False")
    for kind, calls in _CALLS.items():
        if isinstance(backend, kind):
            for method, arguments in calls.items():
                try:
                    inspect.signature(getattr(backend, method)).bind(*arguments)
                except TypeError as error:
                    expected = inspect.signature(getattr(kind, method))
                    raise TypeError(f"{method} must take {expected}: {error}") from error
    return backend


_reported: set[str] = set()


def warn_broken(name: str, reason: str) -> None:
    """Warn, once for each backend, that it failed."""
    with _lock:
        if name in _reported:
            return
        _reported.add(name)
    _warn(found()[name], reason)


def _warn(offer: Found, reason: str) -> None:
    line = " ".join(reason.split())
    warnings.warn(PluginWarning(f"plugin {offer.label}: backend {offer.name!r}: {line}"), stacklevel=2)
