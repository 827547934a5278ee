"""The model as a codec: everything comes back, nothing breaks it, its bytes never change."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.coding import codec, memory, model, state
from lmarc.coding.level import LEVELS
from lmarc.coding.segments import Segment
from tests.coding import inputs

GOLDEN = Path(__file__).with_name("golden.json")
ROOT = Path(__file__).parents[2]
BOTH = pytest.mark.parametrize("level", LEVELS)


def payload_digests(names: tuple[str, ...] = tuple(inputs.SHORT)) -> dict[str, str]:
    """What golden.json holds: for every short input and level the payload, by its hex or, if longer, its sha256."""
    digests = {}
    for name in names:
        for level in LEVELS:
            payload = codec.encode(inputs.SHORT[name], level)
            digests[f"{name} {level}"] = (
                payload.hex() if len(payload) <= 40 else f"sha256:{hashlib.sha256(payload).hexdigest()}"
            )
    return digests


@BOTH
@pytest.mark.parametrize("name", inputs.SHORT)
def test_short_inputs_come_back(name: str, level: int) -> None:
    data = inputs.SHORT[name]
    assert codec.decode(codec.encode(data, level), len(data), level) == data


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        bytes(100_000),
        inputs.noise(100_000),
        inputs.prose(40_000),
        inputs.log(1_000) * 100,
        inputs.noise(70_000) * 2,
        bytes(range(256)) * 300,
        b"ab" * 40_000 + inputs.noise(5_000) + b"ab" * 40_000,
        inputs.prose(20_000) + inputs.bitmap(70, 50) + inputs.log(9_000) + inputs.wave(9_000) + inputs.calls(30_000),
        inputs.records(60_000),
    ],
    ids=[
        "zeros",
        "noise",
        "prose",
        "repeated log",
        "noise twice",
        "ramp",
        "noise inside a repeat",
        "all kinds of segments",
        "records",
    ],
)
def test_larger_inputs_come_back(data: bytes, level: int) -> None:
    payload = codec.encode(data, level)
    assert codec.decode(payload, len(data), level) == data
    assert len(payload) <= len(data) + len(data) // 50 + 16


@BOTH
@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([b"abc", b"\n", b"\xff\0", b"xyz "])).map(b"".join)))
def test_any_input_comes_back(level: int, data: bytes) -> None:
    assert codec.decode(codec.encode(data, level), len(data), level) == data


@BOTH
@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_payload_gives_that_many_bytes_or_an_error(level: int, payload: bytes, size: int) -> None:
    try:
        data = codec.decode(payload, size, level)
    except ValueError:
        return
    assert len(data) == size


@BOTH
def test_damaged_payloads_do_no_harm(level: int) -> None:
    data = inputs.log(8_000) + inputs.wave(6_000)
    payload = codec.encode(data, level)
    source = random.Random(5)
    for _ in range(20):
        broken = bytearray(payload)
        broken[source.randrange(len(broken))] ^= 1 << source.randrange(8)
        cut = bytes(broken[: source.randrange(len(broken) + 1)])
        for candidate in (bytes(broken), cut):
            try:
                assert len(codec.decode(candidate, len(data), level)) == len(data)
            except ValueError:
                pass


@BOTH
def test_nothing_costs_nothing(level: int) -> None:
    assert codec.encode(b"", level) == b""
    assert codec.decode(b"", 0, level) == b""


@BOTH
@pytest.mark.parametrize(
    ("payload", "size"),
    [(b"x", 0), (b"\0x\0", 5), (b"", -1), (b"", 1 << 31), (b"\0" + b"\xff" * 200, 3)],
    ids=["bytes for nothing", "trailing zero", "negative size", "huge size", "too long"],
)
def test_impossible_payloads_are_refused(payload: bytes, size: int, level: int) -> None:
    with pytest.raises(ValueError, match=r"payload|size"):
        codec.decode(payload, size, level)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\1",
        b"\1\4\0",
        b"\1\4\0\1",
        b"\1\4\4\1\1",
        b"\1\4\x20\1\1",
        b"\1\4\2\0\1",
        b"\1\4\2\1\0",
        b"\1\4\2\x41\x50",
        b"\1\4\2\5\5",
        b"\1\4\3\2\3",
        b"\1\4\3\3\x20",
        b"\1\5\0\1\1",
        b"\2\4\0\1\1\0\0\1\1",
        b"\1\x84\x80\x80\x80\0\0\1\1",
        b"\1\4\2\1\x80\x80\x04",
    ],
    ids=[
        "none",
        "only a count",
        "no stride",
        "no row",
        "unknown kind",
        "unknown flag",
        "no stride",
        "row 0",
        "wide stride",
        "row within a pixel",
        "row within a sample",
        "odd samples",
        "too long",
        "empty segment",
        "endless number",
        "wide row",
    ],
)
def test_impossible_heads_are_refused(head: bytes) -> None:
    with pytest.raises(ValueError, match=r"head|segments"):
        codec.decode(head, 4, 2)


def test_buffers_of_all_kinds_are_read() -> None:
    data = inputs.prose(500)
    payload = codec.encode(data)
    assert codec.encode(bytearray(data)) == payload == codec.encode(memoryview(data))
    assert codec.decode(memoryview(payload), len(data)) == data


@BOTH
def test_certainty_is_cheap(level: int) -> None:
    assert len(codec.encode(bytes(1_000_000), level)) < 100
    period = inputs.noise(5_000)
    assert len(codec.encode(period * 41, level)) < len(codec.encode(period, level)) + 250


def test_too_little_room_is_noticed() -> None:
    """`encode` starts with less room than the worst content could need; the kernel must say so, not write on."""
    data = inputs.noise(2_000)
    text = np.frombuffer(data, np.uint8).copy()
    code = np.zeros(1_000, np.uint8)
    found = [Segment(len(data), 0)]
    learned, known = state.learned(LEVELS[1]), state.knowledge()
    assert codec.run(text, code, found, False, LEVELS[1], learned, known) == model.NO_ROOM


def test_what_was_learned_in_training_is_not_touched() -> None:
    before = [array.copy() for array in state.learned(LEVELS[1])]
    codec.encode(inputs.prose(3_000))
    assert all(np.array_equal(a, b) for a, b in zip(before, state.learned(LEVELS[1]), strict=True))
    assert not state.knowledge().flags.writeable


def test_the_state_helps_text_and_harms_nothing() -> None:
    """English prose of this project costs at most 85 % of what it would without training, noise no more."""
    text = (ROOT / "CONTRIBUTING.md").read_bytes() + (ROOT / "spec/FORMAT.md").read_bytes()

    def untrained(data: bytes) -> int:
        content, code = np.frombuffer(data, np.uint8).copy(), np.zeros(2 * len(data) + 1000, np.uint8)
        learned = memory.fresh_learned(LEVELS[1])
        return codec.run(content, code, [Segment(len(data), 0)], False, LEVELS[1], learned, np.zeros(0, np.uint8))

    assert len(codec.encode(text)) < 0.85 * untrained(text)
    assert len(codec.encode(inputs.noise(20_000))) < untrained(inputs.noise(20_000)) + 200


def test_the_coder_costs_what_the_probabilities_say() -> None:
    """At most 0.01 % and 4 bytes above the sum of the ideal code lengths of the probabilities used."""
    from lmarc.coding.arithmetic import FULL_SPAN, encode_bit, finish

    source = random.Random(11)
    code, ideal = np.zeros(300_000, np.uint8), 0.0
    end, low, span = 0, 0, FULL_SPAN
    for _ in range(400_000):
        p = min(max(int((1 << 22) * source.random() ** 6), 16), (1 << 22) - 16)
        bit = int(source.random() < p / (1 << 22))
        ideal -= math.log2(p / (1 << 22) if bit else 1 - p / (1 << 22))
        end, low, span = encode_bit(code, end, low, span, p, bit)
    assert finish(code, end, low, span) <= ideal / 8 * 1.0001 + 4


def test_payloads_never_change() -> None:
    """Changing one is a new coding version. On purpose: `python -m tests.coding.test_codec`."""
    assert payload_digests() == json.loads(GOLDEN.read_text())


def test_pure_python_means_the_same() -> None:
    """The kernels as plain Python, warnings as errors: the same payloads, and they decode."""
    names = ("every byte", "log", "bitmap", "wave")
    program = (
        "import json; from lmarc.coding import codec; from tests.coding import inputs, test_codec\n"
        "for level in (1, 2):\n"
        "    d = inputs.SHORT['calls']\n"
        "    assert codec.decode(codec.encode(d, level), len(d), level) == d\n"
        f"print(json.dumps(test_codec.payload_digests({names!r})))"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    golden = json.loads(GOLDEN.read_text())
    assert json.loads(done.stdout) == {f"{n} {level}": golden[f"{n} {level}"] for n in names for level in LEVELS}


def test_threads_do_not_meet() -> None:
    data = [inputs.prose(20_000, seed) for seed in range(4)]
    alone = [codec.encode(d) for d in data]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(codec.encode, data)) == alone
        assert list(pool.map(codec.decode, alone, map(len, data))) == data


def test_too_much_for_one_piece_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MOST_BYTES", 10)
    assert codec.decode(codec.encode(b"ten bytes."), 10) == b"ten bytes."
    with pytest.raises(ValueError, match="too many"):
        codec.encode(b"eleven byte")
    with pytest.raises(ValueError, match="impossible size"):
        codec.decode(b"", 11)


@BOTH
def test_what_is_prepared_codes_as_before(level: int) -> None:
    before = codec.encode(b"content", level)
    codec.prepare(level)
    assert codec.encode(b"content", level) == before


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(payload_digests(), indent=1) + "\n")
