"""Every documented exit code that can be had, from every command that can give it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmarc.container import wire
from lmarc.container.header import BackendRef
from tests.cli.program import run
from tests.container import build

ENTRIES = [build.file(b"one", b"first content"), build.file(b"two", b"second content"), build.directory(b"d")]
WHOLE = build.build(ENTRIES)
READING = {
    "list": [],
    "cat": ["one"],
    "test": [],
    "info": [],
    "diff": ["."],
    "unpack": ["-C", "out"],
}


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 10),
        (b"PK\x03\x04 not one of ours", 10),
        (WHOLE[:5], 11),
        (WHOLE[:20], 11),
        (WHOLE[:12] + b"\xff" + WHOLE[13:], 11),
        (WHOLE[:-1], 11),
        (WHOLE[:-30], 11),
        (wire.MAGIC + b"\x02" + WHOLE[6:], 15),
        (build.build(ENTRIES, options={"requires": ["encryption"]}), 15),
        (WHOLE[:6] + wire.pack_uvarint(2**21) + WHOLE[7:], 17),
    ],
)
def test_archives_that_cannot_be_opened_or_are_cut(command: str, data: bytes, code: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    done = run(command, "x", *READING[command], cwd=tmp_path, code=None)
    # What is not in what is left cannot be asked for.
    expected = {code} if command != "cat" or code != 11 else {1, 11}
    assert done.code in expected, done.err
    assert done.err


def test_an_unknown_feature_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build(ENTRIES, options={"requires": ["encryption"]}))
    assert "encryption" in run("list", tmp_path / "x", code=15).err


def test_a_damaged_chunk(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.damage(WHOLE, b"first content"))
    done = run("unpack", "x", "-C", "out", cwd=tmp_path, code=11)
    assert "one: " in done.err
    assert "1 not extracted" in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["d", "two"]
    facts = run("unpack", "x", "-C", "out2", "--json", cwd=tmp_path, code=11).json
    assert [row["path"] for row in facts["failed"]] == ["one"]
    assert facts["extracted"] == 2
    facts = run("test", "x", "--json", cwd=tmp_path, code=11).json
    assert (facts["ok"], [row["path"] for row in facts["failed"]]) == (False, ["one"])
    run("cat", "x", "one", cwd=tmp_path, code=11)
    assert run("cat", "x", "two", cwd=tmp_path).out == b"second content"
    assert run("test", "x", "two", cwd=tmp_path).code == 0
    assert run("list", "-1", "x", cwd=tmp_path).lines == ["d", "one", "two"]
    run("info", "x", cwd=tmp_path)


@pytest.mark.parametrize("at", [-1, -3, -8, -20, -60])
def test_a_damaged_end(at: int, tmp_path: Path) -> None:
    broken = bytearray(WHOLE)
    broken[at] ^= 0x10
    (tmp_path / "x").write_bytes(broken)
    done = run("unpack", "x", "-C", "out", cwd=tmp_path, code=11)
    assert "damaged" in done.err
    found = {path.name for path in (tmp_path / "out").iterdir()} if (tmp_path / "out").exists() else set()
    # A trailer that is damaged costs nothing; an index that is, everything it named.
    assert found == ({"d", "one", "two"} if at >= -6 else set())


def test_a_missing_backend(tmp_path: Path) -> None:
    data = build.build(ENTRIES, backends=(build.STORE, BackendRef("none-such", 3)), codecs={b"two": 1})
    (tmp_path / "x").write_bytes(data)
    done = run("unpack", "x", "-C", "out", cwd=tmp_path, code=13)
    assert "'none-such' is not installed: install the plugin" in done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["d", "one"]
    run("test", "x", cwd=tmp_path, code=13)
    run("cat", "x", "two", cwd=tmp_path, code=13)
    run("cat", "x", "one", cwd=tmp_path)
    run("list", "x", cwd=tmp_path)
    run("info", "x", cwd=tmp_path)
    run("pack", "x", "--backend", "none-such", cwd=tmp_path, code=13)


def test_an_unsafe_member(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build([*ENTRIES, build.file(b"../evil", b"evil")]))
    run("unpack", "x", "-C", "out", cwd=tmp_path, code=16)
    run("test", "x", cwd=tmp_path, code=16)
    run("unpack", "x", "one", "-C", "out2", cwd=tmp_path)
    # Damage is the first to be told.
    (tmp_path / "y").write_bytes(build.damage((tmp_path / "x").read_bytes(), b"first content"))
    run("unpack", "y", "-C", "out3", cwd=tmp_path, code=11)


def test_a_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build([build.file(b"p" * 70_000)]))
    assert "65535" in run("list", "x", cwd=tmp_path, code=17).err


def test_failure(tmp_path: Path) -> None:
    for command, args in READING.items():
        assert "none" in run(command, "none", *args, cwd=tmp_path, code=1).err
        run(command, ".", *args, cwd=tmp_path, code=1)
