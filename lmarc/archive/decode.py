"""From chunks back to members: decoding in parallel, delivering in stream order, verifying everything."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from blake3 import blake3

from lmarc.archive import jobs as threads
from lmarc.archive import predictors
from lmarc.archive.expect import expect
from lmarc.archive.jobs import default_jobs as threads_default
from lmarc.archive.kept import TAG_SIZE, Kept
from lmarc.archive.lost import Losses
from lmarc.archive.observer import Observer
from lmarc.backends import registry
from lmarc.backends.contract import CodecBackend, PredictorBackend
from lmarc.backends.predicted import PredictorCodec
from lmarc.container.frames import CHECK_SIZE
from lmarc.container.index import Chunk, Member
from lmarc.container.reader import ContainerReader
from lmarc.errors import BackendError, BackendMissingError, DamagedError, LmarcError

#: How often chunks are decoded again for members whose content was decoded but could not be written as another.
_PASSES = 3
_NAME_BYTES = 8
#: Decoded chunks that a cache keeps: what is read next often begins in the chunk where the last ended.
_CACHED_CHUNKS = 2
_TAG = bytes(TAG_SIZE)


class ChunkDecoder:
    """Decodes chunks of one archive. Safe from several threads.

    `models` are files and folders where a model that the archive names may be; `threads` is how many a predictor uses.
    """

    def __init__(
        self,
        container: ContainerReader,
        models: Iterable[str] = (),
        threads: int | None = None,
        max_time: float | None = None,
    ) -> None:
        self.container = container
        self._max_time = max_time
        self.models = tuple(models)
        self._threads = threads or threads_default()
        self._lock = threading.Lock()
        self._predictors: dict[int, PredictorCodec | LmarcError] = {}
        #: Where chunks that a predictor has decoded are kept, if they are.
        self.kept: Kept | None = None
        #: What chunks could not be decoded for, by their offsets.
        self.broken: dict[int, LmarcError] = {}

    def codec_of(self, chunk: Chunk) -> CodecBackend:
        """The backend that coded a chunk, if it is no predictor. Raises BackendMissingError."""
        ref = self.container.header.backends[chunk.codec]
        return registry.codec(ref.name, ref.version)

    def _ready(self, number: int) -> CodecBackend:
        """The backend of that number, a predictor with its model open. Raises LmarcError, the same one every time."""
        ref = self.container.header.backends[number]
        if not self._is_predictor(number):
            return registry.codec(ref.name, ref.version)
        with self._lock:
            if number not in self._predictors:
                try:
                    self._predictors[number] = predictors.open_for_reading(
                        ref, self.container.header, self.models, self._threads
                    )
                except LmarcError as error:
                    self._predictors[number] = error
            found = self._predictors[number]
        if isinstance(found, LmarcError):
            raise found
        return found

    def predictor_of(self, chunk: Chunk) -> PredictorCodec | None:
        """The predictor that coded a chunk, if it is open."""
        found = self._predictors.get(chunk.codec)
        return found if isinstance(found, PredictorCodec) else None

    def is_slow(self, members: Iterable[Member]) -> bool:
        """Whether a predictor has to decode for these regular files."""
        slow = {number for number in range(len(self.container.header.backends)) if self._is_predictor(number)}
        if not slow:
            return False
        wanted = ((member.start, member.end) for member in members if member.stored_size)
        return any(chunk.codec in slow for start, end in wanted for chunk in self.container.chunks_of(start, end))

    def _is_predictor(self, number: int) -> bool:
        ref = self.container.header.backends[number]
        with suppress(BackendMissingError):
            return isinstance(registry.able(ref.name, ref.version), PredictorBackend)
        return False

    def identity(self) -> str:
        """A name, of letters and digits, that no other archive has."""
        hasher = blake3(self.container.header.to_bytes())
        for chunk in self.container.chunks:
            hasher.update(b"%d %d %d," % (chunk.offset, chunk.start, chunk.size))
        return hasher.hexdigest(_NAME_BYTES)

    def close(self) -> None:
        """Free the models."""
        for found in self._predictors.values():
            if isinstance(found, PredictorCodec):
                found.close()
        self._predictors.clear()

    def prepare(self, chunks: Iterable[Chunk], observer: Observer) -> None:
        """Make ready the backends that chunks need. Where that fails, decode() will say why."""
        chunks = list(chunks)
        numbers = sorted({chunk.codec for chunk in chunks})
        if numbers:
            threads.prepare(lambda: self._prepare(numbers), observer)
        for number in numbers:
            predictor = self._predictors.get(number)
            if isinstance(predictor, PredictorCodec):
                predictor.watch = observer.within
                self._expect(predictor, [chunk for chunk in chunks if chunk.codec == number], observer)

    def _expect(self, predictor: PredictorCodec, chunks: list[Chunk], observer: Observer) -> None:
        """Say how long these chunks will take. Raises LimitError if that is too long."""
        with suppress(DamagedError, BackendError):
            if self.kept is not None and len(self.kept):
                chunks = [chunk for chunk in chunks if _key(*self.container.read_chunk(chunk)) not in self.kept]
            if not chunks:
                return
            _, payload = self.container.read_chunk(chunks[0])
            density = predictor.symbols_of(payload) / chunks[0].size
            expect(predictor, 1, sum(chunk.size for chunk in chunks), density, self._max_time, observer)

    def _prepare(self, numbers: list[int]) -> None:
        for number in numbers:
            with suppress(Exception):
                self._ready(number).prepare(self.container.header.backends[number].params)

    def decode(self, chunk: Chunk) -> bytes:
        """The content of a chunk, verified. Raises DamagedError or BackendMissingError."""
        try:
            data = self._decode_kept(chunk)
        except LmarcError as error:
            self.broken[chunk.offset] = error
            raise
        self.broken.pop(chunk.offset, None)
        return data

    def _decode_kept(self, chunk: Chunk) -> bytes:
        kept = self.kept
        if kept is None or not self._is_predictor(chunk.codec):
            return self._decode(chunk, self._ready(chunk.codec), *self.container.read_chunk(chunk))
        check, payload = self.container.read_chunk(chunk)
        key = _key(check, payload)
        zstd = registry.codec("zstd")
        if (known := kept.get(key)) is not None:
            with suppress(DamagedError):
                data = zstd.decompress(memoryview(known), chunk.size, {})
                if blake3(data).digest(CHECK_SIZE) == check:
                    return data
        data = self._decode(chunk, self._ready(chunk.codec), check, payload)
        kept.put(key, _TAG, zstd.compress(data, {}), len(data))
        return data

    def _decode(self, chunk: Chunk, codec: CodecBackend, check: bytes, payload: memoryview) -> bytes:
        ref = self.container.header.backends[chunk.codec]
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


class ChunkCache:
    """Decodes chunks and keeps the last ones, for whoever comes back to them soon. For one thread."""

    def __init__(self, decoder: ChunkDecoder) -> None:
        self._decoder = decoder
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def decode(self, chunk: Chunk) -> bytes:
        """As ChunkDecoder.decode."""
        data = self._kept.get(chunk.offset)
        if data is None:
            data = self._kept[chunk.offset] = self._decoder.decode(chunk)
            if len(self._kept) > _CACHED_CHUNKS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(chunk.offset)
        return data


def _key(check: bytes, payload: memoryview) -> bytes:
    return blake3(check + payload).digest()


class MemberSink:
    """Takes a regular file's content as it is decoded and verifies it. Subclasses do something with it.

    `put` is called with each run of data and its offset in the file; `commit` once all of it has been verified;
    `discard` if that will not happen.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._hasher: blake3 | None = None
        self._offset = 0
        self._runs = member.data_runs()
        self._left = 0
        self._missing = member.stored_size

    def put(self, data: memoryview, offset: int) -> None:
        """Take data that belongs at offset. Does nothing here."""

    def commit(self) -> None:
        """Complete the member. Does nothing here."""

    def discard(self) -> None:
        """Forget the member, raising nothing. Does nothing here."""

    def write(self, data: memoryview) -> None:
        """Take the next piece of stored content, in order."""
        if self._hasher is None:
            self._hasher = blake3()
        while data:
            if self._left == 0:
                self._offset, self._left = next(self._runs)
            piece = data[: self._left]
            self._hasher.update(piece)
            self.put(piece, self._offset)
            self._offset += len(piece)
            self._left -= len(piece)
            self._missing -= len(piece)
            data = data[len(piece) :]

    def write_whole(self, data: memoryview) -> None:
        """Take all of the content at once; the same as write() and close()."""
        if self.member.sparse is not None:
            if data:
                self.write(data)
            self.close()
            return
        if len(data) != self.member.size or blake3(data).digest() != self.member.hash:
            raise DamagedError("its content does not match its hash")
        self.put(data, 0)
        self.commit()

    def close(self) -> None:
        """Verify the content and commit. Raises DamagedError if it is not what was packed."""
        hasher = self._hasher or blake3()
        if self._missing:
            raise DamagedError("its content is missing")
        if hasher.digest() != self.member.hash:
            raise DamagedError("its content does not match its hash")
        self.commit()


