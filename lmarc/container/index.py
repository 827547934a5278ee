"""The index: owners, chunks and members of one index frame, as objects and as bytes (FORMAT.md section 4)."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lmarc.container import frames, wire, zframe
from lmarc.container.header import BackendRef, parse_models, sorted_maps
from lmarc.errors import DamagedError, LimitError, MemberLimitError, UnsupportedError

HASH_SIZE = 32
HARDLINK = 0
#: Of a member's mode, what is restored: never set-user-id and set-group-id.
RESTORED_MODE = 0o1777
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", HARDLINK: "hardlink"}
MIN_MTIME, MAX_MTIME = -(1 << 63), (1 << 64) - 1
_OWNER_LIMIT = 1 << 32
#: Most of an index is hashes: a higher level gains little, and on a large one takes longer than packing.
_ZSTD_LEVELS = (19, 1, -10, -100)
_ZSTD_LEVELS_LARGE = (3, 1, -10, -100)
_LARGE_INDEX = 1 << 15


class Owner(NamedTuple):
    """Numbers and names of a member's owner; names are "" where unknown or where the number is 0."""

    uid: int
    gid: int
    uname: bytes
    gname: bytes


class Chunk(NamedTuple):
    """Where a chunk's frame is in the archive, and its content in the content stream."""

    offset: int
    size: int
    codec: int
    start: int

    @property
    def end(self) -> int:
        """Where its content ends in the content stream."""
        return self.start + self.size


class Member(NamedTuple):
    """One member as the index describes it. `mode` is st_mode with its type bits (0 in them: a hard link).

    `size`, `start`, `sparse` and `hash` belong to regular files, `target` to links. `sparse` alternates the length of
    a hole and of the data behind it; None: no holes. `hash` is BLAKE3 of the stored content, the runs of data joined.
    """

    path: bytes
    mode: int
    mtime_ns: int
    owner: Owner
    size: int = 0
    start: int = 0
    target: bytes = b""
    hash: bytes = b""
    sparse: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """ "file", "dir", "symlink" or "hardlink"."""
        return _KINDS[stat.S_IFMT(self.mode)]

    @property
    def stored_size(self) -> int:
        """Bytes of the content stream that are this file's."""
        return self.size if self.sparse is None else sum(self.sparse[1::2])

    @property
    def end(self) -> int:
        """Where its run in the content stream ends."""
        return self.start + self.stored_size

    def data_runs(self) -> Iterator[tuple[int, int]]:
        """Offset in the file and length of each run of data, in order; without holes the file is one."""
        if self.sparse is None:
            yield 0, self.size
            return
        position = 0
        for hole, length in zip(self.sparse[::2], self.sparse[1::2], strict=True):
            position += hole
            yield position, length
            position += length


