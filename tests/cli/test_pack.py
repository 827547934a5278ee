"""lmarc pack: what goes in, under what names, and where to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import lmarc
from tests.cli.program import COMMAND, Result, environment, names, run
from tests.trees import KIB, MIB, prose


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with work/tree in it, to run in work."""
    work = tmp_path / "work"
    for path, text in {
        "tree/a.txt": b"the letter a\n",
        "tree/b.py": b"print('b')\n",
        "tree/sub/c.txt": b"the letter c\n",
        "tree/sub/deep/d.log": b"d\n" * 100,
        "other/e.txt": b"e\n",
        "f.txt": b"f\n",
    }.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(text)
    (work / "tree" / "empty").mkdir()
    return work


TREE = [b"tree", b"tree/a.txt", b"tree/b.py", b"tree/empty", b"tree/sub", b"tree/sub/c.txt"]
TREE += [b"tree/sub/deep", b"tree/sub/deep/d.log"]


def pack(here: Path, *args: str | bytes | Path, code: int = 0, stdin: bytes | None = None) -> Result:
    """Pack fast, in the directory."""
    return run("pack", "--preset", "fast", *args, cwd=here, code=code, stdin=stdin)


def packed(here: Path, *args: str | bytes | Path, stdin: bytes | None = None) -> list[bytes]:
    """Names that packing these gives."""
    pack(here, "-o", "x.lmarc", "--force", *args, stdin=stdin)
    return names(here / "x.lmarc")


# --- where to ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("tree/", "tree.lmarc"),
        ("tree", "tree.lmarc"),
        ("./tree//", "tree.lmarc"),
        ("tree/sub", "tree/sub.lmarc"),
        ("f.txt", "f.txt.lmarc"),
        ("../work/f.txt", "../work/f.txt.lmarc"),
        (".", "work.lmarc"),
        ("tree/sub/../..", "work.lmarc"),
    ],
)
def test_default_output(source: str, output: str, here: Path) -> None:
    before = set(here.parent.rglob("*"))
    done = pack(here, source)
    assert done.out == b""
    made = set(here.parent.rglob("*")) - before
    assert [path.resolve() for path in made] == [(here / output).resolve()]
    assert lmarc.is_lmarc(here / output)


def test_several_sources_need_a_name(here: Path) -> None:
    assert "-o" in pack(here, "tree", "f.txt", code=2).err
    assert packed(here, "tree", "f.txt") == [b"f.txt", *TREE]


def test_nothing_to_pack(here: Path) -> None:
    pack(here, code=2)
    pack(here, "-o", "x.lmarc", code=2)


def test_stdout(here: Path) -> None:
    archive = pack(here, "tree", "-o", "-").out
    (here / "out.lmarc").write_bytes(archive)
    assert names(here / "out.lmarc") == TREE
    pack(here, "tree")
    assert (here / "tree.lmarc").read_bytes() == archive


def test_json_of_a_pack_to_a_file(here: Path) -> None:
    facts = pack(here, "tree", "--json").json
    assert facts["archive"] == "tree.lmarc"
    assert facts["members"] == len(TREE)
    assert facts["skipped"] == 0
    assert facts["stored"] == (here / "tree.lmarc").stat().st_size
    assert facts["content"] == sum(path.stat().st_size for path in (here / "tree").rglob("*") if path.is_file())


def test_json_never_spoils_an_archive_on_stdout(here: Path) -> None:
    (here / "x.lmarc").write_bytes(pack(here, "tree", "-o", "-", "--json").out)
    assert names(here / "x.lmarc") == TREE


def test_an_existing_archive_is_kept(here: Path) -> None:
    (here / "tree.lmarc").write_bytes(b"precious")
    assert "exists" in pack(here, "tree", code=1).err
    assert (here / "tree.lmarc").read_bytes() == b"precious"
    assert not list(here.glob(".*"))
    pack(here, "tree", "--force")
    assert names(here / "tree.lmarc") == TREE


def test_a_failed_pack_leaves_the_old_archive(here: Path) -> None:
    (here / "tree.lmarc").write_bytes(b"precious")
    pack(here, "tree", "--force", "--backend", "none-such", code=13)
    pack(here, "tree", "tree/sub", "--force", "-o", "tree.lmarc", code=2)
    assert (here / "tree.lmarc").read_bytes() == b"precious"
    assert sorted(path.name for path in here.iterdir()) == ["f.txt", "other", "tree", "tree.lmarc"]


