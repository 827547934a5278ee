"""A group, content that a predictor's lanes code together, to payload and back. spec/LANES.md describes it in full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from lmarc.coding import arithmetic, lanes, memory, state
from lmarc.coding.lanes import CODE_END, DONE, END, LOW, POSITION, SPAN, VALUE, Lanes
from lmarc.coding.level import BEST
from lmarc.coding.numbers import number, read_number
from lmarc.coding.vocabulary import Vocabulary

#: Longest content of a group, in bytes, and most lanes.
MOST_BYTES = 1 << 24
MOST_LANES = 1024
_MOST_NUMBER = 5

Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

#: Takes int32[lanes, steps], what the model sees next in every lane; gives float32[lanes, steps, symbols], the scores
#: for what follows each.
Advance = Callable[[Ints32], Scores]
#: Told how many bytes of the group are done.
Watch = Callable[[int], None]


def lane_counts(symbols: int, count: int) -> list[int]:
    """How many symbols each of `count` lanes has: as equal as can be, the first ones longer."""
    least, more = divmod(symbols, count)
    return [least + (lane < more) for lane in range(count)]


def encode(
    ranks: Ints32,
    vocabulary: Vocabulary,
    advance: Advance,
    first: int,
    count: int,
    steps: int,
    *,
    mixing: bool = True,
    watch: Watch | None = None,
) -> bytes:
    """The payload of symbols, given by their ranks in the sorted vocabulary.

    `advance` is asked for up to `steps` steps at once, of `count` lanes, at most one for each symbol; `first` is the
    symbol that each begins with. Raises ValueError for more than MOST_BYTES of content.
    """
    counts = lane_counts(len(ranks), count)
    starts = np.concatenate([[0], np.cumsum(counts)])
    sizes = np.diff(vocabulary.sorted.starts)[ranks]
    lengths = [int(sizes[starts[lane] : starts[lane + 1]].sum()) for lane in range(count)]
    if not 0 < sum(lengths) <= MOST_BYTES or count > len(ranks):
        raise ValueError(f"impossible group: {sum(lengths)} bytes, {len(ranks)} symbols, {count} lanes")
    run = _Run(vocabulary, lengths, counts, mixing)
    code = np.zeros(1 << 16, dtype=np.uint8)
    table = np.zeros((count, counts[0] + 1), dtype=np.int32)
    for lane in range(count):
        table[lane, : counts[lane]] = ranks[starts[lane] : starts[lane + 1]]
    seen = np.empty((count, counts[0] + 1), dtype=np.int32)
    seen[:, 0] = first
    seen[:, 1:] = _symbols(vocabulary, table[:, :-1], first)
    most = int(sizes.max(initial=1))
    for step in range(0, counts[0], steps):
        now = min(steps, counts[0] - step)
        scores = advance(np.ascontiguousarray(seen[:, step : step + now]))
        # A symbol is at most nine decisions for each of its bytes, and some that tell equal ones apart.
        need = int(run.lanes.coder[CODE_END]) + count * now * (9 * most + 32) * arithmetic.MOST_BYTES_PER_BIT + 8
        if need > len(code):
            code = np.concatenate([code, np.zeros(need, dtype=np.uint8)])
        run.code(scores, np.ascontiguousarray(table[:, step : step + now]), code, False)
        if watch is not None:
            watch(int(run.lanes.coder[DONE]))
    coder = run.lanes.coder
    end = arithmetic.finish(code, int(coder[CODE_END]), int(coder[LOW]), int(coder[SPAN]))
    return _head(len(ranks), lengths) + code[:end].tobytes()


class Reader:
    """Decodes the payload of a group of `size` bytes. Raises ValueError for one that no encoder made, where that
    shows."""

    def __init__(
        self, payload: bytes | memoryview, size: int, vocabulary: Vocabulary, most_lanes: int, *, mixing: bool = True
    ) -> None:
        if not 0 < size <= MOST_BYTES:
            raise ValueError(f"impossible size: {size}")
        symbols, lengths, at = _read_head(bytes(payload[: 10 + 5 * most_lanes]), size, most_lanes)
        self.lane_count = len(lengths)
        self._vocabulary = vocabulary
        self._counts = lane_counts(symbols, self.lane_count)
        self._code = np.frombuffer(payload, dtype=np.uint8)[at:].copy() if len(payload) > at else np.zeros(0, np.uint8)
        if len(self._code) and self._code[-1] == 0:
            raise ValueError("the payload ends with a zero byte")
        self._run = _Run(vocabulary, lengths, self._counts, mixing)

    def decode(self, advance: Advance, first: int, watch: Watch | None = None) -> bytes:
        """The content. `advance` and `first` are those of `encode`; it is asked for single steps."""
        run, code = self._run, self._code
        run.lanes.coder[VALUE] = arithmetic.first_value(code)
        run.lanes.coder[CODE_END] = 4
        seen = np.full((self.lane_count, 1), first, dtype=np.int32)
        for _ in range(self._counts[0]):
            ranks = np.zeros((self.lane_count, 1), dtype=np.int32)
            run.code(advance(seen), ranks, code, True)
            seen = _symbols(self._vocabulary, ranks, first)
            if watch is not None:
                watch(int(run.lanes.coder[DONE]))
        where = run.lanes.where
        if (where[:, POSITION] != where[:, END]).any() or len(code) > run.lanes.coder[CODE_END]:
            raise ValueError("the payload is not one of that many symbols and bytes")
        return run.lanes.text.tobytes()


class _Run:
    """One run over a group, in either direction."""

    def __init__(self, vocabulary: Vocabulary, lengths: list[int], counts: list[int], mixing: bool) -> None:
        self._vocabulary = vocabulary
        self._mixing = mixing
        self.lanes: Lanes = lanes.fresh(vocabulary, lengths, counts)
        self._learned = state.learned(BEST)
        self._memory = memory.fresh_memory(BEST, sum(lengths) if mixing else 1)
        self._tables = memory.constant_tables()

    def code(self, scores: Scores, ranks: Ints32, code: Bytes, decoding: bool) -> None:
        """Code the symbols of some steps, or decode them into `ranks`. Raises ValueError, TypeError for no scores."""
        if scores.shape != (*ranks.shape, self._vocabulary.size):
            raise TypeError(f"scores of shape {scores.shape} for {ranks.shape} symbols of {self._vocabulary.size}")
        scores = np.require(scores, np.float32, ("C", "W", "A"))
        done = lanes.kernel_of()(
            scores, ranks, ranks.shape[1], code, decoding, self._mixing, state.knowledge(), self._vocabulary.sorted,
            self.lanes, self._learned, self._memory, self._tables,
        )  # fmt: skip
        if done != lanes.OK:
            raise ValueError("the payload goes beyond the end of a lane")


def _symbols(vocabulary: Vocabulary, ranks: Ints32, first: int) -> Ints32:
    """What the model sees of entries: literals, which it does not know, look like the first symbol."""
    symbols = vocabulary.sorted.symbols[ranks]
    return np.where(symbols < 0, np.int32(first), symbols)


def _head(symbols: int, lengths: list[int]) -> bytes:
    """Lanes, symbols, and the length of each lane but the last."""
    return b"".join(number(value) for value in (len(lengths), symbols, *lengths[:-1]))


def symbols_of(payload: bytes | memoryview) -> int:
    """How many symbols a payload says it has. Raises ValueError."""
    head = bytes(payload[:10])
    return read_number(head, read_number(head, 0, _MOST_NUMBER)[1], _MOST_NUMBER)[0]


def _read_head(head: bytes, size: int, most_lanes: int) -> tuple[int, list[int], int]:
    """Symbols, lengths of the lanes, and the length of the head. Raises ValueError."""
    count, at = read_number(head, 0, _MOST_NUMBER)
    symbols, at = read_number(head, at, _MOST_NUMBER)
    if not 1 <= count <= most_lanes or not count <= symbols <= size:
        raise ValueError("the head of the payload says what cannot be")
    lengths = []
    for _ in range(count - 1):
        length, at = read_number(head, at, _MOST_NUMBER)
        lengths.append(length)
    lengths.append(size - sum(lengths))
    if any(length < least for length, least in zip(lengths, lane_counts(symbols, count), strict=True)):
        raise ValueError("the head of the payload says what cannot be")
    return symbols, lengths, at
