"""spec/CM.md is complete and true: a decoder written from it reads what the model wrote, and refuses what it must."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from lmarc.coding import codec, memory
from lmarc.coding.level import LEVELS
from lmarc.coding.segments import Segment
from tests.coding import from_spec, inputs

BOTH = pytest.mark.parametrize("level", [1, 2])
SPEC = Path(__file__).parents[2] / "spec" / "CM.md"
CONTENTS = inputs.SHORT | {
    "records": inputs.records(700),
    "table": "".join(",".join(str((i * 7 + j * j) % 97) for j in range(9)) + f';"n{i}"\n' for i in range(30)).encode(),
    "brackets": b"x".join([b"("] * 80) + b"ab[c]" + b")" * 90 + b"d(e)f(g" + b"(" * 20,
    "English": b"It is a truth universally acknowledged, that a man must be in want of a wife.\n#include <a.h>\n",
}
# Heads for five bytes of content, the code behind them empty.
REFUSED = {
    "missing": "",
    "cut after the count": "01",
    "cut after a length": "0105",
    "cut after a stride": "01050001",
    "cut in a number": "0105000181",
    "a segment too few": "0204000101",
    "no length": "020000010105000101",
    "too short": "0104000101",
    "too long": "0106000101",
    "kind 4": "0105040101",
    "kind 20": "0105140101",
    "kind 32": "0105200101",
    "kind 128": "0105800101",
    "stride 0": "0105000001",
    "stride 65": "0105004101",
    "row 0": "0105000100",
    "row 65536": "01050001808004",
    "a number of five bytes": "018580808000000101",
    "a row not above the stride": "0105020303",
    "an odd stride of samples": "0105030309",
    "a row of less than two strides of samples": "0105030203",
}
ALLOWED = {
    "text": "00",
    "one text": "0105000101",
    "branches": "0105100101",
    "the last row": "01050001ffff03",
    "raster": "0105020304",
    "samples": "0105030204",
    "a number longer than it needs": "0185808000000101",
}


@BOTH
@pytest.mark.parametrize("name", CONTENTS)
def test_the_spec_decodes_it(name: str, level: int) -> None:
    data = CONTENTS[name]
    assert from_spec.decode(codec.encode(data, level), len(data), level) == data


@BOTH
def test_the_spec_decodes_longer_content(level: int) -> None:
    """Long enough for full buckets, sure matches, their misses, and segments of several kinds."""
    data = inputs.log(2000) + inputs.calls(700) + inputs.bitmap(16, 16) + inputs.wave(700) + inputs.log(2000)
    assert from_spec.decode(codec.encode(data, level), len(data), level) == data


@pytest.mark.parametrize("branches", [False, True])
@pytest.mark.parametrize("row", [12, 81, 65535])
@pytest.mark.parametrize("stride", [2, 4, 10])
def test_the_spec_decodes_segments_no_encoder_would_choose(stride: int, row: int, branches: bool) -> None:
    """Every kind is met with strides and rows of all sizes, and in any order."""
    data = inputs.calls(71) + inputs.wave(60)[44:] + inputs.records(90)
    lengths = 70, 1, 41, len(data) - 112
    kinds = (0, 3, 1, 2) if stride == 4 else (2, 0, 3, 1)
    found = [Segment(length, kind, stride, row, branches) for length, kind in zip(lengths, kinds, strict=True)]
    text = np.frombuffer(data, np.uint8).copy()
    codec._filter(text, found, forward=True)
    payload = codec._head(found) + codec._coded(text, found, LEVELS[2])
    assert from_spec.decode(payload, len(data), 2) == data
    assert codec.decode(payload, len(data), 2) == data


def test_branches_come_back_as_the_spec_says() -> None:
    """A code that decodes to calls: the filter as such, at all places of a segment."""
    data = inputs.calls(150)
    rewritten = bytearray(data)
    for j in range(len(data) - 5, -1, -1):
        if rewritten[j] & 0xFE == 0xE8 and rewritten[j + 4] in (0, 255):
            x = int.from_bytes(rewritten[j + 1 : j + 4], "little") | (rewritten[j + 4] & 1) << 24
            x = (x + j) & ((1 << 25) - 1)
            rewritten[j + 1 : j + 5] = (x & 0xFFFFFF).to_bytes(3, "little") + bytes([255 * (x >> 24)])
    assert rewritten != data
    from_spec.restore_branches(rewritten)
    assert rewritten == data


@pytest.mark.parametrize("name", REFUSED)
def test_heads_that_must_be_refused(name: str) -> None:
    payload = bytes.fromhex(REFUSED[name])
    with pytest.raises(from_spec.Refused):
        from_spec.decode(payload, 5, 2)
    with pytest.raises(ValueError):
        codec.decode(payload, 5, 2)


@pytest.mark.parametrize("name", ALLOWED)
def test_heads_that_are_allowed(name: str) -> None:
    payload = bytes.fromhex(ALLOWED[name])
    assert from_spec.decode(payload, 5, 2) == codec.decode(payload, 5, 2)


@BOTH
def test_codes_that_must_be_refused(level: int) -> None:
    data = inputs.prose(60)
    payload = codec.encode(data, level)
    for broken, size in (
        (payload + b"\0", len(data)),
        (payload + b"abcdefgh", len(data)),
        (b"\0", 0),
        (b"a", 0),
    ):
        with pytest.raises(from_spec.Refused):
            from_spec.decode(broken, size, level)
        with pytest.raises(ValueError):
            codec.decode(broken, size, level)
    assert from_spec.decode(b"", 0, level) == codec.decode(b"", 0, level) == b""


def test_the_spec_has_the_tables() -> None:
    tables = memory.constant_tables()
    assert tables.squash.tolist() == from_spec.SQUASH
    assert tables.stretch.tolist() == from_spec.STRETCH
    assert tables.rough_stretch.tolist() == from_spec.ROUGH
    assert tables.class_of.tolist() == from_spec.CLASS
    flat = list(itertools.chain.from_iterable(from_spec.NEXT))
    assert [int(tables.next_state[256 * bit + h]) for h in range(len(flat) // 2) for bit in (0, 1)] == flat


def test_the_spec_names_the_state_file() -> None:
    content = from_spec.state_file()
    assert f"The file has {len(content)} bytes and the BLAKE3 `{blake3(content).hexdigest()}`" in SPEC.read_text()
    assert from_spec.Arrays(1).end == from_spec.LEVELS[2].offset
    assert from_spec.Arrays(2).end == len(content)
