"""Contents that a backend must give back as they are."""

from __future__ import annotations

import random
from pathlib import Path

PROSE = (
    b"The old harbour was quiet in the morning. A few boats lay at the quay, and somebody was mending a net. "
    b"Nobody spoke of the storm that had come in the night, but everyone looked at the sky now and then.\n"
)
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "one byte": b"x",
    "invalid UTF-8": b"\xff\xfe caf\xe9 \xed\xa0\x80 \xc0\xaf \xf4\x90\x80\x80 and some text after that \xe2\x82" * 3,
    "NULs": b"some\0text\0with\0\0NULs" * 20 + b"\0" * 300,
    "spaces": b"x" + b" " * 80 + b"y\n" + b" " * 79 + b"z \n",
    "control tokens": b"<|endoftext|><s></s><unk><|user|><|im_start|>[CLS]" * 5,
    "every byte": bytes(range(256)) * 2,
    "Chinese": "敏捷的棕色狐狸跳过了懒狗。预测就是压缩，压缩就是预测。\n".encode() * 8,
    "line ends": b"one\r\ntwo\r\n\r\nthree\rfour\n\n\n\rfive" * 12,
    "long run": b"".join(b"%x" % (value * value) for value in range(200)),
    "prose": PROSE * 3,
    "random": random.Random(1).randbytes(400),
    "zeros": bytes(1000),
    "long repeats": (PROSE[:100] + bytes(range(256))) * 3,
}


def large(size: int) -> bytes:
    """So many bytes of lines that are alike and not the same, with some of every other kind among them."""
    rng = random.Random(2)
    words = PROSE.decode().split()
    lines: list[bytes] = []
    done = 0
    while done < size:
        line = f"{rng.randrange(10**9)} {' '.join(rng.choices(words, k=rng.randrange(3, 14)))}\n".encode()
        lines.append(rng.choice(list(CONTENTS.values())) if rng.random() < 0.01 else line * rng.choice((1, 1, 1, 2)))
        done += len(lines[-1])
    return b"".join(lines)[:size]


def write_tree(folder: Path) -> Path:
    """A file for each of them in a new folder, which is returned."""
    folder.mkdir()
    for name, data in CONTENTS.items():
        (folder / name).write_bytes(data)
    return folder
