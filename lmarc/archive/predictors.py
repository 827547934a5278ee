"""Predictors in an archive: opened for packing, or as a header asks; what the header says of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lmarc.backends import predicted, registry
from lmarc.backends.predicted import PredictorCodec
from lmarc.container.header import BackendRef, Header
from lmarc.errors import BackendError, BackendMissingError, LmarcError, UnsupportedError, UsageError
from lmarc.models import find
from lmarc.models.identity import NO_MODEL, ModelFile
from lmarc.models.wanted import Wanted

_MOST_TEXT = 200


@dataclass
class OpenPredictor:
    """A predictor opened for packing, and what a header says of it."""

    codec: PredictorCodec
    model: ModelFile
    threads: int
    reference: BackendRef
    #: None for one without a model file.
    model_row: dict[str, Any] | None
    chunking: dict[str, Any]
    #: Whether a payload decodes to this content in another process; set where that is asked for.
    verify: Callable[[OpenPredictor, bytes, bytes], bool] | None = None
    #: Groups that did not decode to what they were made of.
    unverified: int = 0

    def code(self, data: bytes) -> bytes | None:
        """The payload of a group; None if the model failed at it or it does not verify."""
        try:
            payload = self.codec.compress(data, {})
        except BackendError as error:
            registry.warn_broken(self.reference.name, str(error))
            return None
        if self.verify is not None and not self.verify(self, data, payload):
            self.unverified += 1
            return None
        return payload


def open_for_packing(name: str, model: ModelFile, params: Mapping[str, Any], threads: int) -> OpenPredictor:
    """Open a model, decide how to run it here and take its canary. Raises BackendMissingError, UsageError."""
    try:
        codec = _opened(name, None, model, params, threads)
    except UnsupportedError as error:
        raise UsageError(str(error)) from error
    about = codec.model.about()
    if about.get("advice"):
        warnings.warn(f"{model.file_name}: {about['advice']}", stacklevel=2)
    properties = codec.properties() | ({} if model is NO_MODEL else {"model": 0})
    settings = properties["params"]
    chunking = {key: settings[key] for key in ("lanes", "context", "keep") if type(settings.get(key)) is int}
    if "keep" in chunking:
        chunking["overlap"] = chunking.pop("keep")
    reference = BackendRef(codec.name, codec.version, properties)
    row = None if model is NO_MODEL else _row(model, about)
    return OpenPredictor(codec, model, threads, reference, row, chunking)


def open_for_reading(ref: BackendRef, header: Header, paths: Sequence[str], threads: int) -> PredictorCodec:
    """The predictor that an archive's header asks for, its model found and checked, and this machine with its canary.

    Raises BackendMissingError or EnvironmentMismatchError.
    """
    backend = registry.predictor(ref.name, ref.version)
    if "model" in ref.properties:
        own = registry.ask(ref.name, lambda: backend.own_model(ref.params))
        wanted = Wanted.from_header(header.models[ref.properties["model"]])
        model = find.require(wanted, paths=paths if own is None else [*paths, own])
    elif backend.needs_model:
        raise BackendMissingError(f"the archive does not say which model backend {ref.name!r} needs")
    else:
        model = NO_MODEL
    codec = _opened(ref.name, ref.version, model, ref.params, threads)
    try:
        codec.check(ref.properties)
    except BaseException:
        codec.close()
        raise
    return codec


def _opened(
    name: str, version: int | None, model: ModelFile, params: Mapping[str, Any], threads: int
) -> PredictorCodec:
    backend = registry.predictor(name, version)
    try:
        # Only an archive says which version of the backend it needs.
        opened = backend.open if version is None else partial(predicted.reopen, backend)
        return PredictorCodec(backend, opened(model.path, params, threads))
    except LmarcError:
        raise
    except Exception as error:
        use = "be opened" if model is NO_MODEL else f"use {model.file_name}"
        raise BackendMissingError(f"backend {name!r} cannot {use}: {error}") from error


def _row(model: ModelFile, about: Mapping[str, Any]) -> dict[str, Any]:
    """The model as the header names it; `about` is what it says of itself."""
    row: dict[str, Any] = {"sha256": model.sha256, "name": model.file_name[:_MOST_TEXT], "size": model.size}
    for key in ("title", "architecture", "quantisation", "source", "revision"):
        value = about.get(key) or getattr(model, key, "")
        if value:
            row[key] = str(value)[:_MOST_TEXT].encode("utf-8", "replace").decode()
    if model.beside:
        row["beside"] = dict(model.beside)
    tokenizer = about.get("tokenizer")
    if tokenizer:
        row["tokenizer"] = dict(tokenizer)
    return row
