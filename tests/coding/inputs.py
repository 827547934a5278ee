"""Generated inputs of every kind the coder must survive; no file of a corpus, so that they never change."""

from __future__ import annotations

import random


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
}
