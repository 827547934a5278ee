"""The educational decoder itself: its BLAKE3, its msgpack, round trips, and archives with flipped bits."""

from __future__ import annotations

import importlib.util
import os
import random
import stat
import time
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import blake3
import msgpack
import pytest
from builder import DIR, FILE, HARD, LINK, Builder, Index, frame, pack, zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOURCE = Path(__file__).resolve().parents[2] / "spec" / "decoder.py"
MiB = 1 << 20


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("decoder", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


decoder = load()


def test_blake3_of_nothing() -> None:
    assert decoder.blake3([]).hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


SIZES = [1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 7169, 31744, 102400, MiB - 1, MiB, MiB + 1, 3 * MiB + 5000]


@pytest.mark.parametrize("size", SIZES)
def test_blake3_is_blake3(size: int) -> None:
    data = random.Random(size).randbytes(size)
    wanted = blake3.blake3(data).digest()
    assert decoder.blake3([data]) == wanted
    assert decoder.blake3([data[: size // 3], b"", data[size // 3 :]]) == wanted


TEXT = st.text(max_size=40)
SCALARS = st.integers(-(1 << 63), (1 << 64) - 1) | TEXT | st.binary(max_size=300)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXT, inner, max_size=20))


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value, key=str.encode)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_msgpack_reads_what_msgpack_writes(value: Any) -> None:
    data = msgpack.packb(ordered(value))
    assert decoder.msgpack(data + b"rest", 0) == (value, len(data))


@given(st.binary(max_size=60))
def test_msgpack_accepts_only_what_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        value, end = decoder.msgpack(data, 0)
    except (decoder.Bad, ValueError, LookupError):
        return
    assert msgpack.packb(value) == data[:end]


@pytest.mark.parametrize("depth", [16, 17])
def test_msgpack_depth(depth: int) -> None:
    data = b"\x91" * (depth - 1) + b"\x90"
    if depth == 16:
        assert decoder.msgpack(data, 0)[1] == 16
    else:
        with pytest.raises(decoder.Bad):
            decoder.msgpack(data, 0)


def archive() -> bytes:
    builder = Builder()
    builder.chunk(b"first content, " * 20, 1)
    builder.file("dir/a", (b"first content, " * 20)[:100])
    builder.checkpoint()
    builder.chunk(b"second")
    builder.member("dir", DIR)
    builder.member("hard", HARD, "dir/a")
    builder.member("link", LINK, "dir/a")
    builder.file(b"b-\xff", (b"first content, " * 20)[100:] + b"second", 100)
    builder.member("holes", FILE, 6, 0, {"sparse": []}, content=b"")
    return builder.finish()


def test_refuses_to_extract_into_a_directory_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.lmarc").write_bytes(archive())
    assert decoder.main(["extract", str(tmp_path / "a.lmarc"), str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("decoder: io: not empty")
    assert os.listdir(tmp_path) == ["a.lmarc"]


@pytest.mark.parametrize("arguments", [[], ["list"], ["extract", "a"], ["pack", "a", "b"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert decoder.main(arguments) == 2
    assert "extract ARCHIVE DIR" in capsys.readouterr().err


def test_never_sets_user_or_group_id(tmp_path: Path) -> None:
    builder = Builder()
    builder.file("a", b"", mode=0o107777)
    builder.member("d", 0o047777)
    (tmp_path / "a.lmarc").write_bytes(builder.finish())
    assert decoder.main(["extract", str(tmp_path / "a.lmarc"), str(tmp_path / "out")]) == 0
    assert [stat.S_IMODE(os.stat(tmp_path / "out" / name).st_mode) for name in "ad"] == [0o1777, 0o1777]


def test_a_hard_link_never_reaches_a_file_outside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text("secret")
    builder = Builder()
    builder.file("../secret", b"")
    builder.member("hard", HARD, "../secret")
    (tmp_path / "a.lmarc").write_bytes(builder.finish())
    assert decoder.main(["extract", str(tmp_path / "a.lmarc"), str(tmp_path / "out")]) == 16
    assert os.listdir(tmp_path / "out") == []
    assert capsys.readouterr().err == "".join(
        f"decoder: unsafe: {path!r}: unsafe path or target\n" for path in ("../secret", "hard")
    )


def test_holes_are_holes(tmp_path: Path) -> None:
    content = bytes(MiB) + b"data" + bytes(MiB)
    builder = Builder()
    builder.chunk(b"data")
    builder.member("holes", FILE, len(content), 0, {"sparse": [MiB, 4]}, content=b"data")
    (tmp_path / "a.lmarc").write_bytes(builder.finish())
    assert decoder.main(["extract", str(tmp_path / "a.lmarc"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "holes").read_bytes() == content
    assert os.stat(tmp_path / "out" / "holes").st_blocks * 512 < MiB


def test_a_vast_hole_costs_nothing(tmp_path: Path) -> None:
    builder = Builder()
    builder.member("holes", FILE, 1 << 42, 0, {"sparse": []}, content=b"")
    (tmp_path / "a.lmarc").write_bytes(builder.finish())
    assert decoder.main(["extract", str(tmp_path / "a.lmarc"), str(tmp_path / "out")]) == 0
    assert os.stat(tmp_path / "out" / "holes").st_size == 1 << 42


def refit(data: bytes) -> bytes:
    """Rewrites every CRC, so that damage gets past the first checks."""
    at = data.index(b"\xae\x9b")
    data = data[: at - 4] + zlib.crc32(data[: at - 4]).to_bytes(4, "little") + data[at:]
    sizes: list[int] = []
    while data[at : at + 2] == b"\xae\x9b":
        try:
            i = at + 3
            for _ in range(3):
                first = i
                while data[i] > 127:
                    i += 1
                i += 1
                sizes = [*sizes, decoder.uvarint(data[first:i])]
            body = data[i + 8 : i + 8 + sizes[-2]]
            head = data[at:i] + zlib.crc32(body).to_bytes(4, "little")
            crc = zlib.crc32(at.to_bytes(8, "little") + head).to_bytes(4, "little")
            data = data[:at] + head + crc + data[i + 8 :]
            at = i + 8 + sizes[-2]
        except LookupError:
            break
    return data


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(6, 2000), st.integers(1, 255)), min_size=1, max_size=3), st.booleans())
def test_damage_never_gives_wrong_bytes(
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    flips: list[tuple[int, int]],
    checked: bool,
) -> None:
    sound = archive()
    data = bytearray(sound)
    for at, change in flips:
        data[at % len(data)] ^= change
    root = tmp_path_factory.mktemp("damage")
    (root / "a.lmarc").write_bytes(refit(bytes(data)) if checked else data)
    code = decoder.main(["extract", str(root / "a.lmarc"), str(root / "out")])
    assert code in decoder.EXIT.values() or code == 0
    err = capsys.readouterr().err
    assert (code == 0) == (err == "") and all(line.startswith("decoder: ") for line in err.splitlines())
    assert sorted(os.listdir(root)) in (["a.lmarc"], ["a.lmarc", "out"])
    digests = {path.read_bytes() for path in root.glob("out/**/*") if path.is_file() and not path.is_symlink()}
    if not digests:
        return
    reader = decoder.Archive()
    reader.read(str(root / "a.lmarc"))
    wanted = {row.get("blake3") for row in reader.members.values()}
    found = {blake3.blake3(content).hexdigest() for content in digests if any(content)}  # of holes, nothing is hashed
    assert found <= wanted


@given(st.binary(max_size=120))
def test_arbitrary_index_never_crashes(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "index.lmarc"
    path.write_bytes(Builder().finish(encode=lambda index: pack(index.value())[:1] + body))
    assert decoder.main(["list", str(path)]) in {0, *decoder.EXIT.values()}


def test_bombs_end_soon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A zstd frame that decodes to more than it states, and one that states what the index does not."""
    started = time.monotonic()
    for stated in (1000, 64 * MiB):
        coded = zstd(bytes(64 * MiB), write_content_size=False)
        coded = coded[:4] + b"\x80" + coded[5:6] + stated.to_bytes(4, "little") + coded[6:]
        builder = Builder()
        builder.chunk(bytes(1000), 1, frame("C", 1, 1000, bytes(8) + coded))
        builder.file("a", bytes(1000))
        (tmp_path / "a.lmarc").write_bytes(builder.finish())
        assert decoder.main(["extract", str(tmp_path / "a.lmarc"), str(tmp_path / f"{stated}")]) == 11
    assert time.monotonic() - started < 5


def test_the_builder_writes_what_the_spec_shows() -> None:
    """Byte for byte, by hand: so that builder and decoder cannot be wrong in the same way."""
    head = b"\x8eLMAR\x01" + b"\x04" + b"\x92\xa1w\x90"
    head += zlib.crc32(head).to_bytes(4, "little")
    body = b"\x94\x00\x91\x91\x00\x90\x91\x94\xa1d\xcd\x41\xed\x00\x00"
    start = b"\xae\x9bI\x00" + bytes([len(body)]) * 2 + zlib.crc32(body).to_bytes(4, "little")
    last = start + zlib.crc32(bytes([len(head), 0, 0, 0, 0, 0, 0, 0]) + start).to_bytes(4, "little") + body
    data = head + last + len(last).to_bytes(4, "little") + b"\x8e\x5a"
    builder = Builder(head)
    builder.index = Index(members=[["d", DIR, 0, 0]])
    assert builder.finish() == data


def test_the_decoder_stays_short() -> None:
    lines = SOURCE.read_text().splitlines()
    assert len(lines) <= 330
    assert max(map(len, lines)) <= 120
