"""test, diff, cat and list: of what is named, and of nothing else."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

import lmarc
from lmarc.container import frames, wire
from tests.cli.program import run
from tests.container import build
from tests.regressions.streams import opened

A, B = build.file(b"a", b"content of a"), build.file(b"b", b"content of b")
EVIL = build.file(b"../evil", b"evil")


# --- test --------------------------------------------------------------------------------------------------


def test_a_hard_link_is_tested_by_its_content(tmp_path: Path) -> None:
    data = build.build([A, B, build.hardlink(b"h", b"a"), build.hardlink(b"i", b"b")])
    (tmp_path / "x").write_bytes(data)
    run("test", "x", "h", cwd=tmp_path)
    (tmp_path / "x").write_bytes(build.damage(data, b"content of a"))
    done = run("test", "x", "h", cwd=tmp_path, code=11)
    assert "all is well" not in done.err
    run("test", "x", "i", "b", cwd=tmp_path)
    with lmarc.open(tmp_path / "x") as archive:
        assert archive.test(["i"]) == {}
        assert set(archive.test(["h"])) & {"h", "a"}
        assert set(archive.test(["h", "a", "b"])) >= {"a"}
        assert set(archive.test()) >= {"a"}


def test_unsafe_members_that_are_not_chosen_are_not_reported(tmp_path: Path) -> None:
    entries = [A, B, EVIL, build.symlink(b"l", b".."), build.file(b"l/evil", b"evil"), build.hardlink(b"h", b"../evil")]
    (tmp_path / "x").write_bytes(build.build(entries))
    facts = run("test", "x", "a", "--json", cwd=tmp_path).json
    assert (facts["ok"], facts["failed"]) == (True, [])
    assert "evil" not in run("test", "x", "a", "b", cwd=tmp_path).err
    for name in ("h", "l/evil", "../evil"):
        facts = run("test", "x", "a", name, "--json", cwd=tmp_path, code=16).json
        assert [row["path"] for row in facts["failed"]] == [name]
    facts = run("test", "x", "--json", cwd=tmp_path, code=16).json
    assert [row["path"] for row in facts["failed"]] == ["../evil", "h", "l/evil"]


# --- diff --------------------------------------------------------------------------------------------------


def test_diff_does_not_look_where_unsafe_members_point(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scratch / "outside").mkdir()
    (scratch / "outside" / "precious").write_bytes(b"precious")
    (scratch / "tree" / "d").mkdir(parents=True)
    (scratch / "tree" / "a").write_bytes(b"content of A")
    (scratch / "tree" / "l").symlink_to("../outside")
    unsafe = [
        build.file(b"../outside/precious", b"precious"),
        build.file(os.fsencode(scratch / "outside" / "precious"), b"precious"),
        build.file(b"l/precious", b"precious"),
        build.file(b"d/../d/../../outside/precious", b"precious"),
        build.file(b"nul\0byte", b"nul"),
        build.hardlink(b"h", b"../outside/precious"),
        build.symlink(b"no-target", b""),
    ]
    looked: list[str] = []
    for name in ("stat", "open", "readlink", "listdir", "scandir", "lstat"):
        call = getattr(os, name)

        def watched(path: object = ".", *args: object, call: object = call, **options: object) -> object:
            looked.append(os.fsdecode(path) if isinstance(path, (str, bytes)) else "")
            return call(path, *args, **options)  # type: ignore[operator]

        monkeypatch.setattr(os, name, watched)
    with opened(A, B, build.symlink(b"l", b"../outside"), *unsafe) as archive:
        found = [(item.path, item.what) for item in archive.diff(scratch / "tree")]
    monkeypatch.undo()
    wanted = {(member.path, "unsafe") for member, _ in unsafe} | {(b"a", "content"), (b"b", "missing")}
    assert {item for item in found if item[1] != "mtime" and item[0] != b"d"} == wanted
    assert [path for path in looked if "outside" in path or "precious" in path or ".." in path.split("/")] == []


def test_diff_of_names_that_no_system_has(scratch: Path) -> None:
    (scratch / "tree").mkdir()
    (scratch / "tree" / "a").write_bytes(b"content of A")
    long = [b"n" * 300, b"d/" + b"n" * 300, b"/".join([b"n" * 200] * 40), b"n" * 5000]
    entries = [A, B, build.file(b"nul\0byte", b"x"), *(build.file(path, b"x") for path in long)]
    entries += [build.symlink(b"l" * 300, b"x"), build.directory(b"m" * 300), build.hardlink(b"h" * 300, b"a")]
    (scratch / "x").write_bytes(build.build(entries))
    rows = run("diff", "x", "tree", "--json", cwd=scratch, code=1).json["differences"]
    found = {(row["path"], row["what"]) for row in rows if row["what"] != "mtime"}
    assert {("a", "content"), ("b", "missing"), ("nul\0byte", "unsafe")} <= found
    assert {path for path, _ in found} == {os.fsdecode(member.path) for member, _ in entries}
    lines = run("diff", "x", "tree", cwd=scratch, code=1).lines
    assert len(lines) >= len(entries)


# --- cat ---------------------------------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A directory with x, an archive of every kind."""
    entries = [
        A,
        build.directory(b"d"),
        build.file(b"d/f", b"f"),
        build.symlink(b"s", b"a"),
        build.hardlink(b"h", b"a"),
    ]
    (tmp_path / "x").write_bytes(build.build(entries))
    return tmp_path


