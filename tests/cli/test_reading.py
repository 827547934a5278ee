"""list, cat, test, info, diff, backends, help: what they say, to people and to scripts."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from tests.cli.nobody import COMMAND_AS_NOBODY, open_to_all
from tests.cli.program import COMMAND, Result, environment, run
from tests.container import build
from tests.trees import MIB, prose

WHEN = 1_234_567_890_123_456_789


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A tree and its archive, x.lmarc."""
    tree = tmp_path / "t"
    (tree / "d" / "empty").mkdir(parents=True)
    (tree / "a.txt").write_bytes(b"a text\n" * 100)
    (tree / "copy.txt").write_bytes(b"a text\n" * 100)
    (tree / "d" / "b.bin").write_bytes(bytes(range(256)) * 20)
    (tree / "d" / "none").write_bytes(b"")
    os.link(tree / "a.txt", tree / "hard")
    (tree / "soft").symlink_to("a.txt")
    with (tree / "holes").open("wb") as file:
        file.seek(MIB)
        file.write(b"end")
    (tree / "a.txt").chmod(0o640)
    (tree / "d").chmod(0o1775)
    for path in (*tree.rglob("*"), tree):
        os.utime(path, ns=(WHEN, WHEN), follow_symlinks=False)
    run("pack", "t", "-o", "x.lmarc", "-p", "fast", cwd=tmp_path)
    return tmp_path


NAMES = ["t", "t/a.txt", "t/copy.txt", "t/d", "t/d/b.bin", "t/d/empty", "t/d/none", "t/hard", "t/holes", "t/soft"]


def test_list(here: Path) -> None:
    lines = run("list", "x.lmarc", cwd=here).lines
    assert [line.split()[4] for line in lines] == NAMES
    assert lines[1] == "-rw-r-----     700 2009-02-13 23:31:30 t/a.txt"
    assert lines[3] == "drwxrwxr-t       0 2009-02-13 23:31:30 t/d"
    assert lines[7].startswith("hrw-r-----") and lines[7].endswith(" t/hard == t/a.txt")
    assert lines[8].split()[1] == str(MIB + 3)
    assert lines[9].startswith("lrwxrwxrwx") and lines[9].endswith(" t/soft -> a.txt")
    assert run("list", "--names", "x.lmarc", cwd=here).lines == NAMES
    assert run("list", "-1", "-", cwd=here, stdin=(here / "x.lmarc").read_bytes()).lines == NAMES
    assert run("list", "-1", "x.lmarc", "t/d", "*.txt", cwd=here).lines == [NAMES[1], NAMES[2], *NAMES[3:7]]


def test_list_json(here: Path) -> None:
    facts = run("list", "--json", "x.lmarc", cwd=here).json
    assert facts["format"] == 1
    assert facts["damage"] == []
    rows = {row["path"]: row for row in facts["members"]}
    assert list(rows) == NAMES
    text = b"a text\n" * 100
    owner = {key: rows["t"][key] for key in ("uid", "gid", "uname", "gname")}
    assert (owner["uid"], owner["gid"]) == (os.getuid(), os.getgid())
    common = {"mtime_ns": WHEN, **owner}
    file = {"path": "t/a.txt", "type": "file", "mode": 0o640, "size": 700, "blake3": blake3(text).hexdigest()}
    assert rows["t/a.txt"] == file | common
    assert rows["t/d"] == {"path": "t/d", "type": "dir", "mode": 0o1775, **common}
    assert (rows["t/soft"]["type"], rows["t/soft"]["target"]) == ("symlink", "a.txt")
    assert (rows["t/hard"]["type"], rows["t/hard"]["target"]) == ("hardlink", "t/a.txt")
    assert rows["t/copy.txt"]["blake3"] == rows["t/a.txt"]["blake3"]
    assert rows["t/holes"]["size"] == MIB + 3
    assert sum(rows["t/holes"]["sparse"]) <= MIB + 3
    some = run("list", "--json", "x.lmarc", "t/d/*", cwd=here).json
    assert [row["path"] for row in some["members"]] == NAMES[4:7]


