"""lmarc.add(), remove() and compact(): what is in an archive afterwards, and at every moment before."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmarc
from lmarc.container.header import BackendRef
from tests.container import build

DECODER = Path(__file__).parents[2] / "spec" / "decoder.py"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The working directory."""
    with chdir(tmp_path):
        yield tmp_path


def write(files: dict[str, bytes]) -> None:
    for name, data in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(data)


def contents(archive: str | bytes = "x.lmarc") -> dict[str, bytes]:
    """Name and content of every file, of an archive that is whole in every way."""
    with lmarc.open(io.BytesIO(archive) if isinstance(archive, bytes) else archive) as opened:
        assert opened.damage == []
        assert opened.test() == {}
        return {info.name: opened.read(info.name) for info in opened if info.is_file()}


def pack(files: dict[str, bytes], preset: str = "fast") -> None:
    write(files)
    lmarc.pack(list(files), "x.lmarc", preset=preset, force=True, jobs=1)


def test_add(here: Path) -> None:
    pack({"a": b"one", "d/b": b"two"})
    before = Path("x.lmarc").read_bytes()
    write({"d/c": b"three", "a": b"another one"})
    result = lmarc.add("x.lmarc", ["a", "d/c"], preset="fast")
    after = Path("x.lmarc").read_bytes()
    assert after.startswith(before)
    assert (result.members, result.stored) == (2, len(after) - len(before))
    assert contents() == {"a": b"another one", "d/b": b"two", "d/c": b"three"}


def test_what_is_there_is_not_stored_again(here: Path) -> None:
    data = random.Random(1).randbytes(300_000)
    pack({"a": data})
    write({"b": data})
    result = lmarc.add("x.lmarc", ["a", "b"], preset="fast")
    assert result.stored < 1000 and result.duplicates == 2
    assert contents() == {"a": data, "b": data}


def test_backends_that_the_archive_did_not_have(here: Path) -> None:
    pack({"a": b"text and more text. " * 50})
    write({"b": b"some other text, not too short. " * 90, "c": b"and yet another one, as short. " * 80})
    lmarc.add("x.lmarc", "b", preset="balanced")
    lmarc.add("x.lmarc", "c", preset="best")
    with lmarc.open("x.lmarc") as opened:
        used = [opened.header.backends[chunk.codec] for chunk in opened.chunks]
        assert [(ref.name, dict(ref.params)) for ref in used] == [("zstd", {}), ("cm", {}), ("cm", {"level": 2})]
    assert contents().keys() == {"a", "b", "c"}
    lmarc.remove("x.lmarc", ["b"])
    lmarc.compact("x.lmarc")
    with lmarc.open("x.lmarc") as opened:
        assert [(ref.name, dict(ref.params)) for ref in opened.header.backends] == [("zstd", {}), ("cm", {"level": 2})]
    assert contents().keys() == {"a", "c"}


def test_remove(here: Path) -> None:
    pack({"a": b"one", "d/b": b"two", "d/e/c": b"three", "f": b"four"})
    lmarc.pack(["a", "d", "f"], "x.lmarc", preset="fast", force=True)
    assert lmarc.remove("x.lmarc", ["d", "f*"]) == 5
    assert contents() == {"a": b"one"}
    with pytest.raises(lmarc.MemberNotFoundError):
        lmarc.remove("x.lmarc", ["a", "d"])
    assert contents() == {"a": b"one"}
    assert lmarc.remove("x.lmarc", ["a"]) == 1
    assert contents() == {}
    lmarc.compact("x.lmarc")
    assert contents() == {} and Path("x.lmarc").stat().st_size < 100


@pytest.mark.parametrize("gone", [["a"], ["a", "h1"], ["h1"], ["a", "h1", "h2"]])
def test_hard_links_keep_their_content(here: Path, gone: list[str]) -> None:
    write({"a": b"content " * 9})
    for name in ("h1", "h2"):
        os.link("a", name)
    lmarc.pack(["a", "h1", "h2"], "x.lmarc", preset="fast")
    lmarc.remove("x.lmarc", gone)
    left = {"a", "h1", "h2"} - set(gone)
    assert contents() == dict.fromkeys(left, b"content " * 9)
    with lmarc.open("x.lmarc") as opened:
        assert sorted(info.kind for info in opened) == (["file", *["hardlink"] * (len(left) - 1)] if left else [])
    # In the place of the file comes something else.
    lmarc.pack(["a", "h1", "h2"], "x.lmarc", preset="fast", force=True)
    os.unlink("a")
    write({"a": b"new"})
    lmarc.add("x.lmarc", "a", preset="fast")
    assert contents() == {"a": b"new", "h1": b"content " * 9, "h2": b"content " * 9}
    lmarc.add("x.lmarc", ["a", "h1", "h2"], preset="fast")
    assert contents() == {"a": b"new", "h1": b"content " * 9, "h2": b"content " * 9}


