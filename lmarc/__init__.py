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
    IncompleteError,
    LimitError,
    LmarcError,
    MemberNotFoundError,
    NotAnArchiveError,
    TargetExistsError,
    UnsafeMemberError,
    UnsupportedError,
    UsageError,
    WrongKeyError,
)

if TYPE_CHECKING:
    from lmarc.archive.extract import ExtractResult
    from lmarc.archive.observer import Observer
    from lmarc.archive.pack import PackResult
    from lmarc.archive.read import Archive, MemberInfo
    from lmarc.archive.secret import Keys, Lock
    from lmarc.changing import add, compact, remove, repair
    from lmarc.packing import compress, pack
    from lmarc.reading import decompress, is_lmarc, open

_LAZY = {
    "open": "lmarc.reading",
    "pack": "lmarc.packing",
    "add": "lmarc.changing",
    "remove": "lmarc.changing",
    "compact": "lmarc.changing",
    "repair": "lmarc.changing",
    "compress": "lmarc.packing",
    "decompress": "lmarc.reading",
    "is_lmarc": "lmarc.reading",
    "Archive": "lmarc.archive.read",
    "ExtractResult": "lmarc.archive.extract",
    "MemberInfo": "lmarc.archive.read",
    "Keys": "lmarc.archive.secret",
    "Lock": "lmarc.archive.secret",
    "Observer": "lmarc.archive.observer",
    "PackResult": "lmarc.archive.pack",
}

__all__ = [
    "Archive",
    "BackendMissingError",
    "DamagedError",
    "EnvironmentMismatchError",
    "ExtractResult",
    "IncompleteError",
    "Keys",
    "LimitError",
    "LmarcError",
    "Lock",
    "MemberInfo",
    "MemberNotFoundError",
    "NotAnArchiveError",
    "Observer",
    "PackResult",
    "TargetExistsError",
    "UnsafeMemberError",
    "UnsupportedError",
    "UsageError",
    "WrongKeyError",
    "__version__",
    "add",
    "compact",
    "compress",
    "decompress",
    "is_lmarc",
    "open",
    "pack",
    "remove",
    "repair",
]


def __getattr__(name: str) -> Any:
    # The pipeline is imported on first use: the errors and the version cost nothing.
    if name not in _LAZY:
        raise AttributeError(f"module 'lmarc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