def test_cat(here: Path) -> None:
    text = b"a text\n" * 100
    assert run("cat", "x.lmarc", "t/a.txt", cwd=here).out == text
    assert run("cat", "x.lmarc", "t/hard", cwd=here).out == text
    assert run("cat", "x.lmarc", "t/d/*", "t/*.txt", cwd=here).out == text * 2 + bytes(range(256)) * 20
    assert run("cat", "x.lmarc", "t/holes", cwd=here).out == bytes(MIB) + b"end"
    assert run("cat", "-", "t/copy.txt", cwd=here, stdin=(here / "x.lmarc").read_bytes()).out == text
    rows = run("cat", "--json", "x.lmarc", "t/a.txt", "t/d/none", cwd=here).json["members"]
    assert [(row["path"], len(row["content_base64"])) for row in rows] == [("t/a.txt", 936), ("t/d/none", 0)]
    run("cat", "x.lmarc", cwd=here, code=2)


def test_test(here: Path) -> None:
    done = run("test", "x.lmarc", cwd=here)
    assert done.out == b""
    assert done.err == "lmarc: x.lmarc: 10 members, all is well\n"
    facts = run("test", "--json", "x.lmarc", "t/d", cwd=here).json
    assert facts == {"ok": True, "tested": 4, "damage": [], "failed": []}
    assert run("test", "-q", "x.lmarc", cwd=here).err == ""
    assert run("test", "-", cwd=here, stdin=(here / "x.lmarc").read_bytes()).code == 0


def test_info(here: Path) -> None:
    facts = run("info", "--json", "x.lmarc", cwd=here).json
    size = (here / "x.lmarc").stat().st_size
    assert facts["size"] == size
    assert facts["members"] == {"dir": 3, "file": 5, "hardlink": 1, "symlink": 1}
    assert facts["content"] == 1400 + 5120 + MIB + 3
    assert facts["unique_content"] < 700 + 5120 + 4096 + 1
    assert facts["payload"] + facts["overhead"] == size
    assert facts["chunks"] == sum(row["chunks"] for row in facts["backends"])
    assert facts["largest_chunk"] <= facts["unique_content"]
    assert facts["decode_memory"] > 0
    assert facts["damage"] == []
    text = run("info", "x.lmarc", cwd=here).text
    assert "3 dir, 5 file, 1 hardlink, 1 symlink" in text
    assert f"{size} bytes" in text
    assert run("info", "-", cwd=here, stdin=(here / "x.lmarc").read_bytes()).text == text


