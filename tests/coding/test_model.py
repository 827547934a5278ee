"""The model as a codec: everything comes back, nothing breaks it, its bytes never change."""

from __future__ import annotations

import hashlib
import json
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

from lmarc.coding import model
from lmarc.coding.memory import constant_tables, fresh_memory
from tests.coding import inputs

GOLDEN = Path(__file__).with_name("golden.json")
ROOT = Path(__file__).parents[2]


def payload_digests() -> dict[str, str]:
    """What golden.json holds: for every short input the payload, by its hex or, if longer, its sha256."""
    digests = {}
    for name, data in inputs.SHORT.items():
        payload = model.encode(data)
        digests[name] = payload.hex() if len(payload) <= 40 else f"sha256:{hashlib.sha256(payload).hexdigest()}"
    return digests


@pytest.mark.parametrize("name", inputs.SHORT)
def test_short_inputs_come_back(name: str) -> None:
    data = inputs.SHORT[name]
    assert model.decode(model.encode(data), len(data)) == data


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
    ],
    ids=["zeros", "noise", "prose", "repeated log", "noise twice", "ramp", "noise inside a repeat"],
)
def test_larger_inputs_come_back(data: bytes) -> None:
    payload = model.encode(data)
    assert model.decode(payload, len(data)) == data
    assert len(payload) <= len(data) + len(data) // 50 + 16


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from([b"abc", b"\n", b"\xff\0", b"xyz "])).map(b"".join)))
def test_any_input_comes_back(data: bytes) -> None:
    assert model.decode(model.encode(data), len(data)) == data


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400))
def test_any_payload_gives_that_many_bytes_or_an_error(payload: bytes, size: int) -> None:
    try:
        data = model.decode(payload, size)
    except ValueError:
        return
    assert len(data) == size


def test_damaged_payloads_do_no_harm() -> None:
    data = inputs.log(20_000)
    payload = model.encode(data)
    source = random.Random(5)
    for _ in range(20):
        broken = bytearray(payload)
        broken[source.randrange(len(broken))] ^= 1 << source.randrange(8)
        cut = bytes(broken[: source.randrange(len(broken) + 1)])
        for candidate in (bytes(broken), cut):
            try:
                assert len(model.decode(candidate, len(data))) == len(data)
            except ValueError:
                pass


def test_nothing_costs_nothing() -> None:
    assert model.encode(b"") == b""
    assert model.decode(b"", 0) == b""


@pytest.mark.parametrize(
    ("payload", "size"),
    [(b"x", 0), (b"x\0", 5), (b"", -1), (b"", 1 << 31), (b"\xff" * 200, 3)],
    ids=["bytes for nothing", "trailing zero", "negative size", "huge size", "too long"],
)
def test_impossible_payloads_are_refused(payload: bytes, size: int) -> None:
    with pytest.raises(ValueError, match=r"payload|size"):
        model.decode(payload, size)


def test_buffers_of_all_kinds_are_read() -> None:
    data = inputs.prose(500)
    payload = model.encode(data)
    assert model.encode(bytearray(data)) == payload == model.encode(memoryview(data))
    assert model.decode(memoryview(payload), len(data)) == data


def test_certainty_is_cheap() -> None:
    assert len(model.encode(bytes(1_000_000))) < 60
    period = inputs.noise(5_000)
    assert len(model.encode(period * 41)) < len(model.encode(period)) + 200


def test_too_little_room_is_noticed() -> None:
    """`encode` starts with less room than the worst content could need; the kernel must say so, not write on."""
    data = inputs.noise(2_000)
    text = np.frombuffer(data, np.uint8).copy()
    code = np.zeros(1_000, np.uint8)
    assert model._run(text, code, len(data), False, fresh_memory(2_000), constant_tables(), model._scratch()) == -1


def test_payloads_never_change() -> None:
    """Changing one is a new coding version. On purpose: `python -m tests.coding.test_model`."""
    assert payload_digests() == json.loads(GOLDEN.read_text())


def test_pure_python_means_the_same() -> None:
    """The kernels as plain Python, warnings as errors: the same payloads, and they decode."""
    program = (
        "import json; from lmarc.coding import model; from tests.coding import inputs, test_model\n"
        "short = [inputs.SHORT[n] for n in ('log', 'noise', 'chinese')]\n"
        "assert all(model.decode(model.encode(d), len(d)) == d for d in short)\n"
        "print(json.dumps(test_model.payload_digests()))"
    )
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(GOLDEN.read_text())


def test_threads_do_not_meet() -> None:
    data = [inputs.prose(20_000, seed) for seed in range(4)]
    alone = [model.encode(d) for d in data]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(model.encode, data)) == alone
        assert list(pool.map(model.decode, alone, map(len, data))) == data


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(payload_digests(), indent=1) + "\n")
