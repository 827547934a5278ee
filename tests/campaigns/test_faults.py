"""Injected faults, in short; and what they have found."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest

import lmarc
from lmarc.archive import pack as pack_module
from lmarc.archive.kept import open_kept
from lmarc.archive.presets import PRESETS, Preset
from lmarc.archive.save import SaveFile
from lmarc.container.writer import TRAILER_MAGIC
from tests.campaigns.campaign import expect_none
from tests.campaigns.common import make_tree
from tests.campaigns.faults import Faults

CASES = 60


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs LD_PRELOAD, /proc and cc")
def test_some_faults(tmp_path: Path) -> None:
    campaign = Faults()
    assert campaign.prepare(tmp_path) > CASES
    expect_none(campaign.run(range(CASES)))


def refuse(*_arguments: object, **_more: object) -> None:
    """In place of a system call."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullOnce:
    """A sink that is full at one write, and then has room again."""

    def __init__(self, number: int) -> None:
        self.left = number

    def write(self, _data: bytes) -> None:
        """Write, or refuse to."""
        self.left -= 1
        if self.left == 0:
            refuse()


def test_what_cannot_be_written_is_no_source_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "fast", Preset("zstd", 2000, {"level": 3}))
    make_tree(tmp_path / "tree", 1, noise=8000, text=8000)
    counter = FullOnce(0)
    lmarc.pack(tmp_path / "tree", counter, preset="fast", jobs=1)
    assert counter.left < -10
    for number in range(1, -counter.left + 1):
        with pytest.raises(OSError, match="No space left"):
            lmarc.pack(tmp_path / "tree", FullOnce(number), preset="fast", jobs=1)


@pytest.mark.parametrize("call", ["ftruncate", "fchmod"])
def test_a_working_file_that_cannot_be_begun_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = str(tmp_path / "a")
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left") as caught, SaveFile(path):
        pass
    assert caught.value.filename == path
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = str(tmp_path / "a")
    with pytest.raises(OSError) as caught, SaveFile(path) as file:
        monkeypatch.setattr(os, call, refuse)
        file.write(b"some")
    assert caught.value.filename == path
    assert not list(tmp_path.iterdir())


def test_a_working_file_that_cannot_be_removed_is_not_taken_for_one_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError) as caught, SaveFile(str(tmp_path / "a")) as file:
        monkeypatch.setattr(os, "unlink", refuse)
        file.write(b"some")
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "a").read_bytes() == b"some"


@pytest.mark.parametrize("call", ["ftruncate", "pwrite"])
def test_a_file_for_chunks_that_cannot_be_begun_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, refuse)
    with pytest.warns(UserWarning, match="nothing is kept"):
        assert open_kept(str(tmp_path / "kept"), resume=False, force=False) is None
    assert not list(tmp_path.iterdir())


def test_the_end_of_what_was_before_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "fast", Preset("zstd", 2000, {"level": 3}))
    monkeypatch.setattr(pack_module, "CHECKPOINT_CONTENT", 4000)
    make_tree(tmp_path / "tree", 1, noise=4000, text=4000)
    make_tree(tmp_path / "more", 2, noise=8000, text=8000)
    archive = tmp_path / "a"
    lmarc.pack(tmp_path / "tree", archive, preset="fast", jobs=1)
    before = archive.stat().st_size
    lmarc.add(archive, tmp_path / "more", preset="fast", jobs=1)
    os.truncate(archive, before + (archive.stat().st_size - before) * 2 // 3)
    with lmarc.open(archive) as opened:
        assert opened.damage
    pwrite = os.pwrite

    def write_a_byte(fd: int, data: bytes, offset: int) -> int:
        if len(data) > 6:
            refuse()
        return pwrite(fd, bytes(data)[:1], offset)

    monkeypatch.setattr(os, "pwrite", write_a_byte)
    with pytest.raises(OSError, match="No space left"), pytest.warns(UserWarning, match="cut off"):
        lmarc.remove(archive, ["tree/notes"])
    assert archive.read_bytes().endswith(TRAILER_MAGIC)
    monkeypatch.undo()
    lmarc.remove(archive, ["tree/notes"])
    with lmarc.open(archive) as opened:
        assert not opened.damage and not opened.test()


def test_what_resuming_cannot_put_right_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "tree", 1, noise=4000, text=4000)
    lmarc.pack(tmp_path / "tree", tmp_path / "a", preset="fast", jobs=1)
    out = tmp_path / "out"
    with lmarc.open(tmp_path / "a") as archive:
        archive.extractall(out)
        (out / "tree" / "notes").chmod(0o700)
        (out / "tree" / "data" / "1.bin").chmod(0o600)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fchmod", refuse)
            failed = archive.extractall(out, resume=True, check=False).failed
        assert failed.keys() >= {b"tree/notes", b"tree/data/1.bin"}
        archive.extractall(out, resume=True)
    for path in ("notes", "data/1.bin"):
        assert (out / "tree" / path).stat().st_mode == (tmp_path / "tree" / path).stat().st_mode