def test_what_cannot_be_beside_the_others(here: Path) -> None:
    pack({"a": b"one", "d/b": b"two"})
    lmarc.pack(["a", "d"], "x.lmarc", preset="fast", force=True)
    before = Path("x.lmarc").read_bytes()
    os.unlink("a")
    shutil.rmtree("d")
    write({"a/below": b"three", "d": b"four"})
    for name in ("a/below", "d"):
        with pytest.raises(lmarc.UsageError, match="cannot be added"):
            lmarc.add("x.lmarc", [name], preset="fast")
        assert Path("x.lmarc").read_bytes() == before
    with pytest.raises(lmarc.LmarcError, match="nothing could be added"):
        lmarc.add("x.lmarc", ["nowhere"], preset="fast")
    assert Path("x.lmarc").read_bytes() == before


def test_an_archive_does_not_take_itself(here: Path) -> None:
    pack({"a": b"one"})
    with pytest.raises(lmarc.UsageError, match="is the archive"):
        lmarc.add("x.lmarc", ["a", "x.lmarc"], preset="fast")
    Path("d").mkdir()
    os.rename("x.lmarc", "d/x.lmarc")
    lmarc.add("d/x.lmarc", ["a", "d"], preset="fast")
    assert contents("d/x.lmarc") == {"a": b"one"}


def test_damaged_archives_are_not_changed(here: Path) -> None:
    pack({"a": b"one" * 100, "b": b"two"})
    whole = Path("x.lmarc").read_bytes()
    for at in (40, len(whole) - 30):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with lmarc.open(io.BytesIO(bytes(damaged))) as opened:
            is_seen = bool(opened.damage)
        Path("x.lmarc").write_bytes(damaged)
        if is_seen:
            with pytest.raises(lmarc.LmarcError):
                lmarc.add("x.lmarc", "b")
            assert Path("x.lmarc").read_bytes() == damaged


def test_cut_short_anywhere_it_is_what_it_was(here: Path) -> None:
    """At every byte of three changes: the members of the change before, or of this one where it is whole."""
    states = []
    pack({"a": b"one", "b": b"two " * 30, "c": b"three"})
    states.append((Path("x.lmarc").read_bytes(), contents()))
    write({"b": b"another two " * 20, "d": b"four" * 9})
    lmarc.add("x.lmarc", ["b", "d"], preset="fast")
    states.append((Path("x.lmarc").read_bytes(), contents()))
    lmarc.remove("x.lmarc", ["a", "d"])
    states.append((Path("x.lmarc").read_bytes(), contents()))
    for (before, was), (after, now) in pairwise(states):
        for end in range(len(before), len(after) + 1):
            with lmarc.open(io.BytesIO(after[:end])) as opened:
                found = {info.name: opened.read(info.name) for info in opened}
                assert bool(opened.damage) == (len(before) < end < len(after))
            assert found in (was, now) and (found == now if end == len(after) else True), end
    # The next change takes away what was not finished.
    after = states[2][0]
    write({"e": b"five"})
    for end in range(len(states[1][0]) + 1, len(after)):
        Path("x.lmarc").write_bytes(after[:end])
        # All but the trailer is enough to be finished.
        was_whole = end >= len(after) - 6
        with nullcontext() if was_whole else pytest.warns(UserWarning, match="were cut off"):
            lmarc.add("x.lmarc", "e", preset="fast")
        assert contents() == states[2 if was_whole else 1][1] | {"e": b"five"}


