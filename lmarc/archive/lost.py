"""Which bytes of a file an archive has lost."""

from __future__ import annotations

from collections.abc import Collection

from lmarc.container.index import Member
from lmarc.container.reader import ContainerReader
from lmarc.errors import LostContentError

Range = tuple[int, int]
#: Ranges that a message has.
_SHOWN = 8


def with_ranges(error: Exception, container: ContainerReader, broken: Collection[int], member: Member) -> Exception:
    """The error that a regular file's content ended with, saying also which bytes of it are lost.

    `broken` are the offsets of the chunks that cannot be decoded. Where all can, the whole is not what was packed.
    """
    ranges = file_ranges(member, missing(container, broken, member.start, member.end)) or [(0, member.size)]
    parts = [f"{begin}-{end - 1}" for begin, end in ranges[:_SHOWN] if end > begin]
    if len(ranges) > _SHOWN:
        parts.append(f"and {len(ranges) - _SHOWN} more ranges")
    said = f"; lost: bytes {', '.join(parts)} of {member.size}" if parts else ""
    return LostContentError(f"{error}{said}", tuple(ranges))


def missing(container: ContainerReader, broken: Collection[int], start: int, end: int) -> list[Range]:
    """The parts of start to end of the content stream that no whole chunk holds, in order."""
    out: list[Range] = []
    position = start
    for chunk in container.chunks_of(start, end):
        if chunk.offset not in broken:
            _add(out, position, chunk.start)
            position = chunk.end
    _add(out, position, end)
    return out


def file_ranges(member: Member, stream: list[Range]) -> list[Range]:
    """Parts of the content stream as byte ranges of the file whose content they are. Holes are in none."""
    out: list[Range] = []
    start, at = member.start, 0
    for offset, length in member.data_runs():
        end = start + length
        while at < len(stream) and stream[at][0] < end:
            _add(out, offset + max(stream[at][0] - start, 0), offset + min(stream[at][1] - start, length))
            if stream[at][1] > end:
                break
            at += 1
        start = end
    return out


def _add(ranges: list[Range], begin: int, end: int) -> None:
    """Add a range, joined with the last one where that ends there; nothing if it is empty."""
    if begin >= end:
        return
    if ranges and ranges[-1][1] == begin:
        begin = ranges.pop()[0]
    ranges.append((begin, end))
