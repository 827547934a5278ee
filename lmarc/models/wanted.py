"""A model that something asks for, as an archive's header names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmarc.errors import DamagedError, UsageError
from lmarc.models import parts
from lmarc.models.huggingface import HubName
from lmarc.models.identity import HASH_SIZE

#: Of a header's texts, so many characters are taken.
_MAX_TEXT = 200


@dataclass(frozen=True)
class Wanted:
    """A model by its sha256, and what else is known of it: `size` in bytes or None; texts are "" if not known; `beside`
    as ModelFile has it."""

    sha256: bytes
    name: str = ""
    size: int | None = None
    source: str = ""
    revision: str = ""
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def from_header(cls, row: Mapping[str, Any]) -> Wanted:
        """From a map of header.options["models"]. Raises DamagedError if it has no sha256 or size."""
        sha256, size = row.get("sha256"), row.get("size")
        if type(sha256) is not bytes or len(sha256) != HASH_SIZE or type(size) is not int or size < 0:
            raise DamagedError("header: a model has no valid sha256 or size")
        name, source, revision = (_text(row.get(key)) for key in ("name", "source", "revision"))
        beside = row.get("beside", {})
        if type(beside) is not dict or len(beside) > parts.MOST_PARTS or not all(map(_is_part, beside.items())):
            raise DamagedError("header: a model's files are not what they must be")
        return cls(sha256, name, size, source, revision, beside)

    @property
    def hub_name(self) -> HubName | None:
        """Where the hub has it, if the source is such a name."""
        try:
            name = HubName.parse(self.source)
            return HubName.parse(f"{name.source}@{self.revision}") if self.revision and not name.revision else name
        except UsageError:
            return None

    @property
    def label(self) -> str:
        """Name, hash and size, for messages."""
        size = "" if self.size is None else f", {self.size} bytes"
        return f"model {self.name + ' ' if self.name else ''}(sha256 {self.sha256.hex()}{size})"

    @property
    def advice(self) -> str:
        """How to get it. No text of a header goes into a command unless it is a name that is safe there."""
        if self.hub_name is not None:
            return f"get it: lmarc models find --fetch {self.hub_name}"
        origin = f"it came from {self.source}; " if self.source else ""
        return f"{origin}if you have it elsewhere: lmarc models add FILE"


def _is_part(item: tuple[Any, Any]) -> bool:
    name, sha256 = item
    return parts.is_name(name) and type(sha256) is bytes and len(sha256) == HASH_SIZE


def _text(value: Any) -> str:
    return value[:_MAX_TEXT] if type(value) is str else ""
