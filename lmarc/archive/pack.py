"""Packing: sources in, one archive out, in bounded memory and the same bytes every time."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from lmarc._version import __version__
from lmarc.archive import fs, plan
from lmarc.archive import jobs as threads
from lmarc.archive.change import Change
from lmarc.archive.content import Chunker, ContentReader
from lmarc.archive.expect import expect
from lmarc.archive.kept import Kept
from lmarc.archive.observer import CountingObserver, Observer
from lmarc.archive.owners import owner_of
from lmarc.archive.presets import ChunkCoder, Coded, Preset
from lmarc.archive.walk import Source
from lmarc.container.header import Header
from lmarc.container.index import MAX_MTIME, MIN_MTIME, Member, Owner, is_too_long
from lmarc.container.writer import ContainerWriter, Sink
from lmarc.errors import BackendError

#: So many sources are planned together: what bounds the memory that planning takes.
BATCH = 32_768
#: A checkpoint follows so many bytes of content or of index: what is lost at most when the end of an archive is.
CHECKPOINT_CONTENT = 64 << 20
CHECKPOINT_INDEX = 4 << 20
#: How many bytes of content say how many symbols there will be.
_EXPECT_SAMPLE = 1 << 16


@dataclass
class PackResult:
    """What a pack has done. `skipped` counts sources that are missing or not as they were, `unverified` groups of a
    predictor that did not decode when that was tried, and are coded without it."""

    members: int = 0
    content: int = 0
    stored: int = 0
    skipped: int = 0
    duplicates: int = 0
    unverified: int = 0
    chunks: dict[str, int] = field(default_factory=dict)


class Packer:
    """Packs sources into a sink. Content is coded by `jobs` threads; all else happens in the calling one."""

    def __init__(
        self,
        sink: Sink,
        preset: Preset,
        *,
        jobs: int,
        observer: Observer,
        epoch: int | None = None,
        most_seconds: float | None = None,
        kept: Kept | None = None,
        change: Change | None = None,
    ) -> None:
        """`kept` are chunks of an interrupted pack, to which those of this one are added; `change` is the sink if it
        is an archive that is there already."""
        self.result = PackResult()
        #: For whoever finds the sources: what it reports is part of the result.
        self.observer = CountingObserver(observer)
        # A predictor uses the processors itself, for one group at a time.
        self._coder = ChunkCoder(preset, jobs, kept)
        self._kept = kept
        if preset.model is not None:
            jobs = 1
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="lmarc-code")
        # One more than the workers, so that none waits while the next chunk is being read.
        self._in_flight: deque[Future[Coded]] = deque()
        self._is_prepared = False
        self._most_seconds = most_seconds
        self._found = 0
        self._max_in_flight = jobs + 1
        #: What writing or coding failed with, while a source was being read.
        self._broken: OSError | None = None
        self._chunker = Chunker(preset.chunk_size, self._submit)
        self._reader = ContentReader(self._chunker, whole_limit=preset.chunk_size)
        self._output = _Output(sink, self._coder, change)
        self._change = change
        if change is not None:
            self._chunker.position = change.before.stream_end
            self._reader.know(change.files(), change.is_sound)
        self._latest_mtime = MAX_MTIME if epoch is None else min(epoch * 10**9, MAX_MTIME)
        self._links: dict[tuple[int, int], Member] = {}

    def pack(self, sources: Iterable[Source]) -> None:
        """Add sources, in batches that are planned together."""
        iterator = iter(sources)
        while batch := list(islice(iterator, BATCH)):
            if self.result.members:
                self._drain()
                self._output.flush()
            self._pack_batch(batch)

    def pack_stream(self, path: bytes, fd: int, mtime_ns: int) -> None:
        """Add one regular file read from a descriptor, to its end."""
        self.observer.found(1, 0)
        self.observer.member(path)
        self._add_data(path, mtime_ns, owner_of(os.getuid(), os.getgid()), *self._reader.read_stream(fd))

    def pack_bytes(self, path: bytes, data: bytes) -> None:
        """Add one regular file with that content, of no one's and of no time."""
        start, digest = self._reader.add_bytes(data)
        self._add_data(path, 0, Owner(0, 0, b"", b""), len(data), start, digest)

    def _add_data(self, path: bytes, mtime_ns: int, owner: Owner, size: int, start: int, digest: bytes) -> None:
        self._add(Member(path, stat.S_IFREG | 0o644, self._clamp(mtime_ns), owner, size, start, hash=digest))
        self.result.content += size

    def finish(self) -> PackResult:
        """Write what is in flight, the index and the trailer."""
        self._drain()
        self._output.close()
        self._pool.shutdown()
        if self._coder.predictor is not None:
            self.result.unverified = self._coder.predictor.unverified
        self._coder.close()
        self.result.skipped = self.observer.count
        self.result.duplicates = self._reader.duplicates
        self.result.stored = self._output.offset
        self.result.chunks = self._output.used
        return self.result

    def abandon(self) -> None:
        """Stop the workers after a failure; what has been written is of no use."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pack_batch(self, batch: list[Source]) -> None:
        files: list[Source] = []
        links: list[Source] = []
        for source in batch:
            mode = source.stat.st_mode
            if not stat.S_ISREG(mode):
                self._add_plain(source)
            elif source.stat.st_nlink > 1:
                links.append(source)
            else:
                files.append(source)
        firsts: dict[tuple[int, int], Source] = {}
        others = []
        for source in links:
            key = (source.stat.st_dev, source.stat.st_ino)
            if key in self._links or key in firsts:
                others.append(source)
            else:
                firsts[key] = source
        files += firsts.values()
        for source in files:
            self._reader.expect_large(source.stat.st_size)
        size = sum(source.stat.st_size for source in files)
        self._found += size
        self.observer.found(len(batch), size)
        for kind, group in _grouped(plan.order(files)):
            if kind >= plan.Kind.BINARY:
                # What came before is of another nature: sharing a chunk would help neither.
                self._chunker.flush()
            for source in group:
                self._add_file(source)
        for source in others:
            self._add_link(source)

    def _add_plain(self, source: Source) -> None:
        info = source.stat
        target = b""
        if stat.S_ISLNK(info.st_mode):
            try:
                target = fs.readlink(source.root, source.location)
            except OSError as error:
                self.observer.skipped(source.path, error.strerror or str(error))
                return
        self._add(
            Member(
                source.path,
                info.st_mode,
                self._clamp(info.st_mtime_ns),
                owner_of(info.st_uid, info.st_gid),
                target=target,
            )
        )

    def _add_file(self, source: Source) -> None:
        self.observer.member(source.path)
        before = self._chunker.position
        try:
            content = self._reader.read(source)
        except OSError as error:
            if error is self._broken:
                raise
            self.observer.skipped(source.path, error.strerror or str(error))
            return
        info = content.stat
        if content.changed:
            self.observer.skipped(source.path, "changed while it was read; packed as read")
        member = Member(
            source.path,
            info.st_mode,
            self._clamp(info.st_mtime_ns),
            owner_of(info.st_uid, info.st_gid),
            content.size,
            content.start,
            hash=content.hash,
            sparse=content.sparse,
        )
        is_in = self._add(member)
        self.result.content += content.size
        # What the stream did not get, holes and duplicates, is done already.
        self.observer.progress(source.stat.st_size - (self._chunker.position - before), 0)
        if is_in and info.st_nlink > 1:
            self._links[(info.st_dev, info.st_ino)] = member

    def _add_link(self, source: Source) -> None:
        first = self._links.get((source.stat.st_dev, source.stat.st_ino))
        if first is None:
            # Its first name could not be packed; this one takes its place.
            self._add_file(source)
        else:
            self._add(Member(source.path, 0, first.mtime_ns, first.owner, target=first.path))

    def _add(self, member: Member) -> bool:
        """Add a member; False, and told as skipped, if the format cannot hold it."""
        self.observer.member(member.path)
        if is_too_long(member.path):
            self.observer.skipped(member.path, "its path is too long, or too deep, for an archive")
            return False
        if self._change is not None:
            self._change.expect(member.path, member.kind == "dir")
        self.result.members += 1
        self._output.add_member(member, self._chunker.position)
        return True

    def _clamp(self, mtime_ns: int) -> int:
        return max(min(mtime_ns, self._latest_mtime), MIN_MTIME)

    def _submit(self, pieces: list[bytes]) -> None:
        try:
            self._code(pieces)
        except OSError as error:
            self._broken = error
            raise

    def _code(self, pieces: list[bytes]) -> None:
        if not self._is_prepared:
            threads.prepare(self._coder.prepare, self.observer)
            self._is_prepared = True
            if self._coder.predictor is not None:
                sample = b"".join(pieces)[:_EXPECT_SAMPLE]
                codec = self._coder.predictor.codec
                codec.watch = self.observer.within
                known = self._kept.content_of(self._coder.tag) if self._kept is not None else 0
                content = max(self._found - known, len(sample))
                # A model that fails will do so with the group, which is then coded without it.
                with suppress(BackendError):
                    density = codec.symbols_in(sample) / len(sample)
                    expect(codec, codec.model.steps, content, density, self._most_seconds, self.observer)
        if len(self._in_flight) >= self._max_in_flight:
            self._collect()
        self._in_flight.append(self._pool.submit(self._coder.code, pieces))

    def _drain(self) -> None:
        self._chunker.flush()
        while self._in_flight:
            self._collect()

    def _collect(self) -> None:
        coded = self._in_flight.popleft().result()
        before = self._output.offset
        self._output.add_chunk(coded)
        self.observer.progress(coded.size, self._output.offset - before)


class _Output:
    """The container being written. It begins when it is known whether there is more than one chunk.

    A small archive then names the one backend it needs, and a large one begins before its end is known.
    """

    def __init__(self, sink: Sink, coder: ChunkCoder, change: Change | None) -> None:
        self._sink = sink
        self._coder = coder
        self._change = change
        self._writer: ContainerWriter | None = None
        self._codecs: dict[str, int] = {}
        self._first: Coded | None = None
        self._waiting: deque[tuple[int, Member]] = deque()
        self.used: dict[str, int] = {}

    @property
    def offset(self) -> int:
        """Bytes written so far."""
        before = self._change.end if self._change is not None else 0
        return self._writer.offset - before if self._writer else 0

    def add_chunk(self, coded: Coded) -> None:
        """Write a chunk, in order, and the members that were added before its end was reached."""
        self.used[coded.backend] = self.used.get(coded.backend, 0) + 1
        if self._writer is None and self._first is None:
            self._first = coded
            return
        self._write(self._writer or self._begin(None), coded)

    def add_member(self, member: Member, position: int) -> None:
        """Add a member when the content stream has reached position; it is written with a chunk that ends behind.

        Position, not time, decides which checkpoint a member is in: the bytes must not depend on the number of jobs.
        """
        self._waiting.append((position, member))

    def flush(self) -> None:
        """Write all members whose content has been written."""
        writer = self._writer or self._begin(None)
        self._write_members(writer, writer.stream_end + 1)

    def close(self) -> None:
        """Write all that is left, index and trailer."""
        writer = self._writer or self._begin(set(self.used))
        self._write_members(writer, writer.stream_end + 1)
        writer.close(self._change.sync if self._change is not None else lambda: None)

    def _begin(self, used: set[str] | None) -> ContainerWriter:
        refs = self._coder.backends(used)
        options = self._coder.options(used)
        if self._change is None:
            places = [*range(len(refs))]
            self._writer = ContainerWriter(self._sink, Header(__version__, tuple(refs), options))
        else:
            before = self._change.before
            header, places = before.header.joined(refs, options.get("models", ()))
            self._writer = ContainerWriter(self._sink, header, before)
        self._codecs = {ref.name: place for ref, place in zip(refs, places, strict=True)}
        if self._first is not None:
            self._write(self._writer, self._first)
            self._first = None
        return self._writer

    def _write(self, writer: ContainerWriter, coded: Coded) -> None:
        writer.add_chunk(self._codecs[coded.backend], coded.size, coded.check, coded.payload)
        self._write_members(writer, writer.stream_end)
        if writer.pending_content >= CHECKPOINT_CONTENT:
            writer.checkpoint()

    def _write_members(self, writer: ContainerWriter, before: int) -> None:
        while self._waiting and self._waiting[0][0] < before:
            member = self._waiting.popleft()[1]
            if self._change is not None:
                for heir in self._change.heirs([member.path]):
                    writer.add_member(heir)
                self._change.written(member)
            writer.add_member(member)
            if writer.pending_index >= CHECKPOINT_INDEX:
                writer.checkpoint()


def _grouped(ordered: list[tuple[plan.Kind, Source]]) -> Iterator[tuple[plan.Kind, list[Source]]]:
    group: list[Source] = []
    for i, (kind, source) in enumerate(ordered):
        group.append(source)
        if i + 1 == len(ordered) or ordered[i + 1][0] != kind:
            yield kind, group
            group = []
