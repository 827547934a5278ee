"""A decoder of `cm` version 1 written from spec/CM.md alone: plain lists, no kernel, nothing of lmarc imported.

Section numbers are those of the spec. It is slow, and only here to show that the spec is complete and true.
"""

from __future__ import annotations

ONE = 1 << 22
M32 = 0xFFFFFFFF
Counter = list[int]  # [probability, count]


def clamp(x: int, low: int, high: int) -> int:
    return min(max(x, low), high)


def mix(a: int, b: int) -> int:
    h = ((a & M32) * 0x2F0B4C47 + (b & M32) * 0x1E3779B1 + 0x7F4A7C15) & M32
    h = h ^ (h >> 15)
    h = (h * 0x45EBCA6B) & M32
    return h ^ (h >> 13)


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


def stretch_table(squash: list[int]) -> list[int]:
    upper, x = [], 0
    for i in range(8192):
        m = (1 << 21) + 256 * i + 128
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


def successor(n0: int, n1: int, y: int) -> tuple[int, int, int]:
    def aged(c: int) -> int:
        return c if c <= 2 else 3 if c <= 4 else 4 if c <= 7 else 5 if c <= 12 else 6 if c <= 24 else 7

    n0, n1 = (aged(n0), n1 + 1) if y else (n0 + 1, aged(n1))
    bound = (48, 40, 14, 8, 6)
    while min(n0, n1) >= 5 or max(n0, n1) > bound[min(n0, n1)]:
        large, small = max(n0, n1), min(n0, n1)
        if small < 2:
            large -= 1
        else:
            large, small = (large * (small - 1) + small // 2) // small, small - 1
        n0, n1 = (large, small) if n0 >= n1 else (small, large)
    return n0, n1, y


SQUASH = squash_table()
STRETCH = stretch_table(SQUASH)
CLASS = [class_of(c) for c in range(256)]
STATES = [(0, 0, 0)]
for a0, a1, _ in STATES:
    STATES.extend(s for s in (successor(a0, a1, 0), successor(a0, a1, 1)) if s not in STATES)
NEXT = [[STATES.index(successor(a0, a1, y)) for y in (0, 1)] for a0, a1, _ in STATES]
SURE = [a0 + a1 for a0, a1, _ in STATES]


def learn(counter: Counter, y: int, limit: int) -> None:  # section 3
    p, c = counter
    counter[0] = p + ((((y << 22) - p) * (131072 // (2 * c + 3))) >> 16)
    counter[1] = c + 1 if c < limit else c


def start(a: int, b: int, c: int) -> Counter:
    return [(ONE - 1) * a // b, c]


def logit(counter: Counter) -> int:
    return STRETCH[counter[0] >> 8]


def fresh_history(n0: int, n1: int) -> Counter:
    if n0 == 0 and n1 > 0:
        return start(6 * n1 + 1, 6 * n1 + 2, 32)
    if n1 == 0 and n0 > 0:
        return start(1, 6 * n0 + 2, 32)
    return start(2 * n1 + 1, 2 * (n0 + n1) + 2, 32)


class Search:  # section 7
    def __init__(self, least: int, places: int) -> None:
        self.least, self.place = least, [0] * places
        self.pointer = self.length = self.misses = self.e = self.bucket = 0
        self.by_length: dict[tuple[int, int], Counter] = {}
        self.by_byte: dict[tuple[int, int, int], Counter] = {}
        self.asked: tuple[Counter, Counter, int] | None = None

    def seek(self, t: bytearray, g: int) -> None:
        i = len(t)
        s = g % len(self.place)
        q = self.place[s]
        if q > 0 and (self.pointer == 0 or self.length < 16):
            n = 0
            while n < min(q, 400) and t[q - 1 - n] == t[i - 1 - n]:
                n += 1
            if n >= self.least and n > self.length:
                self.pointer, self.length, self.misses = q, n, 0
        self.place[s] = i

    def expect(self, t: bytearray) -> None:
        if self.pointer > 0:
            k = 0
            while self.length >= 16 and self.length >> k >= 8:
                k += 1
            self.e, self.bucket = t[self.pointer], self.length if k == 0 else 4 * k + (self.length >> k) + 4

    def ask(self, node: int, step: int) -> None:
        self.asked = None
        if self.pointer == 0 or (256 + self.e) >> (8 - step) != node:
            return
        b, m = self.bucket, self.misses & 15
        if (b, m) not in self.by_length:
            w = (ONE - 1) // (2 * (b if b < 16 else (4 + b % 4) << (b // 4 - 2)) + 3)
            w = w if m == 0 else w * 7 // 10 + (ONE - 1) * 15 // 100
            self.by_length[b, m] = start(ONE - 1 - w, ONE - 1, 8)
        key = (b >> 3, self.e, step)
        self.by_byte.setdefault(key, start(24 * key[0] + 2, 24 * key[0] + 3, 2))
        self.asked = self.by_length[b, m], self.by_byte[key], (self.e >> (7 - step)) & 1

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


def find(table: bytearray, h: int) -> int:  # section 6
    base, check = h % (len(table) // 64) * 64, max(h >> 24, 1)
    slots = range(base, base + 64, 16)
    for slot in slots:
        if table[slot] == check:
            return slot
    slot = min(slots, key=lambda s: SURE[table[s + 1]] if table[s] else -1)
    table[slot : slot + 16] = bytes([check]) + bytes(15)
    return slot


def refine(row: list[Counter], a: int) -> int:  # section 10
    k = a >> 8
    return row[k][0] + (((row[k + 1][0] - row[k][0]) * (a & 255)) >> 8)


def decode(payload: bytes, n: int) -> bytes:
    bits = max(n - 1, 1).bit_length()  # section 4
    table = bytearray(1 << clamp(bits + 8, 16, 26))
    searches = [Search(16, 1 << clamp(bits, 10, 20)), Search(5, 1 << clamp(bits, 10, 20))]
    rows = 1 << clamp(bits - 2, 10, 14)
    counters = [[fresh_history(n0, n1) for n0, n1, _ in STATES] for _ in range(17)]
    order0 = [start(1, 2, 0) for _ in range(256)]
    weights: list[dict[int, list[int]]] = [{}, {}, {}]
    finals = [[21845] * 3 for _ in range(18)]
    maps: list[dict[int, list[Counter]]] = [{}, {}]
    followers = [0] * 65536
    last4 = before4 = before8 = word = previous = shape = line = line_above = above = above_next = 0
    value, span, position = int.from_bytes(payload[:4].ljust(4, b"\0"), "big"), 1 << 32, 4
    t = bytearray()
    for i in range(n):
        c1, c2 = last4 & 255, (last4 >> 8) & 255
        if i > 0:
            searches[0].seek(t, mix(mix(last4, before4), before8))
            searches[1].seek(t, mix(last4, before4 & 0xFF))
        expected = 0
        for search in reversed(searches):
            search.expect(t)
            if search.pointer:
                expected = 256 + search.e + 512 * min(search.bucket >> 2, 7)
        column = min(i - line, 255)
        v = [c1, last4 & 0xFFFF, last4 & 0xFFFFFF, last4, mix(last4, before4 & 0xFF), mix(last4, before4 & 0xFFFF)]
        v += [
            mix(word, c1),
            mix(mix(word, previous), c1),
            mix(column, above),
            mix(followers[last4 & 0xFFFF], c1),
            shape,
        ]
        v += [mix(mix(above, c1), (last4 & 0xFF00) | above_next), mix(expected, c1), mix(column, word)]
        v += [last4 & 0xF0F0F0F0, last4 & 0xFFFF00, mix(word, last4 & 0xFF00)]
        hashes = [mix(v[j], (j + 1) * 0x1234567) for j in range(17)]
        node = 1
        for step in range(8):
            if step in (0, 4):
                hashes = [mix(h, node) for h in hashes] if step else hashes
                slots = [find(table, h) for h in hashes]
                half = 1
            seen = [table[s + half] for s in slots]
            ps = [counters[j][h][0] for j, h in enumerate(seen)]
            inputs = [STRETCH[p >> 8] if h else 0 for p, h in zip(ps, seen, strict=True)]  # section 8
            situation = hint = 0
            voices = []
            for search in searches:
                search.ask(node, step)
                if search.asked:
                    by_length, by_byte, x = search.asked
                    voices += [logit(by_length) * (2 * x - 1), logit(by_byte) * (2 * x - 1)]
                    if not situation:
                        situation = 1 + 2 * search.bucket + x
                        hint = 256 + search.e + 512 * (search.bucket >= 16)
                else:
                    voices += [0, 0]
            inputs += [*voices, logit(order0[node]), 512]
            inputs += [(p - (1 << 21)) >> 12 if h else 0 for p, h in zip(ps, seen, strict=True)]
            known = sum(h != 0 for h in seen)
            numbers = node, situation * 8 + known * 7 // 17, (CLASS[c1] * 12 + CLASS[c2]) * 8 + step  # section 9
            fresh = [6000] * 22 + [0] + [1000] * 17
            chosen = [weights[k].setdefault(number, list(fresh)) for k, number in enumerate(numbers)]
            m = [clamp(sum(map(int.__mul__, w, inputs)) >> 16, -2047, 2047) for w in chosen]
            final = finals[known]
            mixed = clamp(sum(map(int.__mul__, final, m)) >> 16, -2047, 2047)
            p = SQUASH[mixed + 2048]
            a = mixed + 2048
            z = hint or last4 & 0xFFFF
            pair = []
            for k, row in enumerate((c1 * 256 + node, (mix(z, node) >> 16) % rows)):
                if row not in maps[k]:
                    maps[k][row] = [[SQUASH[min(256 * g, 4095)], 12] for g in range(17)]
                pair.append(maps[k][row])
            coded = clamp((4 * p + 6 * refine(pair[0], a) + 6 * refine(pair[1], a)) >> 4, 16, ONE - 16)
            bound = (span * coded) >> 22  # section 2
            if value < bound:
                y, span = 1, bound
            else:
                y, value, span = 0, value - bound, span - bound
            while span < 1 << 24:
                value = value << 8 | (payload[position] if position < len(payload) else 0)
                position, span = position + 1, span << 8
            for row_of in pair:  # section 11
                learn(row_of[(a + 128) >> 8], y, 255)
            rate = 14 + 64 * 8192 // (8192 + i)
            error = ((y << 22) - p) >> 8
            for k in range(3):
                final[k] = clamp(final[k] + ((m[k] * error * 12 + (1 << 17)) >> 18), -(1 << 24), 1 << 24)
                s = (((y << 22) - SQUASH[m[k] + 2048]) * rate) >> 8
                for j, x in enumerate(inputs):
                    chosen[k][j] = clamp(chosen[k][j] + ((x * s + (1 << 17)) >> 18), -(1 << 24), 1 << 24)
            for search in searches:
                if search.asked:
                    by_length, by_byte, x = search.asked
                    learn(by_length, int(x == y), 1023)
                    learn(by_byte, int(x == y), 1023)
            for j, h in enumerate(seen):
                learn(counters[j][h], y, 255)
                table[slots[j] + half] = NEXT[h][y]
            learn(order0[node], y, 255)
            node, half = 2 * node + y, 2 * half + y
        c = node & 255
        t.append(c)
        for search in searches:
            search.follow(c)
        followers[last4 & 0xFFFF] = ((followers[last4 & 0xFFFF] & 255) << 8) | c  # section 5
        before8 = (before8 << 8 & M32) | before4 >> 24
        before4 = (before4 << 8 & M32) | last4 >> 24
        last4 = (last4 << 8 & M32) | c
        shape = (shape << 4 & M32) | CLASS[c]
        letter = c + 32 if 65 <= c <= 90 else c
        if 97 <= letter <= 122 or c >= 128:
            w = ((word + letter) * 0x3D4D51CB) & M32
            word = max(w ^ (w >> 17), 1)
        elif word:
            previous, word = word, 0
        if c == 10:
            line_above, line = line, i + 1
        a = line_above + i + 1 - line
        above = t[a] if a < line else 0
        above_next = t[a + 1] if a + 1 < line else 0
    return bytes(t)
