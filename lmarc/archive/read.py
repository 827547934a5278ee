"""An open archive, in the shape people know from zipfile."""

from __future__ import annotations

import io
import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from lmarc.archive.decode import ChunkCache, ChunkDecoder, Delivery, MemberSink
from lmarc.archive.extract import ExtractOptions, Extractor, ExtractResult
from lmarc.archive.jobs import default_jobs
from lmarc.archive.observer import Observer
from lmarc.archive.paths import Patterns, display, escape, unsafe_members
from lmarc.archive.salvage import Piece, unnamed
from lmarc.container.header import Header
from lmarc.container.index import Chunk, Member
from lmarc.container.reader import ContainerReader
from lmarc.errors import (
    BackendMissingError,
    DamagedError,
    IncompleteError,
    LimitError,
    LmarcError,
    MemberNotFoundError,
    UnsafeMemberError,
    UnsupportedError,
    exit_code,
)

if TYPE_CHECKING:
    from lmarc.archive.compare import Difference

#: Unless told otherwise: members that an archive has at most, how many it may have whatever its size, how many bytes it
#: takes for each where it has more; and how many times as large as itself, from so many bytes on, what is extracted
#: from it may be.
MAX_MEMBERS = 1 << 21
MAX_FREE_MEMBERS = 1 << 18
MIN_MEMBER_BYTES = 2
MAX_RATIO = 1000
MAX_FREE = 4 << 30
_ZERO_BLOCK = 1 << 20


@dataclass(frozen=True)
class MemberInfo:
    """What an archive says of one member.

    `name` is text with bytes that are not UTF-8 as surrogate escapes (os.fsencode gives the bytes back). `size` is
    the content's size in bytes, `hash` the BLAKE3 digest of its data, which where there are holes (`sparse`) is what
    lies between them; a hard link has those of the file it links to.
    """

    name: str
    kind: str
    mode: int
    mtime_ns: int
    uid: int
    gid: int
    uname: str
    gname: str
    size: int
    hash: bytes
    target: str | None
    sparse: tuple[int, ...] | None

    @property
    def mtime(self) -> datetime | None:
        """Modification time, to the microsecond; None if it is beyond what datetime can tell."""
        try:
            return datetime.fromtimestamp(self.mtime_ns // 10**9, UTC).replace(
                microsecond=self.mtime_ns // 1000 % 10**6
            )
        except (OverflowError, ValueError, OSError):
            return None

    def is_dir(self) -> bool:
        """Whether it is a directory."""
        return self.kind == "dir"

    def is_file(self) -> bool:
        """Whether it is a regular file, under its first name or as a hard link."""
        return self.kind in ("file", "hardlink")