def test_an_error_undoes_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack({"a": b"one"})
    before = Path("x.lmarc").read_bytes()
    write({"b": random.Random(3).randbytes(200_000)})
    calls = []

    def full(fd: int, data: bytes, at: int) -> int:
        calls.append(at)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return pwrite(fd, data, at)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space"):
        lmarc.add("x.lmarc", "b", preset="fast")
    assert Path("x.lmarc").read_bytes() == before


def test_killed_at_any_moment(here: Path) -> None:
    """SIGKILL: the archive reads as before or as after, and the next add goes through."""
    pack({"a": b"one", "b": b"two"})
    before, was = Path("x.lmarc").read_bytes(), contents()
    write({"b": random.Random(3).randbytes(2_000_000), "c": random.Random(4).randbytes(500_000)})
    program = (
        "import os, sys, lmarc\n"
        "left, pwrite = [int(sys.argv[1])], os.pwrite\n"
        "def dying(fd, data, at):\n"
        "    data = bytes(data)[: max(left[0], 0)]\n"
        "    left[0] -= len(data)\n"
        "    done = pwrite(fd, data, at) if data else 0\n"
        "    if left[0] <= 0: os.kill(os.getpid(), 9)\n"
        "    return done\n"
        "os.pwrite = dying\n"
        "lmarc.add('x.lmarc', ['b', 'c'], preset='fast', jobs=1)\n"
    )
    rng = random.Random(5)
    for _ in range(6):
        Path("x.lmarc").write_bytes(before)
        done = subprocess.run([sys.executable, "-c", program, str(rng.randrange(2_500_000))], check=False)
        assert done.returncode == -9
        with lmarc.open("x.lmarc") as opened:
            assert {info.name: opened.read(info.name) for info in opened} == was
    with pytest.warns(UserWarning, match="were cut off"):
        lmarc.add("x.lmarc", ["b", "c"], preset="fast")
    assert contents() == {name: Path(name).read_bytes() for name in "abc"}
    assert sorted(os.listdir()) == ["a", "b", "c", "x.lmarc"]


def test_two_at_once(here: Path) -> None:
    from lmarc.archive.change import Change

    pack({"a": b"one", "b": b"two"})
    with Change("x.lmarc"), pytest.raises(lmarc.LmarcError, match="another process"):
        lmarc.remove("x.lmarc", ["a"])


def by_the_spec(archive: Path, target: Path) -> dict[str, bytes]:
    """What the decoder written from the specification makes of it."""
    subprocess.run([sys.executable, DECODER, "extract", archive, target], check=True)
    return {os.path.relpath(path, target): path.read_bytes() for path in target.rglob("*") if path.is_file()}


NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "d/e/f"])
ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.dictionaries(NAMES, st.binary(max_size=40), min_size=1, max_size=3)),
    st.tuples(st.just("remove"), st.lists(NAMES, min_size=1, max_size=2, unique=True)),
    st.tuples(st.just("compact"), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, st.binary(max_size=40), min_size=1), st.lists(ACTIONS, max_size=6))
def test_any_changes(
    tmp_path_factory: pytest.TempPathFactory, first: dict[str, bytes], actions: list[tuple[str, object]]
) -> None:
    """A dictionary is changed in the same way."""
    with chdir(tmp_path_factory.mktemp("any")):
        pack(first)
        wanted = dict(first)
        for kind, what in actions:
            if kind == "add":
                assert isinstance(what, dict)
                write(what)
                lmarc.add("x.lmarc", list(what), preset="fast", jobs=1)
                wanted |= what
            elif kind == "remove":
                assert isinstance(what, list)
                there = [name for name in what if name in wanted]
                if there:
                    lmarc.remove("x.lmarc", there)
                wanted = {name: data for name, data in wanted.items() if name not in there}
            else:
                lmarc.compact("x.lmarc")
            assert contents() == wanted
        assert by_the_spec(Path("x.lmarc").absolute(), Path("out").absolute()) == wanted


def test_compact_drops_chunks_and_keeps_the_rest(here: Path) -> None:
    parts = {name: random.Random(name).randbytes(3_000_000) for name in "abcd"}
    pack(parts, preset="balanced")
    lmarc.remove("x.lmarc", ["b", "d"])
    size = Path("x.lmarc").stat().st_size
    result = lmarc.compact("x.lmarc")
    assert result.before == size > 12_000_000
    assert result.after == Path("x.lmarc").stat().st_size < size
    # Of each border between what stays and what goes, one chunk of 2 MiB is left.
    assert result.dead < 3 * (2 << 20) and result.after < 6_000_000 + result.dead + 5000
    assert contents() == {"a": parts["a"], "c": parts["c"]}