@dataclass(eq=False)
class _Run:
    """A run of the content stream that goes beyond one chunk, and the members whose content it is.

    `holder` is the member that is fed from the chunks; `members` are those that wait for a copy of it. `error` is what
    the content itself is lost to.
    """

    start: int
    end: int
    members: list[Member]
    holder: Member | None = None
    sink: MemberSink | None = None
    error: LmarcError | None = None
    is_begun: bool = False
    is_complete: bool = False


class _Step(NamedTuple):
    """One chunk, the members that lie wholly in it, and the runs that go beyond it."""

    chunk: Chunk
    whole: list[Member]
    spanning: list[_Run]


class _Decoded(NamedTuple):
    """What came of a step: the content if spanning members need it, why there is none, and the members that failed."""

    data: memoryview | None
    error: LmarcError | None
    failed: list[tuple[Member, Exception]]


class Delivery:
    """Decodes what a set of regular files needs, each chunk once, and feeds it to their sinks.

    A file that lies in one chunk is delivered by the thread that decodes it, a longer one by the calling thread. The
    calling thread alone talks to the observer. Of longer files with one content only the first is fed from chunks; the
    others get it by `read_back` of the first, or, without that, share its fate.
    """

    def __init__(
        self,
        decoder: ChunkDecoder,
        open_sink: Callable[[Member], MemberSink],
        observer: Observer,
        read_back: Callable[[Member], Iterator[memoryview]] | None = None,
    ) -> None:
        self._decoder = decoder
        self._open_sink = open_sink
        self._observer = observer
        self._read_back = read_back
        self._runs: list[_Run] = []
        self._lost: list[Member] = []
        self._idle = threading.Condition()
        self._busy = 0
        self._stopped = False
        self._losses = Losses(decoder.container, decoder.broken)
        self.failed: dict[bytes, Exception] = {}

    def run(self, members: Iterable[Member], jobs: int) -> None:
        """Deliver the members' content. What fails is in `failed` and told to the observer; the rest is complete."""
        pending = sorted(members, key=lambda member: (member.start, member.end))
        try:
            for _ in range(_PASSES):
                self._pass(pending, jobs)
                pending = self._deliver_copies()
                if not pending:
                    break
            for member in pending:
                self._settle(member, LmarcError("could not be written, as others with its content"))
        finally:
            self._stop()

    def _pass(self, files: list[Member], jobs: int) -> None:
        self._runs, self._lost = [], []
        steps = list(self._steps([member for member in files if member.stored_size]))
        self._observer.found(len(files), sum(step.chunk.size for step in steps))
        for member in files:
            if not member.stored_size:
                self._observer.member(member.path)
                self._settle(member, self._deliver_whole(member, memoryview(b"")))
        self._decoder.prepare((step.chunk for step in steps), self._observer)
        for step, decoded in self._run_steps(steps, jobs):
            self._take(step, decoded)
        for run in self._runs:
            self._settle_lost(run)
        for member in self._lost:
            self._settle(member, DamagedError("its content is missing"))

    def _deliver_copies(self) -> list[Member]:
        """Deliver what complete runs give; return the members whose holder could not be written."""
        again: list[Member] = []
        for run in self._runs:
            if run.holder is None or not run.is_complete:
                again += [member for member in run.members if member.path not in self.failed]
                continue
            for copy in run.members:
                self._observer.member(copy.path)
                self._settle(copy, self._deliver_copy(run.holder, copy))
        return again

    def _steps(self, files: list[Member]) -> Iterator[_Step]:
        """The chunks needed, in order. Chunks and files are both in stream order: one pass over both."""
        position = 0
        active: list[_Run] = []
        for chunk in self._decoder.container.chunks:
            whole: list[Member] = []
            while position < len(files) and files[position].start < chunk.end:
                member = files[position]
                position += 1
                if member.start >= chunk.start and member.end <= chunk.end:
                    whole.append(member)
                elif active and (active[-1].start, active[-1].end) == (member.start, member.end):
                    active[-1].members.append(member)
                else:
                    active.append(_Run(member.start, member.end, [member]))
                    self._runs.append(active[-1])
            self._lose_all(run for run in active if run.end <= chunk.start)
            spanning = [run for run in active if run.end > chunk.start]
            active = [run for run in spanning if run.end > chunk.end]
            if whole or spanning:
                yield _Step(chunk, whole, spanning)
        self._lose_all(active)
        self._lost += files[position:]

    def _lose_all(self, runs: Iterable[_Run]) -> None:
        for run in runs:
            self._lost += run.members

    def _take(self, step: _Step, decoded: _Decoded) -> None:
        """Record what a worker has done, and do what is left for this thread."""
        for member, error in decoded.failed:
            self._settle(member, error)
        for member in step.whole:
            self._observer.member(member.path)
        for run in step.spanning:
            self._deliver_part(run, step.chunk, decoded)
        self._observer.progress(step.chunk.size, 0)

    def _stop(self) -> None:
        """Let workers end the members they are at, and start no others; what is half delivered is discarded."""
        with self._idle:
            self._stopped = True
            self._idle.wait_for(lambda: self._busy == 0)
        for run in self._runs:
            if run.sink is not None:
                run.sink.discard()

    def _run_steps(self, steps: list[_Step], jobs: int) -> Iterator[tuple[_Step, _Decoded]]:
        waiting: deque[tuple[_Step, Future[_Decoded]]] = deque()
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="lmarc-decode")
        is_done = False
        try:
            for step in steps:
                waiting.append((step, pool.submit(self._work, step)))
                if len(waiting) > jobs:
                    done, future = waiting.popleft()
                    yield done, future.result()
            while waiting:
                done, future = waiting.popleft()
                yield done, future.result()
            is_done = True
        finally:
            # After an interrupt nobody waits for a chunk that takes seconds.
            pool.shutdown(wait=is_done, cancel_futures=True)

    def _work(self, step: _Step) -> _Decoded:
        """What a worker does with a chunk."""
        try:
            data = memoryview(self._decoder.decode(step.chunk))
        except LmarcError as error:
            return _Decoded(None, error, [(member, error) for member in step.whole])
        failed: list[tuple[Member, Exception]] = []
        start = step.chunk.start
        with self._working():
            for member in step.whole:
                if self._stopped:
                    break
                problem = self._deliver_whole(member, data[member.start - start : member.end - start])
                if problem is not None:
                    failed.append((member, problem))
        return _Decoded(data if step.spanning else None, None, failed)

    def _deliver_whole(self, member: Member, data: memoryview) -> Exception | None:
        return self._feed(member, lambda sink: sink.write_whole(data))

    def _deliver_copy(self, first: Member, copy: Member) -> Exception | None:
        if self._read_back is None:
            return None if copy.hash == first.hash else DamagedError("its content does not match its hash")
        blocks = self._read_back(first)

        def feed(sink: MemberSink) -> None:
            for block in blocks:
                sink.write(block)
            sink.close()

        return self._feed(copy, feed)

    def _feed(self, member: Member, feed: Callable[[MemberSink], None]) -> Exception | None:
        """Open a sink and feed it; return what went wrong."""
        sink: MemberSink | None = None
        try:
            sink = self._open_sink(member)
            feed(sink)
        except (LmarcError, OSError) as error:
            if sink is not None:
                sink.discard()
            return error
        except BaseException:
            if sink is not None:
                sink.discard()
            raise
        return None

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Between members of a chunk a worker looks whether to stop; _stop() waits for it to have done so."""
        with self._idle:
            self._busy += 1
        try:
            yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def _deliver_part(self, run: _Run, chunk: Chunk, decoded: _Decoded) -> None:
        if decoded.data is None:
            self._lose(run, decoded.error or DamagedError("its content is missing"))
        elif run.start >= chunk.start:
            self._begin(run)
        elif not run.is_begun:
            self._lose(run, DamagedError("its beginning is missing"))
        if run.sink is None or run.holder is None or decoded.data is None:
            if run.end <= chunk.end:
                self._settle_lost(run)
            return
        self._observer.member(run.holder.path)
        try:
            run.sink.write(decoded.data[max(run.start - chunk.start, 0) : run.end - chunk.start])
            if run.end <= chunk.end:
                run.sink.close()
                run.sink = None
                run.is_complete = True
        except DamagedError as error:
            self._lose(run, error)
        except (LmarcError, OSError) as error:
            # The holder's own trouble: the others get the content in another pass.
            self._drop_holder(run, error)

    def _begin(self, run: _Run) -> None:
        """Make the first member whose sink can be opened the holder."""
        run.is_begun = True
        while run.members and run.sink is None:
            run.holder = run.members.pop(0)
            try:
                run.sink = self._open_sink(run.holder)
            except (LmarcError, OSError) as error:
                self._drop_holder(run, error)

    def _drop_holder(self, run: _Run, error: Exception) -> None:
        sink, run.sink = run.sink, None
        if sink is not None:
            sink.discard()
        if run.holder is not None:
            self._settle(run.holder, error)
            run.holder = None

    def _lose(self, run: _Run, error: LmarcError) -> None:
        """The content itself is lost, for all members. How much of it shows when all of its chunks have been seen."""
        run.error = run.error or error
        sink, run.sink = run.sink, None
        if sink is not None:
            sink.discard()
        if run.holder is not None:
            run.members.insert(0, run.holder)
            run.holder = None

    def _settle_lost(self, run: _Run) -> None:
        if run.error is not None:
            for member in run.members:
                self._settle(member, run.error)

    def _settle(self, member: Member, error: Exception | None) -> None:
        """Record how a member ended, if it failed."""
        if error is None or member.path in self.failed:
            return
        if isinstance(error, LmarcError):
            error = self._losses.error(member, error)
        self.failed[member.path] = error
        self._observer.failed(member.path, error)
