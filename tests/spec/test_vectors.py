"""Every vector, read by the educational decoder and, in the second half, by lmarc."""

from __future__ import annotations

import importlib.util
import json
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from lmarc_driver import ROOT, Result, run_lmarc

VECTORS = ROOT / "spec" / "vectors"
NAMES = sorted(path.stem for path in VECTORS.glob("*.lmarc"))
GOOD = [name for name in NAMES if name.startswith("good-")]
REFUSED = [name for name in NAMES if name not in GOOD]


@cache
def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text())
    return found


def archive(name: str) -> str:
    return str(VECTORS / f"{name}.lmarc")


def without_content(member: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != "content_hex"}


def path_of(root: Path, path: str) -> Path:
    return root / os.fsdecode(path.encode(errors="surrogateescape"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code: int = load("spec/decoder.py").main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def test_every_vector_is_made() -> None:
    assert set(load("spec/make_vectors.py").VECTORS) == set(NAMES)
    assert {path.stem for path in VECTORS.glob("*.json")} == set(NAMES)


def test_vectors_are_what_make_vectors_writes() -> None:
    for name, make in load("spec/make_vectors.py").VECTORS.items():
        if "zstd" not in name and name != "good-cm-text":  # their bytes depend on the version of a library
            data, _ = make()
            if b"\x28\xb5\x2f\xfd" not in data:
                assert data == (VECTORS / f"{name}.lmarc").read_bytes(), name


@pytest.mark.parametrize("name", GOOD)
def test_decoder_lists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list", archive(name))
    wanted = expected(name)
    assert (code, err) == (0, "")
    assert json.loads(out) == wanted | {"members": [without_content(member) for member in wanted["members"]]}


@pytest.mark.parametrize("name", [name for name in GOOD if name != "good-cm-text"])
def test_decoder_extracts(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "extract", archive(name), str(tmp_path / "out")) == (0, "", "")
    for member in expected(name)["members"]:
        path = path_of(tmp_path / "out", member["path"])
        status = os.lstat(path)
        if member["type"] == "symlink":
            assert os.fsencode(os.readlink(path)) == member["target"].encode(errors="surrogateescape")
        elif member["type"] == "hardlink":
            assert os.path.samefile(path, path_of(tmp_path / "out", member["target"]))
        else:
            assert status.st_mode & 0o7777 == member["mode"] & 0o1777
            assert status.st_mtime_ns == member["mtime_ns"] or abs(member["mtime_ns"]) > 1 << 60
        if "content_hex" in member:
            assert path.read_bytes().hex() == member["content_hex"]


@pytest.mark.parametrize("name", REFUSED)
def test_decoder_refuses(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = expected(name)
    if wanted.get("on") == "extract":
        assert run(capsys, "list", archive(name))[0] == 0
        code, out, err = run(capsys, "extract", archive(name), str(tmp_path / "out"))
    else:
        code, out, err = run(capsys, "list", archive(name))
        assert run(capsys, "extract", archive(name), str(tmp_path / "again"))[0] == code
    assert (code, out) == (wanted["exit"], "")
    assert all(line.startswith("decoder: ") for line in err.splitlines())
    assert err.startswith(f"decoder: {wanted['error']}: ")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("out", "again")]


@pytest.mark.parametrize("name", [name for name in REFUSED if "unsafe" in name])
def test_unsafe_leaves_nothing_outside(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "extract", archive(name), str(tmp_path / "a" / "b" / "out"))
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.glob("**/*")) if "out/" not in str(path)] == [
        "a",
        "a/b",
        "a/b/out",
    ]
    assert not os.path.lexists("/tmp/lmarc-must-not-write-this")


def test_decoder_extracts_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "extract", archive("unsupported-backend-missing"), str(tmp_path / "out"))
    assert (code, err) == (13, "decoder: backend-missing: 'unreadable': nosuch 1\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["readable"]


def commands(name: str) -> list[str]:
    if name in GOOD:
        return ["list", "test"]
    return ["test" if expected(name).get("on") == "extract" else "list"]


@cache
def lmarc_results() -> dict[tuple[str, str], Result]:
    cases = [(name, command) for name in NAMES for command in commands(name)]
    lines = [[command, *(["--json"] if command == "list" else []), archive(name)] for name, command in cases]
    return dict(zip(cases, run_lmarc(lines), strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_lmarc_lists(name: str) -> None:
    code, out, err = lmarc_results()[name, "list"]
    assert code == 0, err
    found = sorted(json.loads(out)["members"], key=lambda member: member["path"].encode(errors="surrogateescape"))
    wanted = [without_content(member) for member in expected(name)["members"]]
    assert [{key: row.get(key) for key in want} for row, want in zip(found, wanted, strict=True)] == wanted
    assert all("sparse" in want or not row.get("sparse") for row, want in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_lmarc_tests(name: str) -> None:
    code, _, err = lmarc_results()[name, "test"]
    assert code == 0, err


@pytest.mark.parametrize("name", REFUSED)
def test_lmarc_refuses(name: str) -> None:
    wanted = expected(name)
    code, _, err = lmarc_results()[name, commands(name)[0]]
    assert "Traceback" not in err
    assert code == wanted["exit"], err
