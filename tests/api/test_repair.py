"""Recovery data: whatever damage there is parity for is mended, byte for byte; beyond that nothing is written."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmarc
from lmarc.archive import recovery
from tests.api.test_changing import DECODER, by_the_spec, contents, write
from tests.cli.program import run


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The working directory."""
    with chdir(tmp_path):
        yield tmp_path


def protected(size: int, percent: float = 5.0) -> bytes:
    """x.lmarc with recovery data, of a file of noise."""
    write({"noise": random.Random(size).randbytes(size), "text": b"some text\n" * 9})
    lmarc.pack(["noise", "text"], "x.lmarc", preset="fast", recovery=percent, force=True)
    return Path("x.lmarc").read_bytes()


@pytest.mark.parametrize("size", [0, 1, 300, 5000, 100_000, 1_000_000])
def test_what_is_protected_reads_as_ever(here: Path, size: int) -> None:
    whole = protected(size)
    assert contents() == {"noise": random.Random(size).randbytes(size), "text": b"some text\n" * 9}
    assert by_the_spec(here / "x.lmarc", here / "out").keys() == {"noise", "text"}
    result = lmarc.repair("x.lmarc")
    assert not result.changed and Path("x.lmarc").read_bytes() == whole
    lmarc.pack(["noise", "text"], "plain.lmarc", preset="fast")
    plain = Path("plain.lmarc").read_bytes()
    assert whole.startswith(plain)
    if size == 1_000_000:
        assert len(whole) < 1.07 * len(plain)


@pytest.mark.parametrize("size", [5000, 100_000, 1_000_000])
def test_a_burst_of_that_size_anywhere(here: Path, size: int) -> None:
    """Zeroed from any byte on, also over the header, the index and the recovery data itself."""
    whole = protected(size, 10.0)
    burst = len(whole) // 22
    for start in [*range(0, len(whole), max(len(whole) // 37, 1)), len(whole) - burst]:
        damaged = bytearray(whole)
        damaged[start : start + burst] = bytes(len(damaged[start : start + burst]))
        Path("x.lmarc").write_bytes(damaged)
        assert lmarc.repair("x.lmarc").changed
        assert Path("x.lmarc").read_bytes() == whole, start


def test_an_end_that_is_missing(here: Path) -> None:
    whole = protected(300_000, 10.0)
    for cut in (1, 6, 100, 5000, 14_000):
        Path("x.lmarc").write_bytes(whole[:-cut])
        lmarc.repair("x.lmarc", "y.lmarc")
        assert Path("y.lmarc").read_bytes() == whole
        os.unlink("y.lmarc")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 600)), min_size=1, max_size=8), st.integers(0, 1000))
def test_any_damage_is_mended_or_refused(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, int]], seed: int
) -> None:
    with chdir(tmp_path_factory.mktemp("any")):
        whole = protected(40_000)
        damaged = bytearray(whole)
        for where, length in places:
            at = int(where * (len(damaged) - 1))
            damaged[at : at + length] = random.Random(seed).randbytes(len(damaged[at : at + length]))
        Path("x.lmarc").write_bytes(damaged)
        try:
            lmarc.repair("x.lmarc")
            assert Path("x.lmarc").read_bytes() == whole
        except lmarc.LmarcError:
            assert Path("x.lmarc").read_bytes() == damaged
        assert os.listdir() and not [name for name in os.listdir() if name.endswith(".partial")]


