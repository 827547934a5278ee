"""Archives that mean harm, on the command line; the corpus of attacks is tests/campaigns/escape.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.program import run
from tests.container import build
from tests.trees import snapshot

GOOD = build.file(b"good", b"good")


@pytest.fixture
def target(scratch: Path) -> Path:
    """A target directory with something to steal or spoil around it."""
    (scratch / "outside").mkdir()
    (scratch / "outside" / "precious").write_bytes(b"precious")
    (scratch / "target").mkdir()
    return scratch / "target"


def unpack(target: Path, entries: list[build.Entry], *args: str, code: int = 16) -> str:
    """Unpack what was built of entries, check that nothing outside has changed, return what was said."""
    archive = target.parent / "x.lmarc"
    archive.write_bytes(build.build(entries))
    before = snapshot(target.parent)
    said = run("unpack", archive, "-C", target, *args, code=code).err
    after = snapshot(target.parent)
    for path in (before.keys() | after.keys()) - {b"target"}:
        if not path.startswith(b"target/"):
            assert before.get(path) == after.get(path)
    return said


def test_unsafe_members_are_listed_and_tested(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build([GOOD, build.file(b"../evil", b"evil"), build.symlink(b"l", b"")]))
    assert run("list", "-1", tmp_path / "x").lines == ["../evil", "good", "l"]
    facts = run("test", "--json", tmp_path / "x", code=16).json
    assert [row["path"] for row in facts["failed"]] == ["../evil", "l"]
    assert run("cat", tmp_path / "x", "../evil").out == b"evil"
    assert run("info", "--json", tmp_path / "x").json["damage"] == []


def test_names_too_long_for_the_file_system(target: Path) -> None:
    entries = [
        build.file(b"n" * 300, b"1"),
        build.file(b"d/" + b"n" * 300, b"2"),
        build.symlink(b"l" * 300, b"x"),
        GOOD,
    ]
    said = unpack(target, entries, code=1)
    assert said.count("too long") == 3
    assert (target / "good").read_bytes() == b"good"
    unpack(target, entries, "--force", code=1)


def test_many_levels(target: Path) -> None:
    deep = b"/".join([b"d"] * 1200)
    unpack(target, [build.file(deep, b"deep"), GOOD], code=0)
    run("test", target.parent / "x.lmarc")


def test_holes_without_end(target: Path) -> None:
    huge = build.file(b"huge")[0]._replace(size=2**62, sparse=())
    said = unpack(target, [(huge, b""), GOOD], code=1)
    assert "huge" in said
    assert [item.name for item in target.iterdir()] == ["good"]
    run("test", target.parent / "x.lmarc")


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    bad = b"\x1b]0;title\x07 \x1b[2J\xc2\x9b31m\r\n\xe2\x80\xae\x08"
    entries = [
        build.file(b"f" + bad, b"f"),
        build.symlink(b"l" + bad, b"to" + bad),
        build.hardlink(b"h" + bad, b"f" + bad),
        build.file(b"../" + bad, b"evil"),
    ]
    # In the name of the archive, too, and in what its header says wrote it.
    archive = tmp_path / "x\x1b[31m\n.lmarc"
    archive.write_bytes(build.build(entries, writer="\x1b[31mwriter"))
    (tmp_path / "other\x1b[31m").write_bytes(b"x")
    for args in (
        *(("list", archive), ("list", "-1", archive), ("list", "--json", archive), ("info", archive)),
        *(("test", archive), ("diff", archive, tmp_path), ("diff", "--json", archive, tmp_path)),
        *(("unpack", archive, "-C", tmp_path / "out"), ("unpack", "-n", archive), ("test", "-v", archive)),
        *(("unpack", "-v", "--json", archive, "-C", tmp_path / "out2"), ("list", archive, "no\x1b[31m")),
        *(("list", tmp_path / "no\x1b[31m"), ("cat", archive, "no\x1b[31m"), ("list", tmp_path / "other\x1b[31m")),
        *(("pack", tmp_path / "other\x1b[31m", "-p", "fast"), ("pack", "-n", tmp_path / "other\x1b[31m")),
        *(("pack", tmp_path / "no\x1b[31m", "-o", tmp_path / "new\x1b[31m", "-p", "fast"), ("info", "--json", archive)),
        *(("pack", tmp_path / "other\x1b[31m", "-v", "-o", tmp_path / "new\x1b[31m", "-p", "fast"),),
    ):
        done = run(*args, code=None)
        shown = done.text + done.err
        assert done.out or done.err
        ugly = {char for char in shown if not char.isprintable() and char != "\n"}
        assert not ugly, (args, ugly)
    assert run("list", "-0", archive).out.startswith(b"../" + bad + b"\0")
    names = [row["path"] for row in run("list", "--json", archive).json["members"]]
    assert ("f" + bad.decode()) in names


def test_names_that_are_not_utf8_are_shown_as_escapes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(
        build.build([build.file(b"caf\xe9"), build.file(b"back\\slash"), build.file("é".encode())])
    )
    assert run("list", "-1", tmp_path / "x").lines == ["back\\\\slash", "caf\\xe9", "é"]
    assert run("list", "-1", tmp_path / "x", b"caf\xe9").lines == ["caf\\xe9"]
    assert run("list", "--json", tmp_path / "x").json["members"][1]["path"] == "caf\udce9"


def test_a_terminal_that_knows_no_unicode(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build([build.file("é\u6f6e".encode(), b"1"), build.file(b"caf\xe9", b"2")]))
    for args in (
        ("list",),
        ("list", "-1"),
        ("list", "--json"),
        ("test", "-v"),
        ("unpack", "-v", "-C", tmp_path / "out"),
    ):
        run(*args, tmp_path / "x", env={"PYTHONIOENCODING": "ascii"})
