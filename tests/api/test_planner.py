"""What a chunk is coded with: nothing that makes more of it than zstd at its best, or storing it, would."""

from __future__ import annotations

import base64
import bz2
import functools
import io
import json
import random
from collections.abc import Callable

import pytest

import lmarc
from lmarc.archive import presets
from lmarc.archive.presets import PRESETS, ChunkCoder, resolve
from lmarc.backends import registry
from lmarc.container import zframe
from lmarc.container.header import BackendRef, Header, read_header
from tests.trees import prose


@functools.cache
def noise(size: int) -> bytes:
    """Bytes that nothing predicts, the same ones each time."""
    return random.Random(size).randbytes(size)


def log(lines: int) -> bytes:
    """A log whose lines say nearly the same."""
    return b"".join(b"2026-11-24 12:00:%02d worker[%d]: done\n" % (i % 60, i % 7) for i in range(lines))


KINDS: dict[str, Callable[[], bytes]] = {
    "one byte": lambda: b"x",
    "two bytes": lambda: b"ab",
    "a line feed": lambda: b"\n",
    "tiny JSON": lambda: json.dumps({"name": "lmarc", "sizes": [1, 2, 3]}).encode(),
    "little noise": lambda: noise(100),
    "noise of a sample": lambda: noise(32 << 10),
    "much noise": lambda: noise(300_000),
    "noise, again far behind": lambda: noise(700_000) * 2,
    "Base64, again far behind": lambda: base64.b64encode(noise(420_000)) * 3,
    "few zeros": lambda: bytes(100),
    "many zeros": lambda: bytes(1 << 20),
    "one line, repeated": lambda: b"all work and no play makes jack a dull boy\n" * 10_000,
    "a block of noise, repeated": lambda: noise(1000) * 300,
    "a log": lambda: log(5000),
    "text": lambda: prose(1, 50_000),
    "text and noise": lambda: prose(1, 20_000) + noise(60_000),
    "noise and zeros": lambda: noise(40_000) + bytes(200_000),
    "bzip2 of text": lambda: bz2.compress(prose(1, 200_000)),
    "zstd of text": lambda: zframe.compress(prose(1, 200_000), 19),
    "bytes in order": lambda: bytes(range(256)) * 200,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["balanced", "best"])
def test_a_chunk_is_never_larger_than_others_make_it(kind: str, preset: str) -> None:
    data = KINDS[kind]()
    chosen = PRESETS[preset]
    coded = ChunkCoder(chosen).code([data])
    assert coded.size == len(data)
    assert len(coded.payload) <= min(len(data), len(zframe.compress(data, 19)))
    if coded.backend == "store":
        assert coded.payload == data
    params = chosen.params if coded.backend == "cm" else {}
    assert registry.codec(coded.backend).decompress(memoryview(coded.payload), len(data), params) == data


@pytest.mark.parametrize(
    ("kind", "backend"),
    [
        ("text", "cm"),
        ("tiny JSON", "cm"),
        ("noise, again far behind", "zstd"),
        ("much noise", "store"),
        ("one byte", "store"),
        ("bzip2 of text", "store"),
    ],
)
def test_the_backend_that_suits(kind: str, backend: str) -> None:
    assert ChunkCoder(PRESETS["balanced"]).code([KINDS[kind]()]).backend == backend


def test_what_cm_need_not_be_compared_for() -> None:
    """A worse zstd sees all that the best one sees: that decides whether the best one is asked."""
    for make in KINDS.values():
        data = make()
        best = len(zframe.compress(data, 19))
        assert best > len(zframe.compress(data, 5, distant=True)) * presets._SURE
        assert best > len(zframe.compress(data, 12, distant=True)) * presets._SURE_OF_CLOSER


def headers(archive: bytes) -> tuple[BackendRef, ...]:
    """The backends an archive names."""
    header: Header = read_header(io.BytesIO(archive))[0]
    return header.backends


def test_the_level_is_in_the_header_where_it_is_not_the_usual_one() -> None:
    text = prose(1, 2000)
    archives = {preset: lmarc.compress(text, preset=preset) for preset in PRESETS}
    assert headers(archives["fast"]) == (BackendRef("zstd", 1),)
    assert headers(archives["balanced"]) == (BackendRef("cm", 2),)
    assert headers(archives["best"]) == (BackendRef("cm", 2, {"params": {"level": 2}}),)
    assert all(lmarc.decompress(archive) == text for archive in archives.values())
    assert headers(lmarc.compress(text, preset="best", backend="zstd")) == (BackendRef("zstd", 1),)


def test_a_backend_that_is_named_keeps_the_level_of_its_preset() -> None:
    text = prose(1, 2000)
    assert lmarc.compress(text, preset="best", backend="cm") == lmarc.compress(text, preset="best")
    assert headers(lmarc.compress(text, preset="fast", backend="cm")) == (BackendRef("cm", 2),)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("backend", ["store", "zstd", "cm", None])
def test_no_chunk_is_longer_than_cm_can_code(preset: str, backend: str | None) -> None:
    from lmarc.coding import codec

    assert resolve(preset, backend).chunk_size <= codec.MOST_BYTES
