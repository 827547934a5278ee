"""The context-mixing model and its coder: `encode` and `decode`.

Every byte is eight decisions, most significant bit first. For each, seventeen contexts, two matches and an
order-0 counter say how likely a 1 is; a two-layer mixer weighs them, two adaptive maps refine the result, and the
arithmetic coder codes the bit. Then everything learns from it. spec/CM.md is the complete description.

One kernel serves both directions, so that encoder and decoder cannot differ. Nothing read from a payload
is ever an index: a wrong payload decodes to wrong bytes, within the same arrays and the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding import apm, match
from lmarc.coding.arithmetic import FULL_SPAN, MOST_BYTES_PER_BIT, decode_bit, encode_bit, finish, first_value
from lmarc.coding.contexts import CLASSES, CONTEXTS, LAST4, advance, hash_of_last, hashes, mix
from lmarc.coding.contexts import FIELDS as CONTEXT_FIELDS
from lmarc.coding.counters import COUNT_BITS, Counters, learn
from lmarc.coding.jit import index, kernel, sources_stamp
from lmarc.coding.match import LONG, MATCHES, SHORT
from lmarc.coding.memory import (
    BIAS_INPUT,
    HISTORY_LIMIT,
    MATCH_INPUTS,
    ORDER0_INPUT,
    SECOND_INPUTS,
    SET_SIZES,
    Memory,
    Tables,
    constant_tables,
    fresh_memory,
    memory_bound,
)
from lmarc.coding.mixer import INPUTS, SETS, mix_final, mix_sets, train_final, train_sets
from lmarc.coding.slots import find_all
from lmarc.coding.tables import ONE, PROBABILITY_BITS, STRETCH_INDEX_BITS

__all__ = ["MOST_BYTES", "decode", "encode", "memory_bound"]

#: Longest content that can be coded in one piece.
MOST_BYTES = (1 << 31) - 1

_LEAST_P = 16
_BIAS = 512
_BASE_RATE, _EXTRA_RATE, _HALF_RATE_BYTES = 14, 64, 8192
_SECOND_SHIFT = 12
_STRETCH_SHIFT = PROBABILITY_BITS - STRETCH_INDEX_BITS
_SET1 = SET_SIZES[0]
_SET2 = _SET1 + SET_SIZES[1]
_SURE_BUCKET = 16
_NO_ROOM = -1

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Logits = npt.NDArray[np.int16]


@kernel
def _ask_histories(
    table: Bytes, counters: Counters, stretch: Logits, slots: Ints, node: int, seen: Ints, inputs: Ints32
) -> int:
    """Put the histories at `node` of every slot into `seen` and two inputs for each; returns how many are not empty.

    The first input is the logit of the history's counter, the second grows with its probability: that one
    tells the sure from the unsure where logits are small.
    """
    known = 0
    for i in range(CONTEXTS):
        history = int(table[index(slots[i] + node)])
        logit = 0
        excess = 0
        if history != 0:
            p = int(counters[index(i * 256 + history)]) >> COUNT_BITS
            logit = int(stretch[index(p >> _STRETCH_SHIFT)])
            excess = (p - ONE // 2) >> _SECOND_SHIFT
            known += 1
        seen[i] = history
        inputs[i] = logit
        inputs[SECOND_INPUTS + i] = excess
    return known


@kernel
def _logit_of(counters: Counters, i: int, stretch: Logits) -> int:
    """The logit of a counter."""
    return int(stretch[index(int(counters[index(i)]) >> (COUNT_BITS + _STRETCH_SHIFT))])


@kernel
def _ask_matches(
    matches: Ints, by_length: Counters, by_byte: Counters, stretch: Logits, node: int, step: int, inputs: Ints32
) -> tuple[int, int]:
    """Put the matches' inputs in place. Returns two contexts, both 0 if no match expects a bit.

    The first is 1 + 2 * bucket of the length + expected bit, the second 256 + expected byte, and 512 more for a
    long match; of the long search if that expects something, else of the short one.
    """
    situation = 0
    expected = 0
    for which in range(MATCHES - 1, -1, -1):
        bit = match.choose(matches, which, node, step)
        first = 0
        second = 0
        if bit >= 0:
            sign = 2 * bit - 1
            first = sign * _logit_of(by_length, matches[which, match.BY_LENGTH], stretch)
            second = sign * _logit_of(by_byte, matches[which, match.BY_BYTE], stretch)
            situation = 1 + 2 * int(matches[which, match.BUCKET]) + bit
            expected = int(matches[which, match.EXPECTED])
            if matches[which, match.BUCKET] >= _SURE_BUCKET:
                expected += 512
        inputs[MATCH_INPUTS + 2 * which] = first
        inputs[MATCH_INPUTS + 2 * which + 1] = second
    return situation, expected


@kernel
def _learn_histories(
    table: Bytes,
    counters: Counters,
    next_state: Bytes,
    reciprocals: Ints32,
    slots: Ints,
    node: int,
    seen: Ints,
    bit: int,
) -> None:
    """Teach the counters of the histories seen, and move the histories on."""
    for i in range(CONTEXTS):
        learn(counters, i * 256 + seen[i], bit, HISTORY_LIMIT, reciprocals)
        table[index(slots[i] + node)] = next_state[index(2 * seen[i] + bit)]


@kernel
def _seek_matches(
    matches: Ints, context: Ints, text: Bytes, end: int, long_places: Ints32, short_places: Ints32
) -> int:
    """Look for matches and what they expect next; returns that as a context: byte and a class of the length."""
    if end > 0:
        match.seek(matches, LONG, text, end, match.LONG_LEAST, long_places, hash_of_last(context, match.LONG_HASHED))
        match.seek(matches, SHORT, text, end, match.SHORT_LEAST, short_places, hash_of_last(context, match.SHORT_LEAST))
    expected = 0
    for which in range(MATCHES - 1, -1, -1):
        match.expect(matches, which, text)
        if matches[which, match.EXPECTED] > 0:
            expected = int(matches[which, match.EXPECTED]) + 512 * min(matches[which, match.BUCKET] >> 2, 7)
    return expected


@kernel
def _map_row(last4_hash: int, expected: int, node: int, rows: int) -> int:
    """Row of the hashed map: by the expected byte if there is one, else by the last two bytes."""
    return (mix(expected if expected else last4_hash, node) >> 16) & (rows - 1)


class Scratch(NamedTuple):
    """What one run of the kernel works on; allocated outside it, so that it counts no references."""

    context: Ints
    matches: Ints
    hashed: Ints
    slots: Ints
    seen: Ints
    inputs: Ints32
    chosen: Ints
    mixed: Ints


Kernel = Callable[[Bytes, Bytes, int, bool, Memory, Tables, Scratch], int]


def _scratch() -> Scratch:
    return Scratch(
        context=np.zeros(CONTEXT_FIELDS, np.int64),
        matches=np.zeros((MATCHES, match.FIELDS), np.int64),
        hashed=np.zeros(CONTEXTS, np.int64),
        slots=np.zeros(CONTEXTS, np.int64),
        seen=np.zeros(CONTEXTS, np.int64),
        inputs=np.zeros(INPUTS, np.int32),
        chosen=np.zeros(SETS, np.int64),
        mixed=np.zeros(SETS, np.int64),
    )


def _build(stamp: int) -> Kernel:
    """The kernel, tied to the sources it was made from (see `sources_stamp`)."""

    @kernel
    def run(
        text: Bytes, code: Bytes, size: int, decoding: bool, memory: Memory, tables: Tables, scratch: Scratch
    ) -> int:
        """Code `text[:size]` into `code`, or decode `code` into it.

        Returns the length of the code; when decoding, how many of its bytes a whole code may have at most. Returns
        _NO_ROOM if the code does not fit.
        """
        if stamp < 0:
            return _NO_ROOM
        context, matches, hashed, slots, seen, inputs, chosen, mixed = scratch
        table, histories, order0, by_length, by_byte, long_places, short_places = memory[:7]
        weights, finals, order1_map, hashed_map, followers = memory[7:]
        squash, stretch, reciprocals, class_of, next_state, confidence = tables
        rows = len(hashed_map) // apm.NODES
        inputs[BIAS_INPUT] = _BIAS
        end, low, span, value, bit = 0, 0, FULL_SPAN, 0, 0
        if decoding:
            value = first_value(code)
            end = 4
        room = len(code) - 8 * MOST_BYTES_PER_BIT - 4
        for position in range(size):
            if not decoding and end > room:
                return _NO_ROOM
            rate = _BASE_RATE + _EXTRA_RATE * _HALF_RATE_BYTES // (_HALF_RATE_BYTES + position)
            last4 = int(context[LAST4])
            last = last4 & 0xFF
            expected = _seek_matches(matches, context, text, position, long_places, short_places)
            hashes(context, followers, position, expected, hashed)
            find_all(table, hashed, confidence, slots)
            pair = (int(class_of[last]) * CLASSES + int(class_of[(last4 >> 8) & 0xFF])) * 8
            node = 1
            for step in range(8):
                if step == 4:
                    for i in range(CONTEXTS):
                        hashed[i] = mix(hashed[i], node)
                    find_all(table, hashed, confidence, slots)
                half_node = node
                if step >= 4:
                    half_node = (node & ((1 << (step - 4)) - 1)) | (1 << (step - 4))
                known = _ask_histories(table, histories, stretch, slots, half_node, seen, inputs)
                situation, expected = _ask_matches(matches, by_length, by_byte, stretch, node, step, inputs)
                inputs[ORDER0_INPUT] = _logit_of(order0, node, stretch)
                chosen[0] = node * INPUTS
                chosen[1] = (_SET1 + situation * 8 + known * 7 // CONTEXTS) * INPUTS
                chosen[2] = (_SET2 + pair + step) * INPUTS
                mix_sets(weights, chosen, inputs, mixed)
                logit = mix_final(finals, known, mixed)
                p = int(squash[index(logit + 2048)])
                order1_row = (last * 256 + node) * apm.NODES
                hashed_row = _map_row(last4 & 0xFFFF, expected, node, rows) * apm.NODES
                by_order1 = apm.refine(order1_map, order1_row, logit, squash)
                by_hash = apm.refine(hashed_map, hashed_row, logit, squash)
                refined = (4 * p + 6 * by_order1 + 6 * by_hash) >> 4
                refined = min(max(refined, _LEAST_P), ONE - _LEAST_P)
                if decoding:
                    bit, end, value, span = decode_bit(code, end, value, span, refined)
                else:
                    bit = (int(text[position]) >> (7 - step)) & 1
                    end, low, span = encode_bit(code, end, low, span, refined, bit)
                apm.correct(order1_map, order1_row, logit, bit, reciprocals)
                apm.correct(hashed_map, hashed_row, logit, bit, reciprocals)
                train_final(finals, known, mixed, p, bit)
                train_sets(weights, chosen, inputs, mixed, bit, rate, squash)
                for which in range(MATCHES):
                    match.correct(matches, which, step, bit, by_length, by_byte, reciprocals)
                _learn_histories(table, histories, next_state, reciprocals, slots, half_node, seen, bit)
                learn(order0, node, bit, HISTORY_LIMIT, reciprocals)
                node = 2 * node + bit
            text[position] = node & 0xFF
            for which in range(MATCHES):
                match.follow(matches, which, node & 0xFF)
            advance(context, followers, text, position + 1, class_of)
        if decoding:
            return end
        return finish(code, end, low, span)

    return run


_run = _build(sources_stamp())


def encode(data: bytes | bytearray | memoryview) -> bytes:
    """The payload of `data`: the arithmetic code and nothing else; nothing for no data.

    Raises ValueError for more than `MOST_BYTES`.
    """
    text = np.frombuffer(data, dtype=np.uint8).copy() if len(data) else np.zeros(0, np.uint8)
    size = len(text)
    if size > MOST_BYTES:
        raise ValueError(f"{size} bytes are too many for one piece, at most {MOST_BYTES}")
    if size == 0:
        return b""
    # No bit costs more than 18 bits, so the second room is always enough; the first nearly always is.
    for room in (size + size // 8 + 256, 18 * size + 256):
        code = np.zeros(room, dtype=np.uint8)
        end = _run(text, code, size, False, fresh_memory(size), constant_tables(), _scratch())
        if end != _NO_ROOM:
            break
    return code[:end].tobytes()


def decode(payload: bytes | bytearray | memoryview, size: int) -> bytes:
    """The `size` bytes of a payload; of a payload that `encode` did not make, any bytes of that number.

    Raises ValueError if the size is impossible or the payload is longer than a code of that many bytes
    could be or ends with a zero byte, which `encode` never leaves.
    """
    if not 0 <= size <= MOST_BYTES:
        raise ValueError(f"impossible size: {size}")
    code = np.frombuffer(payload, dtype=np.uint8).copy() if len(payload) else np.zeros(0, np.uint8)
    if len(code) and code[-1] == 0:
        raise ValueError("the payload ends with a zero byte")
    if size == 0:
        if len(code):
            raise ValueError("a payload for no bytes")
        return b""
    text = np.zeros(size, dtype=np.uint8)
    end = _run(text, code, size, True, fresh_memory(size), constant_tables(), _scratch())
    if len(code) > end:
        raise ValueError("the payload goes on after its end")
    return text.tobytes()
