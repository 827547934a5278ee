"""Content to payload and back, at one of two levels: `encode` and `decode`. spec/CM.md is the complete description."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lmarc.coding import branches, memory, model, segments, state
from lmarc.coding.contexts import TEXT
from lmarc.coding.knowledge import BUCKET_BYTES
from lmarc.coding.level import LEVELS, Level
from lmarc.coding.memory import Learned
from lmarc.coding.numbers import number, read_number
from lmarc.coding.segments import MOST_SEGMENTS, Segment, is_possible

__all__ = ["LEVELS", "MOST_BYTES", "decode", "encode", "memory_bound", "prepare"]

#: Longest content that can be coded in one piece.
MOST_BYTES = model.MOST_BYTES

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Buffer = bytes | bytearray | memoryview


def encode(data: Buffer, level: int = 1) -> bytes:
    """The payload of `data`, nothing for no data. Raises ValueError for more than `MOST_BYTES`."""
    if len(data) > MOST_BYTES:
        raise ValueError(f"{len(data)} bytes are too many for one piece, at most {MOST_BYTES}")
    if len(data) == 0:
        return b""
    text = np.frombuffer(data, dtype=np.uint8).copy()
    chosen = LEVELS[level]
    if not chosen.special:
        return _coded(text, [Segment(len(text), TEXT)], chosen)
    found = segments.find(text, _trial)
    _filter(text, found, forward=True)
    return _head(found) + _coded(text, found, chosen)


def decode(payload: Buffer, size: int, level: int = 1) -> bytes:
    """The `size` bytes of a payload; of a payload that `encode` did not make, any bytes of that number.

    Raises ValueError if the size is impossible, the head of the payload is, or the payload is longer than one of that
    many bytes could be or ends with a zero byte that `encode` would have left out.
    """
    if not 0 <= size <= MOST_BYTES:
        raise ValueError(f"impossible size: {size}")
    if size == 0:
        if len(payload):
            raise ValueError("a payload for no bytes")
        return b""
    chosen = LEVELS[level]
    found, start = [Segment(size, TEXT)], 0
    if chosen.special:
        found, start = _read_head(bytes(payload[: 1 + MOST_SEGMENTS * _MOST_HEAD]), size)
    code = np.frombuffer(payload, dtype=np.uint8)[start:].copy() if len(payload) > start else np.zeros(0, np.uint8)
    if len(code) and code[-1] == 0:
        raise ValueError("the payload ends with a zero byte")
    text = np.zeros(size, dtype=np.uint8)
    if len(code) > run(text, code, found, True, chosen, state.learned(chosen), state.knowledge()):
        raise ValueError("the payload goes on after its end")
    _filter(text, found, forward=False)
    return text.tobytes()


def prepare(level: int = 1) -> None:
    """Load the kernel of a level and what it starts from, compiling it first if that was never done on this machine."""
    _coded(np.zeros(1, dtype=np.uint8), [Segment(1, TEXT)], LEVELS[level])


def memory_bound(size: int, level: int = 1) -> int:
    """Most bytes that coding `size` bytes of content takes, content and code themselves not counted.

    The table of knowledge, which all threads share, is counted for each.
    """
    chosen = LEVELS[level]
    bits = memory.lengths(chosen, size)
    own = 4 * sum(memory.learned_lengths(chosen).values())
    return (1 << bits.slots) + 2 * (4 << bits.places) + own + state.BUCKETS * BUCKET_BYTES + (2 << 20)


def run(
    text: Bytes, code: Bytes, found: list[Segment], decoding: bool, level: Level, learned: Learned, knowledge: Bytes
) -> int:
    """One run of a level's kernel (see `model.build`) over whole content; `learned` changes."""
    rows, end = [], 0
    for segment in found:
        end += segment.length
        rows.append((end, segment.kind, segment.stride, segment.row))
    table = np.array(rows, dtype=np.int64)
    return model.kernel_of(level)(
        text, code, table, decoding, knowledge, learned, memory.fresh_memory(level, len(text)),
        memory.constant_tables(), model.scratch(level),
    )  # fmt: skip


def _coded(text: Bytes, found: list[Segment], level: Level) -> bytes:
    size = len(text)
    # No bit costs more than 18.1 bits, so the second room is always enough; the first nearly always is.
    for room in (size + size // 8 + 256, 19 * size + 256):
        code = np.zeros(room, dtype=np.uint8)
        end = run(text, code, found, False, level, state.learned(level), state.knowledge())
        if end != model.NO_ROOM:
            return code[:end].tobytes()
    raise AssertionError("a bit cost more than it can")


def _trial(sample: Bytes, segment: Segment) -> int:
    """What a sample costs as a segment of that kind."""
    text = sample.copy()
    whole = [segment._replace(length=len(text))]
    _filter(text, whole, forward=True)
    return len(_coded(text, whole, LEVELS[2]))


def _filter(text: Bytes, found: list[Segment], forward: bool) -> None:
    start = 0
    for segment in found:
        if segment.branches:
            piece = text[start : start + segment.length]
            (branches.make_absolute if forward else branches.make_relative)(piece)
        start += segment.length


# The head of a level 2 payload (spec/CM.md section 11): a count of segments, 0 for one of text, and for each its
# length, its kind and 16 more for branches, its stride, its row.
_BRANCHES = 16
_MOST_NUMBER = 4
_MOST_HEAD = _MOST_NUMBER + 1 + 1 + _MOST_NUMBER


def _head(found: list[Segment]) -> bytes:
    if len(found) == 1 and found[0].kind == TEXT:
        return b"\0"
    out = bytearray([len(found)])
    for segment in found:
        out += number(segment.length) + bytes([segment.kind + _BRANCHES * segment.branches, segment.stride])
        out += number(segment.row)
    return bytes(out)


def _read_head(head: bytes, size: int) -> tuple[list[Segment], int]:
    """The segments and the length of the head. Raises ValueError."""
    if not head:
        raise ValueError("the payload has no head")
    if head[0] == 0:
        return [Segment(size, TEXT)], 1
    found, at = [], 1
    for _ in range(head[0]):
        length, at = read_number(head, at, _MOST_NUMBER)
        if at + 2 > len(head):
            raise ValueError("the head of the payload is cut")
        kind, stride = head[at], head[at + 1]
        row, at = read_number(head, at + 2, _MOST_NUMBER)
        found.append(Segment(length, kind & ~_BRANCHES, stride, row, kind & _BRANCHES != 0))
        if not is_possible(found[-1]):
            raise ValueError("the head of the payload says what cannot be")
    if sum(segment.length for segment in found) != size:
        raise ValueError("the segments of the payload have not the length of its content")
    return found, at