@pytest.mark.parametrize("name", ["s", "d", "d/"])
def test_cat_of_what_is_no_file(name: str, odd: Path) -> None:
    for args in ((name,), ("--json", name), ("a", name)):
        done = run("cat", "x", *args, cwd=odd, code=1)
        assert "not a regular file" in done.err
        assert len(done.err.splitlines()) == 1


def test_cat_of_globs(odd: Path) -> None:
    assert run("cat", "x", "*", cwd=odd).out == b"content of af" + b"content of a"
    assert run("cat", "x", "[ds]*", cwd=odd).out == b"f"
    assert run("cat", "x", "h", "d/f", cwd=odd).out == b"f" + b"content of a"
    rows = run("cat", "--json", "x", "*", cwd=odd).json["members"]
    assert [row["path"] for row in rows] == ["a", "d/f", "h"]


# --- names and globs ---------------------------------------------------------------------------------------

BRACKETS = [build.file(b"a[1]", b"bracket"), build.file(b"a1", b"one"), build.directory(b"d[1]")]
BRACKETS += [build.file(b"d[1]/f", b"inner"), build.file(b"d1/f", b"other"), build.file(b"*", b"star")]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a[1]"], ["a[1]"]),
        (["a[12]"], ["a1"]),
        (["a[1]", "a1"], ["a1", "a[1]"]),
        (["d[1]"], ["d[1]", "d[1]/f"]),
        (["d[1]/"], ["d[1]", "d[1]/f"]),
        (["d[1]/f"], ["d[1]/f"]),
        (["d[1]/*"], ["d1/f"]),
        (["*"], ["*"]),
        (["?"], ["*"]),
    ],
)
def test_a_name_is_a_name_first(names: list[str], wanted: list[str]) -> None:
    with opened(*BRACKETS) as archive:
        assert [os.fsdecode(member.path) for member in archive.select(names)] == wanted


@pytest.mark.parametrize("pattern", ["b[1]", "a[2]", "x*", "a[1]/x"])
def test_globs_that_match_nothing(pattern: str) -> None:
    with opened(*BRACKETS) as archive, pytest.raises(lmarc.MemberNotFoundError, match="no member"):
        archive.select(["a[1]", pattern])


def test_a_name_is_a_name_first_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build(BRACKETS))
    assert run("cat", "x", "a[1]", cwd=tmp_path).out == b"bracket"
    run("unpack", "x", "a[1]", "-C", "out", cwd=tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a[1]"]
    assert "b[1]" in run("list", "x", "a[1]", "b[1]", cwd=tmp_path, code=1).err


# --- info --------------------------------------------------------------------------------------------------


def with_head(stored: int, decoded: int, kind: int = frames.CHUNK) -> bytes:
    """An archive whose only chunk's frame has a valid head that says these, and a valid index."""
    data = bytearray(build.build([build.file(b"a", b"content of a" * 20)]))
    at = data.index(frames.SYNC)
    numbers = b"".join(map(wire.pack_uvarint, (0, stored, decoded)))
    head = frames.SYNC + bytes([kind]) + numbers + bytes(4)
    head += wire.crc32(at.to_bytes(8, "little") + head).to_bytes(4, "little")
    data[at : at + len(head)] = head
    return bytes(data)


@pytest.mark.parametrize(
    ("stored", "decoded", "kind"),
    [
        (2**26 + 2**16 + 1, 240, frames.CHUNK),
        (2**62, 240, frames.CHUNK),
        (248, 2**26 + 1, frames.CHUNK),
        (248, 2**62, frames.CHUNK),
        (248, 240, 0x41),
        (1, 240, frames.CHUNK),
    ],
)
def test_info_on_a_chunk_whose_head_is_beyond_the_limits(stored: int, decoded: int, kind: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(with_head(stored, decoded, kind))
    done = run("info", "x", cwd=tmp_path, code=None)
    assert done.code in (0, 11, 15, 17)
    assert "240 bytes" in done.text
    facts = run("info", "x", "--json", cwd=tmp_path, code=done.code).json
    assert (facts["chunks"], facts["content"]) == (1, 240)
    assert run("test", "x", cwd=tmp_path, code=None).code in (11, 15, 17)


def test_reading_a_chunk_whose_head_is_beyond_the_limits() -> None:
    with lmarc.open(io.BytesIO(with_head(2**62, 240))) as archive:
        with pytest.raises(lmarc.LmarcError):
            archive.read("a")
        assert set(archive.test()) == {"a"}