def test_output_in_a_directory_that_is_not_there(here: Path) -> None:
    assert "none" in pack(here, "tree", "-o", "none/x.lmarc", code=1).err


def test_output_that_is_a_directory(here: Path) -> None:
    pack(here, "tree", "-o", "other", code=1)
    pack(here, "tree", "-o", "other", "--force", code=1)
    assert sorted(path.name for path in here.iterdir()) == ["f.txt", "other", "tree"]
    assert (here / "other" / "e.txt").exists()


def test_output_with_a_name_of_255_bytes(here: Path) -> None:
    name = "n" * 249 + ".lmarc"
    pack(here, "tree", "-o", name)
    assert names(here / name) == TREE


def test_an_archive_does_not_hold_itself(here: Path) -> None:
    everything = names_of_all = [b"f.txt", b"other", b"other/e.txt", *TREE]
    assert packed(here, ".") == everything
    # Now it is there already, and so is another of the same name elsewhere, which belongs in.
    (here / "tree" / "x.lmarc").write_bytes(b"not this one")
    assert packed(here, ".") == sorted([*names_of_all, b"tree/x.lmarc"])
    assert packed(here, "../work") == sorted([b"work", *(b"work/" + name for name in [*everything, b"tree/x.lmarc"])])


# --- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "top"),
    [
        ("tree/sub", b"tree/sub"),
        ("./tree/sub/", b"tree/sub"),
        ("tree//sub/.", b"tree/sub"),
        ("other/../tree/sub", b"tree/sub"),
        ("../work/tree/sub", b"sub"),
        ("{here}/tree/sub", b"sub"),
        ("{here}/tree/sub/", b"sub"),
        ("{here}/tree/../tree/sub", b"sub"),
    ],
)
def test_names_of_paths_as_given(source: str, top: bytes, here: Path) -> None:
    wanted = [top, top + b"/c.txt", top + b"/deep", top + b"/deep/d.log"]
    assert packed(here, source.format(here=here)) == wanted


def test_a_directory_without_a_name_gives_its_children(here: Path) -> None:
    wanted = [b"a.txt", b"b.py", b"empty", b"sub", b"sub/c.txt", b"sub/deep", b"sub/deep/d.log"]
    assert packed(here / "tree", ".") == wanted
    assert packed(here / "tree", "./", "../other") == sorted([*wanted, b"other", b"other/e.txt"])


def test_the_directory_above_has_its_own_name(here: Path) -> None:
    assert packed(here / "tree" / "sub", "..")[:3] == [b"tree", b"tree/a.txt", b"tree/b.py"]


def test_links_as_sources(here: Path) -> None:
    (here / "to-sub").symlink_to("tree/sub")
    (here / "dangling").symlink_to("nowhere")
    assert packed(here, "to-sub", "dangling") == [b"dangling", b"to-sub"]
    assert packed(here, "to-sub/") == [b"to-sub", b"to-sub/c.txt", b"to-sub/deep", b"to-sub/deep/d.log"]
    with lmarc.open(here / "x.lmarc") as archive:
        assert archive.getinfo("to-sub").kind == "dir"


def test_a_source_below_a_link(here: Path) -> None:
    (here / "to-sub").symlink_to("tree/sub")
    assert packed(here, "to-sub/c.txt") == [b"to-sub/c.txt"]


@pytest.mark.parametrize(
    "sources", [("tree", "tree"), ("tree", "tree/sub"), ("tree/sub", "tree"), ("tree", "{here}/tree"), (".", "f.txt")]
)
def test_what_would_be_in_twice_is_refused(sources: tuple[str, ...], here: Path) -> None:
    done = pack(here, "-o", "x.lmarc", *(source.format(here=here) for source in sources), code=2)
    assert "twice" in done.err
    assert not (here / "x.lmarc").exists()


def test_an_empty_path_is_refused(here: Path) -> None:
    pack(here, "", "-o", "x.lmarc", code=2)


def test_names_that_look_like_options(here: Path) -> None:
    (here / "-x").write_bytes(b"x")
    (here / "--").write_bytes(b"y")
    assert packed(here, "--", "-x", "--") == [b"--", b"-x"]
    assert packed(here, "./-x") == [b"-x"]


# --- standard input and lists ------------------------------------------------------------------------------