@pytest.mark.parametrize("name", ["a", "notes.txt", "README.md", "résumé.txt", "twelve.chars", "no extension"])
@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_overhead_of_a_small_text(name: str, preset: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(prose(1, 1000))
    run("pack", name, "-o", "x.lmarc", "-p", preset, cwd=tmp_path)
    with_info = run("info", "--json", "x.lmarc", cwd=tmp_path, code=0).json
    assert with_info["overhead"] <= 150
    assert with_info["size"] == (tmp_path / "x.lmarc").stat().st_size


def change_kind(tree: Path) -> None:
    (tree / "a.txt").unlink()
    (tree / "a.txt").mkdir()


def rewrite(name: str, data: bytes) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        before = (tree / name).stat()
        (tree / name).write_bytes(data)
        os.utime(tree / name, ns=(WHEN, before.st_mtime_ns))

    return change


def relink(tree: Path) -> None:
    (tree / "soft").unlink()
    (tree / "soft").symlink_to("b.txt")
    os.utime(tree / "soft", ns=(WHEN, WHEN), follow_symlinks=False)
    os.utime(tree, ns=(WHEN, WHEN))


def unlink_hard(tree: Path) -> None:
    data = (tree / "hard").read_bytes()
    (tree / "hard").unlink()
    (tree / "hard").write_bytes(data)
    (tree / "hard").chmod(0o640)
    os.utime(tree / "hard", ns=(WHEN, WHEN))
    os.utime(tree, ns=(WHEN, WHEN))


def fill_hole(tree: Path) -> None:
    with (tree / "holes").open("r+b") as file:
        file.seek(MIB // 2)
        file.write(b"!")
    os.utime(tree / "holes", ns=(WHEN, WHEN))


def add(tree: Path) -> None:
    (tree / "d" / "new").write_bytes(b"new")
    os.utime(tree / "d", ns=(WHEN, WHEN))


def remove(tree: Path) -> None:
    (tree / "d" / "none").unlink()
    os.utime(tree / "d", ns=(WHEN, WHEN))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (remove, [("t/d/none", "missing")]),
        (add, [("t/d/new", "extra")]),
        (change_kind, [("t", "mtime"), ("t/a.txt", "type"), ("t/hard", "link")]),
        (rewrite("d/b.bin", b"shorter"), [("t/d/b.bin", "size")]),
        (rewrite("copy.txt", b"A text\n" * 100), [("t/copy.txt", "content")]),
        (rewrite("d/none", b"x"), [("t/d/none", "size")]),
        (relink, [("t/soft", "target")]),
        (unlink_hard, [("t/hard", "link")]),
        (fill_hole, [("t/holes", "content")]),
        (lambda tree: (tree / "a.txt").chmod(0o600), [("t/a.txt", "mode"), ("t/hard", "mode")]),
        (lambda tree: (tree / "d").chmod(0o775), [("t/d", "mode")]),
        (lambda tree: os.utime(tree / "copy.txt", ns=(1, WHEN + 1)), [("t/copy.txt", "mtime")]),
        (lambda tree: os.utime(tree / "soft", ns=(1, 2), follow_symlinks=False), [("t/soft", "mtime")]),
    ],
)
def test_diff(change: Callable[[Path], None], wanted: list[tuple[str, str]], here: Path) -> None:
    assert run("diff", "x.lmarc", cwd=here).out == b""
    assert run("diff", "x.lmarc", "--json", cwd=here).json == {"differences": [], "damage": []}
    change(here / "t")
    facts = run("diff", "x.lmarc", "--json", cwd=here, code=1).json
    found = [(row["path"], row["what"]) for row in facts["differences"]]
    assert found == wanted
    for args in (("x.lmarc",), ("x.lmarc", "."), ("x.lmarc", "t"), ("x.lmarc", "-C", here), ("-", "t")):
        data = (here / "x.lmarc").read_bytes() if args[0] == "-" else None
        lines = run("diff", *args, cwd=here, stdin=data, code=1).lines
        assert [tuple(line.split()[1::-1]) for line in lines] == wanted


def test_diff_with_what_cannot_be_read() -> None:
    with open_to_all() as folder:
        (folder / "t").mkdir()
        (folder / "t" / "f").write_bytes(b"f")
        run("pack", "t", "-o", "x", "-p", "fast", cwd=folder)
        (folder / "t" / "f").chmod(0)
        done = run("diff", "--json", "x", cwd=folder, command=COMMAND_AS_NOBODY, code=1)
        assert {(row["path"], row["what"]) for row in done.json["differences"]} >= {("t/f", "unreadable")}


def test_diff_with_no_directory(here: Path) -> None:
    assert "none" in run("diff", "x.lmarc", "none", cwd=here, code=1).err


def test_backends() -> None:
    rows = {row["name"]: row for row in run("backends", "--json").json["backends"]}
    for name, version in {"cm": 2, "store": 1, "zstd": 1}.items():
        assert rows[name]["missing"] is None
        assert rows[name]["promise"] == "portable"
        assert rows[name]["version"] == version
        assert rows[name]["distribution"].startswith("lmarc==")
    lines = run("backends").lines
    assert {line.split()[0] for line in lines} == set(rows)


@pytest.mark.parametrize("command", ["list", "cat", "test", "info", "diff", "unpack"])
def test_every_reading_command_speaks_json(command: str, here: Path) -> None:
    args = {"cat": ["t/a.txt"], "diff": ["t"], "unpack": ["-C", "out"]}.get(command, [])
    done = run(command, "x.lmarc", "--json", *args, cwd=here)
    assert isinstance(done.json, dict)
    assert done.out.isascii()