def test_walking_an_archive_that_was_changed(here: Path) -> None:
    """Without its end, and with an index frame lost, what is left is named rightly."""
    pack({"a": b"one", "b": b"two"})
    ends = [Path("x.lmarc").stat().st_size]
    write({"c": b"three three three three three three three three", "a": b"ONE"})
    lmarc.add("x.lmarc", ["c", "a"], preset="balanced")
    ends.append(Path("x.lmarc").stat().st_size)
    write({"d": b"four"})
    lmarc.add("x.lmarc", ["d"], preset="fast")
    whole = Path("x.lmarc").read_bytes()
    with lmarc.open(io.BytesIO(whole[:-1])) as opened:
        found = {info.name: opened.read(info.name) for info in opened}
    assert found == {name: Path(name).read_bytes() for name in "abcd"}
    broken = bytearray(whole)
    broken[ends[1] - 12] ^= 1
    with lmarc.open(io.BytesIO(bytes(broken))) as opened:
        assert opened.damage
        # What took a's place is lost with the frame that said so.
        assert {info.name: opened.read(info.name) for info in opened} == {"a": b"one", "b": b"two", "d": b"four"}


@pytest.mark.parametrize(
    "change",
    [
        {"removed": [b"nothing"]},
        {"backends": [build.STORE], "first_backend": 1},
        {"backends": [BackendRef("store", 2)], "first_backend": 0},
        {"backends": [BackendRef("store", 2)], "first_backend": 2},
        {"backends": [BackendRef("store", 2, {"model": 0})], "first_backend": 1},
        {"models": [{}], "first_model": 1},
        {"backends": [BackendRef("store", 2 + number) for number in range(4096)], "first_backend": 1},
    ],
    ids=lambda change: str(change)[:40],
)
def test_changes_that_cannot_be(change: dict[str, object], tmp_path: Path) -> None:
    """Of an index frame that says so, neither reader takes anything."""
    from lmarc.container.index import IndexFrame
    from lmarc.container.writer import TRAILER_MAGIC

    archive = build.build([build.file(b"a", b"content")])
    offset = len(archive) - 6 - int.from_bytes(archive[-6:-2], "little")
    head, body = IndexFrame(7, [], [], [offset], **change).to_frame(len(archive))  # type: ignore[arg-type]
    whole = archive + head + body + len(head + body).to_bytes(4, "little") + TRAILER_MAGIC
    (tmp_path / "x.lmarc").write_bytes(whole)
    done = subprocess.run([sys.executable, DECODER, "list", tmp_path / "x.lmarc"], capture_output=True, check=False)
    assert done.returncode == 11, done.stderr
    try:
        with lmarc.open(io.BytesIO(whole)) as opened:
            assert opened.damage
            assert opened.read("a") == b"content"
    except lmarc.LimitError:
        pass


def test_a_damaged_change_is_not_taken_away(here: Path) -> None:
    """One that was finished: whatever bit of its end is wrong, nothing is cut off."""
    pack({"a": b"one", "b": b"two"})
    before = Path("x.lmarc").stat().st_size
    write({"c": b"three " * 40})
    lmarc.add("x.lmarc", "c", preset="fast")
    whole = Path("x.lmarc").read_bytes()
    for bit in range(8 * before, 8 * len(whole), 5):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        with lmarc.open(io.BytesIO(bytes(damaged))) as opened:
            is_seen = bool(opened.damage)
        if is_seen:
            Path("x.lmarc").write_bytes(damaged)
            try:
                lmarc.remove("x.lmarc", ["a"])
            except lmarc.DamagedError:
                assert Path("x.lmarc").read_bytes() == damaged
            else:
                assert contents() == {"b": b"two", "c": b"three " * 40}


