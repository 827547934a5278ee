"""From chunks back to members: decoding in parallel, delivering in stream order, verifying everything."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from blake3 import blake3

from lmarc.archive.observer import Observer
from lmarc.archive.paths import display
from lmarc.backends import registry
from lmarc.backends.contract import CodecBackend
from lmarc.container.frames import CHECK_SIZE
from lmarc.container.index import Chunk, Member
from lmarc.container.reader import ContainerReader
from lmarc.errors import DamagedError, LmarcError


class ChunkDecoder:
    """Decodes chunks of one archive. Safe from several threads."""

    def __init__(self, container: ContainerReader) -> None:
        self.container = container

    def codec_of(self, chunk: Chunk) -> CodecBackend:
        """The backend that coded a chunk. Raises BackendMissingError."""
        ref = self.container.header.backends[chunk.codec]
        return registry.codec(ref.name, ref.version)

    def decode(self, chunk: Chunk) -> bytes:
        """The content of a chunk, verified. Raises DamagedError or BackendMissingError."""
        ref = self.container.header.backends[chunk.codec]
        codec = self.codec_of(chunk)
        check, payload = self.container.read_chunk(chunk)
        try:
            data = codec.decompress(payload, chunk.size, ref.params)
        except LmarcError:
            raise
        except Exception as error:
            reason = f"backend {ref.name!r} cannot decode it: {type(error).__name__}: {error}"
            raise DamagedError(f"chunk at {chunk.offset}: {reason}") from error
        if len(data) != chunk.size or blake3(data).digest(CHECK_SIZE) != check:
            raise DamagedError(f"chunk at {chunk.offset}: what backend {ref.name!r} decodes is not what was packed")
        return data

    def decode_all(self, chunks: Iterable[Chunk], jobs: int) -> Iterator[tuple[Chunk, bytes | LmarcError]]:
        """Decode chunks with so many threads; yield them in the order given, an error in place of lost content."""
        waiting: deque[tuple[Chunk, Future[bytes]]] = deque()
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="lmarc-decode")
        try:
            for chunk in chunks:
                waiting.append((chunk, pool.submit(self.decode, chunk)))
                if len(waiting) > jobs:
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _result(chunk: Chunk, future: Future[bytes]) -> tuple[Chunk, bytes | LmarcError]:
    try:
        return chunk, future.result()
    except LmarcError as error:
        return chunk, error


class MemberSink:
    """Takes a regular file's content as it is decoded and verifies it. Subclasses do something with it.

    `put` is called with each run of data and its offset in the file; `commit` once all of it has been verified;
    `discard` if that will not happen.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._hasher: blake3 | None = None
        self._offset = 0
        self._runs = iter(member.sparse or ())
        self._left = member.stored_size if member.sparse is None else 0

    def put(self, data: memoryview, offset: int) -> None:
        """Take data that belongs at offset. Does nothing here."""

    def commit(self) -> None:
        """Complete the member. Does nothing here."""

    def discard(self) -> None:
        """Forget the member. Does nothing here."""

    def write(self, data: memoryview) -> None:
        """Take the next piece of stored content, in order."""
        if self._hasher is None:
            self._hasher = blake3()
        while data:
            if self._left == 0:
                self._offset += next(self._runs)
                self._left = next(self._runs)
            piece = data[: self._left]
            self._hasher.update(piece)
            self.put(piece, self._offset)
            self._offset += len(piece)
            self._left -= len(piece)
            data = data[len(piece) :]

    def write_whole(self, data: memoryview) -> None:
        """Take all of the content at once; the same as write() and close()."""
        if self.member.sparse is not None:
            self.write(data)
            self.close()
            return
        if blake3(data).digest() != self.member.hash:
            raise DamagedError("its content does not match its hash")
        self.put(data, 0)
        self.commit()

    def close(self) -> None:
        """Verify the content and commit. Raises DamagedError if it is not what was packed."""
        hasher = self._hasher or blake3()
        if hasher.digest() != self.member.hash:
            raise DamagedError("its content does not match its hash")
        self.commit()


