"""An archive without what nothing in it refers to any more, chunk by chunk, none coded anew."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from lmarc._version import __version__
from lmarc.archive.pack import CHECKPOINT_CONTENT, CHECKPOINT_INDEX
from lmarc.container.header import Header
from lmarc.container.index import Chunk, Member
from lmarc.container.reader import ContainerReader
from lmarc.container.writer import ContainerWriter, Sink


@dataclass
class CompactResult:
    """Bytes of the archive before and after, and of content that is still there though no member has it: it shares
    chunks with what members have."""

    before: int = 0
    after: int = 0
    dead: int = 0


def compact(reader: ContainerReader, sink: Sink) -> CompactResult:
    """Write a whole archive anew: its members, and the chunks that hold any content of theirs. Raises DamagedError."""
    runs = sorted({(member.start, member.end) for member in reader.members if member.stored_size})
    kept = [chunk for chunk in reader.chunks if _is_used(chunk, runs)]
    header, places = _header(reader, kept)
    writer = ContainerWriter(sink, header)
    starts: list[int] = []
    moved: list[int] = []
    members = sorted(reader.members, key=lambda member: member.end if member.stored_size else 0)
    at = 0
    for chunk in kept:
        check, payload = reader.read_chunk(chunk)
        new = writer.add_chunk(places[chunk.codec], chunk.size, check, bytes(payload))
        starts.append(chunk.start)
        moved.append(new.start - chunk.start)
        while at < len(members) and members[at].end <= chunk.end:
            writer.add_member(_moved(members[at], starts, moved))
            at += 1
        if writer.pending_content >= CHECKPOINT_CONTENT or writer.pending_index >= CHECKPOINT_INDEX:
            writer.checkpoint()
    for member in members[at:]:
        writer.add_member(_moved(member, starts, moved))
    writer.close()
    live = sum(end - start for start, end in runs)
    return CompactResult(reader.size, writer.offset, sum(chunk.size for chunk in kept) - live)


def _is_used(chunk: Chunk, runs: list[tuple[int, int]]) -> bool:
    """Whether one of the runs, which do not overlap, has a part of it."""
    after = bisect_right(runs, (chunk.end, 0))
    return after > 0 and runs[after - 1][1] > chunk.start


def _moved(member: Member, starts: list[int], moved: list[int]) -> Member:
    if not member.stored_size:
        return member
    return member._replace(start=member.start + moved[bisect_right(starts, member.start) - 1])


def _header(reader: ContainerReader, kept: list[Chunk]) -> tuple[Header, dict[int, int]]:
    """A header with what these chunks need, and the new places of backends."""
    used = sorted({chunk.codec for chunk in kept})
    options = {key: value for key, value in reader.header.options.items() if key != "models"}
    refs = [reader.header.backends[place] for place in used]
    header, places = Header(__version__, (), options).joined(refs, reader.header.models)
    return header, dict(zip(used, places, strict=True))