def test_a_new_link_takes_the_place_of_an_old_one(here: Path) -> None:
    """In either order of paths: what is new is not replaced by what was there."""
    for first, second in (("a", "b"), ("b", "a"), ("a.bin", "b.txt"), ("b.txt", "a.bin")):
        for kind in (b"old text\n" * 9, bytes(range(256))):
            write({first: kind})
            os.link(first, second)
            lmarc.pack([first, second], "x.lmarc", preset="fast", force=True)
            Path(first).write_bytes(b"new" + kind)
            lmarc.add("x.lmarc", [second, first], preset="fast")
            assert contents() == {first: b"new" + kind, second: b"new" + kind}
            os.unlink(second)
            write({first: b"one", second: b"two"})
            lmarc.add("x.lmarc", [second, first], preset="fast")
            assert contents() == {first: b"one", second: b"two"}
            os.unlink(first)
            os.unlink(second)


def test_paths_without_their_directories(here: Path) -> None:
    pack({"x/y": b"below", "d": b"a file"})
    shutil.rmtree("x")
    os.unlink("d")
    write({"x": b"a file", "d/f": b"below"})
    with pytest.raises(lmarc.UsageError, match="below it"):
        lmarc.add("x.lmarc", "x", preset="fast")
    lmarc.add("x.lmarc", "d", preset="fast")
    assert contents() == {"x/y": b"below", "d/f": b"below"}


def test_content_that_is_damaged_is_not_relied_on(here: Path) -> None:
    data = random.Random(1).randbytes(5000)
    pack({"a": data, "b": b"two"})
    damaged = bytearray(Path("x.lmarc").read_bytes())
    damaged[damaged.index(data[2000:2100])] ^= 1
    Path("x.lmarc").write_bytes(damaged)
    lmarc.add("x.lmarc", "a", preset="fast")
    assert contents() == {"a": data, "b": b"two"}


def test_compact_with_one_backend_in_two_manners(here: Path) -> None:
    pack({"a": b"some text of one kind. " * 40}, preset="balanced")
    write({"b": b"some text of another. " * 40})
    lmarc.add("x.lmarc", "b", preset="best")
    lmarc.compact("x.lmarc")
    assert contents().keys() == {"a", "b"}
    assert by_the_spec_lists("x.lmarc") == ["a", "b"]


def by_the_spec_lists(archive: str) -> list[str]:
    done = subprocess.run([sys.executable, DECODER, "list", archive], capture_output=True, check=True)
    return [member["path"] for member in json.loads(done.stdout)["members"]]


def test_recovery_data_is_not_cut_off(here: Path) -> None:
    write({"a": random.Random(1).randbytes(50_000), "b": b"two"})
    lmarc.pack(["a"], "x.lmarc", preset="fast", recovery=5.0)
    whole = Path("x.lmarc").read_bytes()
    for damaged in (whole[:-64] + bytes(64), whole[:-40], whole[:-1]):
        Path("x.lmarc").write_bytes(damaged)
        try:
            lmarc.add("x.lmarc", "b", preset="fast")
        except lmarc.DamagedError as error:
            assert "repair" in str(error)
            lmarc.repair("x.lmarc")
            assert Path("x.lmarc").read_bytes() == whole
        else:
            assert lmarc.repair("x.lmarc").changed is False


def test_long_changes_have_checkpoints(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off behind one, a change goes on from there; protected, and mended, it is as it was."""
    from lmarc.archive import pack as packing

    monkeypatch.setattr(packing, "CHECKPOINT_CONTENT", 30_000)
    parts = {name: random.Random(name).randbytes(40_000) for name in "abcdef"}
    write(parts)
    for name in parts:
        lmarc.add("x.lmarc", name, preset="fast") if name != "a" else lmarc.pack("a", "x.lmarc", preset="fast")
    lmarc.pack(list(parts), "y.lmarc", preset="fast", recovery=5.0)
    whole = Path("y.lmarc").read_bytes()
    damaged = bytearray(whole)
    damaged[100_000:101_000] = bytes(1000)
    Path("y.lmarc").write_bytes(damaged)
    lmarc.repair("y.lmarc")
    assert Path("y.lmarc").read_bytes() == whole
    assert contents("x.lmarc") == contents("y.lmarc") == parts


def test_too_many_members_are_refused_also_of_what_is_cut_off(here: Path) -> None:
    data = build.build(build.directory(b"%d" % number) for number in range(3000))
    with pytest.raises(lmarc.LimitError):
        lmarc.open(io.BytesIO(data[:-2]), max_members=100)
