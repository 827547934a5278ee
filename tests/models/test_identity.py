"""Hashes of files, what is remembered of them, and the last look before a file is used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmarc.errors import BackendMissingError, UsageError
from lmarc.models import identity
from lmarc.models.identity import ModelFile, cached_sha256, model_file, sha256_of
from lmarc.models.verify import checked
from tests.models import build


@pytest.fixture
def cache(home: Path) -> Path:
    """The file in which hashes are remembered."""
    return home / ".cache" / "lmarc" / "model-hashes.json"


@pytest.fixture
def reads() -> Callable[[Path], int]:
    """Hashes a file and says how many bytes that read."""

    def count(path: Path) -> int:
        seen = [0]
        assert sha256_of(path, progress=lambda done, _total: seen.append(done)) == build.sha256(path.read_bytes())
        return max(seen)

    return count


@pytest.mark.parametrize("size", [0, 1, identity._BLOCK, 2 * identity._BLOCK + 3])
def test_progress(size: int, home: Path) -> None:
    path = build.write(home / "x", bytes(size))
    seen: list[tuple[int, int]] = []
    assert sha256_of(path, progress=lambda done, total: seen.append((done, total))) == build.sha256(bytes(size))
    assert seen[0] == (0, size)
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


def test_read_once(home: Path, cache: Path, reads: Callable[[Path], int]) -> None:
    path = build.write(home / "x", b"content")
    assert cached_sha256(path) is None
    assert [reads(path), reads(path)] == [7, 0]
    assert cached_sha256(path) == build.sha256(b"content")
    assert cache.exists()
    assert [entry.name for entry in cache.parent.iterdir()] == [cache.name]
    # By any name, and from what lies on disk too.
    (home / "link").symlink_to("x")
    identity._loaded = (None, {})
    assert reads(home / "link") == 0
    assert sha256_of(path, fresh=True) == build.sha256(b"content")


def test_a_change_of_the_same_size_is_seen(home: Path, reads: Callable[[Path], int]) -> None:
    path = build.write(home / "x", b"before")
    reads(path)
    build.write(path, b"behind", age=30)
    assert [reads(path), reads(path)] == [6, 0]


def test_a_change_that_keeps_the_time_is_seen(home: Path, reads: Callable[[Path], int]) -> None:
    path = build.write(home / "x", b"before")
    info = path.stat()
    reads(path)
    path.write_bytes(b"behind")
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    assert reads(path) == 6


def test_another_file_of_that_name_is_seen(home: Path, reads: Callable[[Path], int]) -> None:
    path = build.write(home / "x", b"before")
    info = path.stat()
    reads(path)
    build.write(home / "y", b"behind")
    os.utime(home / "y", ns=(info.st_atime_ns, info.st_mtime_ns))
    (home / "y").rename(path)
    assert reads(path) == 6


@pytest.mark.parametrize("age", [0, 1, -100])
def test_what_has_just_changed_is_not_remembered(age: float, home: Path, reads: Callable[[Path], int]) -> None:
    path = build.write(home / "x", b"content", age=age)
    assert [reads(path), reads(path)] == [7, 7]


def test_what_changes_while_it_is_read_is_not_remembered(home: Path) -> None:
    path = build.write(home / "x", bytes(3 * identity._BLOCK))

    def grow(done: int, _total: int) -> None:
        if done == identity._BLOCK:
            with path.open("ab") as file:
                file.write(b"more")

    sha256_of(path, progress=grow)
    assert cached_sha256(path) is None


BROKEN = [b"", b"{", b"[]", b'{"format": 1}', b'{"format": 1, "files": 3}', b"\xff\xfe", b"[" * 100_000, b"9" * 10_000]
ROWS = [[], None, ["x"], ["x", 1, 2, 3, 4, 5, "zz"], ["x", 1, 2, 3, 4, 5, "00"], [1, 1, 2, 3, 4, 5, "00" * 32]]
BROKEN += [json.dumps({"format": 1, "files": ROWS}).encode()]


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_cache(data: bytes, home: Path, cache: Path, reads: Callable[[Path], int]) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(data)
    path = build.write(home / "x", b"content")
    assert [reads(path), reads(path)] == [7, 0]


@given(st.binary(max_size=100))
def test_any_cache(data: bytes) -> None:
    try:
        assert identity._parse(json.loads(data)) == {}
    except (ValueError, RecursionError):
        pass


@pytest.mark.parametrize("place", ["", "lmarc", "lmarc/model-hashes.json"])
def test_a_cache_that_cannot_be(place: str, home: Path, cache: Path, reads: Callable[[Path], int]) -> None:
    # Where a folder should be there is a file, or the other way round: as unreadable and unwritable as can be.
    if place.endswith(".json"):
        cache.mkdir(parents=True)
    else:
        build.write(home / ".cache" / place, b"")
    path = build.write(home / "x", b"content")
    assert [reads(path), reads(path)] == [7, 7]


def test_the_cache_is_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MAX_ENTRIES", 3)
    paths = [build.write(home / str(number), b"%d" % number) for number in range(5)]
    for path in paths:
        sha256_of(path)
    assert [cached_sha256(path) is not None for path in paths] == [False, False, True, True, True]


def test_names_that_are_not_utf8(home: Path, reads: Callable[[Path], int]) -> None:
    path = build.write(home / os.fsdecode(b"\xff\n"), b"content")
    assert [reads(path), reads(path)] == [7, 0]


def test_no_home(monkeypatch: pytest.MonkeyPatch, home: Path, reads: Callable[[Path], int]) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "relative")
    monkeypatch.chdir(home)
    path = build.write(home / "x", b"content")
    assert [reads(path), reads(path)] == [7, 7]
    assert [entry.name for entry in home.iterdir()] == ["x"]


def test_what_is_no_file(home: Path) -> None:
    os.mkfifo(home / "pipe")
    for path in (home, home / "pipe"):
        with pytest.raises(UsageError, match="not a regular file"):
            sha256_of(path)
    with pytest.raises(FileNotFoundError):
        sha256_of(home / "none")


def test_model_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build.write(home / "x.gguf", b"content")
    monkeypatch.chdir(home)
    assert model_file("x.gguf", place="here") == ModelFile(
        str(path), build.sha256(b"content"), 7, "x.gguf", place="here"
    )


def test_checked(home: Path) -> None:
    path = build.write(home / "x.gguf", b"content")
    right, wrong = build.sha256(b"content"), build.sha256(b"other")
    # What the object claims is not believed, in either direction.
    claims = ModelFile(str(path), wrong, 7, "x.gguf")
    checked(claims, right)
    with pytest.raises(BackendMissingError, match=wrong.hex()):
        checked(claims, wrong)
    build.write(path, b"CONTENT", age=30)
    with pytest.raises(BackendMissingError, match=right.hex()):
        checked(claims, right)
    path.unlink()
    with pytest.raises(BackendMissingError, match="No such file"):
        checked(claims, right)
    path.mkdir()
    with pytest.raises(BackendMissingError, match="not a regular file"):
        checked(claims, right)


def test_checked_can_ignore_what_is_remembered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build.write(home / "x.gguf", b"content")
    model = model_file(path)
    monkeypatch.setattr(identity, "cached_sha256", lambda _path: build.sha256(b"other"))
    with pytest.raises(BackendMissingError):
        checked(model, model.sha256)
    checked(model, model.sha256, fresh=True)
