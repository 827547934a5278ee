"""Which bytes of a file an archive has lost."""

from __future__ import annotations

from collections.abc import Mapping

from lmarc.container.index import Chunk, Member
from lmarc.container.reader import ContainerReader
from lmarc.errors import DamagedError, LmarcError, LostContentError

Range = tuple[int, int]
#: Ranges that a message has, and that an error keeps: behind them, all up to the last one counts as lost.
_SHOWN = 8
_KEPT = 1000
#: Chunks looked at for ranges, in all: a made archive has many files over the same chunks.
_STEPS = 1 << 20


class Losses:
    """What is lost of members, of an archive some of whose chunks cannot be decoded: `broken`, by their offsets."""

    def __init__(self, container: ContainerReader, broken: Mapping[int, LmarcError]) -> None:
        self._container, self._broken = container, broken
        self._known: dict[tuple[int, int, tuple[int, ...] | None], tuple[Range, ...]] = {}
        self._steps = _STEPS + 16 * len(container.chunks)

    def error(self, member: Member, error: LmarcError) -> LmarcError:
        """The error that a regular file's content ended with, saying also which bytes of it are lost.

        Where nothing is damaged but a backend is not here, that remains the error. Where all chunks can be decoded, the
        whole is not what was packed.
        """
        errors = self._errors(member)
        if any(error is why for why in errors):
            error = next((why for why in errors if isinstance(why, DamagedError)), error)
        if not isinstance(error, DamagedError):
            return error
        ranges = self._ranges(member) or ((0, member.size),)
        parts = [f"{begin}-{end - 1}" for begin, end in ranges[:_SHOWN] if end > begin]
        if len(ranges) > _SHOWN:
            parts.append(f"and {len(ranges) - _SHOWN} more ranges")
        said = f"; lost: bytes {', '.join(parts)} of {member.size}" if parts else ""
        return LostContentError(f"{error}{said}", ranges)

    def _errors(self, member: Member) -> list[LmarcError]:
        chunks = self._chunks_of(member)
        return [self._broken[chunk.offset] for chunk in chunks if chunk.offset in self._broken]

    def _chunks_of(self, member: Member) -> list[Chunk]:
        if not member.stored_size or self._steps <= 0:
            return []
        chunks = self._container.chunks_of(member.start, member.end)
        self._steps -= len(chunks)
        return chunks

    def _ranges(self, member: Member) -> tuple[Range, ...]:
        key = (member.start, member.size, member.sparse)
        if key not in self._known:
            ranges = file_ranges(member, self._missing(member))
            if len(ranges) > _KEPT:
                ranges[_KEPT - 1 :] = [(ranges[_KEPT - 1][0], ranges[-1][1])]
            self._known[key] = tuple(ranges)
        return self._known[key]

    def _missing(self, member: Member) -> list[Range]:
        """The parts of a member's run of the content stream that no chunk holds that is whole or only not decoded."""
        out: list[Range] = []
        position = member.start
        for chunk in self._chunks_of(member):
            if not isinstance(self._broken.get(chunk.offset), DamagedError):
                _add(out, position, chunk.start)
                position = chunk.end
        _add(out, position, member.end)
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
