"""What damage costs: what is whole is found and extracted, what is lost is named."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmarc
from lmarc.archive import pack as packing
from lmarc.archive import presets
from lmarc.archive.presets import Preset
from tests.cli.program import names, run
from tests.container import build
from tests.trees import KIB, prose

FILES = {f"f{number:02}.txt": prose(number, 40 * KIB) for number in range(60)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """An archive of 2.4 MB with a checkpoint for about each 200 kB."""
    folder = tmp_path_factory.mktemp("recovery")
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    patch = pytest.MonkeyPatch()
    patch.setattr(packing, "CHECKPOINT_CONTENT", 200 * KIB)
    patch.setattr(presets, "PRESETS", {"fast": Preset("store", 100 * KIB)})
    patch.chdir(folder)
    sink = io.BytesIO()
    lmarc.pack(sorted(FILES), sink, preset="fast", jobs=2)
    patch.undo()
    yield sink.getvalue()


def readable(data: bytes) -> tuple[dict[str, bytes], list[str], list[str]]:
    """Contents that can be read, names that are known and cannot be, and the damage."""
    with lmarc.open(io.BytesIO(data)) as archive:
        failed = archive.test()
        got = {name: archive.read(name) for name in archive.namelist() if name not in failed}
        return got, list(failed), archive.damage


def test_checkpoints_cost_little_and_change_nothing(whole: bytes) -> None:
    got, failed, damage = readable(whole)
    assert (got, failed, damage) == (FILES, [], [])
    assert len(whole) < sum(map(len, FILES.values())) + 60 * 150


@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.25])
def test_a_truncated_archive(share: float, whole: bytes) -> None:
    got, failed, damage = readable(whole[: int(len(whole) * share)])
    assert damage
    assert failed == []
    assert got.items() <= FILES.items()
    # At most what the last checkpoint had not seen, and what shared a chunk with it, is lost.
    assert len(got) >= 60 * share - 10


def test_a_truncated_archive_on_the_command_line(whole: bytes, scratch: Path) -> None:
    (scratch / "x").write_bytes(whole[: len(whole) // 2])
    listed = run("list", "-1", "x", cwd=scratch, code=11)
    assert "damaged" in listed.err
    assert len(listed.lines) >= 20
    done = run("unpack", "x", "-C", "out", cwd=scratch, code=11)
    assert "damaged" in done.err
    assert sorted(path.name for path in (scratch / "out").iterdir()) == listed.lines
    for name in listed.lines:
        assert (scratch / "out" / name).read_bytes() == FILES[name]
    facts = run("info", "--json", "x", cwd=scratch, code=11).json
    assert facts["damage"]
    assert facts["members"]["file"] == len(listed.lines)
    run("test", "x", cwd=scratch, code=11)
    with pytest.raises(AssertionError):
        names(scratch / "x")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [1, 100, 30_000])
def test_a_hole_in_the_middle(share: float, size: int, whole: bytes) -> None:
    at = int(len(whole) * share)
    changed = bytes(byte ^ 0xFF for byte in whole[at : at + size])
    got, failed, _ = readable(whole[:at] + changed + whole[at + size :])
    assert got.items() <= FILES.items()
    assert set(got) | set(failed) <= set(FILES)
    assert len(got) >= 48


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("grown", [True, False])
def test_bytes_added_or_lost_in_the_middle(grown: bool, size: int, whole: bytes) -> None:
    # Every frame is tied to its place: what comes after must not be taken for what it is not.
    at = len(whole) // 2
    data = whole[:at] + bytes(size) + whole[at:] if grown else whole[:at] + whole[at + size :]
    got, _, damage = readable(data)
    assert damage
    assert got.items() <= FILES.items()
    assert len(got) >= 20


def test_a_lost_end_and_a_lost_chunk(whole: bytes) -> None:
    at = len(whole) // 4
    data = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 : len(whole) // 2]
    got, failed, damage = readable(data)
    assert damage and failed
    assert got.items() <= FILES.items()
    assert len(got) >= 15


@pytest.mark.parametrize("tail", [b"\0", b"garbage behind the end", bytes(5000)])
def test_something_behind_the_end(tail: bytes, whole: bytes) -> None:
    got, failed, damage = readable(whole + tail)
    assert got == FILES
    assert failed == []
    assert damage


def test_an_archive_inside_an_archive_is_not_mistaken(whole: bytes) -> None:
    inner = build.build([build.file(b"inner", b"not to be found")])
    data = build.build([build.file(b"outer", inner), build.file(b"other", b"other")])
    with lmarc.open(io.BytesIO(data[:-6])) as archive:
        assert archive.namelist() == ["other", "outer"]
        assert archive.read("outer") == inner
    cut = data[: data.index(inner) + len(inner) + 3]
    with lmarc.open(io.BytesIO(cut)) as archive:
        assert archive.namelist() == []


def test_hard_links_whose_file_is_lost() -> None:
    entries = [build.file(b"a", b"content of a"), build.hardlink(b"h", b"a"), build.file(b"b", b"content of b")]
    data = build.damage(build.build(entries), b"content of a")
    with lmarc.open(io.BytesIO(data)) as archive:
        assert set(archive.test()) >= {"a"}
        with pytest.raises(lmarc.DamagedError):
            archive.read("h")


def test_hard_links_are_not_extracted_without_their_content(tmp_path: Path) -> None:
    entries = [build.file(b"a", b"content of a"), build.hardlink(b"h", b"a"), build.file(b"b", b"content of b")]
    data = build.damage(build.build(entries), b"content of a")
    with lmarc.open(io.BytesIO(data)) as archive:
        result = archive.extractall(tmp_path, check=False)
        assert set(result.failed) == {b"a", b"h"}
        assert [path.name for path in tmp_path.iterdir()] == ["b"]
