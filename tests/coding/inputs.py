"""Generated inputs of every kind the coder must survive; no file of a corpus, so that they never change."""

from __future__ import annotations

import random
import struct


def prose(size: int, seed: int = 1) -> bytes:
    """Words of a small vocabulary in lines, by a fixed generator."""
    source = random.Random(seed)
    words = ["".join(source.choices("etaoinshrdlu", k=source.randint(1, 9))) for _ in range(200)]
    text = ""
    while len(text) < size:
        line = " ".join(source.choices(words, k=source.randint(3, 12)))
        text += line.capitalize() + source.choice([".\n", ", ", "; ", ".\n\n"])
    return text.encode()[:size]


def log(size: int, seed: int = 2) -> bytes:
    """Lines of a log with columns and counting numbers."""
    source = random.Random(seed)
    lines = []
    while sum(map(len, lines)) < size:
        number = len(lines)
        verb = source.choice(["open", "closed", "reset"])
        lines.append(
            f"2026-01-{number // 99 + 10} 12:00:{number % 60:02} node{source.randint(1, 4)} INFO link {verb}\n"
        )
    return "".join(lines).encode()[:size]


def chinese(size: int, seed: int = 3) -> bytes:
    """Characters of three bytes each."""
    source = random.Random(seed)
    common = [chr(0x4E00 + source.randrange(3000)) for _ in range(120)]
    return "".join(source.choices([*common, "，", "。"], k=size // 3)).encode()


def noise(size: int, seed: int = 4) -> bytes:
    """Bytes without any structure."""
    return random.Random(seed).randbytes(size)


def bitmap(width: int, height: int, seed: int = 5) -> bytes:
    """A BMP of 24 bits a pixel: slopes of colour with a little noise."""
    source = random.Random(seed)
    row = (width * 3 + 3) // 4 * 4
    head = struct.pack(
        "<2sIHHIIiiHHIIiiII", b"BM", 54 + row * height, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0
    )
    pixels = bytearray()
    for y in range(height):
        line = [(v + source.randrange(4)) & 255 for x in range(width) for v in (3 * x + y, 2 * y, x + 2 * y + 40)]
        pixels += bytes(line) + bytes(row - 3 * width)
    return head + bytes(pixels)


def wave(samples: int, seed: int = 6) -> bytes:
    """A WAV of 16-bit stereo: two triangles with a little noise, in integers."""
    source = random.Random(seed)
    values = []
    for i in range(samples // 2):
        values += [abs(i * 97 % 16000 - 8000) + source.randrange(60), abs(i * 61 % 12000 - 6000) + source.randrange(60)]
    data = struct.pack(f"<{len(values)}h", *values)
    form = struct.pack("<IHHIIHH", 16, 1, 2, 44100, 176400, 4, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    )


def calls(size: int, seed: int = 7) -> bytes:
    """What looks like x86 code: calls of a few functions from everywhere, moves and zeros between them."""
    source = random.Random(seed)
    targets = [source.randrange(size) for _ in range(9)]
    code = bytearray()
    while len(code) < size:
        code += bytes([0x8B, source.choice(b"\x45\x4d\x55"), 4 * source.randrange(8), 0, 0])
        code += b"\xe8" + struct.pack("<i", source.choice(targets) - len(code) - 5)
    return bytes(code[:size])


def records(size: int, seed: int = 8) -> bytes:
    """Binary records of 20 bytes: a counter, a few values, padding."""
    source = random.Random(seed)
    rows = (struct.pack("<IHBx4sQ", i, source.randrange(300), i % 5, b"name", i * i) for i in range(size // 20 + 1))
    return b"".join(rows)[:size]


SHORT: dict[str, bytes] = {
    "one byte": b"a",
    "zero byte": b"\0",
    "every byte": bytes(range(256)),
    "prose": prose(700),
    "log": log(700),
    "chinese": chinese(400),
    "noise": noise(300),
    "zeros": bytes(600),
    "broken utf-8": b"\xc0\xaf\xff\xfe" * 40 + "é".encode()[:1] * 70,
    "long repeat": prose(150) * 6,
    "bitmap": bitmap(9, 12),
    "wave": wave(300),
    "calls": calls(600),
}