@dataclass(frozen=True)
class IndexFrame:
    """The decoded content of one index frame. `segments` are absolute offsets of the index frames before, in the last
    frame only.

    `removed` are the paths of members of frames before that are none any more. `backends` and `models` go behind those
    that the header and frames before name, so many of them that they begin at `first_backend` and `first_model`.
    """

    base: int
    chunks: Sequence[Chunk]
    members: Sequence[Member]
    segments: Sequence[int] = ()
    removed: Sequence[bytes] = field(default_factory=list)
    backends: Sequence[BackendRef] = field(default_factory=list)
    models: Sequence[Mapping[str, Any]] = field(default_factory=list)
    first_backend: int = 0
    first_model: int = 0

    def to_bytes(self) -> bytes:
        """The index as it is before compression."""
        owners: dict[Owner, int] = {}
        rows = [_member_row(member, owners.setdefault(member.owner, len(owners))) for member in self.members]
        flat: list[int] = []
        last = 0
        for chunk in self.chunks:
            flat += (chunk.offset - last, chunk.size, chunk.codec)
            last = chunk.offset
        value: list[Any] = [self.base, [_owner_row(owner) for owner in owners], flat, rows]
        options: dict[str, Any] = {
            "backends": [self.first_backend, *(ref.to_row() for ref in self.backends)] if self.backends else [],
            "models": [self.first_model, *map(sorted_maps, self.models)] if self.models else [],
            "removed": [wire.to_text_or_bytes(path) for path in self.removed],
            "segments": _deltas(self.segments),
        }
        options = {key: part for key, part in options.items() if part}
        if options:
            value.append(options)
        return wire.pack_msgpack(value) + b"".join(member.hash for member in self.members if member.kind == "file")

    def to_frame(self, offset: int) -> tuple[bytes, bytes]:
        """Head and body of the frame at that offset, zstd-compressed where that is smaller."""
        plain = self.to_bytes()
        if len(plain) > wire.MAX_INDEX:
            raise LimitError(f"an index of {len(plain)} bytes, more than {wire.MAX_INDEX}")
        packed = _compress(plain)
        if len(packed) < len(plain):
            return frames.pack_frame(offset, frames.INDEX, frames.INDEX_ZSTD, len(plain), packed)
        return frames.pack_frame(offset, frames.INDEX, frames.INDEX_PLAIN, len(plain), plain)


def _compress(plain: bytes) -> bytes:
    """A zstd frame, less well compressed where a reader would take it for a bomb."""
    packed = plain
    for level in _ZSTD_LEVELS if len(plain) < _LARGE_INDEX else _ZSTD_LEVELS_LARGE:
        packed = zframe.compress(plain, level)
        if len(plain) <= frames.largest_index(len(packed)):
            return packed
    return plain


def _deltas(values: Iterable[int]) -> list[int]:
    out, last = [], 0
    for value in values:
        out.append(value - last)
        last = value
    return out


def _owner_row(owner: Owner) -> list[Any]:
    uname, gname = wire.to_text_or_bytes(owner.uname), wire.to_text_or_bytes(owner.gname)
    if owner.uid != owner.gid or uname != gname:
        return [owner.uid, uname, owner.gid, gname]
    return [owner.uid, uname] if uname else [owner.uid]


def _member_row(member: Member, owner: int) -> list[Any]:
    row: list[Any] = [wire.to_text_or_bytes(member.path), member.mode, member.mtime_ns, owner]
    if member.kind == "file":
        row += (member.size, member.start)
        if member.sparse is not None:
            row.append({"sparse": list(member.sparse)})
    elif member.kind != "dir":
        row.append(wire.to_text_or_bytes(member.target))
    return row


def parse_index(head: frames.FrameHead, body: bytes, end: int, most_members: int | None = None) -> IndexFrame:
    """Parse an index frame whose body has been verified, and which stands at `end`: chunks are all before it.

    Raises DamagedError, LimitError or UnsupportedError.
    """
    if head.codec == frames.INDEX_ZSTD:
        body = zframe.decompress(body, head.decoded)
    elif head.codec != frames.INDEX_PLAIN or head.decoded != head.stored:
        raise DamagedError("an index frame of unknown coding or wrong size")
    hashes = _survey(body, most_members)
    reader = wire.ValueReader(body)
    parts = reader.array()
    base = reader.value(1)
    if not wire.is_uint(base):
        raise DamagedError("an index does not say where its chunks begin")
    owners = [_parse_owner(row) for row in reader.values(reader.array(), 2)]
    if len(set(owners)) < len(owners):
        raise DamagedError("an owner stands twice in an index")
    chunks = _parse_chunks(reader.values(reader.array(), 2), base, end)
    hash_of = (hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE))
    members = _parse_members(reader.values(reader.array(), 2), owners, hash_of)
    if len(hashes) % HASH_SIZE or next(hash_of, None) is not None:
        raise DamagedError("an index does not hold one hash for each file")
    options = reader.value(1) if parts == 5 else {}
    if parts == 5 and (type(options) is not dict or not options):
        raise DamagedError("an index's options are not a map")
    first_backend, backends = _parse_more(options, "backends")
    first_model, models = _parse_more(options, "models")
    return IndexFrame(
        base,
        chunks,
        members,
        _parse_segments(options),
        _parse_removed(options),
        [BackendRef.from_row(row) for row in backends],
        parse_models(models),
        first_backend,
        first_model,
    )