def test_more_damage_than_that(here: Path) -> None:
    whole = protected(100_000)
    damaged = bytearray(whole)
    damaged[2000:40_000] = bytes(38_000)
    Path("x.lmarc").write_bytes(damaged)
    refused = run("repair", "x.lmarc", code=11)
    assert "can be put right" in refused.err and len(refused.err.splitlines()) == 1
    assert Path("x.lmarc").read_bytes() == damaged
    run("unpack", "x.lmarc", "-C", "out", code=11)
    Path("x.lmarc").write_bytes(whole[: len(whole) // 2])
    assert "no recovery data" in run("repair", "x.lmarc", code=11).err


def test_archives_without_any(here: Path) -> None:
    write({"a": b"text"})
    lmarc.pack("a", "x.lmarc")
    assert "no recovery data" in run("repair", "x.lmarc", code=11).err
    Path("x.lmarc").write_bytes(b"")
    run("repair", "x.lmarc", code=11)
    run("repair", "nowhere.lmarc", code=1)


def test_a_change_behind_it_stays(here: Path) -> None:
    protected(50_000)
    write({"more": b"more than that\n" * 20})
    lmarc.add("x.lmarc", "more", preset="fast")
    whole = Path("x.lmarc").read_bytes()
    damaged = bytearray(whole)
    damaged[1000:2000] = bytes(1000)
    Path("x.lmarc").write_bytes(damaged)
    lmarc.repair("x.lmarc")
    assert Path("x.lmarc").read_bytes() == whole
    assert contents().keys() == {"noise", "text", "more"}
    lmarc.compact("x.lmarc")
    assert contents().keys() == {"noise", "text", "more"}


def test_several_groups(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_STRIPES", 4)
    monkeypatch.setattr(recovery, "_MOST_BLOCK", 512)
    whole = protected(1_000_000)
    damaged = bytearray(whole)
    for start in range(0, len(damaged), 150_000):
        damaged[start : start + 3000] = bytes(len(damaged[start : start + 3000]))
    Path("x.lmarc").write_bytes(damaged)
    assert lmarc.repair("x.lmarc").blocks > 20
    assert Path("x.lmarc").read_bytes() == whole


def test_command_line(here: Path) -> None:
    write({"a": b"some text\n" * 500})
    for wrong in ("0", "-1", "26", "much", "5%%"):
        run("pack", "a", "--recovery", wrong, code=2)
    assert "name" in run("pack", "a", "-o", "-", "--recovery", "5", code=2).err
    packed = run("pack", "a", "-o", "x.lmarc", "--recovery", "5%", "--json").json
    assert packed["stored"] == Path("x.lmarc").stat().st_size
    assert "nothing that recovery data covers" in run("repair", "x.lmarc").err
    data = bytearray(Path("x.lmarc").read_bytes())
    data[3] ^= 1
    Path("x.lmarc").write_bytes(data)
    run("test", "x.lmarc", code=10)
    facts = run("repair", "x.lmarc", "--json").json
    assert facts["changed"] and facts["blocks"] == 1
    run("test", "x.lmarc")


def test_without_the_library(here: Path) -> None:
    program = "import sys; sys.modules['zfec'] = None\nfrom lmarc.cli.main import main\nmain()"
    write({"a": b"text"})
    command = (sys.executable, "-c", program)
    assert "lmarc[recovery]" in run("pack", "a", "--recovery", "5", command=command, code=13).err
    assert os.listdir() == ["a"]


def test_frames_that_say_too_much(here: Path) -> None:
    """Recovery data that covers more than there is, and of other absurd sizes, is none."""
    from lmarc.container import frames, wire

    write({"a": b"text"})
    lmarc.pack("a", "x.lmarc", preset="fast")
    plain = Path("x.lmarc").read_bytes()
    absurd = [
        [0, 1 << 60, 4096, 200, 10],
        [0, 90, 0, 1, 2],
        [0, 90, 256, 255, 10],
        [0, 0, 256, 1, 1],
        [1 << 62, 90, 256, 1, 2],
        [0, 90, 256, -1, 2],
    ]
    for numbers in absurd:
        body = wire.pack_msgpack([*numbers, bytes(32), 0]) + bytes(400)
        head, body = frames.pack_frame(len(plain), recovery.RECOVERY, 0, 0, body)
        Path("x.lmarc").write_bytes(plain + head + body)
        assert "no recovery data" in run("repair", "x.lmarc", code=11).err


def test_the_parity_is_what_the_page_says(here: Path) -> None:
    """Over GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1, by a matrix of powers made systematic (spec/FORMAT.md 6.2)."""
    import zfec

    exp = [1]
    for _ in range(254):
        exp.append(exp[-1] << 1 ^ (0x11D if exp[-1] & 0x80 else 0))
    log = {value: power for power, value in enumerate(exp)}

    def times(a: int, b: int) -> int:
        return exp[(log[a] + log[b]) % 255] if a and b else 0

    def power(a: int, n: int) -> int:
        return 1 if n == 0 else exp[log[a] * n % 255] if a else 0

    data, total = 5, 12
    points = [0, *exp]
    rows = [[power(points[i], j) for j in range(data)] for i in range(total)]
    # Multiplied with the inverse of the first rows, these become the unit matrix.
    work = [rows[i][:] + [int(i == j) for j in range(data)] for i in range(data)]
    for column in range(data):
        pivot = next(i for i in range(column, data) if work[i][column])
        work[column], work[pivot] = work[pivot], work[column]
        inverse = exp[-log[work[column][column]] % 255]
        work[column] = [times(value, inverse) for value in work[column]]
        for i in range(data):
            if i != column and work[i][column]:
                factor = work[i][column]
                work[i] = [a ^ times(factor, b) for a, b in zip(work[i], work[column], strict=True)]
    inverse_rows = [row[data:] for row in work]
    rng = random.Random(1)
    blocks = [rng.randbytes(7) for _ in range(data)]
    wanted = [*range(data, total)]
    found = zfec.Encoder(data, total).encode(blocks, wanted)
    for i, block in zip(wanted, found, strict=True):
        factors = [0] * data
        for j in range(data):
            for k in range(data):
                factors[k] ^= times(rows[i][j], inverse_rows[j][k])
        parity = bytes(len(block))
        for factor, other in zip(factors, blocks, strict=True):
            parity = bytes(a ^ times(factor, b) for a, b in zip(parity, other, strict=True))
        assert parity == block


def test_the_decoder_of_the_page_skips_it(here: Path) -> None:
    protected(1000)
    done = subprocess.run([sys.executable, DECODER, "list", "x.lmarc"], capture_output=True, check=False)
    assert done.returncode == 0