def test_data_from_stdin(here: Path) -> None:
    data = prose(1, 3 * MIB)
    pack(here, "-", "-o", "x.lmarc", stdin=data)
    with lmarc.open(here / "x.lmarc") as archive:
        assert archive.namelist() == ["stdin"]
        assert archive.read("stdin") == data
    archive_bytes = pack(here, "-", "--stdin-name", "notes.txt", stdin=data).out
    (here / "y.lmarc").write_bytes(archive_bytes)
    assert names(here / "y.lmarc") == [b"notes.txt"]
    assert run("cat", "-", "notes.txt", stdin=archive_bytes).out == data


def test_data_from_stdin_and_files(here: Path) -> None:
    assert packed(here, "tree/sub", "-", stdin=b"piped") == [
        *(b"stdin", b"tree/sub", b"tree/sub/c.txt", b"tree/sub/deep", b"tree/sub/deep/d.log")
    ]


def test_no_data_from_stdin(here: Path) -> None:
    pack(here, "-", "-o", "x.lmarc", stdin=b"")
    assert run("cat", "x.lmarc", "stdin", cwd=here).out == b""
    run("test", "x.lmarc", cwd=here)


@pytest.mark.parametrize(
    "args", [("-", "-"), ("-", "-T", "-"), ("-T", "-", "--files-from0", "-"), ("-", "--files-from0", "-")]
)
def test_stdin_is_used_once(args: tuple[str, ...], here: Path) -> None:
    assert "standard input" in pack(here, *args, "-o", "x.lmarc", code=2, stdin=b"").err


def test_stdin_must_not_take_a_name_that_is_taken(here: Path) -> None:
    done = pack(here, "f.txt", "-", "--stdin-name", "f.txt", "-o", "x.lmarc", code=2, stdin=b"x")
    assert "twice" in done.err
    assert not (here / "x.lmarc").exists()


@pytest.mark.parametrize("name", ["../x", "/x", "", "a//b", "."])
def test_stdin_must_have_a_safe_name(name: str, here: Path) -> None:
    pack(here, "-", "--stdin-name", name, "-o", "x.lmarc", code=2, stdin=b"x")


LISTED = [b"tree", b"tree/sub/c.txt", b"f.txt", b"tree/b.py"]


@pytest.mark.parametrize(("option", "end"), [("--files-from", b"\n"), ("-T", b"\n"), ("--files-from0", b"\0")])
def test_files_from(option: str, end: bytes, here: Path) -> None:
    listed = end.join(LISTED)
    (here / "list").write_bytes(listed + end)
    assert packed(here, option, "list") == sorted(LISTED)
    assert packed(here, option, "-", stdin=listed) == sorted(LISTED)
    assert packed(here, option, "list", "other") == sorted([*LISTED, b"other", b"other/e.txt"])


def test_odd_names_in_lists(here: Path) -> None:
    odd = [b"caf\xe9", b"new\nline", b" space ", b"-rf", b"-"]
    for name in odd:
        Path(os.fsdecode(os.fsencode(here) + b"/" + name)).write_bytes(name)
    assert packed(here, "--files-from0", "-", stdin=b"\0".join(odd)) == sorted(odd)
    odd.remove(b"new\nline")
    assert packed(here, "--files-from", "-", stdin=b"\n".join(odd)) == sorted(odd)


def test_listed_paths_keep_their_components(here: Path) -> None:
    listed = [os.fsencode(here / "tree" / "a.txt"), b"../work/f.txt", b"./other/e.txt", b"other//e.txt", b".", b"tree/"]
    whole = os.fsencode(here / "tree" / "a.txt").lstrip(b"/")
    wanted = sorted([whole, b"work/f.txt", b"other/e.txt", b"tree"])
    assert packed(here, "--files-from0", "-", stdin=b"\0".join(listed)) == wanted


def test_a_listed_path_that_is_not_there(here: Path) -> None:
    done = pack(here, "-T", "-", "-o", "x.lmarc", stdin=b"f.txt\nnone\n", code=3)
    assert "none: No such file" in done.err
    assert names(here / "x.lmarc") == [b"f.txt"]


def test_a_list_that_is_not_there(here: Path) -> None:
    assert "none" in pack(here, "-T", "none", "-o", "x.lmarc", code=1).err
    assert not (here / "x.lmarc").exists()


