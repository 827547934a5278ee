"""Which parts of the content are text, records, rasters or samples: what level 2 of the model is told of them.

Only the encoder looks; the decoder reads what it found at the head of the payload. So nothing here is part of the
format, but for `Segment` and its limits.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding.contexts import BINARY, RASTER, SAMPLES, TEXT
from lmarc.coding.jit import entry, index, wide

MOST_SEGMENTS = 255
MOST_STRIDE = 64
MOST_ROW = 65535

_BLOCK = 4096
#: Shorter runs are part of the run before them, and shorter pieces are not tried: that costs more time than it gains.
_LEAST_RUN = 8 * _BLOCK
_PIECE = 1 << 18
_SAMPLE = 24 << 10
_TRIAL = 16 << 10
_MOST_LAG = 8192
_STRIDES = (1, 2, 3, 4, 6, 8)
#: A block with more than this share of control characters is not text, in 1/1000.
_CONTROL_SHARE = 8

Bytes = npt.NDArray[np.uint8]


class Segment(NamedTuple):
    """`length` bytes of one kind. A sample or pixel begins every `stride` bytes, a row of them every `row` bytes.

    `branches` says that branch targets were made absolute (branches.py).
    """

    length: int
    kind: int
    stride: int = 1
    row: int = 1
    branches: bool = False


def is_possible(segment: Segment) -> bool:
    """Whether a segment is within the limits: then the contexts look only at bytes that are known."""
    _, kind, stride, row, _ = segment
    if not (segment.length > 0 and TEXT <= kind <= SAMPLES and 1 <= stride <= MOST_STRIDE and 1 <= row <= MOST_ROW):
        return False
    if kind == SAMPLES:
        return stride % 2 == 0 and row >= stride + 2
    return kind != RASTER or row > stride


Trial = Callable[[Bytes, Segment], int]


@cache
def _is_control() -> npt.NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[:32] = True
    table[[8, 9, 10, 12, 13, 27]] = False
    table[127] = True
    return table


def find(data: Bytes, trial: Trial) -> list[Segment]:
    """The segments of the content. `trial(sample, segment)` tells what coding a sample as that segment's kind costs."""
    found: list[Segment] = []
    done = 0
    for start, end, segment in islice(_known_layouts(data.tobytes()), MOST_SEGMENTS):
        found += _unknown(data[done:start], trial)
        found.append(segment._replace(length=end - start))
        done = end
    found += _unknown(data[done:], trial)
    merged, least = _merged(found), _LEAST_RUN
    while len(merged) > MOST_SEGMENTS:
        merged, least = _without_short(merged, least), 2 * least
    return merged


def _without_short(segments: list[Segment], least: int) -> list[Segment]:
    """The segments, those shorter than `least` as part of the one before."""
    kept: list[Segment] = []
    for segment in segments:
        if kept and segment.length < least:
            kept[-1] = kept[-1]._replace(length=kept[-1].length + segment.length)
        else:
            kept.append(segment)
    return _merged(kept)


def _merged(segments: list[Segment]) -> list[Segment]:
    possible = [s if is_possible(s) else Segment(s.length, TEXT) for s in segments if s.length]
    groups = groupby(possible, key=lambda segment: segment[1:])
    return [Segment(sum(s.length for s in members), *rest) for rest, members in groups]


def _known_layouts(view: bytes) -> Iterator[tuple[int, int, Segment]]:
    """Start, end and layout of the bitmaps and waves in the content, which say themselves what they are."""
    done = 0
    for match in re.finditer(rb"BM|RIFF", view):
        at = match.start()
        if at < done:
            continue
        layout = _bitmap(view, at) if match[0] == b"BM" else _wave(view, at)
        if layout is not None:
            yield layout
            done = layout[1]