class Delivery:
    """Decodes what a set of regular files needs, each chunk once, and feeds it to their sinks."""

    def __init__(self, decoder: ChunkDecoder, open_sink: Callable[[Member], MemberSink], observer: Observer) -> None:
        self._decoder = decoder
        self._open_sink = open_sink
        self._observer = observer
        self._open: dict[bytes, MemberSink] = {}
        self.failed: dict[bytes, Exception] = {}

    def run(self, members: Iterable[Member], jobs: int) -> None:
        """Deliver the members' content. What fails is in `failed` and told to the observer; the rest is complete."""
        files = sorted(members, key=lambda member: (member.start, member.end))
        empty = [member for member in files if member.stored_size == 0]
        files = [member for member in files if member.stored_size]
        needed = list(self._needed(files))
        self._observer.found(len(files), sum(chunk.size for chunk in needed))
        try:
            for member in empty:
                self._guard(member, self._deliver_empty, memoryview(b""))
            self._deliver(files, needed, jobs)
        finally:
            for sink in self._open.values():
                sink.discard()

    def _deliver(self, files: list[Member], needed: list[Chunk], jobs: int) -> None:
        position = 0
        active: list[Member] = []
        for chunk, data in self._decoder.decode_all(needed, jobs):
            while position < len(files) and files[position].start < chunk.end:
                active.append(files[position])
                position += 1
            view = memoryview(data) if isinstance(data, bytes) else None
            for member in active:
                if view is None:
                    self._fail(member, data if isinstance(data, LmarcError) else DamagedError("is lost"))
                elif member.path not in self.failed:
                    self._observer.member(member.path)
                    piece = view[max(member.start - chunk.start, 0) : member.end - chunk.start]
                    self._guard(member, self._step(member, chunk), piece)
            active = [member for member in active if member.end > chunk.end]
            self._observer.progress(chunk.size, 0)
        for member in [*active, *files[position:]]:
            self._fail(member, DamagedError("its content is missing"))

    def _needed(self, files: list[Member]) -> Iterator[Chunk]:
        # Chunks are in stream order, and so are the files: one pass over both.
        chunks = self._decoder.container.chunks
        at = 0
        for member in files:
            while at < len(chunks) and chunks[at].end <= member.start:
                at += 1
            while at < len(chunks) and chunks[at].start < member.end:
                yield chunks[at]
                at += 1

    def _step(self, member: Member, chunk: Chunk) -> Callable[[Member, memoryview], None]:
        if member.start >= chunk.start:
            return self._deliver_whole if member.end <= chunk.end else self._deliver_first
        return self._deliver_last if member.end <= chunk.end else self._deliver_more

    def _guard(self, member: Member, step: Callable[[Member, memoryview], None], data: memoryview) -> None:
        try:
            step(member, data)
        except (LmarcError, OSError) as error:
            self._fail(member, error)

    def _deliver_empty(self, member: Member, _data: memoryview) -> None:
        self._attach(member).close()
        del self._open[member.path]

    def _deliver_whole(self, member: Member, data: memoryview) -> None:
        self._attach(member).write_whole(data)
        del self._open[member.path]

    def _deliver_first(self, member: Member, data: memoryview) -> None:
        self._attach(member).write(data)

    def _deliver_more(self, member: Member, data: memoryview) -> None:
        sink = self._open.get(member.path)
        if sink is None:
            raise DamagedError("its beginning is missing")
        sink.write(data)

    def _deliver_last(self, member: Member, data: memoryview) -> None:
        self._deliver_more(member, data)
        self._open[member.path].close()
        del self._open[member.path]

    def _attach(self, member: Member) -> MemberSink:
        sink = self._open[member.path] = self._open_sink(member)
        return sink

    def _fail(self, member: Member, error: Exception) -> None:
        if member.path in self.failed:
            return
        self.failed[member.path] = error
        self._observer.failed(member.path, error)
        sink = self._open.pop(member.path, None)
        if sink is not None:
            with suppress(OSError):
                sink.discard()


def describe(path: bytes, error: Exception) -> str:
    """One line about a member that failed."""
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return f"{display(path)}: {reason}"
