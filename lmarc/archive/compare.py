"""Comparing an archive with a tree on disk, by metadata and content hash; nothing is decoded."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple

from blake3 import blake3

from lmarc.archive import fs
from lmarc.archive.filters import Filters
from lmarc.archive.observer import Observer
from lmarc.archive.paths import unsafe_members
from lmarc.archive.walk import StartPoint, Walker
from lmarc.container.index import RESTORED_MODE, Member

_BLOCK = 1 << 20
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}


class Difference(NamedTuple):
    """One way in which disk and archive differ: `what` is missing, extra, type, size, content, target, mode, mtime,
    link, unsafe or unreadable, seen from the archive ("missing": not on disk; "extra": only on disk, below a directory
    of the archive; "unsafe": a path that is not looked at)."""

    path: bytes
    what: str
    archived: str
    found: str


def compare(members: Iterable[Member], root: str, strip: bytes, observer: Observer) -> Iterator[Difference]:
    """Differences between members and what is below root; `strip` is the member path that root itself is, if any."""
    by_path = {member.path: member for member in members}
    unsafe = unsafe_members(by_path.values())
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for path in sorted(by_path):
            observer.member(path)
            if path in unsafe:
                yield Difference(path, "unsafe", by_path[path].kind, "")
                continue
            try:
                yield from _compare_one(by_path[path], by_path, fd, strip)
            except OSError as error:
                yield Difference(path, "unreadable", by_path[path].kind, error.strerror or str(error))
        yield from _extra(by_path, unsafe, fd, strip, observer)
    finally:
        os.close(fd)


def is_same(member: Member, by_path: dict[bytes, Member], root: int) -> bool:
    """Whether what is at a member's path below the directory `root` has the type and content that the archive has, and
    shares it with the file it links to, if that is there. Its path must be safe."""
    try:
        found = {difference.what for difference in _compare_one(member, by_path, root, b"")} - {"mode", "mtime"}
        return not found or (found == {"link"} and not _exists(root, member.target))
    except OSError:
        return False


def _location(path: bytes, strip: bytes) -> bytes:
    if not strip:
        return path
    return path[len(strip) + 1 :] or b"."


def _compare_one(member: Member, by_path: dict[bytes, Member], root: int, strip: bytes) -> Iterator[Difference]:
    location = _location(member.path, strip)
    try:
        info = fs.lstat(root, location)
    except (FileNotFoundError, NotADirectoryError):
        yield Difference(member.path, "missing", member.kind, "")
        return
    file = by_path.get(member.target, member) if member.kind == "hardlink" else member
    kind = _KINDS.get(stat.S_IFMT(info.st_mode), "special")
    if kind != file.kind:
        yield Difference(member.path, "type", member.kind, kind)
        return
    yield from _compare_content(member, file, info, root, location, strip)
    if kind != "symlink" and file.mode & RESTORED_MODE != info.st_mode & RESTORED_MODE:
        yield Difference(member.path, "mode", f"{file.mode & RESTORED_MODE:04o}", f"{info.st_mode & RESTORED_MODE:04o}")
    if member.mtime_ns != info.st_mtime_ns:
        yield Difference(member.path, "mtime", str(member.mtime_ns), str(info.st_mtime_ns))


def _compare_content(
    member: Member, file: Member, info: os.stat_result, root: int, location: bytes, strip: bytes
) -> Iterator[Difference]:
    if file.kind == "symlink":
        target = fs.readlink(root, location)
        if target != member.target:
            yield Difference(member.path, "target", os.fsdecode(member.target), os.fsdecode(target))
    elif file.kind == "file":
        if file.size != info.st_size:
            yield Difference(member.path, "size", str(file.size), str(info.st_size))
        else:
            digest = _hash(root, location, file)
            if digest != file.hash:
                yield Difference(member.path, "content", file.hash.hex(), digest.hex())
        if member.kind == "hardlink" and not _is_same_file(info, root, _location(member.target, strip)):
            yield Difference(member.path, "link", os.fsdecode(member.target), "")


def _is_same_file(info: os.stat_result, root: int, location: bytes) -> bool:
    try:
        return os.path.samestat(info, fs.lstat(root, location))
    except OSError:
        return False


def _hash(root: int, location: bytes, member: Member) -> bytes:
    """Hash of what on disk stands where the archive has data; something else where it has a hole that is not one."""
    hasher = blake3()
    fd = fs.open_file(root, location)
    try:
        position = 0
        for offset, length in member.data_runs():
            if not _is_hole(fd, position, offset):
                return bytes(len(member.hash))
            position = offset + length
            _update(hasher, fd, offset, position)
        return hasher.digest() if _is_hole(fd, position, member.size) else bytes(len(member.hash))
    finally:
        os.close(fd)


def _update(hasher: blake3, fd: int, position: int, end: int) -> None:
    while position < end and (block := os.pread(fd, min(_BLOCK, end - position), position)):
        hasher.update(block)
        position += len(block)


def _is_hole(fd: int, position: int, end: int) -> bool:
    """Whether a range reads as zeros. What the file system knows to be a hole is not read."""
    while position < end:
        try:
            position = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:
            return True
        if position >= end:
            return True
        block = os.pread(fd, min(_BLOCK, end - position), position)
        if not block or block.count(0) != len(block):
            return False
        position += len(block)
    return True


def _extra(
    by_path: dict[bytes, Member], unsafe: Container[bytes], root: int, strip: bytes, observer: Observer
) -> Iterator[Difference]:
    # Below the archive's own directories; what lies beside them is not the archive's business.
    directories = {path for path, member in by_path.items() if member.kind == "dir" and path not in unsafe}
    tops = [path for path in sorted(directories) if path.rpartition(b"/")[0] not in directories]
    points = [StartPoint(top, root, _location(top, strip)) for top in tops]
    points = [point for point in points if _exists(point.root, point.location)]
    for source in Walker(Filters(), observer).walk(points):
        if source.path not in by_path:
            kind = _KINDS.get(stat.S_IFMT(source.stat.st_mode), "special")
            yield Difference(source.path, "extra", "", kind)


def _exists(root: int, location: bytes) -> bool:
    try:
        fs.lstat(root, location)
    except OSError:
        return False
    return True
