"""Chunks kept for a run that goes on: whatever becomes of the file, what it gives back is what was put into it."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmarc.archive.kept import Kept
from lmarc.errors import LmarcError, TargetExistsError

TAG = b"t" * 16
BODIES = {bytes((number,)) * 32: b"%d" % number * (number * 7) for number in range(4)}


def left_by_interrupt(path: Path, bodies: Mapping[bytes, bytes] = BODIES) -> bytes:
    """What a run leaves that is interrupted when it has put these."""
    with pytest.raises(KeyboardInterrupt) as caught, Kept(str(path), resume=False) as kept:
        for key, body in bodies.items():
            kept.put(key, TAG, body, len(body))
        raise KeyboardInterrupt
    assert f"keeps {len(bodies)} chunk" in caught.value.__notes__[0]
    return path.read_bytes()


def test_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    left_by_interrupt(path)
    with Kept(str(path), resume=True) as kept:
        assert {key: kept.get(key) for key in BODIES} == BODIES
        assert kept.get(b"?" * 32) is None
        assert kept.content_of(TAG) == sum(map(len, BODIES.values()))
        assert kept.content_of(b"?" * 16) == 0
    assert not path.exists()


def test_begins_anew_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    left = left_by_interrupt(path)
    with pytest.raises(TargetExistsError, match="keeps 4 chunks"), Kept(str(path), resume=False):
        pass
    assert path.read_bytes() == left
    with Kept(str(path), resume=False, force=True) as kept:
        assert [kept.get(key) for key in BODIES] == [None] * len(BODIES)
    assert not path.exists()


def test_nothing_stays_of_a_run_that_kept_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, Kept(str(tmp_path / "kept"), resume=True):
        raise KeyboardInterrupt
    assert not hasattr(caught.value, "__notes__")
    assert list(tmp_path.iterdir()) == []


@given(data=st.data())
def test_damage_loses_but_does_not_change(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("kept") / "kept"
    left = bytearray(left_by_interrupt(path))
    for at in data.draw(st.lists(st.integers(13, len(left) - 1), max_size=3)):
        left[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(left[: data.draw(st.integers(0, len(left)))])
    with Kept(str(path), resume=True) as kept:
        assert all(kept.get(key) in (None, body) for key, body in BODIES.items())
        kept.put(b"n" * 32, TAG, b"new", 3)
        assert kept.get(b"n" * 32) == b"new"


@pytest.mark.parametrize("size", range(0, 400, 13))
def test_what_was_whole_before_the_end_was_lost_is_there(tmp_path: Path, size: int) -> None:
    path = tmp_path / "kept"
    left = left_by_interrupt(path)
    path.write_bytes(left[:size])
    with Kept(str(path), resume=True) as kept:
        ends = 13
        for key, body in BODIES.items():
            ends += 64 + len(body) + 16
            assert kept.get(key) == (body if ends <= size else None)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "kept")
    with Kept(path, resume=True):
        with pytest.raises(LmarcError, match="another process"), Kept(path, resume=True):
            pass
        assert os.path.exists(path)


def test_another_file_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    os.link(tmp_path / "precious", tmp_path / "linked")
    (tmp_path / "symlink").symlink_to("precious")
    (tmp_path / "other").write_bytes(b"something else")
    for name, error in (("linked", LmarcError), ("symlink", OSError), ("other", LmarcError)):
        with pytest.raises(error), Kept(str(tmp_path / name), resume=True, force=True):
            pass
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "other").read_bytes() == b"something else"


def test_nothing_is_kept_after_the_end(tmp_path: Path) -> None:
    with Kept(str(tmp_path / "kept"), resume=True) as kept:
        pass
    kept.put(b"k" * 32, TAG, b"late", 4)
    assert kept.get(b"k" * 32) is None
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_the_keeping_not_the_run(tmp_path: Path) -> None:
    with Kept(str(tmp_path / "kept"), resume=True) as kept:
        kept.put(b"a" * 32, TAG, b"first", 5)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
        try:
            with pytest.warns(UserWarning, match="no more is kept"):
                kept.put(b"b" * 32, TAG, bytes(1000), 1000)
            kept.put(b"c" * 32, TAG, b"third", 5)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, old)
        assert [kept.get(key * 32) for key in (b"a", b"b", b"c")] == [b"first", None, None]


def test_what_is_of_use_later_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "kept")
    with pytest.warns(UserWarning, match="keeps 1 chunk"), Kept(path, resume=True) as kept:
        kept.put(b"a" * 32, TAG, b"first", 5)
        kept.stay()
    with Kept(path, resume=True) as kept:
        assert kept.get(b"a" * 32) == b"first"
