"""The header: who wrote the archive and what it takes to decode it (FORMAT.md section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, BinaryIO

from lmarc.container import wire
from lmarc.errors import DamagedError, LimitError, NotAnArchiveError, UnsupportedError

#: What a backend may be called.
BACKEND_NAME = re.compile(r"[a-z0-9_-]{1,64}\Z")
#: Features of `requires` that this reader knows.
KNOWN_FEATURES: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BackendRef:
    """A backend as an archive names it: enough to find the code that decodes its payloads."""

    name: str
    version: int
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def promise(self) -> str:
        """ "portable" or "matching" (DESIGN section 7)."""
        return str(self.properties.get("promise", "portable"))

    @property
    def params(self) -> Mapping[str, Any]:
        """What the backend needs to decode, as it wrote it."""
        params: Mapping[str, Any] = self.properties.get("params", {})
        return params

    def to_row(self) -> list[Any]:
        """The msgpack form."""
        row: list[Any] = [self.name, self.version]
        return [*row, sorted_maps(self.properties)] if self.properties else row

    @classmethod
    def from_row(cls, row: Any) -> BackendRef:
        """Parse the msgpack form. Raises DamagedError."""
        if type(row) is not list or len(row) not in (2, 3):
            raise DamagedError("header: a backend is not [name, version, properties]")
        name, version, properties = (*row, {}) if len(row) == 2 else row
        if type(name) is not str or not BACKEND_NAME.match(name) or not wire.is_uint(version) or version < 1:
            raise DamagedError("header: a backend has no valid name or version")
        if len(row) == 3 and (type(properties) is not dict or not properties):
            raise DamagedError("header: a backend's properties are not a map")
        if properties.get("promise", "matching") != "matching" or type(properties.get("params", {})) is not dict:
            raise DamagedError("header: a backend's properties are not valid")
        return cls(name, version, properties)


@dataclass(frozen=True)
class Header:
    """The parsed header. `options` holds requires, chunking, models as FORMAT.md defines them."""

    writer: str
    backends: tuple[BackendRef, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Magic and header, ready to begin a file."""
        value: list[Any] = [self.writer, [backend.to_row() for backend in self.backends]]
        if self.options:
            value.append(sorted_maps(self.options))
        packed = wire.pack_msgpack(value)
        if len(packed) > wire.MAX_HEADER:
            raise LimitError(f"header of {len(packed)} bytes, more than {wire.MAX_HEADER}")
        head = wire.MAGIC + bytes((wire.FORMAT_VERSION,)) + wire.pack_uvarint(len(packed)) + packed
        return head + wire.crc32(head).to_bytes(4, "little")

    @property
    def models(self) -> Sequence[Mapping[str, Any]]:
        """The models that backends need, as FORMAT.md defines them."""
        models: Sequence[Mapping[str, Any]] = self.options.get("models", ())
        return models

    def extended(
        self, backends: Sequence[BackendRef], models: Sequence[Mapping[str, Any]], first_backend: int, first_model: int
    ) -> Header:
        """The header with these behind those it has, as an index frame names them. Raises DamagedError, LimitError."""
        if not backends and not models:
            return self
        if (backends and first_backend != len(self.backends)) or (models and first_model != len(self.models)):
            raise DamagedError("backends or models do not follow those before")
        everything = (*self.backends, *backends)
        if max(len(everything), len(self.models) + len(models)) > wire.MAX_BACKENDS:
            raise LimitError(f"more than {wire.MAX_BACKENDS} backends or models")
        rows = self._rows | {wire.pack_msgpack(ref.to_row()) for ref in backends}
        if len(rows) < len(everything):
            raise DamagedError("a backend is listed twice")
        if sum(map(len, rows)) > wire.MAX_HEADER:
            raise LimitError(f"backends of more than {wire.MAX_HEADER} bytes")
        options = {**self.options, "models": [*self.models, *models]} if models else self.options
        _check_models(everything, len(self.models) + len(models))
        header = Header(self.writer, everything, options)
        # What is known need not be packed again for every frame.
        vars(header)["_rows"] = rows
        return header

    def joined(self, refs: Iterable[BackendRef], models: Sequence[Mapping[str, Any]]) -> tuple[Header, list[int]]:
        """The header with those of these backends behind its own that it does not have; and where each of them is.

        `models` are those that the backends' properties number.
        """
        backends, known, places = [*self.backends], [*self.models], []
        for ref in refs:
            if "model" in ref.properties:
                model = models[ref.properties["model"]]
                if model not in known:
                    known.append(model)
                ref = replace(ref, properties={**ref.properties, "model": known.index(model)})
            if ref not in backends:
                backends.append(ref)
            places.append(backends.index(ref))
        first_backend, first_model = len(self.backends), len(self.models)
        return self.extended(backends[first_backend:], known[first_model:], first_backend, first_model), places

    @cached_property
    def _rows(self) -> frozenset[bytes]:
        """Every backend's row, packed."""
        return frozenset(wire.pack_msgpack(ref.to_row()) for ref in self.backends)

    def filled(self, backends: int, models: int) -> Header:
        """The header with unknown ones up to those positions: what named them is lost."""
        if max(backends, models) > wire.MAX_BACKENDS:
            raise LimitError(f"more than {wire.MAX_BACKENDS} backends or models")
        lost = (BackendRef("lost", number + 1) for number in range(len(self.backends), backends))
        more: list[dict[str, Any]] = [{} for _ in range(len(self.models), models)]
        options = {**self.options, "models": [*self.models, *more]} if more else self.options
        return Header(self.writer, (*self.backends, *lost), options)