def _survey(body: bytes, most_members: int | None) -> bytes:
    """Refuse more than can be, before anything is made of it; return the hashes, which stand behind all of it."""
    reader = wire.ValueReader(body)
    parts = reader.array()
    if parts not in (4, 5):
        raise DamagedError("an index is not [base, owners, chunks, members, options]")
    reader.skip()
    owners, chunk_values, members = reader.skip_array(), reader.skip_array(), reader.skip_array()
    if most_members is not None and members > most_members:
        raise MemberLimitError(f"more than {most_members} members")
    if owners > members:
        raise DamagedError("an index has more owners than members")
    if chunk_values % 3:
        raise DamagedError("an index's chunks are not triples")
    if parts == 5:
        reader.skip()
    return reader.rest


def _parse_more(options: Mapping[str, Any], key: str) -> tuple[int, list[Any]]:
    """Where they begin, and what is to go behind what is known."""
    value = _parse_list(options, key)
    if value and (len(value) < 2 or not wire.is_uint(value[0])):
        raise DamagedError(f"an index's {key} do not say where they begin")
    return (value[0], value[1:]) if value else (0, [])


def _parse_list(options: Mapping[str, Any], key: str) -> list[Any]:
    value = options.get(key, [])
    if type(value) is not list or (key in options and not value):
        raise DamagedError(f"an index's {key} are not a list, or an empty one")
    return value


def _parse_removed(options: Mapping[str, Any]) -> list[bytes]:
    removed = [wire.from_text_or_bytes(path) for path in _parse_list(options, "removed")]
    if len(set(removed)) < len(removed):
        raise DamagedError("a path is removed twice")
    return removed


def _parse_segments(options: Mapping[str, Any]) -> list[int]:
    deltas = _parse_list(options, "segments")
    if not all(wire.is_uint(delta) and delta > 0 for delta in deltas):
        raise DamagedError("an index's segments are not a list of offsets")
    out, last = [], 0
    for delta in deltas:
        last += delta
        out.append(last)
    return out


def _parse_owner(row: Any) -> Owner:
    if type(row) is not list or len(row) not in (1, 2, 4):
        raise DamagedError("an owner is not [uid, uname, gid, gname]")
    uid, gid = row[0], row[2] if len(row) == 4 else row[0]
    if not all(wire.is_uint(number) and number < _OWNER_LIMIT for number in (uid, gid)):
        raise DamagedError("an owner has no valid number")
    uname = wire.from_text_or_bytes(row[1]) if len(row) > 1 else b""
    gname = wire.from_text_or_bytes(row[3]) if len(row) == 4 else uname
    owner = Owner(uid, gid, uname, gname)
    if _owner_row(owner) != row or (uname and not uid) or (gname and not gid):
        raise DamagedError("an owner is not in its shortest form")
    return owner


def _parse_chunks(flat: Iterator[Any], base: int, end: int) -> list[Chunk]:
    """Chunks from triples, all of them before `end`."""
    out: list[Chunk] = []
    offset, start = 0, base
    for delta, size, codec in zip(flat, flat, flat, strict=True):
        if not (wire.is_uint(delta) and wire.is_uint(size) and wire.is_uint(codec)):
            raise DamagedError("an index's chunks are not integers")
        if size > wire.MAX_DECODED:
            raise LimitError(f"a chunk of {size} bytes, more than {wire.MAX_DECODED}")
        if size == 0 or delta < frames.MIN_CHUNK_FRAME:
            raise DamagedError("an index has a chunk of impossible size or place")
        offset += delta
        if offset >= end:
            raise DamagedError("an index has a chunk behind itself")
        out.append(Chunk(offset, size, codec, start))
        start += size
    return out


