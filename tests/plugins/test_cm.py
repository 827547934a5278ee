"""The backend `cm`, as archives that others have made ask for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmarc.backends import registry
from lmarc.container.header import BackendRef
from lmarc.errors import BackendMissingError, UnsupportedError
from tests.cli.program import run
from tests.container import build
from tests.trees import prose

TEXT = prose(1, 3000)
WRONG_LEVELS = [0, 3, -1, 1 << 40, "1", "", b"2", [], {}, {"a": 1}, [1]]


@pytest.mark.parametrize("level", [1, 2])
def test_payload_round_trips(level: int) -> None:
    codec = registry.codec("cm", 2)
    params = {"level": level}
    codec.prepare(params)
    payload = codec.compress(TEXT, params)
    assert codec.decompress(memoryview(payload), len(TEXT), params) == TEXT
    assert codec.memory_bound(len(TEXT), params) > codec.memory_shared(params) > 0


def test_level_1_is_the_usual_one() -> None:
    codec = registry.codec("cm")
    assert codec.compress(TEXT, {}) == codec.compress(TEXT, {"level": 1})
    assert codec.memory_bound(1 << 20, {}) == codec.memory_bound(1 << 20, {"level": 1})
    assert codec.memory_bound(1 << 24, {}) < codec.memory_bound(1 << 24, {"level": 2})


@pytest.mark.parametrize("level", [*WRONG_LEVELS, True, 1.0, None])
def test_other_levels_are_refused(level: Any) -> None:
    codec = registry.codec("cm")
    for use in (
        lambda: codec.compress(TEXT, {"level": level}),
        lambda: codec.decompress(memoryview(b"x"), 10, {"level": level}),
        lambda: codec.prepare({"level": level}),
        lambda: codec.memory_bound(10, {"level": level}),
    ):
        with pytest.raises(UnsupportedError, match="no level"):
            use()


@pytest.mark.parametrize("version", [1, 3])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(BackendMissingError, match=f"does not decode version {version}"):
        registry.codec("cm", version)


def place_with(folder: Path, params: dict[str, Any]) -> Path:
    """A directory with an archive x.lmarc of which one member is coded by cm as params say."""
    entries = [build.file(b"known", b"known"), build.file(b"text", TEXT)]
    refs = (build.STORE, BackendRef("cm", 2, {"params": params} if params else {}))
    (folder / "x.lmarc").write_bytes(build.build(entries, backends=refs, codecs={b"text": 1}))
    return folder


@pytest.mark.parametrize("level", WRONG_LEVELS)
def test_an_archive_of_a_level_there_is_not(level: Any, tmp_path: Path) -> None:
    here = place_with(tmp_path, {"level": level})
    done = run("unpack", "x.lmarc", "-C", "out", cwd=here, code=15)
    assert "level" in done.err
    assert [path.name for path in (here / "out").iterdir()] == ["known"]
    facts = run("info", "--json", "x.lmarc", cwd=here).json
    assert facts["decode_memory"] is None
    assert "backend   cm 2 level " in run("info", "x.lmarc", cwd=here).text


def test_an_archive_of_a_level_there_is_not_in_all_commands(tmp_path: Path) -> None:
    here = place_with(tmp_path, {"level": 3})
    run("test", "x.lmarc", cwd=here, code=15)
    run("cat", "x.lmarc", "text", cwd=here, code=15)
    assert run("cat", "x.lmarc", "known", cwd=here).out == b"known"
    run("list", "x.lmarc", cwd=here)
    run("diff", "x.lmarc", cwd=here, code=1)


@pytest.mark.parametrize(("preset", "level", "params"), [("balanced", 1, {}), ("best", 2, {"level": 2})])
def test_info_tells_the_level(preset: str, level: int, params: dict[str, int], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    run("pack", "a.txt", "-o", "x.lmarc", "-p", preset, cwd=tmp_path)
    text = run("info", "x.lmarc", cwd=tmp_path).text
    assert f"\nbackend   cm 2 level {level} (portable): 1 chunks" in text
    assert "for each thread, of which all threads share" in text
    facts = run("info", "--json", "x.lmarc", cwd=tmp_path).json
    assert facts["backends"][0]["params"] == params
    assert facts["decode_memory"] > facts["shared_memory"] > 0
