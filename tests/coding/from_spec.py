"""A decoder of `cm` version 2 written from spec/CM.md alone: plain lists, no kernel, nothing of lmarc imported.

Section numbers are those of the spec. It is slow, and only here to show that the spec is complete and true.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path
from typing import NamedTuple

ONE = 1 << 22
M32 = 0xFFFFFFFF
STATE_FILE = Path(__file__).parents[2] / "lmarc" / "coding" / "cm.state"
TEXT, BINARY, RASTER, SAMPLES = range(4)


class Refused(Exception):
    """The payload is one that a decoder must refuse."""


def clamp(x: int, low: int, high: int) -> int:
    return low if x < low else high if x > high else x


def mix(a: int, b: int) -> int:
    h = ((a & M32) * 0x2F0B4C47 + (b & M32) * 0x1E3779B1 + 0x7F4A7C15) & M32
    h = h ^ (h >> 15)
    h = (h * 0x45EBCA6B) & M32
    return h ^ (h >> 13)


# Section 1: tables.


def squash_table() -> list[int]:
    full = 1 << 128
    unit, term, k = 0, full, 0
    while term:
        unit, k = unit + term, k + 1
        term = term * 3 // (512 * k)
    table = [0] * 4097
    table[2048], e = 1 << 21, full
    for x in range(1, 2049):
        e = e * unit >> 128
        p = (2 * ONE * e + full + e) // (2 * (full + e))
        table[2048 + x], table[2048 - x] = p, ONE - p
    return table[:4096]


def stretch_table(squash: list[int], half: int, width: int) -> list[int]:
    """`stretch` (8192 entries a half, 256 wide) or `rough` (2048, 1024)."""
    upper, x = [], 0
    for i in range(half):
        m = (1 << 21) + width * i + width // 2
        while x < 2047 and (squash[2048 + x] + squash[2049 + x]) // 2 <= m:
            x += 1
        upper.append(x)
    return [-x for x in reversed(upper)] + upper


def class_of(c: int) -> int:
    for number, members in ((3, b"0123456789"), (4, b" "), (5, b"\n\r"), (7, b".,;:!?"), (8, b"\"'")):
        if c in members:
            return number
    if c >= 128 or 97 <= c <= 122:
        return 1
    if 65 <= c <= 90:
        return 2
    if c < 32:
        return 6
    return 9 if c in b"([{<" else 10 if c in b")]}>" else 11


def shrink(n0: int, n1: int) -> tuple[int, int]:
    bound = (36, 28, 10, 6, 5)
    while min(n0, n1) >= 5 or max(n0, n1) > bound[min(n0, n1)]:
        large, small = max(n0, n1), min(n0, n1)
        if small < 2:
            large -= 1
        else:
            large, small = (large * (small - 1) + small // 2) // small, small - 1
        n0, n1 = (large, small) if n0 >= n1 else (small, large)
    return n0, n1


def successor(n0: int, n1: int, y: int) -> tuple[int, int, int]:
    def aged(c: int) -> int:
        return c if c <= 2 else 3 if c <= 4 else 4 if c <= 7 else 5 if c <= 12 else 6 if c <= 24 else 7

    return (*shrink(*((aged(n0), n1 + 1) if y else (n0 + 1, aged(n1)))), y)


def step_of(c: int) -> int:
    return sum(least <= c for least in (1, 4, 8, 16, 40, 100, 300))


SQUASH = squash_table()
STRETCH = stretch_table(SQUASH, 8192, 256)
ROUGH = stretch_table(SQUASH, 2048, 1024)
CLASS = [class_of(c) for c in range(256)]
LIVE = [(0, 0, 0)]
for a0, a1, _ in LIVE:
    LIVE.extend(s for s in (successor(a0, a1, 0), successor(a0, a1, 1)) if s not in LIVE)
NEXT = [[LIVE.index(successor(a0, a1, y)) for y in (0, 1)] for a0, a1, _ in LIVE]
SURE = [a0 + a1 for a0, a1, _ in LIVE]
WORTH = (0, 1, 2, 3, 5, 8, 12, 18)
for trained in range(1, 64):
    counts = shrink(WORTH[trained >> 3], WORTH[trained & 7])
    NEXT.append([LIVE.index(successor(*counts, y)) for y in (0, 1)])
    SURE.append(1)


# Section 12: cm.state.


@functools.cache
def state_file() -> bytes:
    return STATE_FILE.read_bytes()


class Rows(dict[int, list[int]]):
    """The rows of one array, each read when it is first asked for."""

    def __init__(self, offset: int, width: int, sign: str) -> None:
        super().__init__()
        self.offset, self.form = offset, struct.Struct(f"<{width}{sign}")

    def __missing__(self, number: int) -> list[int]:
        row = self[number] = list(self.form.unpack_from(state_file(), self.offset + number * self.form.size))
        return row


class Level(NamedTuple):
    contexts: int
    inputs: int
    length: int
    vectors: tuple[int, ...]
    slot_bits: int
    right: int  # R
    kept: str  # section 5, column K
    offset: int


LEVELS = {
    1: Level(9, 23, 32, (256, 1032, 1152), 24, 8, "NNBBBBN--", 25600000),
    2: Level(18, 41, 48, (256, 1032, 1152, 1152, 1024, 1024), 26, 32, "NNBBBBN---BB------", 27112012),
}


class Arrays:
    """The arrays of a level as the file has them. `end` is where they end."""

    def __init__(self, level: int) -> None:
        sizes = LEVELS[level]
        self.end = sizes.offset
        self.chance = self.take(sizes.contexts, 256, "i")
        self.order0 = self.take(1, 256, "I")
        self.by_length = self.take(2 * 64, 16, "I")
        self.by_byte = self.take(2 * 8 * 256, 8, "I")
        self.weight = [self.take(vectors, sizes.length, "i") for vectors in sizes.vectors]
        self.final = self.take(129, len(sizes.vectors), "i")
        self.order1 = self.take(65536 if level == 2 else 1, 16, "I")
        self.hashed = self.take(16384, 16, "I")

    def take(self, rows: int, width: int, sign: str) -> Rows:
        offset, self.end = self.end, self.end + rows * width * 4
        return Rows(offset, width, sign)


# Section 3: counters, kept as p << 10 | c in a row.


def learn(row: list[int], number: int, y: int, limit: int) -> None:
    p, c = row[number] >> 10, row[number] & 1023
    p = p + ((((y << 22) - p) * (131072 // (2 * c + 3))) >> 16)
    row[number] = p << 10 | (c + 1 if c < limit else c)


def logit(counter: int) -> int:
    return STRETCH[counter >> 10 >> 8]


# Section 2: the code.


class Code:
    def __init__(self, code: bytes) -> None:
        if code.endswith(b"\0"):
            raise Refused("the code ends with a zero byte")
        self.code, self.read = code, 4
        self.value, self.span = int.from_bytes(code[:4].ljust(4, b"\0"), "big"), 1 << 32

    def bit(self, p: int) -> int:
        bound = (self.span * p) >> 22
        if self.value < bound:
            y, self.span = 1, bound
        else:
            y, self.value, self.span = 0, self.value - bound, self.span - bound
        while self.span < 1 << 24:
            self.value = self.value << 8 | (self.code[self.read] if self.read < len(self.code) else 0)
            self.read, self.span = self.read + 1, self.span << 8
        return y

    def close(self) -> None:
        if len(self.code) > self.read:
            raise Refused("the code is longer than what was read")


# Section 11: segments.


class Segment(NamedTuple):
    start: int
    end: int
    kind: int
    stride: int
    row: int
    branches: bool


class Head:
    def __init__(self, payload: bytes) -> None:
        self.payload, self.position = payload, 0

    def byte(self) -> int:
        if self.position >= len(self.payload):
            raise Refused("the head is cut")
        self.position += 1
        return self.payload[self.position - 1]

    def number(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            c = self.byte()
            value |= (c & 127) << shift
            if c < 128:
                return value
        raise Refused("a number of more than four bytes")

    def segments(self, n: int) -> list[Segment]:
        found: list[Segment] = []
        start = 0
        count = self.byte()
        if count == 0:
            return [Segment(0, n, TEXT, 1, 1, False)]
        for _ in range(count):
            length, kind, stride, row = self.number(), self.byte(), self.byte(), self.number()
            branches, kind = bool(kind & 16), kind & ~16
            if length < 1 or kind > 3 or not 1 <= stride <= 64 or not 1 <= row <= 65535:
                raise Refused("a segment that cannot be")
            if (kind == RASTER and row <= stride) or (kind == SAMPLES and (stride % 2 or row < stride + 2)):
                raise Refused("a stride and a row that do not go together")
            found.append(Segment(start, start + length, kind, stride, row, branches))
            start += length
        if start != n:
            raise Refused("the segments are not as long as the content")
        return found


def restore_branches(u: bytearray) -> None:
    for j in range(len(u) - 4):
        if u[j] & 0xFE == 0xE8 and u[j + 4] in (0, 255):
            x = u[j + 1] | u[j + 2] << 8 | u[j + 3] << 16 | (u[j + 4] & 1) << 24
            x = (x - j) & ((1 << 25) - 1)
            u[j + 1], u[j + 2], u[j + 3], u[j + 4] = x & 255, (x >> 8) & 255, (x >> 16) & 255, 255 * (x >> 24)


# Section 4: state of the contexts.


class Past:
    def __init__(self) -> None:
        self.t = bytearray()
        self.hashes = 0, 0
        self.last4 = self.before4 = self.before8 = self.shape = 0
        self.word = self.previous = self.previous2 = 0
        self.line = self.line_above = self.above = 0
        self.followers = [0] * 65536
        self.number = self.depth = 0
        self.stack = [0] * 64
        self.field = self.fields_above = self.field_start = self.field_hash = self.head = self.field_above = 0
        self.starts, self.starts_above = [0] * 256, [0] * 256
        self.record = 0
        self.seen = [(0, 0, 0)] * 256
        self.gaps = [0] * 2048

    def take(self, c: int) -> None:
        self.t.append(c)
        short = mix(self.last4, 16 + (c >> 4))
        self.hashes = mix(mix(short, self.before4), self.before8), short
        pair = self.last4 & 0xFFFF
        self.before8 = (self.before8 << 8 & M32) | self.before4 >> 24
        self.before4 = (self.before4 << 8 & M32) | self.last4 >> 24
        self.last4 = (self.last4 << 8 & M32) | c
        self.shape = (self.shape << 4 & M32) | CLASS[c]
        self.take_word(c)
        self.take_line(c)
        self.followers[pair] = ((self.followers[pair] & 255) << 8) | c
        self.number = mix(self.number, c) if c in b"0123456789" else 0
        if c in b"([{<" and self.depth < 63:
            self.depth += 1
            self.stack[self.depth] = mix(c, self.previous)
        elif c in b")]}>" and self.depth > 0:
            self.depth -= 1
        self.take_field(c)
        self.take_record(c)

    def take_word(self, c: int) -> None:
        letter = c + 32 if 65 <= c <= 90 else c
        if 97 <= letter <= 122 or c >= 128:
            w = ((self.word + letter) * 0x3D4D51CB) & M32
            self.word = max(w ^ (w >> 17), 1)
        elif self.word:
            self.previous2, self.previous, self.word = self.previous, self.word, 0

    def take_line(self, c: int) -> None:
        i = len(self.t)
        if c == 10:
            self.line_above, self.line = self.line, i
        a = self.line_above + i - self.line
        self.above = self.t[a] if a < self.line else 0

    def take_field(self, c: int) -> None:
        i = len(self.t)
        if c == 10:
            self.starts_above[: self.field + 1] = self.starts[: self.field + 1]
            self.fields_above = self.field
            self.field = self.field_hash = self.head = 0
            self.field_start = self.starts[0] = i
        elif c in b' \t,;|:="[]()/':
            self.field = min(self.field + 1, 255)
            self.field_start = self.starts[self.field] = i
            self.field_hash = 0
        else:
            self.field_hash = mix(self.field_hash, c)
        if c != 10 and i - self.line <= 3:
            self.head = self.head << 8 | c
        self.field_above = 0
        if self.field <= self.fields_above:
            a = self.starts_above[self.field] + i - self.field_start
            if a + 1 < i:
                self.field_above = 0x10000 + self.t[a] + (self.t[a + 1] << 8)
                if self.field < self.fields_above and a >= self.starts_above[self.field + 1]:
                    self.field_above = 0x20000 + self.t[self.starts_above[self.field + 1] - 1]

    def take_record(self, c: int) -> None:
        i = len(self.t)
        x, y, z = self.seen[c]
        g = i - x
        if 1 < g < 2048 and x - y == g and y - z == g:
            self.gaps[g] += 1
            if self.gaps[g] > 30:
                self.record, self.gaps = g, [0] * 2048
        self.seen[c] = (i, x, y)


# Section 5: contexts.


class Around:
    """What lies about t[i] in its segment, by the letters of the spec."""

    def __init__(self, past: Past, segment: Segment) -> None:
        self.t, self.i, self.s = past.t, len(past.t), segment.start
        i, stride, row = self.i, segment.stride, segment.row
        self.c1 = past.last4 & 255
        self.phase = (i - self.s) % stride
        self.west, self.north, self.north2 = self.at(i - stride), self.at(i - row), self.at(i - 2 * row)
        self.north_west = self.at(i - row - stride)
        self.before_west, self.before_north = self.at(i - 1 - stride), self.at(i - 1 - row)
        self.half = (i - self.s) & 1
        d = i - self.half
        self.a, self.b, self.c = (self.sample(d - k * stride) for k in (1, 2, 3))
        self.n, self.nw = self.sample(d - row), self.sample(d - row - stride)

    def at(self, q: int) -> int:
        return self.t[q] if self.s <= q < self.i else 0

    def sample(self, q: int) -> int:
        x = self.at(q) | self.at(q + 1) << 8
        return x - 65536 if x >= 32768 else x

    def part(self, x: int) -> int:
        return ((x - self.c1 + 128) >> 8) & 0xFF if self.half else x & 0xFF


def by_kind(past: Past, segment: Segment, around: Around) -> list[int]:
    """The values of contexts 11 to 19."""
    last4, c1, i, at = past.last4, past.last4 & 255, len(past.t), around.at
    if segment.kind == TEXT:
        bracket = past.stack[past.depth]
        return [
            mix(mix(mix(past.word, past.previous), past.previous2), c1),
            mix(mix(bracket, past.word), c1),
            mix(past.field, past.field_hash),
            mix(mix(past.field, past.field_above & 0xFF), c1),
            mix(past.field_above, past.field_hash),
            mix(mix(past.head, past.word), c1),
            mix(past.number, past.shape & 0xFFFF),
        ]
    if segment.kind == BINARY:
        r = max(past.record, 1)
        place = mix(i % r, r)
        masks = 0xFF00, 0xFFFF00, 0xFF00FF, 0xF0F0F0F0
        return [last4 & mask for mask in masks] + [
            mix(at(i - r), place),
            mix(at(i - r), c1 | at(i - 2 * r) << 8),
            mix(last4 & 0xFFFF, place),
        ]
    phase = around.phase
    if segment.kind == RASTER:

        def clip(x: int) -> int:
            return clamp(x, 0, 255)

        w, n, nw, bw, bn = around.west, around.north, around.north_west, around.before_west, around.before_north
        return [
            mix(clip(w + n - nw), phase),
            mix(clip(w + c1 - bw), mix(phase, clip(n + c1 - bn))),
            mix(n << 8 | c1, phase),
            mix(clip(n + c1 - bn), phase | nw << 8),
            mix(clip(2 * n - around.north2), phase | w << 8),
            mix((i - segment.start) % segment.row, n),
            mix((w + n) >> 1, phase | ((c1 - bw + 256) >> 2) << 8),
        ]
    a, b, c, n, part = around.a, around.b, around.c, around.n, around.part
    return [
        mix(part(a), phase),
        mix(part(3 * a - 3 * b + c), phase),
        mix(part(n), phase),
        mix(part(a + n - around.nw), phase),
        mix(part((a + n) >> 1), phase),
        mix(part(2 * a - b), phase | (((a - b) >> 5) & 0xFF) << 8),
        mix((a >> 4) & 0xFFF, phase | (around.half * c1) << 8),
    ]


def hashes_of(past: Past, level: int, segment: Segment, around: Around) -> list[int]:
    """The hashes of all contexts, but 0 for context 8, which needs the matches."""
    last4, c1 = past.last4, past.last4 & 255
    column = min(len(past.t) - past.line, 255)
    values = [
        last4 & 0xFFFF,
        last4 & 0xFFFFFF,
        last4,
        mix(last4, past.before4 & 0xFFFF),
        mix(past.word, c1),
        mix(mix(past.word, past.previous), c1),
        past.shape,
        mix(column, past.above),
    ]
    hashes = [mix(v, (j + 1) * 0x1234567) for j, v in enumerate(values)] + [0]
    if level == 2:
        hashes.append(mix(mix(past.followers[last4 & 0xFFFF], c1), 10 * 0x1234567))
        hashes.append(mix(mix(last4, past.before4 & 0xFF), 12 * 0x1234567))
        for j, v in enumerate(by_kind(past, segment, around), 11):
            salt = 14 if j == 11 else j + 8
            hashes.append(mix(v, salt * 0x1234567 + segment.kind * 0x3456789))
    return hashes


# Section 6: slots.


class Slots:
    def __init__(self, bits: int) -> None:
        self.bytes = bytearray(1 << bits)

    def take(self, key: int) -> tuple[int, bool]:
        """Where the slot is, and whether it was missing."""
        base, check = key % (len(self.bytes) // 64) * 64, max(key >> 24, 1)
        slots = range(base, base + 64, 16)
        for slot in slots:
            if self.bytes[slot] == check:
                return slot, False
        slot = min(slots, key=lambda s: SURE[self.bytes[s + 1]])
        self.bytes[slot : slot + 16] = bytes([check]) + bytes(15)
        return slot, True


# Section 7: knowledge.


def leaves_of(kept: str, key: int, half: int, node: int) -> list[int] | None:
    """The sums of the counts, or nothing if no entry counts."""
    file, bucket, entries = state_file(), (key * 400000) >> 32, 400000 * 21
    leaves = [0] * 16
    hit = False
    for e in range(bucket * 21, bucket * 21 + file[3 * entries + bucket]):
        high, symbol = file[entries + e], file[2 * entries + e]
        if file[e] | (high >> 4) << 8 != key & 0xFFF:
            continue
        if kept == "B" and half and symbol >> 4 != node & 15:
            continue
        leaf = symbol >> 4 if kept == "B" and not half else symbol & 15
        leaves[leaf] += (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 160, 256, 512)[high & 15]
        hit = True
    return leaves if hit else None


def recall(slots: Slots, slot: int, leaves: list[int]) -> None:
    sums = [0] * 16 + leaves
    for k in range(15, 0, -1):
        z, o = sums[2 * k], sums[2 * k + 1]
        sums[k] = z + o
        if z + o > 0:
            slots.bytes[slot + k] = 182 + 8 * step_of(z) + step_of(o)


# Section 8: matches.


class Search:
    def __init__(self, number: int, places: int, arrays: Arrays) -> None:
        self.number, self.least, self.place = number, (16, 5)[number], [0] * places
        self.pointer = self.length = self.misses = self.e = self.bucket = self.x = 0
        self.arrays = arrays
        self.asked: tuple[list[int], int, list[int], int] | None = None

    def seek(self, t: bytearray, g: int) -> None:
        i = len(t)
        s = (g * 16 + (t[-1] & 15 if t else 0)) % len(self.place)
        q, mark = self.place[s] & 0xFFFFFF, g & 0xFF000000
        if q > 0 and self.place[s] - q == mark and self.length < self.least:
            n = 0
            while n < min(q, 400) and t[q - 1 - n] == t[i - 1 - n]:
                n += 1
            if n >= self.least and n > self.length:
                self.pointer, self.length, self.misses = q, n, 0
        self.place[s] = mark | i

    def expect(self, t: bytearray) -> None:
        if self.pointer > 0:
            k = 0
            while self.length >> k >= 8:
                k += 1
            self.e = t[self.pointer]
            self.bucket = self.length if self.length < 16 else 4 * k + (self.length >> k) + 4

    def ask(self, node: int, step: int) -> None:
        self.asked = None
        if self.pointer > 0 and (256 + self.e) >> (8 - step) == node:
            self.x = (self.e >> (7 - step)) & 1
            by_length = self.arrays.by_length[self.number * 64 + self.bucket]
            by_byte = self.arrays.by_byte[(self.number * 8 + (self.bucket >> 3)) * 256 + self.e]
            self.asked = by_length, self.misses & 15, by_byte, step

    def inputs(self) -> list[int]:
        if self.asked is None:
            return [0, 0]
        by_length, m, by_byte, step = self.asked
        sign = 2 * self.x - 1
        return [sign * logit(by_length[m]), sign * logit(by_byte[step])]

    def learn(self, y: int) -> None:
        if self.asked is not None:
            by_length, m, by_byte, step = self.asked
            learn(by_length, m, int(self.x == y), 1023)
            learn(by_byte, step, int(self.x == y), 1023)

    def follow(self, c: int) -> None:
        if self.pointer == 0:
            return
        self.pointer += 1
        self.misses = (self.misses << 1) & 0xFFFF
        if c == self.e:
            self.length = min(self.length + 1, 65535)
        else:
            self.length, self.misses = 0, self.misses + 1
            if self.misses.bit_count() > 8:
                self.pointer = 0


# Section 10: adaptive maps.


def refine(row: list[int], a: int) -> int:
    k = a >> 12
    p, q = row[k] >> 10, row[k + 1] >> 10
    return p + (((q - p) * (a & 4095)) >> 12)


def spread(x: int) -> int:
    return min(abs(x), 255).bit_length()


def pick_of(past: Past, kind: int, around: Around) -> int:
    if kind == TEXT:
        return min(past.field, 15) * 16 + CLASS[past.above]
    if kind == BINARY:
        return (past.last4 >> 8) & 255
    if kind == RASTER:
        return spread(around.west - around.north) * 16 + spread(around.north - around.north_west)
    return spread((around.a - around.b) >> 3) * 16 + spread((around.a - around.n) >> 3)


class Model:
    """Everything that decodes one payload."""

    def __init__(self, code: Code, n: int, level: int) -> None:
        bits = max(n - 1, 1).bit_length()
        self.code, self.level, self.sizes, self.arrays = code, level, LEVELS[level], Arrays(level)
        self.slots = Slots(clamp(bits + 8, 16, self.sizes.slot_bits))
        self.searches = [Search(number, 1 << clamp(bits, 10, 20), self.arrays) for number in (0, 1)]
        self.past = Past()
        self.trust = [256] * self.sizes.contexts
        self.guesses: dict[int, int | None] = {}
        self.hashes: list[int] = []
        self.taken: list[tuple[int, bool]] = []

    def match(self) -> int:
        """Searches; returns `expected`."""
        past, expected = self.past, 0
        long, short = past.hashes
        self.searches[0].seek(past.t, long)
        self.searches[1].seek(past.t, short)
        for search in reversed(self.searches):
            search.expect(past.t)
            if search.pointer > 0:
                expected = 256 + search.e + 512 * min(search.bucket >> 2, 7)
        return expected

    def take_slots(self, half: int, node: int) -> None:
        if half == 0:
            self.hashes[8] = mix(mix(self.match(), self.past.last4 & 255), 0x7654321)
        self.taken = [self.slots.take((h + half * node * 0x3D4D51CB) & M32) for h in self.hashes]
        self.guesses = {}
        for j, (slot, missing) in enumerate(self.taken):
            kept = self.sizes.kept[j]
            if kept == "-" or not missing or not (self.trust[j] >= 0 or len(self.past.t) % 16 == 0):
                continue
            key = mix(self.hashes[j], node) if kept == "N" and half == 1 else self.hashes[j]
            leaves = leaves_of(kept, key, half, node)
            if leaves is not None:
                recall(self.slots, slot, leaves)
            self.guesses[j] = None if leaves is None else leaves.index(max(leaves))

    def decode_byte(self, segment: Segment) -> None:
        around = Around(self.past, segment)
        self.hashes = hashes_of(self.past, self.level, segment, around)
        node = part = 1
        for step in range(8):
            if step in (0, 4):
                self.take_slots(step // 4, node)
                part = 1
            y = self.decode_bit(segment, around, node, part, step)
            node, part = 2 * node + y, 2 * part + y
        c = node & 255
        for j, guess in self.guesses.items():
            self.trust[j] = clamp(self.trust[j] + (self.sizes.right if guess == c & 15 else 0) - 1, -64, 1024)
        for search in self.searches:
            search.follow(c)
        self.past.take(c)

    def vectors(
        self, segment: Segment, around: Around, node: int, step: int, seen: list[int], spoken: int
    ) -> list[int]:
        """The number of the vector of each set."""
        last4, kind = self.past.last4, segment.kind
        c1, c2 = last4 & 255, (last4 >> 8) & 255
        known = sum(h != 0 for h in seen)
        numbers = [
            node,
            spoken * 8 + known * 7 // self.sizes.contexts,
            (CLASS[c1] * 12 + CLASS[c2]) * 8 + step,
        ]
        if self.level == 2:
            some = [seen[j] for j in (0, 1, 2, 3, 10) if seen[j] != 0]
            live = sum(h < 183 for h in some)
            numbers += [
                ((kind * 6 + live) * 6 + len(some)) * 8 + step,
                kind * 256 + (c1 if kind == TEXT else (around.phase & 31) * 8 + step),
                kind * 256 + pick_of(self.past, kind, around),
            ]
        return numbers

    def decode_bit(self, segment: Segment, around: Around, node: int, part: int, step: int) -> int:
        arrays, past = self.arrays, self.past
        cells = [slot + part for slot, _ in self.taken]
        seen = [self.slots.bytes[cell] for cell in cells]
        chances = [arrays.chance[j][h] for j, h in enumerate(seen)]
        # Section 9.
        inputs = [ROUGH[q >> 18] for q in chances]
        situation = hint = 0
        for search in self.searches:
            search.ask(node, step)
            inputs += search.inputs()
            if search.asked is not None and situation == 0:
                situation = 1 + 2 * search.bucket + search.x
                hint = 256 + search.e + (512 if search.bucket >= 16 else 0)
        order0 = arrays.order0[0]
        inputs.append(logit(order0[node]))
        inputs += [(q - (1 << 29)) >> 20 for q in chances]
        numbers = self.vectors(segment, around, node, step, seen, situation)
        chosen = [rows[number] for rows, number in zip(arrays.weight, numbers, strict=True)]
        mixed = [sum([(w >> 14) * x for w, x in zip(row, inputs, strict=False)]) >> 12 for row in chosen]
        m = [clamp(x, -2047, 2047) for x in mixed]
        final = arrays.final[situation]
        last = clamp(sum(map(int.__mul__, final, m)) >> 26, -2047, 2047)
        p = SQUASH[last + 2048]
        # Section 10.
        a = (last + 2048) * 15
        by_hash = arrays.hashed[(mix(hint or past.last4 & 0xFFFF, node) >> 16) % 16384]
        maps = [by_hash]
        if self.level == 1:
            coded = 7 * p + 9 * refine(by_hash, a)
        else:
            maps.append(arrays.order1[(past.last4 & 255) * 256 + node])
            coded = 4 * p + 6 * refine(maps[1], a) + 6 * refine(by_hash, a)
        y = self.code.bit(clamp(coded >> 4, 16, ONE - 16))
        # What learns.
        for row in maps:
            learn(row, (a + 2048) >> 12, y, 255)
        f = (((y << 22) - p) * 2) >> 4
        for k, x in enumerate(m):
            final[k] = clamp(final[k] + ((x * f) >> 10), -(1 << 28), 1 << 28)
        for search in self.searches:
            search.learn(y)
        for j, (h, q) in enumerate(zip(seen, chances, strict=True)):
            arrays.chance[j][h] = q + (((y << 30) - q) >> 8)
            self.slots.bytes[cells[j]] = NEXT[h][y]
        learn(order0, node, y, 255)
        rate = 14 + 64 * 8192 // (8192 + len(past.t))
        errors = [(((y << 22) - SQUASH[x + 2048]) * rate) >> 12 for x in m]
        if not all(-512 <= e < 512 for e in errors):
            for row, e in zip(chosen, errors, strict=True):
                for j, value in enumerate(inputs):
                    row[j] = clamp(row[j] + ((value * e) >> 4), -(1 << 28), 1 << 28)
        return y


def decode(payload: bytes, n: int, level: int) -> bytes:
    if n == 0:
        if payload:
            raise Refused("something for nothing")
        return b""
    head = Head(payload)
    segments = head.segments(n) if level == 2 else [Segment(0, n, TEXT, 1, 1, False)]
    code = Code(payload[head.position :])
    model = Model(code, n, level)
    for segment in segments:
        for _ in range(segment.start, segment.end):
            model.decode_byte(segment)
    code.close()
    content = bytearray()
    for segment in segments:
        part = model.past.t[segment.start : segment.end]
        if segment.branches:
            restore_branches(part)
        content += part
    return bytes(content)