def test_find_print0_pipes_into_pack(here: Path) -> None:
    found = subprocess.run(["find", "tree", "-print0"], cwd=here, capture_output=True, check=True).stdout
    assert packed(here, "--files-from0", "-", stdin=found) == TREE


# --- filters -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        (["-x", "*.txt"], {b"tree/a.txt", b"tree/sub/c.txt"}),
        (["--exclude", "sub/"], {b"tree/sub", b"tree/sub/c.txt", b"tree/sub/deep", b"tree/sub/deep/d.log"}),
        (["-x", "/tree/sub/deep"], {b"tree/sub/deep", b"tree/sub/deep/d.log"}),
        (["-x", "/sub"], set()),
        (["-x", "tree/*/c.txt"], {b"tree/sub/c.txt"}),
        (["-x", "**/d.*"], {b"tree/sub/deep/d.log"}),
        (["-x", "*.txt", "-x", "!c.txt"], {b"tree/a.txt"}),
        (["-x", "a.txt/"], set()),
        (["-i", "*.py"], {b"tree/a.txt", b"tree/sub/c.txt", b"tree/sub/deep/d.log"}),
        (["-i", "*.py", "--include", "*.log"], {b"tree/a.txt", b"tree/sub/c.txt"}),
        (["-i", "*.txt", "-x", "c.*"], {b"tree/b.py", b"tree/sub/c.txt", b"tree/sub/deep/d.log"}),
        (["-i", "sub/"], {b"tree/a.txt", b"tree/b.py"}),
    ],
)
def test_exclude_and_include(args: list[str], missing: set[bytes], here: Path) -> None:
    assert packed(here, "tree", *args) == [name for name in TREE if name not in missing]


def test_a_bad_pattern_is_a_usage_error(here: Path) -> None:
    done = pack(here, "tree", "-o", "x.lmarc", "-x", "!", code=2)
    assert "!" in done.err


def test_gitignore(here: Path) -> None:
    tree = here / "repo"
    files = {
        ".gitignore": b"*.o\n!keep.o\n/build/\n# comment\n\\#odd\ntmp?\n",
        ".git/config": b"[core]\n",
        ".git/objects/x.o": b"x",
        "main.c": b"int main;\n",
        "main.o": b"\0",
        "keep.o": b"\0",
        "#odd": b"\0",
        "build/out.txt": b"out",
        "src/build/kept.txt": b"kept",
        "src/.gitignore": b"*.gen\n!main.o\n/only-here\n",
        "src/x.gen": b"x",
        "src/main.o": b"negated below\n",
        "src/only-here": b"x",
        "src/deep/only-here": b"kept",
        "src/deep/y.gen": b"y",
        "src/deep/.gitignore": b"!y.gen\n",
        "tmp1": b"x",
        "vendor/.git": b"gitdir: ../.git/modules/vendor\n",
        "vendor/code.c": b"int x;\n",
        "not utf-8/.gitignore": b"caf\xe9\n",
    }
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    Path(os.fsdecode(os.fsencode(tree) + b"/not utf-8/caf\xe9")).write_bytes(b"x")
    wanted = [
        *("repo", "repo/.gitignore", "repo/keep.o", "repo/main.c", "repo/not utf-8", "repo/not utf-8/.gitignore"),
        *("repo/src", "repo/src/.gitignore", "repo/src/build", "repo/src/build/kept.txt", "repo/src/deep"),
        *("repo/src/deep/.gitignore", "repo/src/deep/only-here", "repo/src/deep/y.gen", "repo/src/main.o"),
        *("repo/vendor", "repo/vendor/code.c"),
    ]
    assert [name.decode() for name in packed(here, "repo", "--gitignore")] == wanted
    assert b"repo/.git/config" in packed(here, "repo")
    # The same rules where the repository is the working directory.
    inside = [name.removeprefix("repo/") for name in wanted[1:]]
    run("pack", "--gitignore", ".", "-o", here / "y.lmarc", cwd=tree)
    assert [name.decode() for name in names(here / "y.lmarc")] == inside


def test_gitignore_lines_that_mean_nothing(here: Path) -> None:
    (here / "tree" / ".gitignore").write_bytes(b"!\n/\n\\\n[\n   \n*.py\n")
    assert b"tree/b.py" not in packed(here, "tree", "--gitignore", "-x", "nothing")


# --- presets and backends ----------------------------------------------------------------------------------