class Archive:
    """An archive open for reading. A context manager; get one from lmarc.open().

    `damage` lists what is wrong with its frame; it is empty for a whole archive.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        owned: bool,
        models: Iterable[str] = (),
        threads: int | None = None,
        max_time: float | None = None,
        max_members: int | None = None,
    ) -> None:
        self._file = file
        self._owned = owned
        if max_members is None:
            size = file.seek(0, os.SEEK_END)
            max_members = min(MAX_MEMBERS, max(MAX_FREE_MEMBERS, size // MIN_MEMBER_BYTES))
        self._container = ContainerReader.open(file, max_members)
        self._decoder = ChunkDecoder(self._container, models, threads, max_time)
        self._members = {member.path: member for member in self._container.members}
        self._cache = ChunkCache(self._decoder)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if lmarc opened it, and the models that reading took."""
        self._decoder.close()
        if self._owned:
            self._file.close()

    @property
    def damage(self) -> list[str]:
        """What keeps the archive from being whole, one line each."""
        return list(self._container.damage)

    @property
    def header(self) -> Header:
        """The header."""
        return self._container.header

    @property
    def size(self) -> int:
        """Bytes of the archive itself."""
        return self._container.size

    @property
    def chunks(self) -> list[Chunk]:
        """The chunks, in order."""
        return list(self._container.chunks)

    @cached_property
    def _sorted(self) -> list[Member]:
        return sorted(self._members.values(), key=lambda member: member.path)

    @property
    def members(self) -> list[Member]:
        """The members as the container has them, in path order."""
        return list(self._sorted)

    def __iter__(self) -> Iterator[MemberInfo]:
        return iter(self.infolist())

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, name: str) -> bool:
        return os.fsencode(name) in self._members

    def namelist(self) -> list[str]:
        """Names of all members, in path order."""
        return [os.fsdecode(member.path) for member in self._sorted]

    def infolist(self) -> list[MemberInfo]:
        """All members, in path order."""
        return [self._info(member) for member in self._sorted]

    def select(self, patterns: Iterable[str]) -> list[Member]:
        """Members that the patterns name, in path order; all without patterns.

        A pattern is a name or a glob, and one that names a directory names all below it. Raises
        MemberNotFoundError for a pattern that names nothing.
        """
        matches = Patterns(list(patterns), self._members.keys())
        if not matches.patterns:
            return self.members
        chosen = [member for member in self._sorted if matches(member.path)]
        if matches.unmatched():
            raise MemberNotFoundError(f"no member {', '.join(escape(pattern) for pattern in matches.unmatched())}")
        return chosen

    def getinfo(self, name: str) -> MemberInfo:
        """The member of that name. Raises MemberNotFoundError."""
        return self._info(self._member(name))

    def open(self, name: str) -> io.BufferedReader:
        """A seekable binary file on a regular file's content, decoding a chunk when it is needed.

        Every chunk is verified before a byte of it is returned. Raises MemberNotFoundError, and LmarcError for a member
        that is not a regular file.
        """
        return io.BufferedReader(_MemberFile(self, self._regular(name)), 1 << 16)

    def read(self, name: str, *, max_size: int | None = None) -> bytes:
        """The whole content of a regular file, verified against its hash. Raises LimitError beyond max_size bytes.

        A file of nothing but a hole may be of any size: do not read what strangers made without a limit.
        """
        member = self._regular(name)
        if max_size is not None and member.size > max_size:
            raise LimitError(f"{display(member.path)}: {member.size} bytes, more than {max_size}")
        parts: list[bytes] = []
        self.copy_to(name, parts.append)
        return b"".join(parts)

    def copy_to(self, name: str, write: Callable[[bytes], object]) -> None:
        """Hand a regular file's content to write(), in pieces, each from a verified chunk.

        Raises DamagedError at the end if the whole does not match its hash.
        """
        member = self._regular(name)
        sink = _WritingSink(member, write)
        for chunk in self._container.chunks_of(member.start, member.end) if member.stored_size else ():
            piece = memoryview(self._chunk(chunk))
            sink.write(piece[max(member.start - chunk.start, 0) : member.end - chunk.start])
        try:
            sink.close()
        except DamagedError as error:
            raise DamagedError(f"{display(member.path)}: {error}") from error

    def extract(
        self,
        name: str,
        path: str | os.PathLike[str] = ".",
        *,
        force: bool = False,
        skip_existing: bool = False,
        resume: bool = False,
        owner: bool = False,
        keep_going: bool = False,
        jobs: int | None = None,
        observer: Observer | None = None,
        check: bool = True,
    ) -> ExtractResult:
        """Extract one member, and if it is a directory all below it. See extractall()."""
        wanted = self._member(name).path
        chosen = [member for member in self._sorted if member.path == wanted or member.path.startswith(wanted + b"/")]
        options = ExtractOptions(force, skip_existing, resume, owner, keep_going)
        return self._extract(chosen, path, options, jobs, observer, check)

    def extractall(
        self,
        path: str | os.PathLike[str] = ".",
        names: Iterable[str] | None = None,
        *,
        force: bool = False,
        skip_existing: bool = False,
        resume: bool = False,
        owner: bool = False,
        keep_going: bool = False,
        jobs: int | None = None,
        observer: Observer | None = None,
        check: bool = True,
        max_size: int | None = None,
    ) -> ExtractResult:
        """Extract members below path: all, or those that these names or globs select.

        `force` replaces what exists, `skip_existing` keeps it, `resume` keeps what is just as in the archive and takes
        what an interrupted extraction has decoded (the default is to raise TargetExistsError before writing anything),
        `owner` restores owners, `jobs` is the number of threads, `observer` is told what happens. `keep_going` writes
        also what is left of damaged files, as NAME.damaged, and, of a damaged archive without `names`, content that no
        name is left for, below lost+found.
        More than `max_size` bytes of content, holes not counted, are refused with LimitError before anything is
        written; without it, what is more than MAX_RATIO times the archive, and more than MAX_FREE.
        Members that cannot be extracted do not keep the others from it; at the end IncompleteError tells of them, or,
        with check=False, the result's `failed` alone.
        """
        options = ExtractOptions(force, skip_existing, resume, owner, keep_going)
        names = list(names or ())
        chosen = self.select(names)
        pieces = list(unnamed(self._container)) if keep_going and self.damage and not names else []
        total = sum(member.stored_size for member in chosen) + sum(piece.size for piece in pieces)
        if total > (max(MAX_FREE, MAX_RATIO * self.size) if max_size is None else max_size):
            why = "" if max_size is not None else f", suspiciously much for an archive of {self.size}"
            raise LimitError(f"{total} bytes would be written{why}: --max-size {total} allows that")
        return self._extract(chosen, path, options, jobs, observer, check, pieces)

    def _extract(
        self,
        chosen: Iterable[Member],
        path: str | os.PathLike[str],
        options: ExtractOptions,
        jobs: int | None,
        observer: Observer | None,
        check: bool,
        pieces: Iterable[Piece] = (),
    ) -> ExtractResult:
        extractor = Extractor(self._decoder, os.fspath(path), options, observer or Observer())
        result = extractor.run(chosen, self._members.values(), jobs or default_jobs(), pieces)
        failed = result.failed | result.unwritten
        if check and failed:
            first, error = next(iter(failed.items()))
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise IncompleteError(f"{display(first)}: {error}{more}", result, exit_code(failed.values()))
        return result

    def test(
        self, names: Iterable[str] | None = None, *, jobs: int | None = None, observer: Observer | None = None
    ) -> dict[str, Exception]:
        """Decode and verify members without writing anything; return what failed, by name. Empty: all is well."""
        observer = observer or Observer()
        chosen = self.select(names or ())
        failed: dict[bytes, Exception] = {}
        unsafe = unsafe_members(self._sorted)
        for member in chosen:
            if member.path in unsafe:
                failed[member.path] = UnsafeMemberError(f"unsafe: {unsafe[member.path]}")
                observer.failed(member.path, failed[member.path])
        files = {file.path: file for file in map(self._file_of, chosen) if file is not None}
        delivery = Delivery(self._decoder, MemberSink, observer)
        delivery.run(files.values(), jobs or default_jobs())
        for member in chosen:
            file = self._file_of(member)
            if file is not None and file.path in delivery.failed:
                failed.setdefault(member.path, delivery.failed[file.path])
            elif file is None and member.kind == "hardlink":
                failed.setdefault(member.path, DamagedError("the file it links to is lost"))
        return {os.fsdecode(path): error for path, error in failed.items()}

    def diff(self, path: str | os.PathLike[str] = ".", *, observer: Observer | None = None) -> Iterator[Difference]:
        """Differences between the archive and the tree it was packed from.

        `path` is the directory that holds the members, or, for an archive of one directory, that directory itself.
        """
        root = os.fspath(path)
        tops = {member.path.partition(b"/")[0] for member in self.members}
        strip = b""
        if len(tops) == 1 and (top := next(iter(tops))) in self._members and self._members[top].kind == "dir":
            inside = os.path.join(os.fsencode(root), top)
            strip = b"" if os.path.lexists(inside) else top
        # Comparing walks trees, which nothing else here does.
        from lmarc.archive.compare import compare

        return compare(self._members.values(), root, strip, observer or Observer())

    def prepare(self, names: Iterable[str], *, observer: Observer | None = None) -> None:
        """Make ready what reading these regular files takes, which the first read would do otherwise.

        That may take seconds, once after installing: a model's code is compiled.
        """
        chunks = {chunk.offset: chunk for name in names for chunk in self.chunks_of(name)}
        self._decoder.prepare(chunks.values(), observer or Observer())

    def payload_size(self, chunk: Chunk) -> int:
        """Bytes of a chunk's payload. Raises DamagedError."""
        return self._container.payload_size(chunk)

    def decode_memory(self) -> int | None:
        """Bytes of memory each decoding thread takes at most beyond content; None where a backend cannot decode."""
        memory = self._decode_memory()
        return None if memory is None else max((bound for bound, _ in memory), default=0)

    def shared_memory(self) -> int:
        """How much of decode_memory() is there once, however many threads decode."""
        return max((shared for _, shared in self._decode_memory() or ()), default=0)

    def _decode_memory(self) -> list[tuple[int, int]] | None:
        """What the largest chunk of each backend takes, and how much of that is shared."""
        largest: dict[int, Chunk] = {}
        for chunk in self._container.chunks:
            if chunk.codec not in largest or chunk.size > largest[chunk.codec].size:
                largest[chunk.codec] = chunk
        out = []
        try:
            for chunk in largest.values():
                codec, params = self._decoder.codec_of(chunk), self.header.backends[chunk.codec].params
                out.append((codec.memory_bound(chunk.size, params), codec.memory_shared(params)))
        except (BackendMissingError, UnsupportedError):
            return None
        return out

    def chunks_of(self, name: str) -> list[Chunk]:
        """The chunks that reading a regular file decodes."""
        member = self._regular(name)
        return self._container.chunks_of(member.start, member.end) if member.stored_size else []

    def _member(self, name: str) -> Member:
        member = self._members.get(os.fsencode(name))
        if member is None:
            raise MemberNotFoundError(f"no member {display(os.fsencode(name))}")
        return member

    def _file_of(self, member: Member) -> Member | None:
        """The regular file a member is or links to."""
        if member.kind == "hardlink":
            target = self._members.get(member.target)
            return target if target is not None and target.kind == "file" else None
        return member if member.kind == "file" else None

    def _regular(self, name: str) -> Member:
        member = self._member(name)
        file = self._file_of(member)
        if file is None:
            raise LmarcError(f"{display(member.path)} is not a regular file but a {member.kind}")
        return file

    def _info(self, member: Member) -> MemberInfo:
        file = self._file_of(member) or member
        owner = member.owner
        return MemberInfo(
            name=os.fsdecode(member.path),
            kind=member.kind,
            mode=stat.S_IMODE(file.mode),
            mtime_ns=member.mtime_ns,
            uid=owner.uid,
            gid=owner.gid,
            uname=os.fsdecode(owner.uname),
            gname=os.fsdecode(owner.gname),
            size=file.size,
            hash=file.hash,
            target=os.fsdecode(member.target) if member.kind in ("symlink", "hardlink") else None,
            sparse=file.sparse,
        )

    def _chunk(self, chunk: Chunk) -> bytes:
        return self._cache.decode(chunk)

    def _read_stream(self, position: int, end: int) -> bytes:
        """Content stream bytes from position, at most to end or to the end of the chunk position is in."""
        chunks = self._container.chunks_of(position, position + 1)
        if not chunks:
            raise DamagedError("the content asked for is missing from the archive")
        chunk = chunks[0]
        return self._chunk(chunk)[position - chunk.start : min(end, chunk.end) - chunk.start]


