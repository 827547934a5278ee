"""Extraction: members onto disk, each under its name only when it is complete and verified."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field

from lmarc.archive import fs
from lmarc.archive.decode import ChunkDecoder, Delivery, MemberSink
from lmarc.archive.kept import Kept, open_kept
from lmarc.archive.observer import Observer
from lmarc.archive.owners import number_of
from lmarc.archive.paths import display, unsafe_members
from lmarc.archive.salvage import Piece, Salvage
from lmarc.archive.target import Target
from lmarc.container.index import RESTORED_MODE, Member
from lmarc.errors import DamagedError, LmarcError, TargetExistsError, UnsafeMemberError

_BLOCK = 1 << 20
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class ExtractOptions:
    """How to treat what is there, and whether to restore owners (which needs the rights to). `resume` takes what is
    there and complete for the work of an interrupted extraction. `keep_going` writes also what is left of damaged
    files."""

    force: bool = False
    skip_existing: bool = False
    resume: bool = False
    owner: bool = False
    keep_going: bool = False


@dataclass
class ExtractResult:
    """What an extraction has done. `failed` maps member paths to what went wrong.

    With `keep_going`, `rests` maps paths of damaged files to those of what is left of them, `unnamed` has paths of
    content that no name is left for, and `unwritten` what of both could not be written, and why.
    """

    members: int = 0
    content: int = 0
    existing: int = 0
    failed: dict[bytes, Exception] = field(default_factory=dict)
    rests: dict[bytes, bytes] = field(default_factory=dict)
    unnamed: list[bytes] = field(default_factory=list)
    unwritten: dict[bytes, Exception] = field(default_factory=dict)


class Extractor:
    """Extracts members of one archive below a directory."""

    def __init__(self, decoder: ChunkDecoder, root: str, options: ExtractOptions, observer: Observer) -> None:
        self._decoder = decoder
        self._root = root
        self._options = options
        self._observer = observer
        # Directory descriptors are shared and closed when many are open: whoever uses one holds this.
        self._lock = threading.Lock()
        # What is being made under a temporary name, noted before it is and until it has its own: name, and directory.
        self._temporaries: dict[bytes, bytes] = {}
        # Members that an interrupted extraction has completed.
        self._complete: set[bytes] = set()
        # Hard links of the archive by the files they link to, where they matter.
        self._links: dict[bytes, list[bytes]] = {}
        # With force: what has been given a name.
        self._named: set[tuple[int, int]] = set()
        self.result = ExtractResult()

    def run(
        self, members: Iterable[Member], everything: Iterable[Member], jobs: int, unnamed: Iterable[Piece] = ()
    ) -> ExtractResult:
        """Extract members; `everything` are all of the archive, where hard links find their files. `unnamed` is written
        too, where it can be decoded.

        Raises TargetExistsError before anything is written if something would be overwritten without leave.
        """
        everything = list(everything)
        chosen = self._without_unsafe(list(members), everything)
        directories = {member.path: member for member in chosen if member.kind == "dir"}
        label = self._decoder.identity()
        self._target = Target(self._root, label, directories.keys())
        try:
            if self._options.resume:
                self._complete = self._find_complete(chosen, everything)
                for member in everything:
                    if member.kind == "hardlink":
                        self._links.setdefault(member.target, []).append(member.path)
            selected = chosen
            chosen = [member for member in self._without_existing(chosen) if member.path not in self.result.failed]
            if self._options.resume:
                for member in directories.values():
                    self._guard(member, self._open_again)
                for member in selected:
                    if member.path in self._complete and member.kind == "file":
                        self._guard(member, self._restore_again)
            if self._options.force:
                for member in directories.values():
                    self._guard(member, self._clear_way)
            files, links = self._resolve(chosen, everything)
            kept = os.path.join(self._root, f".lmarc-{label}.kept")
            with self._keeping(files, kept, len(selected) == len(everything)):
                self._deliver(files, jobs)
                if self._options.keep_going:
                    self._salvage(files, everything, unnamed)
            for member in links:
                self._guard(member, self._make_hardlink)
            for member in chosen:
                if member.kind == "symlink":
                    self._guard(member, self._make_symlink)
            self._finish_directories(directories.values())
        except BaseException:
            # Interrupted: leave nothing half made, and no directory closed to its owner.
            with self._lock:
                self._remove_temporaries()
            made = [directories[path] for path in self._target.made]
            self._finish_directories(made)
            raise
        finally:
            with self._lock:
                self._target.close()
        done = [member for member in chosen if member.path not in self.result.failed]
        self.result.members = len(done)
        self.result.content = sum(member.size for member in done)
        return self.result

    @contextmanager
    def _keeping(self, files: list[Member], path: str, are_all: bool) -> Iterator[None]:
        """Keep what a predictor decodes in a file, until all is done."""
        kept: Kept | None = None
        if self._decoder.is_slow(files) or (self._options.resume and os.path.lexists(path)):
            kept = open_kept(path, resume=self._options.resume, force=self._options.force)
        with nullcontext() if kept is None else kept:
            if kept is not None and self._options.resume:
                # Whoever is at the same work holds the same lock.
                self._target.remove_leftovers({member.path.rpartition(b"/")[0] for member in files})
            self._decoder.kept = kept
            yield
            # A full disk, say, or a model that is not here: what has been decoded is of use for the next time.
            is_of_use = any(not isinstance(error, DamagedError) for error in self._undelivered.values())
            if kept is not None and (is_of_use or (self._options.resume and not are_all)):
                kept.stay()
        self._decoder.kept = None

    def _deliver(self, files: list[Member], jobs: int) -> None:
        delivery = Delivery(self._decoder, self._open_sink, self._observer, read_back=self._read_back)
        delivery.run(files, jobs)
        self._undelivered = delivery.failed
        self.result.failed.update(delivery.failed)

    def _open_sink(self, member: Member) -> FileSink:
        return FileSink(member, self)

    def _salvage(self, files: list[Member], everything: list[Member], unnamed: Iterable[Piece]) -> None:
        taken = (member.path for member in everything)
        keep_existing = self._options.skip_existing or self._options.resume
        salvage = Salvage(
            self._decoder, self._open_sink, self._read_back, self._observer, taken, keep_existing=keep_existing
        )
        salvage.run(files, self.result.failed, unnamed)
        self.result.rests, self.result.unnamed = salvage.rests, salvage.unnamed
        self.result.unwritten = salvage.unwritten

    def _find_complete(self, chosen: list[Member], everything: list[Member]) -> set[bytes]:
        """The members but directories that are on disk just as in the archive."""
        # Comparing walks trees, which nothing else here does.
        from lmarc.archive.compare import is_same

        by_path = {member.path: member for member in everything}
        root = self._target.directory(b"")
        there = (member for member in chosen if member.kind != "dir" and self._is_there(member.path))
        return {member.path for member in there if is_same(member, by_path, root)}

    def _open_again(self, member: Member) -> None:
        """Let members into a directory that was closed when the extraction was interrupted, and see to its end."""
        info = self._target.existing(member.path)
        if info is None or stat.S_IMODE(info.st_mode) not in (0o700, member.mode & RESTORED_MODE):
            return
        fd = self._target.directory(member.path, create=False)
        os.fchmod(fd, 0o700)
        self._target.made.add(member.path)

    def _restore_again(self, member: Member) -> None:
        """Mode and time of a file whose content is there."""
        above, name = self._target.parent(member.path)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            # With a name that is not of this archive, mode and time are that one's, too.
            info = os.fstat(fd)
            if info.st_nlink == 1 + sum(self._is_file(path, info) for path in self._links.get(member.path, ())):
                self.restore(fd, member)
        finally:
            os.close(fd)

    def _without_unsafe(self, chosen: list[Member], everything: list[Member]) -> list[Member]:
        # All are looked at: what makes a member unsafe may be another that was not chosen.
        unsafe = unsafe_members(everything)
        for member in chosen:
            if member.path in unsafe:
                self._fail(member.path, UnsafeMemberError(f"refused: {unsafe[member.path]}"))
        return [member for member in chosen if member.path not in unsafe]

    def _without_existing(self, members: list[Member]) -> list[Member]:
        """Members to extract in view of what is there already."""
        if self._options.force:
            self.result.existing += len(self._complete)
            return [member for member in members if member.path not in self._complete]
        tops: dict[bytes, bool] = {}
        out = []
        for member in members:
            top = member.path.partition(b"/")[0]
            if top not in tops:
                tops[top] = self._exists(top)
            if not tops[top] or not self._is_in_the_way(member):
                out.append(member)
            elif self._options.skip_existing or member.path in self._complete:
                self.result.existing += 1
            else:
                what = display(member.path)
                raise TargetExistsError(
                    f"{what} exists already (--force replaces, --skip-existing keeps what is there, --resume goes on)"
                )
        return out

    def _is_file(self, path: bytes, info: os.stat_result) -> bool:
        """Whether a path is a name of that file."""
        try:
            there = self._target.existing(path)
        except (LmarcError, OSError):
            return False
        return there is not None and os.path.samestat(there, info)

    def _is_there(self, path: bytes) -> bool:
        """Whether something stands at a path, as far as can be told without going through a link."""
        try:
            return self._target.existing(path) is not None
        except (LmarcError, OSError):
            return False

    def _exists(self, path: bytes) -> bool:
        try:
            return self._target.existing(path) is not None
        except OSError:
            # Whatever it is, the members concerned will fail with it, and only they.
            return True

    def _is_in_the_way(self, member: Member) -> bool:
        try:
            info = self._target.existing(member.path)
        except (LmarcError, OSError) as error:
            self._fail(member.path, error)
            return False
        return info is not None and not (member.kind == "dir" and stat.S_ISDIR(info.st_mode))

    def _resolve(self, chosen: list[Member], everything: list[Member]) -> tuple[list[Member], list[Member]]:
        """Regular files to write and hard links to make; a link whose file is not among them becomes a file."""
        files = {member.path: member for member in chosen if member.kind == "file"}
        links: list[Member] = []
        hardlinks = [member for member in chosen if member.kind == "hardlink"]
        sources = {member.path: member for member in everything} if hardlinks else {}
        stands_for: dict[bytes, bytes] = {}
        for member in hardlinks:
            source = sources.get(member.target)
            if source is None or source.kind != "file":
                self._fail(member.path, LmarcError(f"the file it links to, {display(member.target)}, is lost"))
            elif member.target in files or member.target in self._complete:
                links.append(member)
            elif member.target in stands_for:
                links.append(member._replace(target=stands_for[member.target]))
            else:
                stands_for[member.target] = member.path
                files[member.path] = source._replace(path=member.path)
        return list(files.values()), links

    def _guard(self, member: Member, step: Callable[[Member], None]) -> None:
        try:
            step(member)
        except (LmarcError, OSError) as error:
            self._remove_temporaries()
            self._fail(member.path, error)

    def _fail(self, path: bytes, error: Exception) -> None:
        self.result.failed[path] = error
        self._observer.failed(path, error)

    def _clear_way(self, member: Member) -> None:
        above, name = self._target.parent(member.path)
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=above)

    def _finish_directories(self, members: Iterable[Member]) -> None:
        # What is inside first: making something in a directory changes its time, and its mode may forbid it.
        for member in sorted(members, key=lambda member: member.path, reverse=True):
            if member.path not in self.result.failed:
                self._guard(member, self._finish_directory)

    def _remove_temporaries(self) -> None:
        for temporary, directory in self._temporaries.items():
            with suppress(OSError, LmarcError):
                os.unlink(temporary, dir_fd=self._target.directory(directory, create=False))
        self._temporaries.clear()

    def _place(self, member: Member) -> tuple[int, bytes, bytes]:
        """Where a member goes: its directory's descriptor, its name, and a temporary name, noted. Needs the lock."""
        above, name = self._target.parent(member.path)
        temporary = self._target.temporary_name()
        self._temporaries[temporary] = member.path.rpartition(b"/")[0]
        return above, name, temporary

    def _finish_directory(self, member: Member) -> None:
        self._observer.member(member.path)
        # Most have been made for what is in them; the others are made here. What was there before keeps its mode.
        fd = self._target.directory(member.path)
        if member.path in self._target.made or self._options.force:
            self.restore(fd, member)

    def _make_hardlink(self, member: Member) -> None:
        self._observer.member(member.path)
        if member.target in self.result.failed:
            raise LmarcError(f"the file it links to, {display(member.target)}, could not be extracted")
        source_above, source = self._target.parent(member.target)
        source_above = os.dup(source_above)
        try:
            above, name, temporary = self._place(member)
            os.link(source, temporary, src_dir_fd=source_above, dst_dir_fd=above, follow_symlinks=False)
            self._name(above, name, temporary, is_new=member.target not in self._complete)
        finally:
            os.close(source_above)

    def _make_symlink(self, member: Member) -> None:
        self._observer.member(member.path)
        above, name, temporary = self._place(member)
        os.symlink(member.target, temporary, dir_fd=above)
        if self._options.owner:
            uid, gid = number_of(member.owner)
            os.chown(temporary, uid, gid, dir_fd=above, follow_symlinks=False)
        os.utime(temporary, ns=(member.mtime_ns, member.mtime_ns), dir_fd=above, follow_symlinks=False)
        self._name(above, name, temporary)

    def _read_back(self, member: Member) -> Iterator[memoryview]:
        """The stored content of a file that has been extracted."""
        with self._lock:
            above, name = self._target.parent(member.path)
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            for position, length in member.data_runs():
                end = position + length
                while position < end and (block := os.pread(fd, min(_BLOCK, end - position), position)):
                    yield memoryview(block)
                    position += len(block)
        finally:
            os.close(fd)

    def create(self, member: Member) -> tuple[int, bytes]:
        """A new file beside where the member goes: its descriptor and its name. From any thread."""
        with self._lock:
            above, name, temporary = self._place(member)
            # Better now than after decoding: a name the file system refuses, or one that has been taken meanwhile.
            with suppress(FileNotFoundError):
                os.stat(name, dir_fd=above, follow_symlinks=False)
                if not self._options.force:
                    raise TargetExistsError("something stands where it should go")
            return os.open(temporary, _CREATE, 0o600, dir_fd=above), temporary

    def finish(self, member: Member, temporary: bytes) -> None:
        """Give a complete file its name. From any thread."""
        with self._lock:
            self._name(*self._target.parent(member.path), temporary)

    def remove(self, member: Member, temporary: bytes) -> None:
        """Remove an incomplete file. From any thread."""
        with self._lock, suppress(OSError):
            os.unlink(temporary, dir_fd=self._target.parent(member.path)[0])
            self._temporaries.pop(temporary, None)

    def _name(self, above: int, name: bytes, temporary: bytes, *, is_new: bool = True) -> None:
        """Give what is complete its name, or remove it. Replaces only where that was asked for. Needs the lock.

        It is not new where this extraction has not made it, but its name alone.
        """
        try:
            if self._options.force:
                self._replace(above, name, temporary, is_new)
            elif not _link(above, temporary, name):
                os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
                raise TargetExistsError("something stands where it should go") from error
            raise
        finally:
            # Also after success: a link leaves the temporary name, as does renaming onto another name of the same file.
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=above)
            self._temporaries.pop(temporary, None)

    def _replace(self, above: int, name: bytes, temporary: bytes, is_new: bool) -> None:
        """Rename over what stands there, unless that was made for another member: two names may be one here."""
        mine = os.stat(temporary, dir_fd=above, follow_symlinks=False)
        with suppress(FileNotFoundError):
            there = os.stat(name, dir_fd=above, follow_symlinks=False)
            key = there.st_dev, there.st_ino
            if key in self._named and not os.path.samestat(mine, there):
                raise TargetExistsError("another member of the archive has this name here")
        os.rename(temporary, name, src_dir_fd=above, dst_dir_fd=above)
        if is_new:
            self._named.add((mine.st_dev, mine.st_ino))

    def restore(self, fd: int, member: Member) -> None:
        """Set owner (on request), mode and time, in the order that keeps each."""
        if self._options.owner:
            os.fchown(fd, *number_of(member.owner))
        os.fchmod(fd, member.mode & RESTORED_MODE)
        os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))


def _link(above: int, temporary: bytes, name: bytes) -> bool:
    """Link without replacing; False where the file system has no links of this kind, and nothing stands there."""
    try:
        os.link(temporary, name, src_dir_fd=above, dst_dir_fd=above, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=above, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        return False
    return True


class FileSink(MemberSink):
    """Writes a regular file under a temporary name; holes stay holes."""

    def __init__(self, member: Member, extractor: Extractor) -> None:
        super().__init__(member)
        self._extractor = extractor
        self._fd, self._temporary = extractor.create(member)

    def put(self, data: memoryview, offset: int) -> None:
        """Write data at offset."""
        fs.write_at(self._fd, data, offset)

    def commit(self) -> None:
        """Give the file its size, mode and time, then its name."""
        if self.member.sparse is not None:
            os.ftruncate(self._fd, self.member.size)
        self._extractor.restore(self._fd, self.member)
        fd, self._fd = self._fd, -1
        os.close(fd)
        temporary, self._temporary = self._temporary, b""
        self._extractor.finish(self.member, temporary)

    def discard(self) -> None:
        """Remove the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)
        if self._temporary:
            self._extractor.remove(self.member, self._temporary)
