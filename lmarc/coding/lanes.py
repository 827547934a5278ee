"""The coder of a predictor's symbols: several lanes in lockstep, one arithmetic code, one set of context models.

A symbol is coded as the path to it in the trie of the sorted vocabulary: at every node that a symbol ends at, whether
to stop there, else the eight bits of the next byte. The predictor's weights say how likely each decision is. The
context models of level 2 say so of the bits of bytes, and, by what they expect of the bytes that a symbol could go on
with, of the stops. Decisions with one possible outcome cost nothing. At each step the lanes are coded in their order,
so all that is learned in one serves the others.
spec/LANES.md is the complete description.

One kernel serves both directions. Nothing read from the code is ever an index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lmarc.coding import apm, arrays, blend, knowledge, match
from lmarc.coding.arithmetic import FULL_SPAN, decode_bit, encode_bit
from lmarc.coding.contexts import (
    BY_BYTE,
    BY_NIBBLE,
    CLASSES,
    EXPECTED,
    FIELD_START,
    GAPS,
    KINDS,
    LAST4,
    LINE,
    LINE_ABOVE,
    NOTHING,
    SEEN_AT,
    STARTS,
    STARTS_ABOVE,
    TEXT,
    advance,
    hashes,
    hashes_for_matches,
    mix,
)
from lmarc.coding.counters import COUNT_BITS, COUNT_MASK, Counters, learn, packed
from lmarc.coding.jit import entry, index, kernel, prefetch, sources_stamp, wide
from lmarc.coding.level import BEST
from lmarc.coding.match import LONG, MATCHES, SHORT
from lmarc.coding.memory import COUNTER_LIMIT, Learned, Memory, Tables
from lmarc.coding.mixer import WEIGHT_BITS, WEIGHT_LIMIT, WEIGHT_ONE, clamp, dot3, scaled_error, train3
from lmarc.coding.model import (
    BASE_RATE,
    CHANCE_BITS,
    CHANCE_RATE,
    EXTRA_RATE,
    FINAL_RATE,
    FIRST_WORTH,
    HALF,
    HALF_RATE_BYTES,
    LEAST_P,
    LEAST_WORTH,
    MOST_WORTH,
    NIBBLE_FACTOR,
    NOW_AND_THEN,
    ROUGH_SHIFT,
    SECOND_SHIFT,
    SMALL_ERROR,
    ask_matches,
    known_orders,
    logit_of,
    map_row,
)
from lmarc.coding.slots import BUCKET_BYTES, SLOT_BYTES, peek, take
from lmarc.coding.special import advance_special, selector, special_hashes
from lmarc.coding.tables import ONE, PROBABILITY_BITS
from lmarc.coding.vocabulary import Sorted, Vocabulary
from lmarc.coding.weights import exponential_table, weigh

_CONTEXTS, _COUNT, _SETS = BEST.contexts, BEST.inputs, len(BEST.sets)
_SET1, _SET2, _SET3, _SET4, _SET5 = (sum(BEST.sets[:k]) for k in range(1, 6))
_MATCH_INPUTS, _ORDER0_INPUT, _SECOND_INPUTS = BEST.match_inputs, BEST.order0_input, BEST.second_inputs
_PATIENCE = BEST.patience
_KINDS = KINDS[:_CONTEXTS]

# What is kept of each lane, in `Lanes.where`.
# PREPARED: whether the contexts of its next byte are hashed; PICK: the choice of the last mixer set for it; FORESEEN:
# 0, or 1 more than the key of the node of which `masses` says how likely it is that a symbol goes on from there;
# RANK_THEN: the symbol before that one.
START, END, POSITION, LONG_HASH, SHORT_HASH, LAST_RANK, RANK_BEFORE, LEFT = range(8)
PREPARED, PICK, FORESEEN, RANK_THEN = range(8, 12)
WHERE_FIELDS = 12
# What is kept of the coder, in `Lanes.coder`: the end of the code, the interval, what the decoder has read, bytes
# coded.
CODE_END, LOW, SPAN, VALUE, DONE = range(5)
CODER_FIELDS = 5
# What `_foresee` leaves for learning, in `Lanes.seat`.
SITUATION, ORDERS, ORDER1_ROW, HASHED_ROW, HALF_NODE, LAST_CLASS = range(6)
# Marks of text positions: its byte is known; a symbol ends with it.
KNOWN, BOUNDARY = 1, 2

# The joint mixer: all inputs of the context models, and behind them the predictor and what they say as far as the
# symbol allows.
_PREDICTOR_INPUT = _SECOND_INPUTS + _CONTEXTS
_ALLOWED_INPUT = _PREDICTOR_INPUT + 1
_JOINT_SETS = 3
_JOINT_RATE, _JOINT_EXTRA = 24, 64

# The blend: the predictor, the context models as far as the symbol allows, refined and before that, their sets, the
# joint mixer's, a constant.
_BLEND_INPUTS = 5 + _SETS + _JOINT_SETS
_BIAS = 256
_BLEND_SETS = 4
_BLEND_ROWS = (16 * 8 * 2, (2 * match.BUCKETS + 1) * 2, 4 * 8 * CLASSES, 36 * 8)
_BLEND1, _BLEND2, _BLEND3 = (sum(_BLEND_ROWS[:k]) for k in range(1, 4))
_FIRST_OF_PREDICTOR, _FIRST_OF_CONTEXTS = 0.35, 0.65
_BLEND_RATE, _BLEND_EXTRA, _BLEND_HALF = 12, 30, 4096

# The stops: the predictor, the context models' bytes, counters by contexts, a constant.
_STOP_CONTEXTS = 5
_STOP_INPUTS = 3 + _STOP_CONTEXTS
_MASS_BITS = 40

# Whether symbols end before a byte that they could go on with.
_END_CONTEXTS = 6
_END_INPUTS = 1 + _END_CONTEXTS
END_BITS = 20
_END_ROWS = 15
_FIRST_OF_END, _FIRST_END = 0.3, -1.3
_STOP_SETS = 2
_STOP_ROWS = (8 * 3 * 4, 16)
_STOP_LIMIT = 255
STOP_BITS = 18
_STOP_RATE, _STOP_EXTRA = 20, 40
_STOP_HALF = 512

OK, NO_END = 0, -1

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Ints32 = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]


class Lanes(NamedTuple):
    """The state of the lanes of a group, and what they work on.

    where: int64[lanes, WHERE_FIELDS]. contexts: int64[lanes, fields of the contexts' state].
    matches: int64[lanes, fields of the matches]. text, marks: uint8[bytes of the group]. coder: int64[CODER_FIELDS].
    sums: int64[S + 1] and logits, tail: see weights.py and blend.py.
    blend, stops: int64 weights. stop_counters: uint32[2^STOP_BITS].
    """

    where: Ints
    contexts: Ints
    matches: Ints
    text: Bytes
    marks: Bytes
    coder: Ints
    sums: Ints
    exponentials: npt.NDArray[np.uint32]
    tail: npt.NDArray[np.int16]
    blend: Ints
    stops: Ints
    stop_counters: Counters
    hashed: Ints
    masses: Ints
    foreseen: Ints32
    slots: Ints
    peeked: Bytes
    peeked_slots: Ints
    seen: Ints
    chances: Ints32
    inputs: Ints32
    chosen: Ints
    mixed: Ints
    errors: Ints
    leaves: Ints
    worth: Ints
    rows: Ints
    given: Ints
    blended: Ints
    stop_places: Ints
    seat: Ints
    ends: Counters
    end_weights: Ints
    end_places: Ints
    end_given: Ints
    end_rows: Ints
    end_mixed: Ints
    joint: Ints32
    joint_chosen: Ints
    joint_mixed: Ints


Kernel = Callable[[Scores, Ints32, int, Bytes, bool, bool, Bytes, Sorted, Lanes, Learned, Memory, Tables], int]


@kernel
def _prepare(lanes: Lanes, lane: int, store: Memory, tables: Tables) -> None:
    """Hash the contexts of the next byte of a lane and find its matches, unless that is done."""
    where, state, matches = lanes.where[lane], lanes.contexts[lane], lanes.matches[lane]
    if where[PREPARED] != 0:
        return
    position, start = where[POSITION], where[START]
    hashed, text = lanes.hashed[lane], lanes.text
    table = store.slots
    buckets = len(table) // BUCKET_BYTES - 1
    last = state[LAST4] & 0xFF
    hashes(state, position, hashed)
    special_hashes(state, store.followers, text, start, position, TEXT, 1, 1, hashed)
    where[PREPARED], where[FORESEEN] = 1, 0
    where[PICK] = selector(state, text, start, position, TEXT, 1, 1, tables.class_of)
    for i in range(_CONTEXTS):
        if i != EXPECTED:
            prefetch(table, (hashed[i] & buckets) * BUCKET_BYTES)
    long_candidate = match.look_up(store.long_places, where[LONG_HASH], last, position)
    short_candidate = match.look_up(store.short_places, where[SHORT_HASH], last, position)
    match.seek(matches, LONG, text, position, match.LONG_LEAST, long_candidate)
    match.seek(matches, SHORT, text, position, match.SHORT_LEAST, short_candidate)
    expected = 0
    for which in range(MATCHES - 1, -1, -1):
        own = which * match.FIELDS
        pointer = matches[index(own + match.POINTER)]
        if pointer >= len(text) or lanes.marks[index(pointer)] & KNOWN == 0:
            # What other lanes have not come to yet cannot be expected.
            matches[index(own + match.POINTER)] = 0
            matches[index(own + match.LENGTH)] = 0
        found = match.expect(matches, which, text)
        if found > 0:
            expected = found + 512 * min(matches[index(own + match.BUCKET)] >> 2, 7)
    hashed[EXPECTED] = mix(mix(expected, last), 0x7654321)


@kernel
def _key_part(i: int, half: int, node: int) -> int:
    """How knowledge of a context is asked for half a byte."""
    part = knowledge.WHOLE
    if _KINDS[i] == BY_BYTE:
        part = node & 15 if half else knowledge.FIRST_NIBBLE
    return part


@kernel
def _peek_half(known: Bytes, lanes: Lanes, lane: int, node: int, store: Memory, tables: Tables) -> None:
    """Put into `peeked` what the slots of the low half of a byte hold, or would hold if they were taken now."""
    table, hashed, peeked = store.slots, lanes.hashed[lane], lanes.peeked
    buckets = len(table) // BUCKET_BYTES - 1
    for i in range(_CONTEXTS):
        key = (hashed[i] + node * NIBBLE_FACTOR) & 0xFFFFFFFF
        own = i * SLOT_BYTES
        slot = peek(table, (key & buckets) * BUCKET_BYTES, max(key >> 24, 1))
        for k in range(1, SLOT_BYTES):
            peeked[index(own + k)] = table[index(slot + k)] if slot >= 0 else 0
        if slot < 0 and _KINDS[i] != NOTHING and lanes.worth[i] >= 0:
            key = hashed[i]
            if _KINDS[i] == BY_NIBBLE:
                key = mix(key, node)
            knowledge.recall(
                known,
                key,
                _key_part(i, 1, node),
                peeked,
                own,
                lanes.leaves,
                tables.counts,
                tables.steps,
                tables.trained_states,
            )


@kernel
def _begin_half(
    known: Bytes, lanes: Lanes, lane: int, half: int, node: int, store: Memory, tables: Tables, done: int
) -> None:
    """Take the slots of half a byte, with what is known of contexts that are new."""
    table, hashed = store.slots, lanes.hashed[lane]
    buckets = len(table) // BUCKET_BYTES - 1
    offset = half * node * NIBBLE_FACTOR
    for i in range(_CONTEXTS):
        lanes.leaves[index(32 + i)] = -2
        key = (hashed[i] + offset) & 0xFFFFFFFF
        slot = take(table, (key & buckets) * BUCKET_BYTES, max(key >> 24, 1), tables.confidence)
        if slot < 0:
            slot = ~slot
            if _KINDS[i] != NOTHING and (lanes.worth[i] >= 0 or done & NOW_AND_THEN == 0):
                key = hashed[i]
                if half and _KINDS[i] == BY_NIBBLE:
                    key = mix(key, node)
                lanes.leaves[index(32 + i)] = knowledge.recall(
                    known,
                    key,
                    _key_part(i, half, node),
                    table,
                    slot,
                    lanes.leaves,
                    tables.counts,
                    tables.steps,
                    tables.trained_states,
                )
        lanes.slots[i] = slot


@kernel
def _end_half(lanes: Lanes, node: int) -> None:
    """Note which guesses of the low half of a byte were right."""
    for i in range(_CONTEXTS):
        guess = lanes.leaves[index(32 + i)]
        if guess != -2:
            gained = _PATIENCE * wide(guess == node & 15) - 1
            lanes.worth[i] = min(max(lanes.worth[i] + gained, LEAST_WORTH), MOST_WORTH)


@kernel
def _encode_or_decode(lanes: Lanes, code: Bytes, decoding: bool, p: int, bit: int) -> int:
    """Code the bit, which is 1 with probability p / 2^22, or decode and return it."""
    coder = lanes.coder
    if decoding:
        bit, coder[CODE_END], coder[VALUE], coder[SPAN] = decode_bit(
            code, coder[CODE_END], coder[VALUE], coder[SPAN], p
        )
    else:
        coder[CODE_END], coder[LOW], coder[SPAN] = encode_bit(code, coder[CODE_END], coder[LOW], coder[SPAN], p, bit)
    return bit


@kernel
def _share(part: int, whole: int) -> int:
    """part / whole in units of 2^-22, for 0 < part < whole < 2^56; neither 0 nor 1."""
    shift = 0
    while whole >> shift >= 1 << 40:
        shift += 1
    p = ((part >> shift) << PROBABILITY_BITS) // (whole >> shift)
    return min(max(p, 1), ONE - 1)


@kernel
def _foresee(
    step: int, node: int, table: Bytes, slots: Ints, lanes: Lanes, lane: int, learned: Learned, tables: Tables
) -> tuple[int, int]:
    """What the context models say of a bit after those of `node`, whose histories are in `slots` of `table`.

    Returns the probability of a 1 and its logit before it was refined. Leaves in `lanes` what learning from it takes.
    """
    state, matches = lanes.contexts[lane], lanes.matches[lane]
    inputs, chosen, mixed = lanes.inputs, lanes.chosen, lanes.mixed
    histories, order0, by_length, by_byte, weights, finals, order1_map, hashed_map = learned
    squash, stretch, rough = tables.squash, tables.stretch, tables.rough_stretch
    last4 = state[LAST4]
    last = last4 & 0xFF
    half_node = node
    if step >= 4:
        half_node = (node & ((1 << (step - 4)) - 1)) | (1 << (step - 4))
    situation, expected = ask_matches(matches, by_length, by_byte, stretch, node, step, inputs, _MATCH_INPUTS)
    inputs[_ORDER0_INPUT] = logit_of(order0, node, stretch)
    order1_row = (last * 256 + node) * apm.NODES
    hashed_row = map_row(last4 & 0xFFFF, expected, node, len(hashed_map) // apm.NODES) * apm.NODES
    nonempty = 0
    for i in range(_CONTEXTS):
        history = wide(table[index(slots[i] + half_node)])
        chance = histories[index(i * 256 + history)]
        lanes.seen[i] = i * 256 + history
        lanes.chances[i] = chance
        inputs[index(i)] = rough[index(wide(chance) >> ROUGH_SHIFT)]
        inputs[index(_SECOND_INPUTS + i)] = (chance - HALF) >> SECOND_SHIFT
        nonempty += history != 0
    last_class = wide(tables.class_of[index(last)])
    pair = (last_class * CLASSES + wide(tables.class_of[index((last4 >> 8) & 0xFF)])) * 8
    live, any_ = known_orders(lanes.seen)
    orders = (live * 6 + any_) * 8 + step
    chosen[0] = node * _COUNT
    chosen[1] = (_SET1 + situation * 8 + nonempty * 7 // _CONTEXTS) * _COUNT
    chosen[2] = (_SET2 + pair + step) * _COUNT
    chosen[3] = (_SET3 + orders) * _COUNT
    chosen[4] = (_SET4 + last) * _COUNT
    chosen[5] = (_SET5 + lanes.where[lane, PICK]) * _COUNT
    for k in range(0, _SETS, 3):
        dot3(weights, chosen, k, inputs, 0, _COUNT, mixed)
    final_row = situation * _SETS
    total = 0
    for k in range(_SETS):
        total += wide(finals[index(final_row + k)]) * mixed[index(k)]
    logit = clamp(total >> WEIGHT_BITS)
    by_hash = apm.refine(hashed_map, hashed_row, logit)
    by_order1 = apm.refine(order1_map, order1_row, logit)
    refined = (4 * wide(squash[index(logit + 2048)]) + 6 * by_order1 + 6 * by_hash) >> 4
    seat = lanes.seat
    seat[SITUATION], seat[ORDERS], seat[ORDER1_ROW], seat[HASHED_ROW] = situation, orders, order1_row, hashed_row
    seat[HALF_NODE], seat[LAST_CLASS] = half_node, last_class
    return min(max(refined, LEAST_P), ONE - LEAST_P), logit


@kernel
def _split(vocabulary: Sorted, low: int, high: int, depth: int, least: int) -> int:
    """The first entry from `low` to `high` whose byte at `depth` is `least` or more; they agree before that."""
    while low < high:
        middle = (low + high) >> 1
        if wide(vocabulary.data[index(vocabulary.starts[index(middle)] + depth)]) < least:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _chance_of_end(key: int, byte: int, lanes: Lanes, lane: int, tables: Tables) -> int:
    """How likely it is that a symbol ends at the node of `key` if `byte`, with which it could go on, follows.

    Leaves in `lanes` what learning from it takes.
    """
    hashed, places, counters, given = lanes.hashed[lane], lanes.end_places, lanes.ends, lanes.end_given
    known = 0
    node = mix(key, byte + 0x5000000)
    places[0] = node
    places[1] = mix(node, lanes.where[lane, RANK_THEN])
    places[2] = mix(hashed[1], node)
    places[3] = mix(hashed[2], node)
    places[4] = mix(hashed[4], node)
    places[5] = mix(hashed[5], node)
    for i in range(_END_CONTEXTS):
        places[i] = places[i] & (len(counters) - 1)
        counter = wide(counters[index(places[i])])
        given[i] = tables.stretch[index(counter >> (COUNT_BITS + 8))]
        known += (counter & COUNT_MASK) > 0
    first = min(wide(counters[index(places[0])]) & COUNT_MASK, 7)
    given[_END_CONTEXTS] = _BIAS
    lanes.end_rows[0] = known * _END_INPUTS
    lanes.end_rows[1] = (7 + first) * _END_INPUTS
    logit = blend.mix(lanes.end_weights, lanes.end_rows, 2, given, _END_INPUTS, lanes.end_mixed)
    return min(max(wide(tables.squash[index(logit + 2048)]), LEAST_P), ONE - LEAST_P)


@kernel
def _learn_end(key: int, byte: int, ended: int, lanes: Lanes, lane: int, tables: Tables) -> None:
    """Learn that a symbol ended, or did not, at the node of `key` before that byte."""
    _chance_of_end(key, byte, lanes, lane, tables)
    rate = _STOP_RATE + _STOP_EXTRA * _STOP_HALF // (_STOP_HALF + lanes.coder[DONE])
    blend.train(
        lanes.end_weights, lanes.end_rows, 2, lanes.end_given, _END_INPUTS, lanes.end_mixed, ended, rate, tables.squash
    )
    for i in range(_END_CONTEXTS):
        learn(lanes.ends, lanes.end_places[i], ended, _STOP_LIMIT, tables.reciprocals)


@kernel
def _foresee_bytes(
    known: Bytes,
    vocabulary: Sorted,
    low: int,
    high: int,
    depth: int,
    lanes: Lanes,
    lane: int,
    learned: Learned,
    store: Memory,
    tables: Tables,
) -> int:
    """How likely the context models think it is that a symbol goes on as the entries from `low` to `high` do.

    That is, that one of their bytes comes next, and how often symbols went on then.

    Puts the mass of every node of the tree of bits into `masses`, in units of 2^-40; returns that of all.
    """
    masses, foreseen = lanes.masses[lane], lanes.foreseen
    for i in range(512):
        masses[index(i)] = 0
    for i in range(256):
        foreseen[index(i)] = 0
    _prepare(lanes, lane, store, tables)
    _begin_half(known, lanes, lane, 0, 1, store, tables, lanes.coder[DONE])
    key, peeked = mix(low, depth), 0
    lanes.where[lane, FORESEEN] = 1 + key
    lanes.where[lane, RANK_THEN] = lanes.where[lane, LAST_RANK]
    while low < high:
        byte = wide(vocabulary.data[index(vocabulary.starts[index(low)] + depth)])
        mass = 1 << _MASS_BITS
        node = 1
        for step in range(8):
            if foreseen[index(node)] == 0:
                if step < 4:
                    chance, _ = _foresee(step, node, store.slots, lanes.slots, lanes, lane, learned, tables)
                else:
                    first = 16 | (byte >> 4)
                    if peeked != first:
                        _peek_half(known, lanes, lane, first, store, tables)
                        peeked = first
                    chance, _ = _foresee(step, node, lanes.peeked, lanes.peeked_slots, lanes, lane, learned, tables)
                foreseen[index(node)] = chance
            chance = wide(foreseen[index(node)])
            bit = (byte >> (7 - step)) & 1
            mass = (mass * (chance if bit else ONE - chance)) >> PROBABILITY_BITS
            node = 2 * node + bit
        mass = (mass * (ONE - _chance_of_end(key, byte, lanes, lane, tables))) >> PROBABILITY_BITS
        while node > 0:
            masses[index(node)] += mass
            node >>= 1
        low = _split(vocabulary, low, high, depth, byte + 1)
    return int(masses[1])


@kernel
def _allowed(masses: Ints, node: int, depth: int, path: int, refined: int) -> int:
    """The probability of a 1 as far as the symbol allows: within the bytes it may go on with, if it does (depth > 0),
    else without them; `path` is the mass of all bytes after the bits of `node`."""
    one, zero = int(masses[index(2 * node + 1)]), int(masses[index(2 * node)])
    if depth == 0:
        most = (path * refined) >> PROBABILITY_BITS
        least = path >> 8
        one, zero = max(most - one, (least * refined) >> PROBABILITY_BITS), path - most - zero
        zero = max(zero, least - ((least * refined) >> PROBABILITY_BITS))
    if one <= 0 or zero <= 0:
        return refined
    return min(max((one << PROBABILITY_BITS) // (one + zero), LEAST_P), ONE - LEAST_P)


@kernel
def _code_bit(
    code: Bytes,
    decoding: bool,
    bit: int,
    part: int,
    whole: int,
    step: int,
    node: int,
    depth: int,
    path: int,
    lanes: Lanes,
    lane: int,
    learned: Learned,
    store: Memory,
    tables: Tables,
) -> tuple[int, int]:
    """One bit of a byte; `part` of `whole` is the predictor's weight for a 1. Where that leaves no choice, it is only
    learned from. Returns the bit, and what the context models thought of a 1."""
    matches, inputs, mixed, seat = lanes.matches[lane], lanes.inputs, lanes.mixed, lanes.seat
    histories, order0, by_length, by_byte, weights, finals, order1_map, hashed_map = learned
    squash, stretch, reciprocals = tables.squash, tables.stretch, tables.reciprocals
    table, slots, chosen = store.slots, lanes.slots, lanes.chosen
    refined, logit = _foresee(step, node, table, slots, lanes, lane, learned, tables)
    p = wide(squash[index(logit + 2048)])
    situation, order1_row, hashed_row = seat[SITUATION], seat[ORDER1_ROW], seat[HASHED_ROW]
    final_row, half_node = situation * _SETS, seat[HALF_NODE]

    if 0 < part < whole:
        given = lanes.given
        predicted = blend.fine_logit(_share(part, whole), stretch, lanes.tail)
        allowed = refined
        if lanes.where[lane, FORESEEN] != 0:
            allowed = _allowed(lanes.masses[lane], node, depth, path, refined)
        seen = blend.fine_logit(allowed, stretch, lanes.tail)
        given[0] = predicted
        given[1] = seen
        given[2] = blend.fine_logit(refined, stretch, lanes.tail)
        given[3] = logit
        for k in range(_SETS):
            given[index(4 + k)] = mixed[index(k)]
        choice = lanes.rows
        agree = wide((predicted >= 0) == (seen >= 0))
        choice[0] = ((abs(predicted) >> 7) * 16 + (abs(seen) >> 8) * 2 + agree) * _BLEND_INPUTS
        choice[1] = (_BLEND1 + situation * 2 + wide(depth > 0)) * _BLEND_INPUTS
        choice[2] = (_BLEND2 + (min(depth, 3) * 8 + step) * CLASSES + seat[LAST_CLASS]) * _BLEND_INPUTS
        choice[3] = (_BLEND3 + seat[ORDERS]) * _BLEND_INPUTS
        joint = lanes.joint_chosen
        for k in range(_JOINT_SETS):
            joint[k] = choice[k] // _BLEND_INPUTS * _COUNT
        inputs[_PREDICTOR_INPUT] = predicted
        inputs[_ALLOWED_INPUT] = seen
        dot3(lanes.joint, joint, 0, inputs, 0, _COUNT, lanes.joint_mixed)
        for k in range(_JOINT_SETS):
            given[index(4 + _SETS + k)] = lanes.joint_mixed[index(k)]
        given[4 + _SETS + _JOINT_SETS] = _BIAS
        answer = blend.mix(lanes.blend, choice, _BLEND_SETS, given, _BLEND_INPUTS, lanes.blended)
        chance = min(max(wide(squash[index(answer + 2048)]), LEAST_P), ONE - LEAST_P)
        bit = _encode_or_decode(lanes, code, decoding, chance, bit)
        rate = _BLEND_RATE + _BLEND_EXTRA * _BLEND_HALF // (_BLEND_HALF + lanes.coder[DONE])
        blend.train(lanes.blend, choice, _BLEND_SETS, given, _BLEND_INPUTS, lanes.blended, bit, rate, squash)
        rate = _JOINT_RATE + _JOINT_EXTRA * HALF_RATE_BYTES // (HALF_RATE_BYTES + lanes.coder[DONE])
        for k in range(_JOINT_SETS):
            lanes.errors[k] = scaled_error(lanes.joint_mixed[index(k)], bit, rate, squash)
        train3(lanes.joint, joint, 0, inputs, 0, _COUNT, lanes.errors, 0)
        inputs[_PREDICTOR_INPUT] = 0
        inputs[_ALLOWED_INPUT] = 0
    else:
        bit = wide(part > 0)

    apm.correct(order1_map, order1_row, logit, bit, reciprocals)
    apm.correct(hashed_map, hashed_row, logit, bit, reciprocals)
    rate = BASE_RATE + EXTRA_RATE * HALF_RATE_BYTES // (HALF_RATE_BYTES + lanes.coder[DONE])
    uncertain = 0
    for k in range(_SETS):
        lanes.errors[k] = scaled_error(mixed[index(k)], bit, rate, squash)
        uncertain |= (lanes.errors[k] + SMALL_ERROR) & (-2 * SMALL_ERROR)
    if uncertain != 0:
        for k in range(0, _SETS, 3):
            train3(weights, chosen, k, inputs, 0, _COUNT, lanes.errors, k)
    error = (((bit << PROBABILITY_BITS) - p) * FINAL_RATE) >> 4
    for k in range(_SETS):
        final = wide(finals[index(final_row + k)]) + ((mixed[index(k)] * error) >> 10)
        finals[index(final_row + k)] = min(max(final, -WEIGHT_LIMIT), WEIGHT_LIMIT)
    for which in range(MATCHES):
        match.correct(matches, which, node, step, bit, by_length, by_byte, reciprocals)
    target = np.int32(bit << CHANCE_BITS)
    following = bit << 8
    for i in range(_CONTEXTS):
        history = lanes.seen[i]
        histories[index(history)] = lanes.chances[i] + np.int32(np.int32(target - lanes.chances[i]) >> CHANCE_RATE)
        table[index(slots[i] + half_node)] = tables.next_state[index(following + (history & 255))]
    learn(order0, node, bit, COUNTER_LIMIT, reciprocals)
    return bit, refined


@kernel
def _code_stop(
    code: Bytes,
    decoding: bool,
    bit: int,
    part: int,
    whole: int,
    first: int,
    depth: int,
    others: int,
    lanes: Lanes,
    lane: int,
    tables: Tables,
) -> int:
    """Whether the symbol ends here, at the node whose first entry is `first`; `part` of `whole` says it does.

    `others`: how likely the context models think the bytes are that it could go on with, in units of 2^-40.
    """
    where, matches = lanes.where[lane], lanes.matches[lane]
    squash, stretch, reciprocals = tables.squash, tables.stretch, tables.reciprocals
    given, choice, places, counters = lanes.given, lanes.rows, lanes.stop_places, lanes.stop_counters
    # What a match expects next, and whether a symbol ended before it.
    expected, end_there = 0, 0
    for which in range(MATCHES - 1, -1, -1):
        pointer = matches[index(which * match.FIELDS + match.POINTER)]
        if pointer > 0 and pointer < len(lanes.text):
            mark = wide(lanes.marks[index(pointer - 1)])
            if mark & KNOWN:
                end_there = 1 + (mark >> 1)
                length = min(matches[index(which * match.FIELDS + match.LENGTH)], 31)
                expected = 1 + end_there * 32 + length
    node = mix(first, depth)
    places[0] = node
    places[1] = mix(node, where[LAST_RANK] + 0x10000)
    places[2] = mix(node, expected + 0x2000000)
    places[3] = mix(expected, 0x3000000)
    places[4] = mix(mix(node, where[LAST_RANK]), where[RANK_BEFORE] + 0x4000000)
    given[0] = blend.fine_logit(_share(part, whole), stretch, lanes.tail)
    for i in range(_STOP_CONTEXTS):
        places[i] = places[i] & (len(counters) - 1)
        given[index(2 + i)] = stretch[index(wide(counters[index(places[i])]) >> (COUNT_BITS + 8))]
    over = min(max(others >> (_MASS_BITS - PROBABILITY_BITS), LEAST_P), ONE - LEAST_P)
    given[1] = -blend.fine_logit(over, stretch, lanes.tail)
    given[2 + _STOP_CONTEXTS] = _BIAS
    choice[0] = ((min(depth, 8) - 1) * 12 + end_there * 4 + min(abs(given[0]) >> 8, 3)) * _STOP_INPUTS
    choice[1] = (_STOP_ROWS[0] + (abs(given[0]) >> 7)) * _STOP_INPUTS
    answer = blend.mix(lanes.stops, choice, _STOP_SETS, given, _STOP_INPUTS, lanes.blended)
    p = min(max(wide(squash[index(answer + 2048)]), LEAST_P), ONE - LEAST_P)
    bit = _encode_or_decode(lanes, code, decoding, p, bit)
    rate = _STOP_RATE + _STOP_EXTRA * _STOP_HALF // (_STOP_HALF + lanes.coder[DONE])
    blend.train(lanes.stops, choice, _STOP_SETS, given, _STOP_INPUTS, lanes.blended, bit, rate, squash)
    for i in range(_STOP_CONTEXTS):
        learn(counters, places[i], bit, _STOP_LIMIT, reciprocals)
    return bit


@kernel
def _code_byte(
    code: Bytes,
    decoding: bool,
    mixing: bool,
    rank: int,
    depth: int,
    low: int,
    high: int,
    known: Bytes,
    vocabulary: Sorted,
    lanes: Lanes,
    lane: int,
    learned: Learned,
    store: Memory,
    tables: Tables,
) -> tuple[int, int, int]:
    """The next byte of a symbol among the entries from `low` to `high`. Returns those that have it, and the byte."""
    sums = lanes.sums
    byte, path = 0, 1 << _MASS_BITS
    if not decoding:
        byte = wide(vocabulary.data[index(vocabulary.starts[index(rank)] + depth)])
    if mixing:
        _prepare(lanes, lane, store, tables)
    node = 1
    for step in range(8):
        if mixing and step & 3 == 0:
            if step == 4:
                where = lanes.where[lane]
                where[LONG_HASH], where[SHORT_HASH] = hashes_for_matches(lanes.contexts[lane], node)
            _begin_half(known, lanes, lane, step >> 2, node, store, tables, lanes.coder[DONE])
        middle = _split(vocabulary, low, high, depth, ((2 * node + 1) << (7 - step)) & 0xFF)
        part = sums[index(high)] - sums[index(middle)]
        whole = sums[index(high)] - sums[index(low)]
        bit = (byte >> (7 - step)) & 1
        if mixing:
            bit, chance = _code_bit(
                code, decoding, bit, part, whole, step, node, depth, path, lanes, lane, learned, store, tables
            )
            path = (path * (chance if bit else ONE - chance)) >> PROBABILITY_BITS
        elif 0 < part < whole:
            bit = _encode_or_decode(lanes, code, decoding, _share(part, whole), bit)
        else:
            bit = wide(part > 0)
        if bit:
            low = middle
        else:
            high = middle
        node = 2 * node + bit
    if mixing:
        _end_half(lanes, node)
        key = lanes.where[lane, FORESEEN]
        if key != 0 and lanes.masses[lane, 256 + (node & 0xFF)] > 0:
            _learn_end(key - 1, node & 0xFF, wide(depth == 0), lanes, lane, tables)
    return low, high, node & 0xFF


@kernel
def _take_byte(byte: int, mixing: bool, lanes: Lanes, lane: int, store: Memory, tables: Tables) -> None:
    """Append a byte to a lane."""
    where, state, matches = lanes.where[lane], lanes.contexts[lane], lanes.matches[lane]
    position = where[POSITION]
    lanes.text[index(position)] = byte
    lanes.marks[index(position)] = KNOWN
    where[POSITION] = position + 1
    where[PREPARED] = 0
    lanes.coder[DONE] += 1
    if mixing:
        for which in range(MATCHES):
            match.follow(matches, which, byte)
        advance(state, lanes.text, position + 1, tables.class_of)
        advance_special(state, store.followers, lanes.text, position + 1, tables.roles)


@kernel
def _code_symbol(
    code: Bytes,
    decoding: bool,
    mixing: bool,
    rank: int,
    known: Bytes,
    vocabulary: Sorted,
    lanes: Lanes,
    lane: int,
    learned: Learned,
    store: Memory,
    tables: Tables,
) -> int:
    """One symbol of a lane. Returns its rank; NO_END if its bytes go beyond the end of the lane."""
    starts, sums, where = vocabulary.starts, lanes.sums, lanes.where[lane]
    low, high, depth = 0, len(vocabulary.symbols), 0
    while True:
        # Entries that end here come first.
        ended = low
        while depth > 0 and ended < high and starts[index(ended + 1)] - starts[index(ended)] == depth:
            ended += 1
        if ended > low:
            stop = wide(rank < ended)
            if ended == high:
                stop = 1
            else:
                part, whole = sums[index(ended)] - sums[index(low)], sums[index(high)] - sums[index(low)]
                if mixing:
                    others = _foresee_bytes(known, vocabulary, ended, high, depth, lanes, lane, learned, store, tables)
                    stop = _code_stop(code, decoding, stop, part, whole, low, depth, others, lanes, lane, tables)
                else:
                    stop = _encode_or_decode(lanes, code, decoding, _share(part, whole), stop)
            if stop:
                high = ended
                break
            low = ended
        if where[POSITION] >= where[END]:
            return NO_END
        low, high, byte = _code_byte(
            code, decoding, mixing, rank, depth, low, high, known, vocabulary, lanes, lane, learned, store, tables
        )
        _take_byte(byte, mixing, lanes, lane, store, tables)
        depth += 1
    # Symbols with the same bytes.
    while high - low > 1:
        middle = (low + high) >> 1
        part, whole = sums[index(high)] - sums[index(middle)], sums[index(high)] - sums[index(low)]
        if _encode_or_decode(lanes, code, decoding, _share(part, whole), wide(rank >= middle)):
            low = middle
        else:
            high = middle
    lanes.marks[index(where[POSITION] - 1)] = KNOWN | BOUNDARY
    where[RANK_BEFORE] = where[LAST_RANK]
    where[LAST_RANK] = low
    where[LEFT] -= 1
    return low


def fresh(vocabulary: Vocabulary, lengths: Sequence[int], counts: Sequence[int]) -> Lanes:
    """The state before the first symbol of lanes with these numbers of bytes and of symbols."""
    lanes, size = len(lengths), sum(lengths)
    where = np.zeros((lanes, WHERE_FIELDS), dtype=np.int64)
    where[:, END] = np.cumsum(np.array(lengths, dtype=np.int64))
    where[:, START] = where[:, POSITION] = where[:, END] - np.array(lengths, dtype=np.int64)
    where[:, LEFT] = counts
    states = np.zeros((lanes, BEST.state_fields), dtype=np.int64)
    for field in (LINE, LINE_ABOVE, FIELD_START, STARTS, STARTS_ABOVE):
        states[:, field] = where[:, START]
    states[:, SEEN_AT:GAPS] = where[:, START, np.newaxis]
    coder = np.zeros(CODER_FIELDS, dtype=np.int64)
    coder[SPAN] = FULL_SPAN
    return Lanes(
        where=where,
        contexts=states,
        matches=np.zeros((lanes, MATCHES * match.FIELDS), dtype=np.int64),
        text=np.zeros(size, dtype=np.uint8),
        marks=np.zeros(size, dtype=np.uint8),
        coder=coder,
        sums=np.zeros(len(vocabulary.entries) + 1, dtype=np.int64),
        exponentials=exponential_table(),
        tail=blend.tail_table(),
        blend=_fresh_blend(),
        stops=_fresh_stops(),
        stop_counters=np.full(1 << STOP_BITS, packed(1, 2, 0), dtype=np.uint32),
        hashed=np.zeros((lanes, _CONTEXTS), np.int64),
        masses=np.zeros((lanes, 512), np.int64),
        foreseen=np.zeros(256, np.int32),
        peeked=np.zeros(_CONTEXTS * SLOT_BYTES, np.uint8),
        peeked_slots=np.arange(_CONTEXTS, dtype=np.int64) * SLOT_BYTES,
        slots=np.zeros(_CONTEXTS, np.int64),
        seen=np.zeros(_CONTEXTS, np.int64),
        chances=np.zeros(_CONTEXTS, np.int32),
        inputs=arrays.zeros(_COUNT, np.int32),
        chosen=np.zeros(_SETS, np.int64),
        mixed=np.zeros(_SETS, np.int64),
        errors=np.zeros(_SETS, np.int64),
        leaves=np.zeros(32 + _CONTEXTS, np.int64),
        worth=np.full(_CONTEXTS, FIRST_WORTH, np.int64),
        rows=np.zeros(_BLEND_SETS, np.int64),
        given=np.zeros(_BLEND_INPUTS, np.int64),
        blended=np.zeros(_BLEND_SETS, np.int64),
        stop_places=np.zeros(_STOP_CONTEXTS, np.int64),
        seat=np.zeros(6, np.int64),
        ends=np.full(1 << END_BITS, packed(1, 2, 0), dtype=np.uint32),
        end_weights=_fresh_ends(),
        end_places=np.zeros(_END_CONTEXTS, np.int64),
        end_given=np.zeros(_END_INPUTS, np.int64),
        end_rows=np.zeros(2, np.int64),
        end_mixed=np.zeros(2, np.int64),
        joint=_fresh_joint(),
        joint_chosen=np.zeros(_JOINT_SETS, np.int64),
        joint_mixed=np.zeros(_JOINT_SETS, np.int64),
    )


def _fresh_blend() -> Ints:
    weights = np.zeros((sum(_BLEND_ROWS), _BLEND_INPUTS), dtype=np.int64)
    weights[:, 0] = int(_FIRST_OF_PREDICTOR * blend.WEIGHT_ONE) // 2
    weights[:, 1] = int(_FIRST_OF_CONTEXTS * blend.WEIGHT_ONE) // 2
    weights[:, 4 + _SETS : 4 + _SETS + _JOINT_SETS] = blend.WEIGHT_ONE // (2 * _JOINT_SETS)
    return weights.reshape(-1)


def _fresh_joint() -> Ints32:
    weights = np.zeros((sum(_BLEND_ROWS[:_JOINT_SETS]), _COUNT), dtype=np.int32)
    weights[:, _PREDICTOR_INPUT] = int(_FIRST_OF_PREDICTOR * WEIGHT_ONE)
    weights[:, _ALLOWED_INPUT] = int(_FIRST_OF_CONTEXTS * WEIGHT_ONE)
    return arrays.copied(weights.reshape(-1))


def _fresh_ends() -> Ints:
    weights = np.full((_END_ROWS, _END_INPUTS), int(_FIRST_OF_END * blend.WEIGHT_ONE), dtype=np.int64)
    weights[:, _END_CONTEXTS] = int(_FIRST_END * blend.WEIGHT_ONE)
    return weights.reshape(-1)


def _fresh_stops() -> Ints:
    weights = np.zeros((sum(_STOP_ROWS), _STOP_INPUTS), dtype=np.int64)
    weights[:, 0] = int(_FIRST_OF_PREDICTOR * blend.WEIGHT_ONE)
    weights[:, 1] = int(_FIRST_OF_CONTEXTS * blend.WEIGHT_ONE)
    return weights.reshape(-1)


def build(stamp: int) -> Kernel:
    """The kernel, tied to the sources it was made from (see `sources_stamp`)."""

    @entry
    def run(
        scores: Scores,
        ranks: Ints32,
        steps: int,
        code: Bytes,
        decoding: bool,
        mixing: bool,
        known: Bytes,
        vocabulary: Sorted,
        lanes: Lanes,
        learned: Learned,
        store: Memory,
        tables: Tables,
    ) -> int:
        """Code `steps` symbols of every lane that has some left.

        scores: float32[lanes, steps, symbols]. ranks: int32[lanes, steps], to encode, or filled when decoding. Returns
        OK, or NO_END where the code cannot be that of these lanes.
        """
        if stamp < 0:
            return NO_END
        for step in range(steps):
            for lane in range(len(lanes.where)):
                if lanes.where[lane, LEFT] > 0:
                    weigh(scores[lane, step], vocabulary.symbols, lanes.exponentials, lanes.sums)
                    rank = _code_symbol(
                        code,
                        decoding,
                        mixing,
                        wide(ranks[lane, step]),
                        known,
                        vocabulary,
                        lanes,
                        lane,
                        learned,
                        store,
                        tables,
                    )
                    if rank == NO_END:
                        return NO_END
                    ranks[lane, step] = rank
        return OK

    return run


@cache
def kernel_of() -> Kernel:
    """The kernel."""
    return build(sources_stamp())
