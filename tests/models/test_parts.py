"""Models of several files: named by one of them, found and checked as a whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lmarc.errors import BackendMissingError, DamagedError, UsageError
from lmarc.models import find, parts
from lmarc.models.wanted import Wanted
from tests.models import build

FILES = {
    "model-1-of-2.safetensors": b"first weights",
    "model-2-of-2.safetensors": b"second weights",
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    parts.INDEX: json.dumps(
        {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    ).encode(),
}
MAIN = "model-1-of-2.safetensors"


def folder_at(path: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, data in files.items():
        build.write(path / name, data, age=30)
    return path


def wanted() -> Wanted:
    beside = {name: build.sha256(data) for name, data in FILES.items() if name != MAIN}
    return Wanted(build.sha256(FILES[MAIN]), MAIN, len(FILES[MAIN]), beside=beside)


def test_a_folder_stands_for_its_model(home: Path, tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "model")
    (folder / "README.md").write_text("belongs to nothing")
    (folder / "adapter.safetensors").write_bytes(b"is not in the index")
    found = find.resolve(str(folder))
    assert (found.file_name, found.sha256) == (MAIN, wanted().sha256)
    assert found.beside == wanted().beside
    assert find.resolve(str(folder / MAIN)) == found
    assert parts.weights_of(found.path) == ["model-1-of-2.safetensors", "model-2-of-2.safetensors"]


def test_a_folder_with_one_file_of_weights(home: Path, tmp_path: Path) -> None:
    folder = folder_at(tmp_path, {"any.safetensors": b"weights", "config.json": b"{}"})
    found = find.resolve(str(folder))
    assert (found.file_name, [*found.beside]) == ("any.safetensors", ["config.json"])
    (folder / "model.safetensors").write_bytes(b"the one")
    assert find.resolve(str(folder)).file_name == "model.safetensors"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "without safetensors"),
        ({"a.safetensors": b"a", "b.safetensors": b"b"}, "several"),
        ({parts.INDEX: b"[]", "a.safetensors": b"a"}, "not an index"),
        ({parts.INDEX: b'{"weight_map": {"a": "../up.safetensors"}}'}, "cannot be"),
        ({parts.INDEX: b'{"weight_map": {"a": "run.py"}}'}, "cannot be"),
        ({parts.INDEX: b'{"weight_map": {"a": 7}}'}, "cannot be"),
    ],
)
def test_folders_that_are_no_models(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        find.resolve(str(folder_at(tmp_path, files)))


def test_one_that_has_all_is_found(home: Path, tmp_path: Path) -> None:
    """Also when another folder with the same weights comes first."""
    other = folder_at(tmp_path / "first", FILES | {"tokenizer.json": b"another"})
    with pytest.raises(BackendMissingError, match=r"where tokenizer\.json differs"):
        find.require(wanted(), paths=[str(other)])
    good = folder_at(tmp_path / "second")
    found = find.require(wanted(), paths=[str(other), str(good)])
    assert found.path == str(good / MAIN)


@pytest.mark.parametrize("name", [name for name in FILES if name != MAIN])
def test_a_part_that_is_missing_or_more(home: Path, tmp_path: Path, name: str) -> None:
    folder = folder_at(tmp_path, {each: data for each, data in FILES.items() if each != name})
    with pytest.raises(BackendMissingError):
        find.require(wanted(), paths=[str(folder)])
    asked = Wanted(wanted().sha256, beside={each: hash for each, hash in wanted().beside.items() if each != name})
    whole = folder_at(tmp_path / "whole")
    with pytest.raises(BackendMissingError):
        find.require(asked, paths=[str(whole)])


def test_in_the_cache_of_the_hub(home: Path) -> None:
    """Where files are links to blobs, the folder is the one with the links."""
    hub = home / ".cache" / "huggingface" / "hub"
    for name, data in FILES.items():
        link = build.hub_file(hub, name, data)
    found = find.require(wanted())
    assert Path(found.path) == link.parent / MAIN
    assert find.resolve(wanted().sha256.hex()).beside == wanted().beside


@pytest.mark.parametrize(
    "beside",
    [[], {"a": b"short"}, {"a": "text"}, {"../a": bytes(32)}, {".a": bytes(32)}, {"a/b": bytes(32)}, {7: bytes(32)}],
)
def test_headers_that_say_what_cannot_be(beside: Any) -> None:
    row = {"sha256": bytes(32), "size": 1, "beside": beside}
    with pytest.raises(DamagedError):
        Wanted.from_header(row)
