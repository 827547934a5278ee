"""Walking sources: from paths to what shall become members, in path order, with nothing read yet."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from lmarc.archive import fs
from lmarc.archive.filters import Filters, IgnoreChain, Selector
from lmarc.archive.observer import Observer
from lmarc.archive.paths import display, parents
from lmarc.errors import UsageError

_SPECIAL = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
_MAX_GITIGNORE = 1 << 20
#: So many entries of a directory are looked at together.
_BLOCK = 512


@dataclass(slots=True)
class Source:
    """Something on disk that shall become a member: `path` in the archive, `location` relative to descriptor `root`.

    The first `given` bytes of the location are the user's own words and may lead through links; the rest was found by
    walking and may not.
    """

    path: bytes
    root: int
    location: bytes
    given: int
    stat: os.stat_result


@dataclass(frozen=True)
class StartPoint:
    """A path to begin at. `path` is its member path; empty: its children are members without a prefix."""

    path: bytes
    root: int
    location: bytes


class Walker:
    """Walks start points depth first, each directory's entries in byte order.

    Special files are left out with a notice; what cannot be read is reported as skipped. `leave_out` names files, by
    device and inode, that are not to be packed: the archive being written.
    """

    def __init__(self, filters: Filters, observer: Observer, leave_out: Iterable[tuple[int, int]] = ()) -> None:
        self._selector = Selector(filters)
        self._gitignore = filters.gitignore
        self._observer = observer
        self._leave_out = frozenset(leave_out)
        self._walked: set[bytes] = set()
        self._above: set[bytes] = set()
        self._filters_nothing = filters == Filters()

    def walk(self, points: Iterable[StartPoint]) -> Iterator[Source]:
        """Yield the start points and all below them. One that cannot be read is reported as skipped.

        Raises UsageError where two start points would give the same member.
        """
        for point in points:
            if point.path:
                self._claim(point.path)
            source = self._look(point)
            if source is None:
                continue
            if self._is_left_out(source):
                raise UsageError(f"{display(point.path)} is the archive to be written")
            if not point.path or self._selector.takes(point.path, stat.S_ISDIR(source.stat.st_mode), None):
                yield from self._tree(source)

    def _claim(self, path: bytes) -> None:
        """Note that a path and all below it are being walked. Raises UsageError if some of that was before."""
        lineage = {path, *parents(path)}
        if path in self._above or not self._walked.isdisjoint(lineage):
            raise UsageError(f"{display(path)} would be in the archive twice")
        self._walked.add(path)
        self._above |= lineage

    def walk_listed(self, points: Iterable[StartPoint]) -> Iterator[Source]:
        """Yield what the points name, without what is below; each once, and not what walk() has been through.

        What lies below something listed that is not a directory was reached through a link: it is reported as skipped.
        """
        listed: dict[bytes, bool] = {}
        above: set[bytes] = set()
        for point in points:
            lineage = list(parents(point.path))
            if not point.path or point.path in listed or not self._walked.isdisjoint([point.path, *lineage]):
                continue
            source = self._look(point)
            if source is None or not self._is_wanted(source):
                continue
            is_directory = stat.S_ISDIR(source.stat.st_mode)
            if any(listed.get(path) is False for path in lineage) or (not is_directory and point.path in above):
                self._observer.skipped(point.path, "is listed both as a link and as what it leads to")
                continue
            listed[point.path] = is_directory
            above.update(lineage)
            yield source

    def _look(self, point: StartPoint) -> Source | None:
        try:
            info = fs.lstat(point.root, point.location)
            return Source(point.path, point.root, point.location, len(point.location), info)
        except OSError as error:
            self._observer.skipped(point.path or point.location, error.strerror or str(error))
            return None

    def _tree(self, top: Source) -> Iterator[Source]:
        # A stack of iterators instead of recursion: trees may be thousands of directories deep.
        chain = IgnoreChain(b"", None, None) if self._gitignore else None
        stack: list[tuple[Iterator[Source], IgnoreChain | None]] = [(iter([top]), chain)]
        while stack:
            source = next(stack[-1][0], None)
            if source is None:
                stack.pop()
                continue
            if not self._is_wanted(source):
                continue
            if source.path:
                yield source
            if stat.S_ISDIR(source.stat.st_mode):
                stack.append(self._list(source, stack[-1][1]))

    def _is_wanted(self, source: Source) -> bool:
        kind = stat.S_IFMT(source.stat.st_mode)
        if kind in _SPECIAL:
            self._observer.notice(source.path, f"{_SPECIAL[kind]} left out")
            return False
        if self._is_left_out(source):
            self._observer.notice(source.path, "is the archive being written, left out")
            return False
        return True

    def _is_left_out(self, source: Source) -> bool:
        return (source.stat.st_dev, source.stat.st_ino) in self._leave_out

    def _list(self, directory: Source, ignores: IgnoreChain | None) -> tuple[Iterator[Source], IgnoreChain | None]:
        """The entries of a directory that the filters take, in byte order, and the ignore rules for them."""
        try:
            fd = _open_checked(directory)
        except OSError as error:
            self._observer.skipped(directory.path, error.strerror or str(error))
            return iter(()), ignores
        out: list[bytes] = []
        prefix = directory.path + b"/" if directory.path else b""
        try:
            if ignores is not None:
                ignores = ignores.below(directory.path, _read_gitignore(fd))
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if self._filters_nothing or self._selector.takes(
                        prefix + name, entry.is_dir(follow_symlinks=False), ignores
                    ):
                        out.append(name)
        except OSError as error:
            self._observer.skipped(directory.path, error.strerror or str(error))
        finally:
            os.close(fd)
        out.sort()
        if not directory.path:
            for name in out:
                self._claim(name)
        return self._entries(directory, prefix, out), ignores

    def _entries(self, directory: Source, prefix: bytes, names: list[bytes]) -> Iterator[Source]:
        """Look at entries, some at a time: of a directory of a million, names are kept, not what stat tells of them."""
        for start in range(0, len(names), _BLOCK):
            block = names[start : start + _BLOCK]
            try:
                fd = _open_checked(directory)
            except OSError as error:
                for name in block:
                    self._observer.skipped(prefix + name, error.strerror or str(error))
                continue
            try:
                found = [(name, self._stat(fd, prefix, name)) for name in block]
            finally:
                os.close(fd)
            for name, info in found:
                if info is not None:
                    location = directory.location + b"/" + name
                    yield Source(prefix + name, directory.root, location, directory.given, info)

    def _stat(self, fd: int, prefix: bytes, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            self._observer.skipped(prefix + name, error.strerror or str(error))
            return None


def _open_checked(directory: Source) -> int:
    """Open a directory, and make sure that it is the one that was found: its path may lead elsewhere by now."""
    fd = fs.open_directory(directory.root, directory.location, follow=not directory.path)
    if not os.path.samestat(os.fstat(fd), directory.stat):
        os.close(fd)
        raise OSError(errno.ESTALE, "was replaced while packing")
    return fd


def _read_gitignore(fd: int) -> bytes | None:
    try:
        file = fs.open_file(fd, b".gitignore")
    except OSError:
        return None
    try:
        return os.read(file, _MAX_GITIGNORE)
    except OSError:
        return None
    finally:
        os.close(file)


class Roots:
    """Descriptors of the directories that sources are located from; a context manager around the whole pack."""

    def __init__(self) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self.here = os.open(".", flags)
        self.slash = os.open("/", flags)

    def __enter__(self) -> Roots:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.here)
        os.close(self.slash)

    def point(self, path: bytes, *, listed: bool = False) -> StartPoint:
        """The start point for a path as a user gives it.

        A relative path keeps its form ("a/b" becomes member a/b). An absolute one, or one that leaves the working
        directory, is stored from its last component, since what lies above says only where it was on this machine;
        from a list (`listed`) it keeps all components, as with tar. "." and "/" have no name: their children
        become members. A link with a slash behind it means the directory it leads to.
        """
        if not path or b"\0" in path:
            raise UsageError("an empty path or one with a NUL byte cannot be packed")
        absolute = path.startswith(b"/")
        parts = [part for part in os.path.normpath(path).split(b"/") if part not in (b"", b".")]
        named = [part for part in parts if part != b".."]
        if (absolute or len(named) < len(parts)) and not listed:
            parts = named[-1:] if parts and parts[-1] != b".." else [os.path.basename(os.path.realpath(path))]
        location = path.strip(b"/") if absolute else path.rstrip(b"/")
        if path.endswith(b"/") and location:
            location += b"/."
        root = self.slash if absolute else self.here
        return StartPoint(b"/".join(named if listed else parts), root, location or b".")
