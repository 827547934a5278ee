"""Packing, the public functions and what the command line needs of them."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from lmarc.archive import recovery as recovery_module
from lmarc.archive.change import Change
from lmarc.archive.filters import Filters
from lmarc.archive.jobs import default_jobs
from lmarc.archive.kept import Kept, open_kept
from lmarc.archive.observer import Observer
from lmarc.archive.pack import Packer, PackResult
from lmarc.archive.paths import display, parents, why_unsafe
from lmarc.archive.presets import DEFAULT_PRESET, resolve
from lmarc.archive.save import SaveFile
from lmarc.archive.secret import Encrypting, Lock
from lmarc.archive.walk import Roots, Source, Walker
from lmarc.backends import registry
from lmarc.container.writer import Sink
from lmarc.errors import LmarcError, UsageError
from lmarc.models.identity import NO_MODEL, ModelFile

#: Name of the member that data given to compress() becomes.
DATA_NAME = b"data"
_KEPT = "kept"


def pack(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str] | Sink,
    *,
    preset: str = DEFAULT_PRESET,
    backend: str | None = None,
    model: str | None = None,
    verify: bool = False,
    max_time: float | None = None,
    settings: Mapping[str, int | str] | None = None,
    resume: bool = False,
    jobs: int | None = None,
    exclude: Iterable[str] = (),
    include: Iterable[str] = (),
    gitignore: bool = False,
    force: bool = False,
    recovery: float | None = None,
    lock: Lock | None = None,
    observer: Observer | None = None,
) -> PackResult:
    """Pack a path or several, directories with all below them, into an archive at a path or into a binary file.

    A path appears only when the archive is complete. Sources that cannot be read are told to the observer and
    counted in the result's `skipped`. `model` is a path, a hash or an hf:// name of a model for a predictor; the
    backend then goes by the kind of the file. `verify` decodes each of its groups in a fresh process before it is
    relied on; `max_time`, in seconds, is how long it may be expected to take, longer raises LimitError.
    `settings` are what the backend offers to set.
    With a model, or with `resume`, coded chunks are kept beside the archive until it is complete; `resume` goes on
    with those that an interrupted pack left, `force` begins anew, and without either TargetExistsError is raised.
    `recovery` is how many percent of parity are added, with which lmarc.repair() puts damage right; it needs a path.
    `lock` encrypts it, for age recipients or with a passphrase.
    Raises TargetExistsError, BackendMissingError, UsageError.
    """
    return pack_sources(
        paths=[os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)],
        output=output,
        filters=Filters(tuple(exclude), tuple(include), gitignore),
        preset=preset,
        backend=backend,
        model=model,
        verify=verify,
        max_time=max_time,
        settings=settings,
        resume=resume,
        jobs=jobs,
        force=force,
        recovery=recovery,
        lock=lock,
        observer=observer or Observer(),
    )


def pack_sources(
    *,
    paths: Iterable[str],
    output: str | os.PathLike[str] | Sink,
    listed: Iterable[bytes] = (),
    stream: tuple[bytes, int, int] | None = None,
    filters: Filters,
    preset: str,
    backend: str | None,
    model: str | None = None,
    verify: bool = False,
    max_time: float | None = None,
    settings: Mapping[str, int | str] | None = None,
    resume: bool = False,
    jobs: int | None,
    force: bool,
    recovery: float | None = None,
    lock: Lock | None = None,
    observer: Observer,
) -> PackResult:
    """pack() with all that the command line can ask for: `listed` paths, which are taken without what is below them,
    and a `stream` to read to its end, given as member path, descriptor and mtime in ns."""
    if lock is not None and (recovery is not None or resume):
        # Chunks that are kept would lie there plain, and parity is over what is plain.
        raise UsageError("an encrypted archive has no --recovery, and packing it does not --resume")
    with (
        ExitStack() as last,
        _destination(output, force) as (sink, leave_out),
        ExitStack() as inner,
        Roots() as roots,
    ):
        protected = _protected(sink, recovery)
        # What is kept goes only when the archive has its name.
        is_slow = lock is None and (model is not None or bool(settings))
        kept = _kept(last, sink, is_slow, resume, force)
        # Ends before the archive gets its name.
        into: Sink = sink if lock is None else inner.enter_context(Encrypting(sink, lock))
        packer = new_packer(
            into,
            preset,
            backend,
            jobs,
            observer,
            model,
            verify=verify,
            settings=settings,
            max_time=max_time,
            kept=kept,
        )
        if isinstance(sink, SaveFile):
            leave_out += _identities(sink.beside(_KEPT))
        try:
            sources = find_sources(roots, paths, listed, filters, packer.observer, leave_out)
            packer.pack(sources if stream is None else _beside(stream[0], sources))
            if stream is not None:
                packer.pack_stream(stream[0], stream[1], stream[2])
            if packer.observer.count and not packer.result.members:
                # An empty archive in the place of what was asked for, or of an older one, would be a loss.
                raise LmarcError("nothing could be packed")
            result = packer.finish()
            if protected is not None and recovery is not None:
                result.stored += recovery_module.protect(protected, recovery)
            return result
        except BaseException:
            packer.abandon()
            raise


def _protected(sink: Sink, recovery: float | None) -> SaveFile | None:
    """What gets recovery data, if any is asked for; before the work, whether that can be done. Raises UsageError,
    BackendMissingError."""
    if recovery is None:
        return None
    recovery_module.expect_library()
    if not isinstance(sink, SaveFile):
        raise UsageError("recovery data needs an archive with a name")
    return sink


def _beside(stream: bytes, sources: Iterable[Source]) -> Iterator[Source]:
    """Pass sources on. Raises UsageError where the stream's member cannot be in one archive with them."""
    reason = why_unsafe(stream)
    if reason:
        raise UsageError(f"{display(stream)} is no name for standard input: {reason}")
    above = set(parents(stream))
    for source in sources:
        is_in_the_way = source.path in above and not stat.S_ISDIR(source.stat.st_mode)
        if source.path == stream or is_in_the_way or source.path.startswith(stream + b"/"):
            raise UsageError(f"{display(stream)} would be in the archive twice: give standard input another name")
        yield source


