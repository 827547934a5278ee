"""Settings of a backend, whether a user asks for them or an archive has them: anybody may have written them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lmarc.errors import UnsupportedError


def refuse_unknown(backend: str, settings: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise UnsupportedError for a setting that is not among those known."""
    for key in settings:
        if key not in known:
            raise UnsupportedError(
                f"backend {backend!r} has no setting {key!r:.20}: there are {', '.join(known) or 'none'}"
            )


def refuse_incomplete(backend: str, settings: Mapping[str, Any], needed: Collection[str]) -> None:
    """Raise UnsupportedError if one of those needed is missing."""
    if not set(needed) <= settings.keys():
        raise UnsupportedError(f"backend {backend!r}: the archive's settings are not whole")


def number(
    backend: str, settings: Mapping[str, Any], key: str, bounds: tuple[int, int], usual: int | None = None
) -> int:
    """An integer within bounds, both included. Raises UnsupportedError for another value, or none and no usual one."""
    value = settings.get(key, usual)
    least, most = bounds
    if type(value) is not int or not least <= value <= most:
        raise UnsupportedError(f"backend {backend!r} knows no {key} {value!r:.20}")
    return value


def choice(
    backend: str, settings: Mapping[str, Any], key: str, choices: Collection[str], usual: str | None = None
) -> str:
    """One of several words. Raises UnsupportedError for another value, or none and no usual one."""
    value = settings.get(key, usual)
    if type(value) is not str or value not in choices:
        raise UnsupportedError(f"backend {backend!r} knows no {key} {value!r:.20}: {', '.join(choices)}")
    return value
