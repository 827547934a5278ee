"""Archives that would become far more than they look like: refused before anything is written."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

import lmarc
from lmarc.archive import read
from tests.cli.program import run
from tests.container import build


def zeros(folder: Path, size: int, copies: int = 1) -> Path:
    """An archive of a file of zeros, under so many names."""
    (folder / "zeros").write_bytes(bytes(size))
    sources = [folder / "zeros"]
    for number in range(1, copies):
        sources.append(folder / f"copy {number}")
        sources[-1].write_bytes(bytes(size))
    lmarc.pack(sources, folder / "x.lmarc", preset="fast")
    return folder / "x.lmarc"


def test_max_size(tmp_path: Path) -> None:
    archive = zeros(tmp_path, 1_000_000, copies=3)
    refused = run("unpack", archive, "-C", tmp_path / "out", "--max-size", "2999k", code=17)
    assert "3000000 bytes would be written: --max-size 3000000 allows that" in refused.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    run("unpack", archive, "zeros", "-C", tmp_path / "one", "--max-size", "1M")
    run("unpack", archive, "-C", tmp_path / "all", "--max-size", "3M")
    for wrong in ("", "-1", "much", "1.5G", "9" * 30):
        run("unpack", archive, "--max-size", wrong, code=2)


def test_what_is_suspicious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zeros(tmp_path, 3_000_000)
    monkeypatch.setattr(read, "MAX_FREE", 2_000_000)
    monkeypatch.setattr(read, "MAX_RATIO", 1000)
    with lmarc.open(archive) as opened:
        assert opened.size < 3000
        with pytest.raises(lmarc.LimitError, match="suspiciously much"):
            opened.extractall(tmp_path / "out")
        opened.extractall(tmp_path / "out", max_size=3_000_000)
    assert (tmp_path / "out" / "zeros").read_bytes() == bytes(3_000_000)


def test_holes_are_free(tmp_path: Path) -> None:
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 40)
    lmarc.pack([tmp_path / "hole"], tmp_path / "x.lmarc")
    run("unpack", tmp_path / "x.lmarc", "-C", tmp_path / "out", "--max-size", "0")
    assert (tmp_path / "out" / "hole").stat().st_size == 1 << 40


def test_max_members(tmp_path: Path) -> None:
    data = build.build(build.directory(b"%d" % number) for number in range(5000))
    (tmp_path / "x.lmarc").write_bytes(data)
    for command in ("list", "test", "info", "unpack", "diff"):
        refused = run(command, tmp_path / "x.lmarc", "--max-members", "4999", cwd=tmp_path, code=17)
        assert "--max-members" in refused.err
    assert len(run("list", "-1", tmp_path / "x.lmarc", "--max-members", "5000").lines) == 5000
    with pytest.raises(lmarc.LimitError):
        lmarc.open(io.BytesIO(data), max_members=100)
    assert len(lmarc.open(io.BytesIO(data))) == 5000


def test_more_members_than_an_archive_of_its_size_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = build.build(build.directory(b"%d" % number) for number in range(50_000))
    assert 25_000 < len(data) < 100_000
    monkeypatch.setattr(read, "MAX_FREE_MEMBERS", 30_000)
    monkeypatch.setattr(read, "MIN_MEMBER_BYTES", 4)
    with pytest.raises(lmarc.LimitError, match="--max-members"):
        lmarc.open(io.BytesIO(data))
    assert len(lmarc.open(io.BytesIO(data), max_members=50_000)) == 50_000
    monkeypatch.setattr(read, "MAX_FREE_MEMBERS", 50_000)
    assert len(lmarc.open(io.BytesIO(data))) == 50_000


def test_a_flood_of_members_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is made of them."""
    data = build.build(build.directory(b"%d" % number) for number in range(60_000))
    start = time.monotonic()
    for _ in range(3):
        with pytest.raises(lmarc.LimitError):
            lmarc.open(io.BytesIO(data), max_members=1000)
    assert time.monotonic() - start < 30