class _WritingSink(MemberSink):
    """Hands a file's content on in order, holes as zeros."""

    def __init__(self, member: Member, write: Callable[[bytes], object]) -> None:
        super().__init__(member)
        self._write = write
        self._position = 0

    def put(self, data: memoryview, offset: int) -> None:
        """Write the hole before data, and data."""
        self._fill(offset)
        self._write(bytes(data))
        self._position += len(data)

    def commit(self) -> None:
        """Write the hole at the end."""
        self._fill(self.member.size)

    def _fill(self, end: int) -> None:
        while self._position < end:
            step = min(end - self._position, _ZERO_BLOCK)
            self._write(bytes(step))
            self._position += step


class _MemberFile(io.RawIOBase):
    """A regular file's content as a raw seekable file, holes as zeros."""

    def __init__(self, archive: Archive, member: Member) -> None:
        self._archive = archive
        self._member = member
        self._position = 0
        self._runs: list[tuple[int, int, int]] = []
        start = member.start
        for offset, length in member.data_runs():
            self._runs.append((offset, length, start))
            start += length
        self._offsets = [run[0] for run in self._runs]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._member.size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        want = min(len(view), self._member.size - self._position)
        if want <= 0:
            return 0
        filled = 0
        while filled < want:
            data = self._read(want - filled)
            view[filled : filled + len(data)] = data
            filled += len(data)
            self._position += len(data)
        return filled

    def _read(self, want: int) -> bytes:
        """Up to want bytes, not more than one run of data or one hole has."""
        position = self._position
        at = bisect_right(self._offsets, position) - 1
        if at >= 0:
            offset, length, start = self._runs[at]
            if position < offset + length:
                inside = position - offset
                return self._archive._read_stream(start + inside, start + min(inside + want, length))
        following = self._offsets[at + 1] if at + 1 < len(self._offsets) else self._member.size
        return bytes(min(want, following - position))