def is_too_long(path: bytes) -> bool:
    """Whether a path is beyond the format's limits."""
    return len(path) > wire.MAX_PATH or path.count(b"/") >= wire.MAX_COMPONENTS


def _parse_members(rows: Iterable[Any], owners: list[Owner], hash_of: Iterator[bytes]) -> list[Member]:
    members: list[Member] = []
    paths: set[bytes] = set()
    for row in rows:
        member = _parse_member(row, owners, hash_of)
        if member.path in paths:
            raise DamagedError("a path appears twice in the index")
        paths.add(member.path)
        members.append(member)
    return members


def _parse_member(row: Any, owners: list[Owner], hash_of: Iterator[bytes]) -> Member:
    if type(row) is not list or len(row) < 4:
        raise DamagedError("a member is not [path, mode, mtime, owner, ...]")
    mode, mtime, owner = row[1:4]
    path = wire.from_text_or_bytes(row[0])
    if is_too_long(path):
        raise LimitError(f"a path of {len(path)} bytes, more than {wire.MAX_PATH}, or of too many components")
    if not wire.is_uint(mode) or mode > 0xFFFF or type(mtime) is not int or not MIN_MTIME <= mtime <= MAX_MTIME:
        raise DamagedError("a member's mode or time is out of range")
    if not wire.is_uint(owner) or owner >= len(owners):
        raise DamagedError("a member's owner is not in the table")
    kind = stat.S_IFMT(mode)
    if kind not in _KINDS:
        raise UnsupportedError(f"a member of type 0o{kind:o} is not known to this lmarc")
    fixed = {stat.S_IFREG: 6, stat.S_IFDIR: 4}.get(kind, 5)
    options = row[fixed] if len(row) == fixed + 1 else {}
    if not fixed <= len(row) <= fixed + 1 or type(options) is not dict or (len(row) > fixed and not options):
        raise DamagedError("a member has too few or too many fields")
    if kind == stat.S_IFREG:
        return _parse_file(path, row, owners[owner], options, next(hash_of, b""))
    if kind == stat.S_IFDIR:
        return Member(path, mode, mtime, owners[owner])
    target = wire.from_text_or_bytes(row[4])
    if len(target) > wire.MAX_PATH:
        raise LimitError(f"a link target of {len(target)} bytes, more than {wire.MAX_PATH}")
    if kind == HARDLINK and mode:
        raise DamagedError("a hard link has a mode")
    return Member(path, mode, mtime, owners[owner], target=target)


def _parse_file(path: bytes, row: list[Any], owner: Owner, options: Mapping[str, Any], content_hash: bytes) -> Member:
    size, start = row[4:6]
    sparse = options.get("sparse")
    if not wire.is_uint(size) or not wire.is_uint(start):
        raise DamagedError("a file's size or place is not valid")
    if len(content_hash) != HASH_SIZE:
        raise DamagedError("an index does not hold one hash for each file")
    if sparse is not None:
        if type(sparse) is not list or len(sparse) % 2 or not all(map(wire.is_uint, sparse)):
            raise DamagedError("a file's holes are not pairs of integers")
        if len(sparse) > 2 * wire.MAX_RUNS:
            raise LimitError(f"a file of {len(sparse) // 2} runs of data, more than {wire.MAX_RUNS}")
        if 0 in sparse[1:] or sum(sparse) > size:
            raise DamagedError("a file's holes do not fit its size")
        sparse = tuple(sparse)
    member = Member(path, row[1], row[2], owner, size, start, hash=content_hash, sparse=sparse)
    if member.stored_size == 0 and start:
        raise DamagedError("a file without content has a place")
    return member