def find_sources(
    roots: Roots,
    paths: Iterable[str],
    listed: Iterable[bytes],
    filters: Filters,
    observer: Observer,
    leave_out: Iterable[tuple[int, int]] = (),
) -> Iterator[Source]:
    """What packing these paths would pack, in path order; readable while `roots` is open."""
    walker = Walker(filters, observer, leave_out)
    yield from walker.walk(roots.point(os.fsencode(path)) for path in paths)
    yield from walker.walk_listed(roots.point(path, listed=True) for path in listed)


def new_packer(
    sink: Sink,
    preset: str,
    backend: str | None,
    jobs: int | None,
    observer: Observer,
    model: str | None = None,
    *,
    verify: bool = False,
    settings: Mapping[str, int | str] | None = None,
    max_time: float | None = None,
    kept: Kept | None = None,
    change: Change | None = None,
) -> Packer:
    """A packer set up by preset, model and environment (SOURCE_DATE_EPOCH)."""
    found: ModelFile | None = None
    if model is None and backend is not None and registry.needs_model(backend):
        predictor = registry.predictor(backend)
        model = registry.ask(backend, lambda: predictor.own_model(settings or {}))
        found = NO_MODEL if model is None and not predictor.needs_model else None
    if model is not None:
        found = _model(model)
    chosen = resolve(preset, backend, found, is_verified=verify, settings=settings)
    jobs = jobs or default_jobs()
    return Packer(
        sink, chosen, jobs=jobs, observer=observer, epoch=_epoch(), most_seconds=max_time, kept=kept, change=change
    )


def _model(text: str) -> ModelFile:
    """The model that text names, its content checked. Raises BackendMissingError, UsageError."""
    from lmarc.models import find, verify

    found = find.resolve(text)
    verify.checked(found, found.sha256)
    return found


def compress(data: bytes, *, preset: str = DEFAULT_PRESET, backend: str | None = None) -> bytes:
    """An archive, as bytes, whose one member `data` is the data.

    >>> import lmarc
    >>> lmarc.decompress(lmarc.compress(b"to be or not to be"))
    b'to be or not to be'
    """
    sink = io.BytesIO()
    packer = new_packer(sink, preset, backend, 1, Observer())
    try:
        packer.pack_bytes(DATA_NAME, data)
        packer.finish()
    except BaseException:
        packer.abandon()
        raise
    return sink.getvalue()


def _epoch() -> int | None:
    """SOURCE_DATE_EPOCH: no time in the archive is later (https://reproducible-builds.org/specs/source-date-epoch)."""
    value = os.environ.get("SOURCE_DATE_EPOCH")
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"SOURCE_DATE_EPOCH is {value!r}, not a number of seconds") from None


@contextmanager
def _destination(output: str | os.PathLike[str] | Sink, force: bool) -> Iterator[tuple[Sink, list[tuple[int, int]]]]:
    if not isinstance(output, (str, os.PathLike)):
        yield output, _identity(output)
    elif _is_stream(output):
        # /dev/null, a FIFO: there is no name to be given when all is written.
        with open(output, "wb") as file:
            yield file, []
    else:
        with SaveFile(os.path.realpath(output), replace=force) as file:
            yield file, file.identities


def _kept(last: ExitStack, sink: Sink, is_slow: bool, resume: bool, force: bool) -> Kept | None:
    """Where coded chunks are kept, if that is asked for or worth it; `last` closes it."""
    if not isinstance(sink, SaveFile):
        if resume:
            raise UsageError("--resume needs an archive with a name")
        return None
    if not (resume or is_slow):
        return None
    kept = open_kept(sink.beside(_KEPT), resume=resume, force=force)
    return None if kept is None else last.enter_context(kept)


def _identities(path: str) -> list[tuple[int, int]]:
    """Device and inode of what is at a path, if anything is."""
    try:
        info = os.lstat(path)
    except OSError:
        return []
    return [(info.st_dev, info.st_ino)]


def _identity(sink: Sink) -> list[tuple[int, int]]:
    """Device and inode of the regular file behind a sink: not to be packed into itself."""
    try:
        info = os.fstat(sink.fileno())  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return []
    return [(info.st_dev, info.st_ino)] if stat.S_ISREG(info.st_mode) else []


def _is_stream(path: str | os.PathLike[str]) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)
