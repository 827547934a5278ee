"""Archives that mean harm: nothing outside the target, exit code 16, all else extracted."""

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


@pytest.mark.parametrize(
    "path",
    [
        *(b"/absolute", b"//absolute", b"../parent", b"a/../../parent", b"..", b".", b"", b"a/./b", b"a//b", b"a/"),
        *(b"./a", b"a/..", b"nul\0byte", b"/"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "directory", "symlink", "hardlink"])
def test_unsafe_paths(path: bytes, kind: str, target: Path) -> None:
    entry = {
        "file": build.file(path, b"evil"),
        "directory": build.directory(path),
        "symlink": build.symlink(path, b"anywhere"),
        "hardlink": build.hardlink(path, b"good"),
    }[kind]
    said = unpack(target, [GOOD, entry])
    assert "refused" in said
    assert [item.name for item in target.iterdir()] == ["good"]


def test_unsafe_members_are_listed_and_tested(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(build.build([GOOD, build.file(b"../evil", b"evil"), build.symlink(b"l", b"")]))
    assert run("list", "-1", tmp_path / "x").lines == ["../evil", "good", "l"]
    facts = run("test", "--json", tmp_path / "x", code=16).json
    assert [row["path"] for row in facts["failed"]] == ["../evil", "l"]
    assert run("cat", tmp_path / "x", "../evil").out == b"evil"
    assert run("info", "--json", tmp_path / "x").json["damage"] == []


@pytest.mark.parametrize("link", [b"..", b"../outside", b"/", b"target", b"."])
def test_a_member_below_a_link_of_the_archive(link: bytes, target: Path) -> None:
    entries = [build.symlink(b"l", link), build.file(b"l/evil", b"evil"), build.directory(b"l/d/e"), GOOD]
    said = unpack(target, entries)
    assert "l/evil" in said and "l/d/e" in said
    assert sorted(item.name for item in target.iterdir()) == ["good", "l"]


def test_a_member_below_a_file_of_the_archive(target: Path) -> None:
    unpack(target, [build.file(b"f", b"f"), build.file(b"f/evil", b"evil"), build.hardlink(b"f/h", b"good"), GOOD])
    assert sorted(item.name for item in target.iterdir()) == ["f", "good"]


@pytest.mark.parametrize("option", ["", "--force", "--skip-existing"])
def test_a_link_in_the_target_is_not_followed(option: str, target: Path) -> None:
    (target / "l").symlink_to("../outside")
    entries = [build.file(b"l/precious", b"evil"), build.file(b"l/new/evil", b"evil"), GOOD]
    said = unpack(target, entries, *filter(None, [option]))
    assert "l/precious" in said and "l/new/evil" in said
    assert sorted(item.name for item in target.iterdir()) == ["good", "l"]


def test_a_link_in_the_target_where_a_directory_goes(target: Path) -> None:
    (target / "d").symlink_to("../outside")
    entries = [build.directory(b"d"), build.file(b"d/precious", b"mine"), GOOD]
    unpack(target, entries, code=1)
    assert [item.name for item in target.iterdir()] == ["d"]
    unpack(target, entries, "--skip-existing")
    assert (target / "d").is_symlink()
    unpack(target, entries, "--force", code=0)
    assert not (target / "d").is_symlink()
    assert (target / "d" / "precious").read_bytes() == b"mine"


def test_a_link_in_the_target_where_a_file_goes(target: Path) -> None:
    for name in ("f", "h", "l"):
        (target / name).symlink_to("../outside/precious")
    entries = [build.file(b"f", b"new"), build.hardlink(b"h", b"f"), build.symlink(b"l", b"f"), GOOD]
    unpack(target, entries, code=1)
    unpack(target, entries, "--force", code=0)
    assert (target / "f").read_bytes() == b"new"
    assert (target / "f").samefile(target / "h")
    assert (target / "l").readlink() == Path("f")


@pytest.mark.parametrize("path", [b"/etc/passwd", b"../evil", b"l/evil"])
def test_a_hard_link_to_an_unsafe_member(path: bytes, target: Path) -> None:
    entries = [build.symlink(b"l", b".."), build.file(path, b"evil"), build.hardlink(b"h", path), GOOD]
    said = unpack(target, entries)
    assert "h: refused" in said
    assert sorted(item.name for item in target.iterdir()) == ["good", "l"]


@pytest.mark.parametrize("link", [b"", b"nul\0byte"])
def test_link_targets_that_no_system_has(link: bytes, target: Path) -> None:
    unpack(target, [build.symlink(b"l", link), GOOD])
    assert [item.name for item in target.iterdir()] == ["good"]


def test_set_id_bits_are_not_restored(target: Path) -> None:
    entries = [build.file(b"f", b"f", mode=0o6755), build.directory(b"d", mode=0o7777)]
    unpack(target, entries, "--owner", code=0)
    assert (target / "f").stat().st_mode & 0o7777 == 0o755
    assert (target / "d").stat().st_mode & 0o7777 == 0o1777


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


def test_a_temporary_name_in_the_archive(target: Path) -> None:
    entries = [build.file(b".lmarc-00000000-1", b"1"), build.symlink(b".lmarc-00000000-2", b"../outside"), GOOD]
    unpack(target, entries, code=0)


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
