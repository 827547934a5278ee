"""What lmarc packs, read by the educational decoder; and archives inside archives."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from builder import MAGIC, Builder, header
from lmarc_driver import ROOT, run_lmarc

from tests import trees


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("decoder", ROOT / "spec" / "decoder.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


decoder = load()


def by_path(listing: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(listing)
    found["members"].sort(key=lambda member: member["path"].encode(errors="surrogateescape"))
    return found


@pytest.mark.parametrize("which", ["sample", "hostile"])
def test_decoder_and_lmarc_agree(
    which: str, scratch: Path, hostile_tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = hostile_tree if which == "hostile" else ROOT / "fixtures" / "sample"
    archive, ours, theirs = (str(scratch / name) for name in ("a.lmarc", "decoder", "lmarc"))
    packed, listed, unpacked = run_lmarc(
        [
            ["pack", "-q", "-p", "fast", "-o", archive, str(tree)],
            ["list", "--json", archive],
            ["unpack", "-q", "-C", theirs, archive],
        ]
    )
    assert packed.code in (0, 1) and Path(archive).exists(), packed.err
    assert (listed.code, unpacked.code) == (0, 0), listed.err + unpacked.err
    assert decoder.main(["list", archive]) == 0
    assert by_path(capsys.readouterr().out) | {"damage": []} == by_path(listed.out)
    assert decoder.main(["extract", archive, ours]) == 0
    assert capsys.readouterr().err == ""
    mine, its = (trees.snapshot(Path(root), holes=True) for root in (ours, theirs))
    assert len(mine) > 5
    assert trees.diff_snapshots(its, mine) == []
    inside = {path.partition(b"/")[2]: entry for path, entry in mine.items() if b"/" in path}
    assert inside.keys() == trees.snapshot(tree).keys()


def nested() -> tuple[bytes, bytes]:
    """An archive that stores another as it is, and that other."""
    inner = Builder()
    inner.chunk(b"what the inner archive holds")
    inner.file("inner-member", b"what the inner archive holds")
    stored = inner.finish()
    outer = Builder()
    outer.chunk(stored)
    outer.file("stored.lmarc", stored)
    return outer.finish(), stored


def damaged() -> dict[str, bytes]:
    sound, inner = nested()
    body = sound.index(inner)
    assert sound.index(MAGIC, 1) == body
    first = len(header())
    flipped = sound[: first + 4] + bytes([sound[first + 4] ^ 1]) + sound[first + 5 :]
    return {
        "the end is missing": sound[: body + len(inner)],
        "the end and a bit of the chunk's head are": flipped[: body + len(inner)],
        "the trailer and a bit of the chunk's head are": flipped[:-6],
        "it ends in the inner trailer": flipped[: body + len(inner) - 3],
        "a bit of the header is, and the end": sound[:8] + bytes([sound[8] ^ 1]) + sound[9 : body + len(inner)],
    }


def test_an_archive_inside_a_damaged_one_does_not_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for i, data in enumerate(damaged().values()):
        (tmp_path / f"{i}.lmarc").write_bytes(data)
        lines += [["list", str(tmp_path / f"{i}.lmarc")], ["list", "--json", str(tmp_path / f"{i}.lmarc")]]
        lines += [["unpack", "-C", str(tmp_path / f"{i}"), str(tmp_path / f"{i}.lmarc")]]
        assert decoder.main(["list", str(tmp_path / f"{i}.lmarc")]) == 11
    capsys.readouterr()
    results = run_lmarc(lines)
    for i, what in enumerate(damaged()):
        for result in results[3 * i : 3 * i + 3]:
            assert result.code == 11, (what, result)
            assert "inner-member" not in result.out + result.err, what
            assert "Traceback" not in result.err
        assert not [path for path in tmp_path.glob(f"{i}/**/*") if path.name != "stored.lmarc"], what
    named = list(damaged()).index("the trailer and a bit of the chunk's head are")
    assert "stored.lmarc" in results[3 * named].out


def test_the_stored_archive_itself_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound, inner = nested()
    (tmp_path / "outer.lmarc").write_bytes(sound)
    assert decoder.main(["extract", str(tmp_path / "outer.lmarc"), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "stored.lmarc").read_bytes() == inner
    assert decoder.main(["list", str(tmp_path / "out" / "stored.lmarc")]) == 0
    assert "inner-member" in capsys.readouterr().out
