"""Archives of every tagged version decode, and bytes do not change unless the version does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lmarc
from fixtures.make_compat import CASES, COMPAT, MODEL
from lmarc.archive.read import Archive
from lmarc.backends import registry
from lmarc.errors import BackendMissingError, EnvironmentMismatchError

KEPT = sorted(COMPAT.glob("*/*.lmarc"))
#: Made by a library that promises the same content, not the same bytes.
BY_LIBRARY = {"zstd"}


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def opened(path: Path) -> Archive:
    return lmarc.open(path, models=[str(MODEL)])


def test_there_is_one_of_each() -> None:
    assert {path.stem for path in KEPT if path.parent.name == "next"} == set(CASES)


@pytest.mark.parametrize("path", KEPT, ids=name_of)
def test_decodes(path: Path) -> None:
    expected = json.loads(path.with_suffix(".json").read_text())
    with opened(path) as archive:
        if missing := {ref.name for ref in archive.header.backends} - set(registry.found()):
            pytest.skip(f"needs {missing}")
        failed = archive.test()
        assert (
            not archive.damage and {info.name: info.hash.hex() for info in archive if info.kind == "file"} == expected
        )
        if any(ref.promise == "matching" for ref in archive.header.backends):
            # Elsewhere it is refused, or read: nothing between.
            assert all(isinstance(error, (EnvironmentMismatchError, BackendMissingError)) for error in failed.values())
        else:
            assert failed == {}


def coded(archive: Archive) -> list[tuple[str, int, bytes]]:
    """Backend, size and payload of every chunk, but for payloads that a library makes."""
    rows = []
    for chunk in archive.chunks:
        name = archive.header.backends[chunk.codec].name
        payload = b"" if name in BY_LIBRARY else bytes(archive._container.read_chunk(chunk)[1])
        rows.append((name, chunk.size, payload))
    return rows


@pytest.mark.parametrize("name", [name for name in CASES if name != "llama"])
def test_bytes_change_only_with_the_version(name: str, tmp_path: Path) -> None:
    _, how = CASES[name]
    with opened(COMPAT / "next" / f"{name}.lmarc") as kept:
        if missing := {ref.name for ref in kept.header.backends} - set(registry.found()):
            pytest.skip(f"needs {missing}")
        kept.extractall(tmp_path / "tree")
        lmarc.pack(sorted((tmp_path / "tree").iterdir()), tmp_path / "now.lmarc", **how)
        with opened(tmp_path / "now.lmarc") as now:
            versions = [{ref.name: ref.version for ref in archive.header.backends} for archive in (kept, now)]
            assert versions[0] == versions[1], "a version was bumped: python -m fixtures.make_compat next"
            assert coded(kept) == coded(now), "payloads differ, and no version does"
            assert kept.header.options == now.header.options
