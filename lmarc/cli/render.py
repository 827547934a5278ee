"""How things look: sizes, times, modes, JSON."""

from __future__ import annotations

import json
import stat
import sys
from datetime import UTC, datetime
from typing import Any

from lmarc.archive.paths import escape
from lmarc.archive.read import Archive, MemberInfo
from lmarc.errors import DamagedError, LostContentError

_TYPE_BITS = {"file": stat.S_IFREG, "hardlink": stat.S_IFREG, "dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}


def size(count: float) -> str:
    """Bytes for people, in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h" if minutes >= 60 else f"{minutes}:{rest:02d} min"


def mode(info: MemberInfo) -> str:
    """Type and permissions as ls shows them."""
    text = stat.filemode(info.mode | _TYPE_BITS[info.kind])
    return "h" + text[1:] if info.kind == "hardlink" else text


def time(mtime_ns: int) -> str:
    """A time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(mtime_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"@{mtime_ns // 10**9}"


def line(info: MemberInfo, width: int) -> str:
    """One line of a listing."""
    arrow = {"symlink": " -> ", "hardlink": " == "}.get(info.kind, "")
    target = arrow + escape(info.target) if info.target is not None else ""
    return f"{mode(info)} {info.size:>{width}} {time(info.mtime_ns)} {escape(info.name)}{target}"


def member(info: MemberInfo) -> dict[str, Any]:
    """One member for JSON. Bytes of names that are not UTF-8 are surrogate escapes."""
    out: dict[str, Any] = {
        "path": info.name,
        "type": info.kind,
        "mode": info.mode,
        "mtime_ns": info.mtime_ns,
        "uid": info.uid,
        "gid": info.gid,
        "uname": info.uname,
        "gname": info.gname,
    }
    if info.kind == "file":
        out |= {"size": info.size, "blake3": info.hash.hex()}
        if info.sparse is not None:
            out["sparse"] = list(info.sparse)
    if info.target is not None:
        out["target"] = info.target
        if info.kind == "hardlink":
            out["mode"] = 0
    return out


def header(archive: Archive) -> dict[str, Any]:
    """What JSON output of every reading command begins with."""
    head = archive.header
    backends = [{"name": ref.name, "version": ref.version, "promise": ref.promise} for ref in head.backends]
    return {"format": 1, "writer": head.writer, "backends": backends}


def print_json(value: Any) -> None:
    """One JSON document on standard output, ASCII only, so that any terminal and any bytes survive."""
    json.dump(value, sys.stdout, indent=1, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def failures(failed: dict[str, Exception]) -> list[dict[str, Any]]:
    """What went wrong, for JSON; of files whose content is lost, which byte ranges (begin, end) are."""
    lost = {name: {"lost": error.lost} for name, error in failed.items() if isinstance(error, LostContentError)}
    return [{"path": name, "error": str(error)} | lost.get(name, {}) for name, error in failed.items()]


def damage(archive: Archive) -> list[Exception]:
    """An archive's own damage as errors."""
    return [DamagedError(text) for text in archive.damage]
