"""The context-mixing model and its coder, as one kernel for each level.

Every byte is eight decisions, most significant bit first. For each, nine or eighteen contexts, two matches and an
order-0 counter say how likely a 1 is; a two-layer mixer weighs them, adaptive maps refine the result, and the
arithmetic coder codes the bit. Then everything learns from it. A context that is new to the content starts from what
the training text says of it. spec/CM.md is the complete description.

One kernel serves both directions, so that encoder and decoder cannot differ. Nothing read from the code
is ever an index: a wrong one decodes to wrong bytes, within the same arrays and the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding import apm, arrays, knowledge, match
from lmarc.coding.arithmetic import FULL_SPAN, MOST_BYTES_PER_BIT, decode_bit, encode_bit, finish, first_value
from lmarc.coding.contexts import (
    BY_BYTE,
    BY_NIBBLE,
    CLASSES,
    EXPECTED,
    KINDS,
    LAST4,
    NOTHING,
    TEXT,
    advance,
    hashes,
    hashes_for_matches,
    mix,
)
from lmarc.coding.counters import COUNT_BITS, Counters, learn
from lmarc.coding.histories import FIRST_TRAINED
from lmarc.coding.jit import entry, index, kernel, prefetch, sources_stamp, wide
from lmarc.coding.level import Level
from lmarc.coding.match import LONG, MATCHES, SHORT
from lmarc.coding.memory import (
    COUNTER_LIMIT,
    Learned,
    Memory,
    Tables,
)
from lmarc.coding.mixer import WEIGHT_BITS, WEIGHT_LIMIT, clamp, dot3, scaled_error, train3
from lmarc.coding.slots import BUCKET_BYTES, take
from lmarc.coding.special import advance_special, selector, special_hashes
from lmarc.coding.tables import ONE, PROBABILITY_BITS, ROUGH_INDEX_BITS, STRETCH_INDEX_BITS

#: Longest content that can be coded in one piece.
MOST_BYTES = match.MOST_PLACES

LEAST_P = 16
BASE_RATE, EXTRA_RATE, HALF_RATE_BYTES = 14, 64, 8192
FINAL_RATE = 2
_STRETCH_SHIFT = PROBABILITY_BITS - STRETCH_INDEX_BITS
CHANCE_BITS = 30
ROUGH_SHIFT = CHANCE_BITS - ROUGH_INDEX_BITS
HALF = 1 << (CHANCE_BITS - 1)
SECOND_SHIFT = 20
CHANCE_RATE = 8
NIBBLE_FACTOR = 0x3D4D51CB
_SURE_BUCKET = 16
# Scaled errors of the mixer from minus this to one below it are too small to learn from.
SMALL_ERROR = 512
NO_ROOM = -1
# Knowledge is asked for a context while enough of its guesses are right (Level.patience), else only now and then. Only
# guesses of the low half of a byte count: the high half of letters or digits is too easy.
FIRST_WORTH, MOST_WORTH, LEAST_WORTH, NOW_AND_THEN = 256, 1024, -64, 15

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Logits = npt.NDArray[np.int16]


@kernel
def logit_of(counters: Counters, i: int, stretch: Logits) -> int:
    """The logit of a counter."""
    return int(stretch[index(int(counters[index(i)]) >> (COUNT_BITS + _STRETCH_SHIFT))])


@kernel
def ask_matches(
    matches: Ints,
    by_length: Counters,
    by_byte: Counters,
    stretch: Logits,
    node: int,
    step: int,
    inputs: Ints32,
    first_input: int,
) -> tuple[int, int]:
    """Put the matches' inputs in place. Returns two contexts, both 0 if no match expects a bit.

    The first is 1 + 2 * bucket of the length + expected bit, the second 256 + expected byte, and 512 more for a
    long match; of the long search if that expects something, else of the short one.
    """
    situation = 0
    expected = 0
    for which in range(MATCHES - 1, -1, -1):
        own = which * match.FIELDS
        first = 0
        second = 0
        if match.speaks(matches, which, node, step):
            bit = match.expected_bit(matches, which, step)
            sign = 2 * bit - 1
            first = sign * logit_of(by_length, matches[index(own + match.BY_LENGTH)], stretch)
            second = sign * logit_of(by_byte, matches[index(own + match.BY_BYTE)] + step, stretch)
            bucket = matches[index(own + match.BUCKET)]
            situation = 1 + 2 * bucket + bit
            expected = matches[index(own + match.EXPECTED)] + 512 * wide(bucket >= _SURE_BUCKET)
        inputs[index(first_input + 2 * which)] = first
        inputs[index(first_input + 2 * which + 1)] = second
    return situation, expected


@kernel
def _seek_matches(matches: Ints, text: Bytes, end: int, long_candidate: int, short_candidate: int) -> int:
    """Take better matches and what they expect next; returns that as a context: byte and a class of the length."""
    match.seek(matches, LONG, text, end, match.LONG_LEAST, long_candidate)
    match.seek(matches, SHORT, text, end, match.SHORT_LEAST, short_candidate)
    context = 0
    for which in range(MATCHES - 1, -1, -1):
        expected = match.expect(matches, which, text)
        if expected > 0:
            context = expected + 512 * min(matches[index(which * match.FIELDS + match.BUCKET)] >> 2, 7)
    return context


@kernel
def map_row(last4_hash: int, expected: int, node: int, rows: int) -> int:
    """Row of the hashed map: by the expected byte if there is one, else by the last two bytes."""
    return (mix(expected if expected else last4_hash, node) >> 16) & (rows - 1)


@kernel
def known_orders(seen: Ints) -> tuple[int, int]:
    """Of the orders 2, 3, 4, 5, 6: how many the content has shown, and how many it or the training text has."""
    live, known = 0, 0
    for i in (0, 1, 2, 3, 10):
        history = seen[i] & 255
        known += history != 0
        live += (history != 0) & (history < FIRST_TRAINED)
    return live, known


class Scratch(NamedTuple):
    """What one run of the kernel works on; allocated outside it, so that it counts no references."""

    context: Ints
    matches: Ints
    hashed: Ints
    slots: Ints
    seen: Ints
    chances: Ints32
    inputs: Ints32
    chosen: Ints
    mixed: Ints
    errors: Ints
    leaves: Ints
    worth: Ints
    asked: Ints
    keys: Ints
    guesses: Ints


Kernel = Callable[[Bytes, Bytes, Ints, bool, Bytes, Learned, Memory, Tables, Scratch], int]


def scratch(level: Level) -> Scratch:
    """Scratch space for one run."""
    return Scratch(
        context=np.zeros(level.state_fields, np.int64),
        matches=np.zeros(MATCHES * match.FIELDS, np.int64),
        hashed=np.zeros(level.contexts, np.int64),
        slots=np.zeros(level.contexts, np.int64),
        seen=np.zeros(level.contexts, np.int64),
        chances=np.zeros(level.contexts, np.int32),
        inputs=arrays.zeros(2 * level.inputs, np.int32),
        chosen=np.zeros(2 * len(level.sets), np.int64),
        mixed=np.zeros(2 * len(level.sets), np.int64),
        errors=np.zeros(len(level.sets), np.int64),
        leaves=np.zeros(32, np.int64),
        worth=np.full(level.contexts, FIRST_WORTH, np.int64),
        asked=np.zeros(level.contexts, np.int64),
        keys=np.zeros(level.contexts, np.int64),
        guesses=np.zeros(level.contexts, np.int64),
    )


def build(level: Level, stamp: int, off: int = 0) -> Kernel:
    """The kernel of a level, tied to the sources it was made from (see `sources_stamp`).

    `off` is for measuring what a context earns: the bits of those that see nothing.
    """
    contexts, count, sets, special = level.contexts, level.inputs, len(level.sets), level.special
    match_inputs, order0_input, second_inputs = level.match_inputs, level.order0_input, level.second_inputs
    set1, set2, set3, set4, set5 = (sum(level.sets[:k]) for k in range(1, 6))
    kinds, patience = KINDS[:contexts], level.patience

    @entry
    def run(
        text: Bytes,
        code: Bytes,
        segments: Ints,
        decoding: bool,
        known: Bytes,
        learned: Learned,
        memory: Memory,
        tables: Tables,
        scratch: Scratch,
    ) -> int:
        """Code `text` into `code`, or decode `code` into it.

        segments: int64[n, 4], end, kind, stride and row of each; at level 1 only one of text. Returns the length of the
        code; when decoding, how many of its bytes a whole code may have at most. Returns NO_ROOM if the code does
        not fit.
        """
        if stamp < 0:
            return NO_ROOM
        context, matches, hashed, slots, seen, chances, inputs, chosen = scratch[:8]
        mixed, errors, leaves, worth, asked, keys, guesses = scratch[8:]
        histories, order0, by_length, by_byte, weights, finals, order1_map, hashed_map = learned
        table, long_places, short_places, followers = memory
        squash, stretch, rough, reciprocals, class_of, roles, next_state, confidence = tables[:8]
        trained_states, counts, steps = tables[8:]
        rows = len(hashed_map) // apm.NODES
        buckets = len(table) // BUCKET_BYTES - 1
        size = len(text)
        end, low, span, value, bit = 0, 0, FULL_SPAN, 0, 0
        if decoding:
            value = first_value(code)
            end = 4
        room = len(code) - 8 * MOST_BYTES_PER_BIT - 4
        segment, start, kind, stride, row = 0, 0, TEXT, 1, 1
        pick, local, uncertain, long_hash, short_hash = 0, 0, 0, 0, 0
        if special:
            kind, stride, row = segments[0, 1], segments[0, 2], segments[0, 3]
        for position in range(size):
            if not decoding and end > room:
                return NO_ROOM
            if special and position == segments[index(segment), 0]:
                start = position
                segment += 1
                kind, stride, row = (
                    segments[index(segment), 1],
                    segments[index(segment), 2],
                    segments[index(segment), 3],
                )
            rate = BASE_RATE + EXTRA_RATE * HALF_RATE_BYTES // (HALF_RATE_BYTES + position)
            last4 = context[LAST4]
            last = last4 & 0xFF
            hashes(context, position, hashed)
            if special:
                special_hashes(context, followers, text, start, position, kind, stride, row, hashed)
                pick = selector(context, text, start, position, kind, stride, row, class_of)
                local = last
                if kind != TEXT:
                    local = ((position - start) % stride & 31) * 8
            if off != 0:
                for i in range(contexts):
                    hashed[i] *= 1 - ((off >> i) & 1)
            for i in range(contexts):
                if i != EXPECTED:
                    prefetch(table, (hashed[i] & buckets) * BUCKET_BYTES)
            long_candidate = match.look_up(long_places, long_hash, last, position)
            short_candidate = match.look_up(short_places, short_hash, last, position)
            prefetch(text, max(long_candidate - 1, 0))
            prefetch(text, max(short_candidate - 1, 0))
            # The last bit of the byte before is learned while memory answers.
            if uncertain != 0:
                for k in range(0, sets, 3):
                    train3(weights, chosen, sets + k, inputs, count, count, errors, k)
            pair = (wide(class_of[last]) * CLASSES + wide(class_of[(last4 >> 8) & 0xFF])) * 8
            expected = _seek_matches(matches, text, position, long_candidate, short_candidate)
            hashed[EXPECTED] = mix(mix(expected, last), 0x7654321)
            if off != 0:
                hashed[EXPECTED] *= 1 - ((off >> EXPECTED) & 1)
            prefetch(table, (hashed[EXPECTED] & buckets) * BUCKET_BYTES)
            node = 1
            for half in range(2):
                if half:
                    long_hash, short_hash = hashes_for_matches(context, node)
                    prefetch(long_places, match.place(long_places, long_hash, 0))
                    prefetch(short_places, match.place(short_places, short_hash, 0))
                offset = half * node * NIBBLE_FACTOR
                unknown = 0
                for i in range(contexts):
                    key = (hashed[i] + offset) & 0xFFFFFFFF
                    slot = take(table, (key & buckets) * BUCKET_BYTES, max(key >> 24, 1), confidence)
                    if slot < 0:
                        slot = ~slot
                        if kinds[i] != NOTHING and len(known) > 0 and (worth[i] >= 0 or position & NOW_AND_THEN == 0):
                            key = hashed[i]
                            if half and kinds[i] == BY_NIBBLE:
                                key = mix(key, node)
                            prefetch(known, knowledge.bucket_of(key, len(known)))
                            asked[unknown] = i
                            keys[unknown] = key
                            unknown += 1
                    slots[i] = slot
                for j in range(unknown):
                    i = asked[j]
                    part = knowledge.WHOLE
                    if kinds[i] == BY_BYTE:
                        part = node & 15 if half else knowledge.FIRST_NIBBLE
                    guesses[j] = knowledge.recall(
                        known, keys[j], part, table, slots[i], leaves, counts, steps, trained_states
                    )
                for step in range(4 * half, 4 * half + 4):
                    half_node = node
                    if step == 3:
                        for i in range(contexts):
                            prefetch(table, ((hashed[i] + 2 * node * NIBBLE_FACTOR) & buckets) * BUCKET_BYTES)
                            prefetch(table, ((hashed[i] + (2 * node + 1) * NIBBLE_FACTOR) & buckets) * BUCKET_BYTES)
                    if half:
                        half_node = (node & ((1 << (step - 4)) - 1)) | (1 << (step - 4))
                    now = (step & 1) * sets
                    fresh = (step & 1) * count
                    order1_row = 0
                    if special:
                        order1_row = (last * 256 + node) * apm.NODES
                        prefetch(order1_map, order1_row)
                    situation, expected = ask_matches(
                        matches, by_length, by_byte, stretch, node, step, inputs, fresh + match_inputs
                    )
                    inputs[index(fresh + order0_input)] = logit_of(order0, node, stretch)
                    hashed_row = map_row(last4 & 0xFFFF, expected, node, rows) * apm.NODES
                    prefetch(hashed_map, hashed_row)
                    nonempty = 0
                    for i in range(contexts):
                        history = wide(table[index(slots[i] + half_node)])
                        chance = histories[index(i * 256 + history)]
                        seen[i] = i * 256 + history
                        chances[i] = chance
                        inputs[index(fresh + i)] = rough[index(wide(chance) >> ROUGH_SHIFT)]
                        inputs[index(fresh + second_inputs + i)] = (chance - HALF) >> SECOND_SHIFT
                        nonempty += history != 0
                    chosen[index(now + 0)] = node * count
                    chosen[index(now + 1)] = (set1 + situation * 8 + nonempty * 7 // contexts) * count
                    chosen[index(now + 2)] = (set2 + pair + step) * count
                    if special:
                        live, any_ = known_orders(seen)
                        chosen[index(now + 3)] = (set3 + ((kind * 6 + live) * 6 + any_) * 8 + step) * count
                        chosen[index(now + 4)] = (set4 + kind * 256 + local + (step if kind != TEXT else 0)) * count
                        chosen[index(now + 5)] = (set5 + kind * 256 + pick) * count
                    # Only now does the mixer learn the bit before: the inputs just written need some time until a
                    # vector of them can be read.
                    if uncertain != 0 and step > 0:
                        for k in range(0, sets, 3):
                            train3(weights, chosen, sets - now + k, inputs, count - fresh, count, errors, k)
                    for k in range(0, sets, 3):
                        dot3(weights, chosen, now + k, inputs, fresh, count, mixed)
                    final_row = situation * sets
                    total = 0
                    for k in range(sets):
                        total += wide(finals[index(final_row + k)]) * mixed[index(now + k)]
                    logit = clamp(total >> WEIGHT_BITS)
                    p = wide(squash[index(logit + 2048)])
                    by_hash = apm.refine(hashed_map, hashed_row, logit)
                    if special:
                        by_order1 = apm.refine(order1_map, order1_row, logit)
                        refined = (4 * p + 6 * by_order1 + 6 * by_hash) >> 4
                    else:
                        refined = (7 * p + 9 * by_hash) >> 4
                    refined = min(max(refined, LEAST_P), ONE - LEAST_P)
                    if decoding:
                        bit, end, value, span = decode_bit(code, end, value, span, refined)
                    else:
                        bit = (wide(text[index(position)]) >> (7 - step)) & 1
                        end, low, span = encode_bit(code, end, low, span, refined, bit)
                    if special:
                        apm.correct(order1_map, order1_row, logit, bit, reciprocals)
                    apm.correct(hashed_map, hashed_row, logit, bit, reciprocals)
                    uncertain = 0
                    for k in range(sets):
                        errors[k] = scaled_error(mixed[index(now + k)], bit, rate, squash)
                        uncertain |= (errors[k] + SMALL_ERROR) & (-2 * SMALL_ERROR)
                    error = (((bit << PROBABILITY_BITS) - p) * FINAL_RATE) >> 4
                    for k in range(sets):
                        final = wide(finals[index(final_row + k)]) + ((mixed[index(now + k)] * error) >> 10)
                        finals[index(final_row + k)] = min(max(final, -WEIGHT_LIMIT), WEIGHT_LIMIT)
                    for which in range(MATCHES):
                        match.correct(matches, which, node, step, bit, by_length, by_byte, reciprocals)
                    target = np.int32(bit << CHANCE_BITS)
                    for i in range(contexts):
                        chances[i] += np.int32(np.int32(target - chances[i]) >> CHANCE_RATE)
                    following = bit << 8
                    for i in range(contexts):
                        history = seen[i]
                        histories[index(history)] = chances[i]
                        table[index(slots[i] + half_node)] = next_state[index(following + (history & 255))]
                    learn(order0, node, bit, COUNTER_LIMIT, reciprocals)
                    node = 2 * node + bit
            for j in range(unknown):
                gained = patience * wide(guesses[j] == node & 15) - 1
                worth[asked[j]] = min(max(worth[asked[j]] + gained, LEAST_WORTH), MOST_WORTH)
            text[index(position)] = node & 0xFF
            for which in range(MATCHES):
                match.follow(matches, which, node & 0xFF)
            advance(context, text, position + 1, class_of)
            if special:
                advance_special(context, followers, text, position + 1, roles)
        if decoding:
            return end
        return finish(code, end, low, span)

    return run


@cache
def kernel_of(level: Level) -> Kernel:
    """The kernel of a level."""
    return build(level, sources_stamp())
