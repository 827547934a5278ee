"""Recovery data: parity over the bytes of an archive, that puts right as much damage as there is parity.

It stands behind the archive's end, as frames that readers skip, and an index frame and a trailer that say the same as
before (FORMAT.md section 6.2).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from lmarc.archive.save import SaveFile
from lmarc.container import frames, wire
from lmarc.container.index import IndexFrame
from lmarc.container.reader import RECOVERY, ContainerReader
from lmarc.container.writer import trailer
from lmarc.errors import BackendMissingError, DamagedError, LmarcError, UsageError

#: Blocks of a stripe, parity not counted, and the most with it; stripes of a group; bytes of a block, least and most.
_DATA_BLOCKS = 200
_MOST_BLOCKS = 256
_STRIPES = 64
_LEAST_BLOCK, _MOST_BLOCK = 256, 4096
#: Parity blocks of a stripe, at least.
_LEAST_PARITY = 2
_CHECK_BYTES = 4
#: A parity frame's numbers and hash take no more.
_MOST_ROW = 128
_MOST_SHARE = _CHECK_BYTES * _MOST_BLOCKS * _STRIPES
_PIECE = 1 << 20
_MOST_PERCENT = 25.0

#: Bytes that can be searched, and of which slices are bytes.
Buffer = bytes | mmap.mmap


@dataclass(frozen=True)
class Group:
    """What some parity covers: `length` bytes from `start`, in blocks of `block` bytes, and their BLAKE3 hash.

    Of `stripes` stripes each has every block at that distance, `data` of them, those beyond the end zeros, and `parity`
    parity blocks.
    """

    start: int
    length: int
    block: int
    data: int
    parity: int
    hash: bytes

    @property
    def blocks(self) -> int:
        """How many blocks have bytes of the archive."""
        return -(-self.length // self.block)

    @property
    def stripes(self) -> int:
        """How many stripes there are."""
        return -(-self.blocks // self.data)

    @property
    def frames(self) -> int:
        """How many parity frames there are: one for each parity block of each stripe."""
        return self.stripes * self.parity

    @property
    def shares(self) -> int:
        """Of how many kinds the shares of the checks are: frame i has share i modulo that."""
        return min(self.frames, _MOST_BLOCKS)

    @property
    def needed(self) -> int:
        """How many different shares it takes to know the blocks' checks."""
        return max(self.shares // 2, 1)

    @property
    def share(self) -> int:
        """Bytes of the checks that a parity frame holds."""
        return -(-self.blocks * _CHECK_BYTES // self.needed)

    def block_of(self, part: Buffer | bytearray, number: int) -> bytes:
        """A block of the group's bytes, with zeros where there are none."""
        return bytes(part[number * self.block : (number + 1) * self.block]).ljust(self.block, b"\0")

    def is_sound(self) -> bool:
        """Whether it can be one."""
        numbers = (self.start, self.length, self.block, self.data, self.parity)
        return (
            all(wire.is_uint(number) for number in numbers)
            and self.length > 0
            and _LEAST_BLOCK <= self.block <= _MOST_BLOCK
            and self.data > 0
            and 0 < self.parity <= _MOST_BLOCKS - self.data
            and self.stripes <= _STRIPES
            and len(self.hash) == blake3.digest_size
        )


def _fec() -> Any:
    try:
        import zfec
    except ImportError:
        raise BackendMissingError("recovery data needs zfec: pip install 'lmarc[recovery]'") from None
    return zfec


def percent_of(text: str) -> float:
    """What --recovery says: 5 or 5%. Raises UsageError."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = 0.0
    if not 0 < value <= _MOST_PERCENT:
        raise UsageError(f"--recovery {text!r} is not a percentage from above 0 to {_MOST_PERCENT:g}")
    return value


def groups_for(data: Buffer, percent: float) -> list[Group]:
    """How to cover data with about so many percent of parity."""
    size = len(data)
    block = _LEAST_BLOCK
    while block < _MOST_BLOCK and size > block * 2 * _DATA_BLOCKS:
        block *= 2
    found = []
    span = block * _DATA_BLOCKS * _STRIPES
    for start in range(0, size, span):
        length = min(span, size - start)
        blocks = -(-length // block)
        most = min(_DATA_BLOCKS, blocks)
        stripes = -(-blocks // most)
        each = -(-blocks // stripes)
        parity = max(-(-int(each * percent * 100) // 10_000), _LEAST_PARITY)
        digest = blake3(data[start : start + length]).digest()
        found.append(Group(start, length, block, each, min(parity, _MOST_BLOCKS - each), digest))
    return found


def _checks(group: Group, part: Buffer) -> bytes:
    crcs = (wire.crc32(group.block_of(part, number)) for number in range(group.blocks))
    return b"".join(crc.to_bytes(_CHECK_BYTES, "little") for crc in crcs)


def _bodies(group: Group, data: Buffer) -> Iterator[bytes]:
    """The body of each parity frame of a group."""
    fec = _fec()
    part = data[group.start : group.start + group.length]
    checks = _checks(group, part)
    pieces = [checks[i : i + group.share].ljust(group.share, b"\0") for i in range(0, len(checks), group.share)]
    pieces += [bytes(group.share)] * (group.needed - len(pieces))
    shares = pieces if group.shares == 1 else fec.Encoder(group.needed, group.shares).encode(pieces)
    encoder = fec.Encoder(group.data, group.data + group.parity)
    wanted = [*range(group.data, group.data + group.parity)]
    numbers = [group.start, group.length, group.block, group.data, group.parity]
    for stripe in range(group.stripes):
        blocks = [group.block_of(part, stripe + group.stripes * i) for i in range(group.data)]
        for i, parity in enumerate(encoder.encode(blocks, wanted)):
            number = stripe * group.parity + i
            yield wire.pack_msgpack([*numbers, group.hash, number]) + shares[number % group.shares] + parity


def tail(data: Buffer, groups: list[Group], segments: list[int], stream_end: int) -> Iterator[bytes]:
    """What goes behind an archive that is whole: parity frames, and its end once more."""
    offset = len(data)
    for group in groups:
        for body in _bodies(group, data):
            head, body = frames.pack_frame(offset, RECOVERY, 0, 0, body)
            yield head
            yield body
            offset += len(head) + len(body)
    head, body = IndexFrame(stream_end, [], [], segments).to_frame(offset)
    yield head
    yield body
    yield trailer(len(head) + len(body))


@dataclass
class _Found:
    """What parity frames of a group hold that are whole: shares of the checks by number, parity blocks by stripe and
    number in it."""

    shares: dict[int, bytes]
    blocks: dict[int, dict[int, bytes]]


def find(data: Buffer) -> dict[Group, _Found]:
    """Parity frames that are whole, wherever they are: of all chains of groups the one that covers most."""
    found: dict[Group, _Found] = {}
    mark = frames.SYNC + bytes((RECOVERY,))
    at = data.find(mark)
    # Heads made to overlap would have the same bytes checked again and again.
    budget = 2 * len(data) + _PIECE
    while at >= 0 and budget > 0:
        after = at + 1
        try:
            head = frames.parse_head(at, data[at : at + frames.MAX_HEAD])
            budget -= head.stored
            after = _take_frame(data, at, head, found)
        except (LmarcError, TypeError):
            pass
        at = data.find(mark, after)
    by_end: dict[int, Group] = {}
    for group, known in found.items():
        end = group.start + group.length
        if end not in by_end or len(known.shares) > len(found[by_end[end]].shares):
            by_end[end] = group
    chain: list[Group] = []
    end = max(by_end, default=0)
    while end in by_end:
        chain.append(by_end[end])
        end = by_end[end].start
    return {group: found[group] for group in reversed(chain)}


def _take_frame(data: Buffer, at: int, head: frames.FrameHead, found: dict[Group, _Found]) -> int:
    """Take the parity frame that stands there, and return where it ends. Raises LmarcError, TypeError."""
    if head.stored > _MOST_ROW + 2 * _MOST_BLOCK + _MOST_SHARE:
        raise DamagedError("not a parity frame")
    body = data[at + head.size : at + head.total]
    frames.verify_body(head, body)
    row, rest = wire.parse_msgpack_prefix(body[:_MOST_ROW])
    if type(row) is not list or len(row) != 7 or type(row[5]) is not bytes or not wire.is_uint(row[6]):
        raise DamagedError("not a parity frame")
    group, number = Group(*row[:6]), row[6]
    start = min(len(body), _MOST_ROW) - len(rest)
    # What is covered stands before what covers it: that bounds it.
    if not group.is_sound() or number >= group.frames or group.start + group.length > at:
        raise DamagedError("not a parity frame")
    if len(body) - start != group.share + group.block:
        raise DamagedError("not a parity frame")
    known = found.setdefault(group, _Found({}, {}))
    known.shares[number % group.shares] = body[start : start + group.share]
    stripe = known.blocks.setdefault(number // group.parity, {})
    stripe[number % group.parity] = body[start + group.share :]
    return at + head.total


@dataclass
class RepairResult:
    """Blocks that were damaged, bytes that recovery data covers, and whether anything had to be put right."""

    blocks: int = 0
    covered: int = 0
    changed: bool = False


def repair(archive: str, target: SaveFile) -> RepairResult:
    """Write an archive as it was. Raises DamagedError where there is more damage than parity, or none to go by."""
    with open(archive, "rb") as file, _mapped(file.fileno()) as data:
        found = find(data)
        groups = list(found)
        if not groups or groups[0].start:
            raise DamagedError("there is no recovery data in it, or too little of it is left")
        covered = groups[-1].start + groups[-1].length
        for start in range(0, covered, _PIECE):
            target.write(data[start : min(start + _PIECE, covered)].ljust(min(_PIECE, covered - start), b"\0"))
        result = RepairResult(covered=covered)
        with _mapped(target.fileno(), write=True) as out:
            for group, parity in found.items():
                result.blocks += _repair(group, parity, out)
            end = covered
            where = _end_of(target.fileno())
            os.lseek(target.fileno(), covered, os.SEEK_SET)
            for piece in tail(out, groups, *where):
                target.write(piece)
                result.changed |= data[end : end + len(piece)] != piece
                end += len(piece)
        # What a later change has written is not covered.
        for start in range(end, len(data), _PIECE):
            target.write(data[start : start + _PIECE])
        result.changed |= result.blocks > 0
        if os.fstat(target.fileno()).st_size != max(end, len(data)):
            raise DamagedError("what was put right has not the size that it had")
        return result


def _mapped(fd: int, *, write: bool = False) -> mmap.mmap:
    try:
        return mmap.mmap(fd, 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
    except ValueError:
        raise DamagedError("the file is empty") from None


def _repair(group: Group, found: _Found, out: mmap.mmap) -> int:
    """Put right the blocks of a group, and return how many there were."""
    fec = _fec()
    part = bytearray(out[group.start : group.start + group.length])
    if blake3(part).digest() == group.hash:
        return 0
    if len(found.shares) < group.needed:
        raise DamagedError(f"of {group.shares} parts of the recovery data {len(found.shares)} are left, too few")
    numbers = sorted(found.shares)[: group.needed]
    shares = [found.shares[number] for number in numbers]
    checks = b"".join(_decoded(fec, group.needed, group.shares, numbers, shares))
    lost = [
        number
        for number in range(group.blocks)
        if wire.crc32(group.block_of(part, number)).to_bytes(_CHECK_BYTES, "little")
        != checks[number * _CHECK_BYTES : (number + 1) * _CHECK_BYTES]
    ]
    by_stripe: dict[int, list[int]] = {}
    for number in lost:
        by_stripe.setdefault(number % group.stripes, []).append(number)
    for stripe, numbers_lost in by_stripe.items():
        parity = len(found.blocks.get(stripe, ()))
        if len(numbers_lost) > parity:
            raise DamagedError(
                f"{len(lost)} blocks of {group.block} bytes are damaged, in one stripe {len(numbers_lost)}, "
                f"of which {parity} can be put right"
            )
    for stripe, numbers_lost in by_stripe.items():
        gone = {number // group.stripes for number in numbers_lost}
        kept = [i for i in range(group.data) if i not in gone]
        rows = sorted(found.blocks[stripe].items())[: len(gone)]
        numbers = [*kept, *(group.data + row for row, _ in rows)]
        blocks = [group.block_of(part, stripe + group.stripes * i) for i in kept]
        blocks += [block for _, block in rows]
        again = _decoded(fec, group.data, group.data + group.parity, numbers, blocks)
        for number in numbers_lost:
            start = number * group.block
            length = min(group.block, group.length - start)
            part[start : start + length] = again[number // group.stripes][:length]
    if blake3(part).digest() != group.hash:
        raise DamagedError("what was put right is not what was there")
    out[group.start : group.start + group.length] = bytes(part)
    return len(lost)


def _decoded(fec: Any, needed: int, total: int, numbers: list[int], blocks: list[bytes]) -> list[bytes]:
    """The first `needed` blocks, from any that many. The library wants each of the first ones in its place."""
    if total == 1 or numbers == [*range(needed)]:
        return blocks
    places: list[tuple[int, bytes] | None] = [None] * needed
    others = []
    for number, block in zip(numbers, blocks, strict=True):
        if number < needed:
            places[number] = (number, block)
        else:
            others.append((number, block))
    filled = [place if place is not None else others.pop() for place in places]
    return list(fec.Decoder(needed, total).decode([block for _, block in filled], [number for number, _ in filled]))


def _end_of(fd: int) -> tuple[list[int], int]:
    """Offsets of the index frames of a whole archive, and where its content stream ends."""
    # It moves the place in the file that writing goes on from.
    with os.fdopen(os.dup(fd), "rb") as file:
        reader = ContainerReader.open(file)
        if reader.damage:
            raise DamagedError(f"it is not whole: {reader.damage[0]}")
        return list(reader.indexes), reader.chunks[-1].end if reader.chunks else 0


def expect_library() -> None:
    """Raise BackendMissingError without zfec."""
    _fec()


def protect(target: SaveFile, percent: float) -> int:
    """Write recovery data behind an archive that has been written whole; returns how many bytes."""
    with _mapped(target.fileno()) as data:
        pieces = tail(data, groups_for(data, percent), *_end_of(target.fileno()))
        os.lseek(target.fileno(), 0, os.SEEK_END)
        size = 0
        for piece in pieces:
            target.write(piece)
            size += len(piece)
        return size