def _bitmap(view: bytes, at: int) -> tuple[int, int, Segment] | None:
    if at + 54 > len(view):
        return None
    size, _, offset, header, width, height, planes, depth, packed = struct.unpack_from("<IIIIiiHHI", view, at + 2)
    if not (40 <= header <= 124 and planes == 1 and depth in (8, 24, 32) and packed in (0, 3) and 0 < width < 1 << 14):
        return None
    row = (width * depth + 31) // 32 * 4
    start, end = at + offset, at + offset + row * abs(height)
    if not (54 <= offset < 4096 and height and end <= len(view) and depth // 8 < row <= MOST_ROW and size >= offset):
        return None
    return start, end, Segment(0, RASTER, depth // 8, row)


def _wave(view: bytes, at: int) -> tuple[int, int, Segment] | None:
    if view[at + 8 : at + 16] != b"WAVEfmt " or at + 44 > len(view):
        return None
    length, form, channels, _, _, _, bits = struct.unpack_from("<IHHIIHH", view, at + 16)
    data = view.find(b"data", at + 20 + length, at + 20 + length + 4096)
    if form not in (1, 0xFFFE) or not 1 <= channels <= 8 or bits not in (8, 16) or not 0 <= data <= len(view) - 8:
        return None
    start = data + 8
    end = min(start + struct.unpack_from("<I", view, data + 4)[0], len(view))
    stride = channels * bits // 8
    return (start, end, Segment(0, SAMPLES if bits == 16 else RASTER, stride, 2 * stride)) if end > start else None


def _unknown(data: Bytes, trial: Trial) -> Iterator[Segment]:
    """Segments of content that does not say what it is."""
    for is_text, length, start in _text_runs(data):
        if is_text:
            yield Segment(length, TEXT)
            continue
        guess: Segment | None = None
        for at in range(start, start + length, _PIECE):
            piece = data[at : min(at + _PIECE, start + length)]
            if guess is None or len(piece) >= _LEAST_RUN:
                candidates = _candidates(piece)
                if guess not in candidates:
                    guess = _best(piece, candidates if guess is None else [*candidates, guess], trial)
            yield guess._replace(length=len(piece))


def _text_runs(data: Bytes) -> Iterator[tuple[bool, int, int]]:
    """Whether it is text, length and start of runs of blocks, most of which are or are not."""
    if not len(data):
        return
    starts = np.arange(0, len(data), _BLOCK)
    controls = np.add.reduceat(_is_control()[data].astype(np.int64), starts)
    text = controls * 1000 <= np.diff(np.append(starts, len(data))) * _CONTROL_SHARE
    runs: list[list[bool]] = []
    for is_text, members in groupby(text.tolist()):
        blocks = list(members)
        if runs and (len(blocks) * _BLOCK < _LEAST_RUN or runs[-1][0] == is_text):
            runs[-1] += blocks
        else:
            runs.append(blocks)
    start = 0
    for blocks in runs:
        length = min(len(blocks) * _BLOCK, len(data) - start)
        yield 2 * sum(blocks) >= len(blocks), length, start
        start += length


def _best(piece: Bytes, candidates: list[Segment], trial: Trial) -> Segment:
    middle = max(len(piece) // 2 - _TRIAL // 2, 0)
    sample = piece[middle : middle + _TRIAL]
    return min(candidates, key=lambda candidate: trial(sample, candidate)) if len(candidates) > 1 else candidates[0]


def _candidates(piece: Bytes) -> list[Segment]:
    """What a piece might be, the plainest first."""
    out = [Segment(0, BINARY, branches=_has_branches(piece))]
    if len(piece) < _LEAST_RUN:
        return out
    middle = len(piece) // 2 - _SAMPLE // 2
    sample = piece[middle : middle + _SAMPLE]
    costs = np.zeros(_MOST_LAG + 1, np.int64)
    _lag_costs(sample, _log_table(), costs)
    if costs[1:].min() * 4 > np.median(costs[1:]) * 3:
        return out
    stride = min(_STRIDES, key=lambda lag: costs[lag])
    row = int(np.argmin(costs[9:])) + 9
    if costs[row] * 50 >= costs[stride] * 49:
        row = 2 * stride
    out.append(Segment(0, RASTER, stride, row))
    if row % 2 == 0:
        stride += stride % 2
        out.append(Segment(0, SAMPLES, stride, max(row, 2 * stride)))
    return out


@cache
def _log_table() -> npt.NDArray[np.int64]:
    """int64[256]: 16 times the binary logarithm of 1 + the size of a difference modulo 256."""
    sizes = np.minimum(np.arange(256), 256 - np.arange(256))
    logs: npt.NDArray[np.int64] = np.round(16 * np.log2(1 + sizes)).astype(np.int64)
    return logs


@entry
def _lag_costs(sample: Bytes, logs: npt.NDArray[np.int64], costs: npt.NDArray[np.int64]) -> None:
    """What the differences at each distance would cost, over every third byte of the second half of the sample."""
    first = len(sample) // 2
    for lag in range(1, len(costs)):
        total = 0
        for i in range(first, len(sample), 3):
            total += logs[index((wide(sample[index(i)]) - wide(sample[index(i - lag)])) & 255)]
        costs[index(lag)] = total


def _has_branches(piece: Bytes) -> bool:
    """Whether there are many x86 calls and jumps with near targets."""
    if len(piece) < 64:
        return False
    calls = (piece[:-4] & 0xFE) == 0xE8
    near = calls & ((piece[4:] == 0) | (piece[4:] == 255))
    return int(near.sum()) * 200 > len(piece) and 2 * int(near.sum()) > int(calls.sum())
