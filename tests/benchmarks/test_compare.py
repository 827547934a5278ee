"""The benchmark that sets lmarc beside other compressors measures what it says, and sees what is wrong."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import compare

FAST = next(tool for tool in compare.TOOLS if tool.name == "lmarc-fast")
COPY = "import pathlib, sys; sys.stdout.buffer.write(pathlib.Path(sys.argv[1]).read_bytes()); print(end={end!r})"


def copier(name: str, end: str = "", end_unpacked: str = "") -> compare.Tool:
    """A stream compressor that copies and adds something when packing and when unpacking."""
    pack, unpack = (("-S", "-c", COPY.format(end=added)) for added in (end, end_unpacked))
    return compare.Tool(name, (sys.executable,), (*pack, "{source}"), (*unpack, "{archive}"), ".copy", stream=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few small files in two groups and at the top, one empty, one with a name like an option, a link."""
    root = tmp_path / "folder"
    for name, text in {
        "text/words.txt": "prediction is compression, " * 40,
        "text/-o @*.txt": "a name that no tool may take for anything else\n",
        "logs/a/b.log": "".join(f"12:00:{second:02d} tick\n" for second in range(60)),
        "logs/empty": "",
        "top": "at the top",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "link").symlink_to("top")
    return root


def contents(folder: Path) -> dict[str, int]:
    """Sizes of the files that are packed one at a time."""
    names = ("logs/a/b.log", "text/-o @*.txt", "text/words.txt", "top")
    return {name: (folder / name).stat().st_size for name in names}


def test_every_output_has_the_real_sizes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "markdown", "svg")}
    options = [str(option) for kind, path in files.items() for option in (f"--{kind}", path)]
    missing = dataclasses.replace(FAST, name="missing", programs=("no-such-program",))
    streams = [tool for tool in compare.TOOLS if tool.name in ("zstd-19", "xz-9e") and tool.program]
    tools = [FAST, *streams, copier("copy"), missing]
    compare.main([str(folder), "--per-group", *options], tools)

    found = json.loads(files["json"].read_text())
    assert found["skipped"] == ["missing"]
    assert found["sizes"] == contents(folder)
    assert [tool["name"] for tool in found["tools"]] == [tool.name for tool in tools if tool is not missing]
    for tool in found["tools"]:
        sizes = {name: figures["bytes"] for name, figures in tool["files"].items()}
        assert list(sizes) == list(contents(folder))
        assert tool["bytes"] == sum(sizes.values()) == sum(tool["groups"].values())
        assert tool["groups"]["logs"] == sizes["logs/a/b.log"]
        assert tool["groups"]["."] == sizes["top"]
        assert tool["bits_per_byte"] == pytest.approx(8 * tool["bytes"] / found["bytes"])
        for way in ("pack", "unpack"):
            seconds = sum(figures[way]["seconds"] for figures in tool["files"].values())
            assert tool[way]["mb_per_s"] == pytest.approx(found["bytes"] / 1e6 / seconds)
            assert tool[way]["peak_bytes"] == max(figures[way]["peak_bytes"] for figures in tool["files"].values())
    by_name = {tool["name"]: tool for tool in found["tools"]}
    assert {name: figures["bytes"] for name, figures in by_name["copy"]["files"].items()} == contents(folder)
    assert by_name["lmarc-fast"]["files"]["text/words.txt"]["bytes"] == lmarc_size(folder / "text/words.txt", tmp_path)
    for tool in streams:
        size = by_name[tool.name]["files"]["text/words.txt"]["bytes"]
        assert size == stream_size(tool, folder / "text/words.txt")

    table = files["markdown"].read_text()
    shown = capsys.readouterr().out
    for tool in found["tools"]:
        assert f"| {tool['name']} | {tool['bytes']:,} | {tool['bits_per_byte']:.3f} |" in table
        assert f"{tool['bytes']:,}" in shown
    assert "| bytes | logs | text | . | all |" in table
    assert "skipped: missing" in table
    assert "skipped: missing" in shown
    words = [element.text or "" for element in ElementTree.parse(files["svg"]).iter("{http://www.w3.org/2000/svg}text")]
    for tool in found["tools"]:
        assert f"{tool['name']} {tool['bits_per_byte']:.2f}" in words


def lmarc_size(path: Path, work: Path) -> int:
    """Bytes of lmarc's archive of a file."""
    archive = work / "one.lmarc"
    command = [sys.executable, "-P", "-m", "lmarc", "pack", "-q", "-p", "fast", "-o", str(archive), path.name]
    subprocess.run(command, cwd=path.parent, check=True)
    return archive.stat().st_size


def stream_size(tool: compare.Tool, path: Path) -> int:
    """Bytes that a stream compressor makes of a file."""
    options = [argument for argument in tool.pack if argument != "{source}"]
    return len(subprocess.run([str(tool.program), *options, path], check=True, capture_output=True).stdout)


@pytest.mark.parametrize("name", [tool.name for tool in compare.TOOLS if not tool.name.startswith("lmarc-")])
def test_installed_tools_give_everything_back(name: str, folder: Path) -> None:
    tool = next(tool for tool in compare.TOOLS if tool.name == name)
    if tool.program is None:
        pytest.skip(f"{name} is not installed")
    report = compare.compare(folder, [tool])
    assert report.outcomes[0].size == sum(contents(folder).values())


@pytest.mark.skipif(shutil.which("tar") is None, reason="tar is not installed")
def test_solid_packs_the_folder_as_one(folder: Path) -> None:
    report = compare.compare(folder, [FAST, copier("copy")], solid=True, runs=2)
    ours, copy = report.outcomes
    assert list(ours.trips) == list(copy.trips) == [""]
    assert ours.size == copy.size == report.size == sum(contents(folder).values())
    assert ours.packed < copy.packed
    assert copy.packed % 512 == 0


@pytest.mark.parametrize("solid", [False, True])
def test_a_wrong_byte_fails_by_name(folder: Path, solid: bool) -> None:
    wrong = dataclasses.replace(FAST, name="wrong", unpack=("-c", UNPACK_WRONG, "{archive}", "{out}"))
    with pytest.raises(SystemExit) as failure:
        compare.main([str(folder), *(["--solid"] if solid else [])], [FAST, wrong])
    assert str(failure.value) == "compare: wrong: text/words.txt: what was unpacked is not what was packed"


# The size and the time stay as they were: only the content tells.
UNPACK_WRONG = """
import os, pathlib, sys, lmarc
with lmarc.open(sys.argv[1]) as archive:
    archive.extractall(sys.argv[2])
for path in pathlib.Path(sys.argv[2]).rglob("words.txt"):
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
"""


def test_a_byte_too_many_fails(folder: Path) -> None:
    with pytest.raises(compare.CompareError, match=r"^longer: warming up: what was unpacked is not"):
        compare.compare(folder, [copier("longer", end_unpacked="x")])


def test_a_file_too_many_fails(folder: Path) -> None:
    littering = "import pathlib, sys; pathlib.Path(sys.argv[1], 'more').touch()"
    tool = dataclasses.replace(copier("littering"), unpack=("-c", littering, "{out}"))
    with pytest.raises(compare.CompareError, match=r"^littering: warming up: what was unpacked is not"):
        compare.compare(folder, [tool])


def test_a_failing_tool_is_quoted(folder: Path) -> None:
    tool = dataclasses.replace(copier("failing"), unpack=("-c", "import sys; sys.exit('out of luck')"))
    with pytest.raises(compare.CompareError, match=r"(?s)^failing: .*exit code 1 of .*out of luck$"):
        compare.compare(folder, [tool])


def test_peak_is_of_the_child_alone(tmp_path: Path) -> None:
    ballast = bytearray(300_000_000)
    work = tmp_path / "in"
    work.mkdir()
    small = compare.measured([sys.executable, "-S", "-c", "pass"], work)
    large = compare.measured([sys.executable, "-S", "-c", "bytearray(b'1') * 100_000_000"], work)
    assert small.peak < 50_000_000 < 100_000_000 < large.peak < 200_000_000 < len(ballast)


def test_only_takes_names_and_beginnings() -> None:
    names = [tool.name for tool in compare.chosen(compare.TOOLS, ["lmarc-best", "zstd"])]
    assert names == ["lmarc-best", "zstd-3", "zstd-19"]
    assert compare.chosen(compare.TOOLS, []) == list(compare.TOOLS)
    with pytest.raises(compare.CompareError, match="no tool is called zst;"):
        compare.chosen(compare.TOOLS, ["zst"])


@pytest.mark.parametrize("places", [[], [50.0], [50.0, 50.0, 51.0, 120.0], [0.0, 200.0, 200.0], [199.0] * 11])
def test_labels_do_not_overlap(places: list[float]) -> None:
    moved = compare.spread(places, 0, 200)
    assert len(moved) == len(places)
    assert all(lower - upper >= compare._GAP - 1e-6 for upper, lower in itertools.pairwise(moved))
    assert all(0 <= place <= 200 + 1e-6 for place in moved)


@pytest.mark.parametrize(("low", "high"), [(0.013, 612.0), (1.0, 1.0), (2.0, 5.0), (5.0, 9.0), (1000.0, 1000.1)])
def test_ticks_hold_all_values(low: float, high: float) -> None:
    for ticks in (compare.log_ticks(low, high), compare.even_ticks(low, high)):
        assert ticks[0] <= low <= high <= ticks[-1] + 1e-9
        assert 2 <= len(ticks) <= 20


def test_nothing_to_pack_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(SystemExit, match="no file with content"):
        compare.main([str(tmp_path)])