# --- help --------------------------------------------------------------------------------------------------

COMMANDS = ["pack", "unpack", "list", "cat", "test", "info", "diff", "backends", "models"]


def test_help() -> None:
    text = " ".join(run("--help").text.split())
    for command in COMMANDS:
        assert f" {command} " in text
        assert "Usage" in run(command, "--help").text
    for code in (
        *("0 ok", "1 failure", "2 usage", "3 some sources skipped", "10 not an lmarc archive", "11 damaged"),
        *("12 wrong key", "13 model or backend missing", "14 environment mismatch"),
        *("15 unsupported version or feature", "16 unsafe member refused", "17 limit exceeded", "130 interrupted"),
    ):
        assert code in text
    assert run("-h").text == run("--help").text


def test_version() -> None:
    import lmarc

    assert run("--version").text == f"lmarc {lmarc.__version__}\n"


@pytest.mark.parametrize("args", [["no-such-command"], ["list"], ["list", "--no-such-option", "x"], ["pack", "--jobs"]])
def test_usage_errors(args: list[str]) -> None:
    done = run(*args, code=2)
    assert done.out == b""
    assert done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    done: Result = run("--show-completion", shell)
    assert "lmarc" in done.text
    script = "import sys; sys.argv[0] = 'lmarc'; from lmarc.cli.main import main; main()"
    env = {"_LMARC_COMPLETE": "complete_bash", "COMP_WORDS": "lmarc un", "COMP_CWORD": "1"}
    assert run(env=env, command=(sys.executable, "-c", script)).text.split() == ["unpack"]


_LOOK = """
import sys
sys.argv[0] = "lmarc"
from lmarc.cli.main import add_commands, app
add_commands(sys.argv[1:])
try:
    app()
except SystemExit as end:
    assert not end.code, end.code
print(sorted({"numpy", "numba", "rich", "pydantic"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "args", [["--help"], ["list", "--help"], ["--version"], ["list", "x.lmarc"], ["info", "x.lmarc"]]
)
def test_what_is_quick_imports_nothing_heavy(args: list[str], here: Path) -> None:
    done = run(*args, cwd=here, command=(sys.executable, "-c", _LOOK))
    assert done.lines[-1] == "[]"


def test_members_that_have_odd_times(tmp_path: Path) -> None:
    entries = [
        (build.directory(b"%d" % number)[0]._replace(mtime_ns=when), b"")
        for number, when in enumerate((-(2**63), 2**63 - 1, -1, 0, 1))
    ]
    (tmp_path / "x").write_bytes(build.build(entries))
    assert len(run("list", tmp_path / "x").lines) == 5
    run("unpack", tmp_path / "x", "-C", tmp_path / "out")
    assert stat.S_ISDIR((tmp_path / "out" / "0").stat().st_mode)


def test_output_that_cannot_be_written(here: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    for command in (["list"], ["list", "--json"], ["cat"], ["info"], ["diff"]):
        args = {"cat": ["t/a.txt"], "diff": ["."]}.get(command[0], [])
        (here / "t" / "new").write_bytes(b"a difference to tell")
        with open("/dev/full", "wb") as full:
            line = [*COMMAND, *command, "x.lmarc", *args]
            done = subprocess.run(line, cwd=here, env=environment(), stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1, command
        assert b"No space left" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away(unbuffered: str, tmp_path: Path) -> None:
    entries = [build.file(b"%05d" % number + b"n" * 200) for number in range(2000)]
    (tmp_path / "x").write_bytes(build.build([*entries, build.file(b"content", prose(1, 400_000))]))
    for command in (["list", "x"], ["list", "--json", "x"], ["list", "-0", "x"], ["cat", "x", "content"]):
        env = environment({"PYTHONUNBUFFERED": unbuffered})
        pipe = subprocess.PIPE
        with subprocess.Popen([*COMMAND, *command], env=env, stdout=pipe, stderr=pipe, cwd=tmp_path) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.read(10)
            process.stdout.close()
            err = process.stderr.read()
        assert process.returncode == 1, command
        assert err == b""