def read_header(file: BinaryIO) -> tuple[Header, int]:
    """Read magic and header from a file positioned at its start; return the header and where frames begin.

    Raises NotAnArchiveError, UnsupportedError, LimitError or DamagedError.
    """
    magic = file.read(len(wire.MAGIC) + 1)
    if magic[: len(wire.MAGIC)] != wire.MAGIC:
        raise NotAnArchiveError("not an lmarc archive")
    if len(magic) <= len(wire.MAGIC):
        raise DamagedError("the archive ends within its magic")
    if magic[-1] != wire.FORMAT_VERSION:
        raise UnsupportedError(f"format version {magic[-1]}; this lmarc reads version {wire.FORMAT_VERSION}")
    start = file.read(wire.MAX_UVARINT_BYTES)
    length, used = wire.parse_uvarint(start, 0)
    if length > wire.MAX_HEADER:
        raise LimitError(f"header of {length} bytes, more than {wire.MAX_HEADER}")
    rest = start[used:]
    rest += file.read(max(length + 4 - len(rest), 0))
    if len(rest) < length + 4:
        raise DamagedError("the archive ends within its header")
    packed, crc = rest[:length], rest[length : length + 4]
    if wire.crc32(magic + start[:used] + packed).to_bytes(4, "little") != crc:
        raise DamagedError("the header's checksum does not match")
    return _parse(packed), len(magic) + used + length + 4


def _parse(packed: bytes) -> Header:
    value = wire.parse_msgpack(packed)
    if type(value) is not list or len(value) not in (2, 3):
        raise DamagedError("header: not [writer, backends, options]")
    writer, rows, options = (*value, {}) if len(value) == 2 else value
    if type(writer) is not str or type(rows) is not list:
        raise DamagedError("header: no valid writer or backends")
    if len(value) == 3 and (type(options) is not dict or not options):
        raise DamagedError("header: options are not a map")
    requires = options.get("requires", [])
    if type(requires) is not list or not all(type(name) is str for name in requires):
        raise DamagedError("header: requires is not a list of names")
    unknown = [name for name in requires if name not in KNOWN_FEATURES]
    if unknown:
        raise UnsupportedError(f"needs a feature this lmarc does not have: {', '.join(unknown)}")
    if type(options.get("chunking", {})) is not dict:
        raise DamagedError("header: chunking is not what it must be")
    models = parse_models(options.get("models", []))
    backends = tuple(BackendRef.from_row(row) for row in rows)
    _check_models(backends, len(models))
    header = Header(writer, backends, options)
    if len(header._rows) < len(backends):
        raise DamagedError("header: a backend is listed twice")
    return header


def parse_models(value: Any) -> list[dict[str, Any]]:
    """A list of maps. Raises DamagedError."""
    if type(value) is not list or not all(type(model) is dict for model in value):
        raise DamagedError("models are not a list of maps")
    return value


def _check_models(backends: Iterable[BackendRef], models: int) -> None:
    for ref in backends:
        model = ref.properties.get("model", 0)
        if "model" in ref.properties and not (wire.is_uint(model) and model < models):
            raise DamagedError("a backend's model is not in the list")


def sorted_maps(value: Any) -> Any:
    """The value with the keys of all maps in it in order, as msgpack wants them."""
    if isinstance(value, Mapping):
        return {key: sorted_maps(value[key]) for key in sorted(value, key=str.encode)}
    if isinstance(value, (list, tuple)):
        return [sorted_maps(item) for item in value]
    return value