def backends(path: Path) -> list[str]:
    """Names of the backends an archive names."""
    return [row["name"] for row in run("info", "--json", path).json["backends"]]


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], ["cm"]),
        (["--preset", "fast"], ["zstd"]),
        (["--preset", "balanced"], ["cm"]),
        (["-p", "best"], ["cm"]),
        (["--backend", "store"], ["store"]),
        (["-b", "zstd"], ["zstd"]),
        (["-b", "zstd", "-p", "best"], ["zstd"]),
        (["-b", "cm", "-p", "fast"], ["cm"]),
    ],
)
def test_presets_and_backends(args: list[str], wanted: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(prose(1, 20_000))
    run("pack", "a.txt", *args, cwd=tmp_path)
    assert backends(tmp_path / "a.txt.lmarc") == wanted
    assert run("cat", "a.txt.lmarc", "a.txt", cwd=tmp_path).out == prose(1, 20_000)


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_what_does_not_compress_is_stored(preset: str, tmp_path: Path) -> None:
    (tmp_path / "noise.txt").write_bytes(os.urandom(200 * KIB))
    run("pack", "noise.txt", "--preset", preset, cwd=tmp_path)
    assert backends(tmp_path / "noise.txt.lmarc") == ["store"]


def test_best_is_smaller_than_balanced_and_that_than_fast(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(prose(1, 100_000))
    sizes = [
        len(run("pack", "a.txt", "-o", "-", "-p", preset, cwd=tmp_path).out) for preset in ("best", "balanced", "fast")
    ]
    assert sizes[0] <= sizes[1] < sizes[2]


def test_an_unknown_preset_or_backend(here: Path) -> None:
    done = run("pack", "tree", "--preset", "extreme", cwd=here, code=2)
    assert all(word in done.err for word in ("extreme", "fast", "balanced", "best"))
    assert "none-such" in pack(here, "tree", "--backend", "none-such", code=13).err
    assert not list(here.glob("*.lmarc"))


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "257"])
def test_bad_numbers_of_jobs(jobs: str, here: Path) -> None:
    pack(here, "tree", "--jobs", jobs, code=2)


# --- what is said ------------------------------------------------------------------------------------------


def test_dry_run(here: Path) -> None:
    before = sorted(here.rglob("*"))
    done = pack(here, "tree", "--dry-run", "-x", "*.py")
    assert [line.encode() for line in done.lines] == [name for name in TREE if name != b"tree/b.py"]
    facts = pack(here, "tree", "missing", "-n", "--json", "-o", "x", code=3).json
    assert [row["path"].encode() for row in facts["members"]] == TREE
    assert facts["skipped"] == 1
    sizes = {row["path"]: row["size"] for row in facts["members"]}
    assert sizes["tree/sub/deep/d.log"] == 200
    assert sorted(here.rglob("*")) == before


def test_dry_run_with_an_archive_that_exists(here: Path) -> None:
    (here / "tree.lmarc").write_bytes(b"precious")
    pack(here, "tree", "-n")
    assert (here / "tree.lmarc").read_bytes() == b"precious"


def test_quiet_and_verbose(here: Path) -> None:
    os.mkfifo(here / "tree" / "fifo")
    plain = pack(here, "tree", "-o", "1")
    assert "tree/fifo: FIFO left out" in plain.err
    assert "8 members" in plain.err
    assert "tree/a.txt" not in plain.err
    quiet = pack(here, "tree", "-o", "2", "--quiet")
    assert (quiet.out, quiet.err) == (b"", "")
    errors = pack(here, "tree", "missing", "-o", "3", "-q", code=3)
    assert errors.err.splitlines() == ["lmarc: missing: No such file or directory"]
    verbose = pack(here, "tree", "-o", "4", "--verbose").err.splitlines()
    assert {"tree/a.txt", "tree/b.py", "tree/sub/c.txt", "tree/sub/deep/d.log"} <= set(verbose)


def test_a_reader_that_goes_away(here: Path) -> None:
    (here / "noise").write_bytes(os.urandom(3 * MIB))
    command = [*COMMAND, "pack", "noise", "-o", "-", "--preset", "fast"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=here, env=environment(), stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        err = process.stderr.read().decode()
    assert process.returncode == 1
    assert "Traceback" not in err and "Exception" not in err


def test_a_full_disk(here: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "pack", "tree", "-o", "-"], cwd=here, env=environment(), stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr
