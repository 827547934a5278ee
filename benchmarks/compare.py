"""lmarc's presets and the compressors that are installed, over one folder in one run.

    python benchmarks/compare.py DIR [--only NAME ...] [--runs N] [--per-group] [--solid] [--work DIR]
                                 [--json FILE] [--markdown FILE] [--svg FILE]

Each regular file that is not empty is packed by itself by each tool, unpacked and compared byte for byte; the first
that differs ends the run. With --solid the whole folder is packed as one archive instead (for the stream compressors
a tar, whose making and extracting counts).

Every tool is its own program, run on one thread with files on disk, warmed up once. MB/s is the content of all files
over the sum of the times of all processes, starts included: a tool that takes long to start is slow on small files.
Of several runs the fastest time of each file counts. Peak memory is the largest of any process of the tool; below what
the process that measures takes itself it cannot be told, and is shown as "≤".

--only takes names as in the table, or what they begin with: `--only lmarc zstd-19`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import lmarc

MB = 1e6
_BLOCK = 1 << 20
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_OPTIONS_IN_ENVIRONMENT = {"XZ_DEFAULTS", "XZ_OPT", "BZIP", "BZIP2", "ZSTD_CLEVEL", "ZSTD_NBTHREADS", "TAR_OPTIONS"}

# A child's peak begins at that of the process that started it, so one as small as Python gets does that.
_MEASURE = """
import posix, sys, time
start = time.perf_counter()
pid = posix.posix_spawn(sys.argv[2], sys.argv[2:], posix.environ)
_, status, used = posix.wait4(pid, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    print(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss, posix.waitstatus_to_exitcode(status), file=file)
"""


class CompareError(Exception):
    """A tool failed, or did not give back what it was given."""


@dataclass(frozen=True)
class Tool:
    """A compressor: its program (the first that is installed) and how to call it.

    {source} is the name of the file or folder to pack in the current directory, {archive} where the archive is,
    {out} the folder to unpack into. A stream compressor takes a file and writes to standard output both ways.
    """

    name: str
    programs: tuple[str, ...]
    pack: tuple[str, ...]
    unpack: tuple[str, ...]
    suffix: str
    stream: bool = False

    @property
    def program(self) -> str | None:
        """Where the program is."""
        return installed(*self.programs)


def lmarc_tool(preset: str) -> Tool:
    """lmarc with a preset; -P keeps Python from importing what is being packed."""
    python = ("-P", "-m", "lmarc")
    pack = (*python, "pack", "-q", "-p", preset, "--jobs", "1", "-o", "{archive}", "{source}")
    unpack = (*python, "unpack", "-q", "--jobs", "1", "{archive}", "-C", "{out}")
    return Tool(f"lmarc-{preset}", (sys.executable,), pack, unpack, ".lmarc")


def stream_tool(name: str, suffix: str, pack: str, unpack: str) -> Tool:
    """A stream compressor, by its options."""
    program = name.split("-")[0]
    return Tool(name, (program,), (*pack.split(), "{source}"), (*unpack.split(), "{archive}"), suffix, stream=True)


TOOLS = (
    *map(lmarc_tool, ("fast", "balanced", "best")),
    stream_tool("zstd-3", ".zst", "-3 --single-thread -q -c", "-d -q -c"),
    stream_tool("zstd-19", ".zst", "-19 --single-thread -q -c", "-d -q -c"),
    stream_tool("xz-9e", ".xz", "-9e -T1 -c", "-d -T1 -c"),
    stream_tool("brotli-11", ".br", "-q 11 -w 24 -c", "-d -c"),
    stream_tool("bzip2-9", ".bz2", "-9 -c", "-d -c"),
    stream_tool("bzip3", ".bz3", "-e -c", "-d -c"),
    Tool(
        "7z-ppmd",
        ("7z", "7zz", "7za"),
        ("a", "-bd", "-y", "-t7z", "-m0=PPMd:o=16:mem=256m", "-mmt=1", "--", "{archive}", "{source}"),
        ("x", "-bd", "-y", "-mmt=1", "-o{out}", "--", "{archive}"),
        ".7z",
    ),
    Tool(
        "zpaq-m5",
        ("zpaq",),
        ("a", "{archive}", "{source}", "-m5", "-t1"),
        ("x", "{archive}", "-to", "{out}", "-t1"),
        ".zpaq",
    ),
)


class Usage(NamedTuple):
    """Wall and CPU seconds, and bytes of memory at the peak."""

    seconds: float
    cpu: float
    peak: int


def together(usages: Sequence[Usage]) -> Usage:
    """What processes that ran one after the other took."""
    return Usage(sum(u.seconds for u in usages), sum(u.cpu for u in usages), max(u.peak for u in usages))


def best(usages: Sequence[Usage]) -> Usage:
    """The least time and the highest peak of several runs."""
    return Usage(min(u.seconds for u in usages), min(u.cpu for u in usages), max(u.peak for u in usages))


class Trip(NamedTuple):
    """A file or folder packed and unpacked: bytes before and after, and what both ways took."""

    size: int
    packed: int
    pack: Usage
    unpack: Usage


@dataclass(frozen=True)
class Outcome:
    """What one tool made of every file, by name; of the whole folder under "" when packed as one."""

    tool: Tool
    trips: dict[str, Trip]

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(trip.size for trip in self.trips.values())

    @property
    def packed(self) -> int:
        """Bytes of all archives."""
        return sum(trip.packed for trip in self.trips.values())

    @property
    def bits(self) -> float:
        """Bits per byte of content."""
        return 8 * self.packed / self.size

    @property
    def pack(self) -> Usage:
        """What packing took."""
        return together([trip.pack for trip in self.trips.values()])

    @property
    def unpack(self) -> Usage:
        """What unpacking took."""
        return together([trip.unpack for trip in self.trips.values()])

    def speed(self, usage: Usage) -> float:
        """MB of content in a second."""
        return self.size / MB / usage.seconds

    def groups(self) -> dict[str, int]:
        """Bytes of the archives by the first folder of the files' names."""
        sums: dict[str, int] = {}
        for name, trip in self.trips.items():
            sums[group_of(name)] = sums.get(group_of(name), 0) + trip.packed
        return sums


@dataclass(frozen=True)
class Report:
    """All that was measured."""

    directory: Path
    files: dict[str, int]
    outcomes: list[Outcome]
    skipped: list[str]
    runs: int
    solid: bool
    floor: int

    @property
    def size(self) -> int:
        """Bytes of content."""
        return sum(self.files.values())

    @property
    def limit(self) -> float:
        """The peak up to which memory cannot be told from that of the process that measures."""
        return 1.05 * self.floor

    def groups(self) -> dict[str, int]:
        """Bytes of content by the first folder of the files' names."""
        sums: dict[str, int] = {}
        for name, size in self.files.items():
            sums[group_of(name)] = sums.get(group_of(name), 0) + size
        return sums


def group_of(name: str) -> str:
    """The first folder of a name, "." when there is none."""
    return name.split("/")[0] if "/" in name else "."


# ---- running


class Bench:
    """A folder to work in, and the file or folder in it that is packed."""

    def __init__(self, work: Path, solid: bool = False) -> None:
        self.work = work
        self.solid = solid
        self.staged = work / "in"
        self.out = work / "out"
        self.source = ""

    def stage(self, source: Path) -> None:
        """Put a copy of a file, or of the regular files below a folder, where the tools find nothing else."""
        shutil.rmtree(self.staged, ignore_errors=True)
        self.staged.mkdir(parents=True)
        if self.solid:
            self.source = "tree"
            for name in regular_files(source):
                (self.staged / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, self.staged / "tree" / name)
        else:
            self.source = plain_name(source.name)
            shutil.copy2(source, self.staged / self.source)

    def trip(self, tool: Tool, name: str) -> Trip:
        """Pack what is staged, unpack it, compare."""
        archive = self.work / f"packed{tool.suffix}"
        archive.unlink(missing_ok=True)
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()
        pack = together([self.run(tool, name, *step) for step in self.packing(tool, archive)])
        unpack = together([self.run(tool, name, *step) for step in self.unpacking(tool, archive)])
        differing = difference(self.staged, self.out)
        if differing is not None:
            file = differing.relative_to("tree") if self.solid and differing.parts[0] == "tree" else name or differing
            raise CompareError(f"{tool.name}: {shown(str(file))}: what was unpacked is not what was packed")
        size = sum((self.staged / file).stat().st_size for file in regular_files(self.staged))
        return Trip(size, archive.stat().st_size, pack, unpack)

    def packing(self, tool: Tool, archive: Path) -> Iterator[tuple[list[str], Path | None]]:
        """The commands that pack, and where their output goes."""
        source = self.source
        if tool.stream and self.solid:
            source = str(self.work / "packed.tar")
            yield [require("tar"), "--sort=name", "-cf", source, self.source], None
        yield self.command(tool, tool.pack, archive, source), archive if tool.stream else None

    def unpacking(self, tool: Tool, archive: Path) -> Iterator[tuple[list[str], Path | None]]:
        """The commands that unpack, and where their output goes."""
        target = self.work / "unpacked.tar" if self.solid else self.out / self.source
        yield self.command(tool, tool.unpack, archive, self.source), target if tool.stream else None
        if tool.stream and self.solid:
            yield [require("tar"), "-xf", str(target), "-C", str(self.out)], None

    def command(self, tool: Tool, arguments: Sequence[str], archive: Path, source: str) -> list[str]:
        """A tool's command line."""
        places = {"archive": archive, "source": source, "out": self.out}
        return [require(*tool.programs), *(argument.format_map(places) for argument in arguments)]

    def run(self, tool: Tool, name: str, command: list[str], output: Path | None) -> Usage:
        """Run one process and say what it took."""
        try:
            return measured(command, self.staged, output)
        except CompareError as error:
            raise CompareError(f"{tool.name}: {shown(name or 'the folder')}: {error}") from None


def measured(command: list[str], cwd: Path, output: Path | None = None) -> Usage:
    """Run a command and say what it took; raise what it said if it failed."""
    figures = cwd.parent / "figures"
    env = {name: value for name, value in os.environ.items() if name not in _OPTIONS_IN_ENVIRONMENT}
    with open(output or os.devnull, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, figures, *command],
            cwd=cwd,
            env={**env, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
    said = done.stderr.decode(errors="replace").strip()[-2000:]
    if done.returncode:
        raise CompareError(f"cannot run {command[0]}: {said}")
    seconds, cpu, peak, code = figures.read_text().split()
    if code != "0":
        raise CompareError(f"exit code {code} of {' '.join(map(shown, command))}\n{said}".rstrip())
    return Usage(float(seconds), float(cpu), int(peak) * _MAXRSS_UNIT)


def installed(*programs: str) -> str | None:
    """Where the first of the programs is that there is."""
    return next(filter(None, map(shutil.which, programs)), None)


def require(*programs: str) -> str:
    """Where a program is that has to be there."""
    found = installed(*programs)
    if found is None:
        raise CompareError(f"{programs[0]} is not installed")
    return found


def plain_name(name: str) -> str:
    """A name as long that no tool takes for an option, a pattern or a list."""
    return re.sub(rb"^[^\w.]|[^\w.+-]", b"_", os.fsencode(name)).decode()


def shown(name: str) -> str:
    """A name that can be printed and be put into XML and Markdown."""
    return "".join(char if char.isprintable() and char not in "|`" else "\N{REPLACEMENT CHARACTER}" for char in name)


def regular_files(folder: Path) -> list[str]:
    """Names of the regular files below a folder, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def difference(left: Path, right: Path) -> Path | None:
    """The first file that is not the same below both folders."""
    ours, theirs = regular_files(left), regular_files(right)
    odd = sorted(set(ours) ^ set(theirs))
    if odd:
        return Path(odd[0])
    return next((Path(name) for name in ours if not same_bytes(left / name, right / name)), None)


# Not filecmp: it remembers verdicts by size and time, and unpacking restores the time.
def same_bytes(left: Path, right: Path) -> bool:
    """Whether two files have the same content."""
    with left.open("rb") as one, right.open("rb") as other:
        while block := one.read(_BLOCK):
            if block != other.read(_BLOCK):
                return False
        return not other.read(1)


def compare(
    directory: Path,
    tools: Sequence[Tool] = TOOLS,
    *,
    runs: int = 1,
    solid: bool = False,
    work: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Run the tools that are installed over a folder. Raises CompareError at the first that goes wrong."""
    files = {name: (directory / name).stat().st_size for name in regular_files(directory)}
    if not solid:
        files = {name: size for name, size in files.items() if size}
    if not any(files.values()):
        raise CompareError(f"{directory}: no file with content")
    present = [tool for tool in tools if tool.program is not None]
    outcomes = [Outcome(tool, {}) for tool in present]
    with tempfile.TemporaryDirectory(prefix="compare-", dir=work) as name:
        bench = Bench(Path(name).resolve(), solid)
        floor = warm_up(Path(name).resolve(), present, progress)
        items = [""] if solid else list(files)
        for number, item in enumerate(items, 1):
            bench.stage(directory / item)
            for outcome in outcomes:
                progress(f"{number}/{len(items)} {outcome.tool.name} {shown(item)}")
                outcome.trips[item] = repeated(bench, outcome.tool, item, runs)
    skipped = [tool.name for tool in tools if tool not in present]
    return Report(directory, files, outcomes, skipped, runs, solid, floor)


def warm_up(work: Path, tools: Sequence[Tool], progress: Callable[[str], None]) -> int:
    """Have each tool loaded, and lmarc's kernels compiled; give the peak of a program that does nothing."""
    bench = Bench(work)
    bench.stage(Path(__file__))
    for tool in tools:
        progress(f"warming up {tool.name}")
        bench.trip(tool, "warming up")
    return measured([require("true")], bench.staged).peak


def repeated(bench: Bench, tool: Tool, name: str, runs: int) -> Trip:
    """The best of several trips."""
    trips = [bench.trip(tool, name) for _ in range(runs)]
    pack, unpack = best([trip.pack for trip in trips]), best([trip.unpack for trip in trips])
    return trips[0]._replace(pack=pack, unpack=unpack)


# ---- tables


class Grid(NamedTuple):
    """A table: its columns, the first of them names, and its rows."""

    columns: list[str]
    rows: list[list[str]]


def overview(report: Report) -> Grid:
    """A row for each tool."""
    columns = ["tool", "bytes", "bits/byte", "pack MB/s", "unpack MB/s", "pack peak MB", "unpack peak MB"]
    return Grid(columns, [overview_row(outcome, report.limit) for outcome in report.outcomes])


def overview_row(outcome: Outcome, limit: float) -> list[str]:
    """The figures of one tool."""
    ways = (outcome.pack, outcome.unpack)
    speeds = [rounded(outcome.speed(usage)) for usage in ways]
    peaks = [f"{'≤ ' if usage.peak <= limit else ''}{rounded(usage.peak / MB)}" for usage in ways]
    return [outcome.tool.name, f"{outcome.packed:,}", f"{outcome.bits:.3f}", *speeds, *peaks]


def by_group(report: Report) -> Grid:
    """Sizes by first folder, a row for each tool."""
    groups = report.groups()
    rows = [["content", *groups.values(), report.size]]
    for outcome in report.outcomes:
        rows.append([outcome.tool.name, *(outcome.groups()[group] for group in groups), outcome.packed])
    text = [[str(cell) if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in rows]
    return Grid(["bytes", *map(shown, groups), "all"], text)


def rounded(value: float) -> str:
    """A figure with about three digits."""
    places = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:,.{places}f}"


def summary(report: Report) -> str:
    """What was packed, and how, in a sentence."""
    how = "as one archive" if report.solid else "each packed by itself"
    runs = f"the best of {report.runs} runs" if report.runs > 1 else "one run"
    files = "1 file" if len(report.files) == 1 else f"{len(report.files):,} files"
    return f"{shown(report.directory.resolve().name)}: {files}, {report.size:,} bytes, {how}, {runs}, one thread."


def notes(report: Report) -> list[str]:
    """What a reader of the table has to know."""
    lines = [f"{processor()}, Python {platform.python_version()}, lmarc {lmarc.__version__}."]
    if any(usage.peak <= report.limit for outcome in report.outcomes for usage in (outcome.pack, outcome.unpack)):
        lines.append("≤: no more than the process that measures.")
    if report.skipped:
        lines.append(f"Not installed, skipped: {', '.join(report.skipped)}.")
    return lines


def processor() -> str:
    """The processor's name."""
    try:
        found = re.search(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def grids(report: Report, per_group: bool) -> list[Grid]:
    """The tables to show."""
    return [overview(report), by_group(report)] if per_group else [overview(report)]


def print_report(report: Report, per_group: bool) -> None:
    """Show the tables in the terminal."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False)
    console.print(summary(report), soft_wrap=True)
    for grid in grids(report, per_group):
        table = Table(box=SIMPLE_HEAD)
        for number, column in enumerate(grid.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=number == 0)
        for row in grid.rows:
            table.add_row(*row, style="bold" if row[0].startswith("lmarc-") else None)
        console.print(table)
    for line in notes(report):
        console.print(line, soft_wrap=True)


def markdown(report: Report, per_group: bool) -> str:
    """The tables in Markdown."""
    parts = [summary(report), *(markdown_table(grid) for grid in grids(report, per_group)), " ".join(notes(report))]
    return "\n\n".join(parts) + "\n"


def markdown_table(grid: Grid) -> str:
    """One table in Markdown."""
    rule = ["---", *["---:"] * (len(grid.columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (grid.columns, rule, *grid.rows))


# ---- JSON


def document(report: Report) -> dict[str, Any]:
    """All figures, for JSON. Names that are not UTF-8 hold surrogate escapes."""
    return {
        "directory": str(report.directory),
        "solid": report.solid,
        "runs": report.runs,
        "files": len(report.files),
        "bytes": report.size,
        "groups": report.groups(),
        "sizes": report.files,
        "peak_floor_bytes": report.floor,
        "skipped": report.skipped,
        "machine": {"processor": processor(), "platform": platform.platform(), "python": platform.python_version()},
        "lmarc": lmarc.__version__,
        "tools": [tool_document(outcome, report.solid) for outcome in report.outcomes],
    }


def tool_document(outcome: Outcome, solid: bool) -> dict[str, Any]:
    """The figures of one tool."""
    figures: dict[str, Any] = {
        "name": outcome.tool.name,
        "program": outcome.tool.program,
        "pack_arguments": outcome.tool.pack,
        "unpack_arguments": outcome.tool.unpack,
        "bytes": outcome.packed,
        "bits_per_byte": outcome.bits,
    }
    for way, usage in (("pack", outcome.pack), ("unpack", outcome.unpack)):
        figures[way] = usage_document(usage) | {"mb_per_s": outcome.speed(usage)}
    if not solid:
        figures["groups"] = outcome.groups()
        figures["files"] = {name: trip_document(trip) for name, trip in outcome.trips.items()}
    return figures


def trip_document(trip: Trip) -> dict[str, Any]:
    """The figures of one file."""
    return {"bytes": trip.packed, "pack": usage_document(trip.pack), "unpack": usage_document(trip.unpack)}


def usage_document(usage: Usage) -> dict[str, Any]:
    """What a way took."""
    return {"seconds": usage.seconds, "cpu_seconds": usage.cpu, "peak_bytes": usage.peak}


# ---- the picture

# Middle tones that can be read on white and on black: a picture in a page does not know which it stands on.
_STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #7b7b7b }
.title { font-size: 14px; font-weight: 600 }
.grid { stroke: #808080; stroke-opacity: .22 }
.theirs { fill: #7b7b7b; stroke: #7b7b7b }
.ours { fill: #1f7fe8; stroke: #1f7fe8 }
text.theirs, text.ours { stroke: none }
text.ours { font-weight: 600 }
.span { stroke-width: 2; stroke-opacity: .6 }
.lead { stroke-width: 1; stroke-opacity: .4; fill: none }
.hollow { fill: none; stroke-width: 1.8 }
.full { stroke: none }
"""
_LEFT, _TOP, _PLOT_WIDTH, _GAP, _ELBOW = 64, 96, 560, 18, 26
_FULL, _HOLLOW = 4.5, 7.0


class Axis(NamedTuple):
    """Where values lie: from which value to which, on which pixels, in logarithms or not."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = (map(math.log, (self.low, self.high, value))) if self.log else (self.low, self.high, value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from at most the lowest to at least the highest value."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high)) + 1
    steps = [digit * 10.0**power for power in range(first, last + 1) for digit in (1, 2, 5)]
    begin = max(index for index, step in enumerate(steps) if step <= low)
    end = min(index for index, step in enumerate(steps) if step >= high)
    return steps[begin : max(end, begin + 1) + 1]


def even_ticks(low: float, high: float) -> list[float]:
    """Round numbers at even steps around the values."""
    span = max(high - low, 0.1)
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def spread(places: Sequence[float], low: float, high: float) -> list[float]:
    """Sorted places moved as little as keeps them a line apart and between low and high."""
    pools: list[list[float]] = []
    for number, place in enumerate(places):
        pools.append([place - number * _GAP])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    limit = high - (len(places) - 1) * _GAP
    moved = itertools.chain.from_iterable([fmean(pool)] * len(pool) for pool in pools)
    return [min(max(place, low), limit) + number * _GAP for number, place in enumerate(moved)]


def svg(report: Report) -> str:
    """Bits per byte against speed: a full marker for packing, a hollow one for unpacking, a label beside the plot."""
    outcomes = sorted(report.outcomes, key=lambda outcome: -outcome.bits)
    height = max(340, _GAP * len(outcomes))
    speeds = [outcome.speed(usage) for outcome in outcomes for usage in (outcome.pack, outcome.unpack)]
    columns = log_ticks(min(speeds), max(speeds))
    lines = even_ticks(outcomes[-1].bits, outcomes[0].bits)
    across = Axis(columns[0], columns[-1], _LEFT, _LEFT + _PLOT_WIDTH, log=True)
    down = Axis(lines[-1], lines[0], _TOP, _TOP + height, log=False)
    labels = spread([down.place(outcome.bits) for outcome in outcomes], _TOP, _TOP + height)
    names = [f"{outcome.tool.name} {outcome.bits:.2f}" for outcome in outcomes]
    width = round(_LEFT + _PLOT_WIDTH + _ELBOW + 8 + 7.5 * max(map(len, names)))
    title = summary(report)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_TOP + height + 54}" '
        f'viewBox="0 0 {width} {_TOP + height + 54}" role="img" aria-label={quoteattr(title)}>',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        text(_LEFT, 22, "Size against speed", "title"),
        text(_LEFT, 42, title),
        *frame(across, down, columns, lines),
    ]
    for outcome, name, label in zip(outcomes, names, labels, strict=True):
        parts += drawn(outcome, across, down, name, label)
    return "\n".join([*parts, "</svg>", ""])


def frame(across: Axis, down: Axis, columns: Sequence[float], lines: Sequence[float]) -> Iterator[str]:
    """Legend, grid and axes."""
    left, right, top, bottom = across.start, across.end, down.start, down.end
    yield circle(left + 5, top - 27, _FULL, "theirs full") + text(left + 16, top - 23, "pack")
    yield circle(left + 71, top - 27, _HOLLOW, "theirs hollow") + text(left + 84, top - 23, "unpack")
    yield text(right, top - 23, "better: lower, and further right", anchor="end")
    sparse = len(columns) > 14
    for value in columns:
        x = across.place(value)
        yield line(x, top, x, bottom, "grid")
        if not sparse or math.log10(value).is_integer():
            yield text(x, bottom + 18, f"{value:g}", anchor="middle")
    places = max(0, -math.floor(math.log10(lines[1] - lines[0]) + 1e-9))
    for value in lines:
        y = down.place(value)
        yield line(left, y, right, y, "grid")
        yield text(left - 8, y + 4, f"{value:.{places}f}", anchor="end")
    yield text((left + right) / 2, bottom + 42, "MB of content in a second, logarithmic", anchor="middle")
    middle = (top + bottom) / 2
    yield f'<g transform="rotate(-90 16 {middle:.1f})">{text(16, middle + 4, "bits per byte", anchor="middle")}</g>'


def drawn(outcome: Outcome, across: Axis, down: Axis, name: str, label: float) -> Iterator[str]:
    """The markers of one tool, the line between them, and its label."""
    kind = "ours" if outcome.tool.name.startswith("lmarc-") else "theirs"
    y, edge = down.place(outcome.bits), across.end
    pack, unpack = (across.place(outcome.speed(usage)) for usage in (outcome.pack, outcome.unpack))
    reach_pack, reach_unpack = (_FULL, -_HOLLOW) if pack < unpack else (-_FULL, _HOLLOW)
    if abs(pack - unpack) > _FULL + _HOLLOW:
        yield line(pack + reach_pack, y, unpack + reach_unpack, y, f"{kind} span")
    last = max(pack + _FULL, unpack + _HOLLOW)
    path = f"M{last:.1f} {y:.1f}H{max(edge, last):.1f}L{edge + _ELBOW:.1f} {label:.1f}"
    yield f'<path d="{path}" class="{kind} lead"/>'
    yield circle(pack, y, _FULL, f"{kind} full") + circle(unpack, y, _HOLLOW, f"{kind} hollow")
    yield text(edge + _ELBOW + 5, label + 4, name, kind)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    """A straight line."""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}"/>'


def circle(x: float, y: float, radius: float, kind: str) -> str:
    """A marker."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{kind}"/>'


# ---- the command


def chosen(tools: Sequence[Tool], names: Sequence[str]) -> list[Tool]:
    """The tools of the given names or beginnings of names, all when there are none."""
    for name in names:
        if not any(matches(tool, name) for tool in tools):
            raise CompareError(f"no tool is called {name}; there are {', '.join(tool.name for tool in tools)}")
    return [tool for tool in tools if not names or any(matches(tool, name) for name in names)]


def matches(tool: Tool, name: str) -> bool:
    """Whether a name given to --only means the tool."""
    return tool.name == name or tool.name.startswith(f"{name}-")


def show_progress(words: str) -> None:
    """Replace the line on standard error."""
    sys.stderr.write(f"\r\x1b[K{words[: shutil.get_terminal_size().columns - 1]}")
    sys.stderr.flush()


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, checked as far as it can be before anything is run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="tools, by name or how it begins")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--per-group", action="store_true", help="sizes by first folder too")
    parser.add_argument("--solid", action="store_true", help="pack the whole folder as one archive")
    parser.add_argument("--work", type=Path, help="where copies and archives go")
    for kind in ("json", "markdown", "svg"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    if not args.dir.is_dir():
        parser.error(f"{args.dir} is not a folder")
    if args.runs < 1:
        parser.error("--runs takes a number from 1 on")
    if args.solid and args.per_group:
        parser.error("one archive has no sizes by group: --solid and --per-group exclude each other")
    for path in filter(None, (args.json, args.markdown, args.svg)):
        if not path.parent.is_dir():
            parser.error(f"{path.parent} is not a folder")
    return args


def write(report: Report, args: argparse.Namespace) -> None:
    """Write the files that were asked for."""
    if args.json:
        args.json.write_text(json.dumps(document(report), indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(markdown(report, args.per_group), encoding="utf-8")
    if args.svg:
        args.svg.write_text(svg(report), encoding="utf-8")


def main(argv: Sequence[str] | None = None, tools: Sequence[Tool] = TOOLS) -> None:
    """Run what is asked for, print the tables, write the files."""
    args = parsed(argv)
    progress = show_progress if sys.stderr.isatty() else lambda words: None
    try:
        tools = chosen(tools, args.only)
        report = compare(args.dir, tools, runs=args.runs, solid=args.solid, work=args.work, progress=progress)
        if not report.outcomes:
            raise CompareError(f"nothing is installed of {', '.join(report.skipped)}")
    except CompareError as error:
        sys.exit(f"compare: {error}")
    finally:
        progress("")
    print_report(report, args.per_group)
    write(report, args)


if __name__ == "__main__":
    main()
