"""Archives that no packer would write, built with the container's own writer."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blake3 import blake3

from lmarc.container import frames
from lmarc.container.header import BackendRef, Header
from lmarc.container.index import Member, Owner
from lmarc.container.writer import ContainerWriter

NOBODY = Owner(0, 0, b"", b"")
WHEN = 1_700_000_000_123_456_789
STORE = BackendRef("store", 1)

#: A member and its content, all of which goes into one chunk.
Entry = tuple[Member, bytes]


def file(path: bytes, content: bytes = b"", *, mode: int = 0o644, owner: Owner = NOBODY) -> Entry:
    """A regular file."""
    member = Member(path, stat.S_IFREG | mode, WHEN, owner, len(content), 0, hash=blake3(content).digest())
    return member, content


def directory(path: bytes, *, mode: int = 0o755) -> Entry:
    """A directory."""
    return Member(path, stat.S_IFDIR | mode, WHEN, NOBODY), b""


def symlink(path: bytes, target: bytes) -> Entry:
    """A symbolic link."""
    return Member(path, stat.S_IFLNK | 0o777, WHEN, NOBODY, target=target), b""


def hardlink(path: bytes, target: bytes) -> Entry:
    """A hard link."""
    return Member(path, 0, WHEN, NOBODY, target=target), b""


def check(content: bytes) -> bytes:
    """What stands before a chunk's payload."""
    return blake3(content).digest(frames.CHECK_SIZE)


def build(
    entries: Iterable[Entry],
    *,
    backends: Sequence[BackendRef] = (STORE,),
    options: Mapping[str, Any] | None = None,
    codecs: Mapping[bytes, int] | None = None,
    writer: str = "test",
) -> bytes:
    """An archive with a chunk for each content; `codecs` gives a member's backend (every payload is the content)."""
    out = io.BytesIO()
    container = ContainerWriter(out, Header(writer, tuple(backends), options or {}))
    for member, content in entries:
        start = container.stream_end
        if content:
            codec = (codecs or {}).get(member.path, 0)
            container.add_chunk(codec, len(content), check(content), content)
            member = member._replace(start=start)
        container.add_member(member)
    container.close()
    return out.getvalue()


def damage(archive: bytes, content: bytes) -> bytes:
    """The archive with one bit of a stored content flipped."""
    at = archive.index(content) + len(content) // 2
    return archive[:at] + bytes([archive[at] ^ 4]) + archive[at + 1 :]
