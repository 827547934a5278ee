"""lmarc: a file archiver that compresses by prediction.

>>> import lmarc
>>> lmarc.decompress(lmarc.compress(b"every byte comes back"))
b'every byte comes back'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmarc._version import __version__
from lmarc.errors import (
    BackendMissingError,
    DamagedError,
    EnvironmentMismatchError,
    LimitError,
    LmarcError,
    MemberNotFoundError,
    NotAnArchiveError,
    TargetExistsError,
    UnsafeMemberError,
    UnsupportedError,
    UsageError,
)

if TYPE_CHECKING:
    from lmarc.api import compress, decompress, is_lmarc, open, pack
    from lmarc.archive.observer import Observer
    from lmarc.archive.pack import PackResult
    from lmarc.archive.read import Archive, MemberInfo

_LAZY = {
    "open": "lmarc.api",
    "pack": "lmarc.api",
    "compress": "lmarc.api",
    "decompress": "lmarc.api",
    "is_lmarc": "lmarc.api",
    "Archive": "lmarc.archive.read",
    "MemberInfo": "lmarc.archive.read",
    "Observer": "lmarc.archive.observer",
    "PackResult": "lmarc.archive.pack",
}

__all__ = [
    "Archive",
    "BackendMissingError",
    "DamagedError",
    "EnvironmentMismatchError",
    "LimitError",
    "LmarcError",
    "MemberInfo",
    "MemberNotFoundError",
    "NotAnArchiveError",
    "Observer",
    "PackResult",
    "TargetExistsError",
    "UnsafeMemberError",
    "UnsupportedError",
    "UsageError",
    "__version__",
    "compress",
    "decompress",
    "is_lmarc",
    "open",
    "pack",
]


def __getattr__(name: str) -> Any:
    # The pipeline is imported on first use: the errors and the version cost nothing.
    if name not in _LAZY:
        raise AttributeError(f"module 'lmarc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
