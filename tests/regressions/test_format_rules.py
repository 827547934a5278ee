"""What a reader must refuse, and backends that this version cannot run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import lmarc
from lmarc.container import frames
from lmarc.container.header import BackendRef, Header, read_header
from lmarc.container.writer import ContainerWriter
from tests.cli.program import Result, run
from tests.container import build
from tests.plugins.distributions import good, install

# --- chunks ------------------------------------------------------------------------------------------------


def two_indexes(step: int) -> bytes:
    """An archive of a checkpoint and a last index, whose chunk is said to stand `step` behind the one before it."""
    out = io.BytesIO()
    container = ContainerWriter(out, Header("test", (build.STORE,)))
    for content in (b"first content", b"second content"):
        chunk = container.add_chunk(0, len(content), build.check(content), content)
        container.add_member(build.file(content[:6], content)[0]._replace(start=chunk.start))
        if content.startswith(b"first"):
            first = chunk
            container.checkpoint()
    if step:
        container._chunks[0] = container._chunks[0]._replace(offset=first.offset + step)
    container.close()
    return out.getvalue()


@pytest.mark.parametrize("step", [1, 10, 21])
def test_chunks_of_different_indexes_must_not_overlap(step: int) -> None:
    assert frames.MIN_CHUNK_FRAME == 22
    with lmarc.open(io.BytesIO(two_indexes(step))) as archive:
        assert archive.damage
        # What is left is still found, and nothing comes out wrong.
        assert archive.read("first ") == b"first content"


@pytest.mark.parametrize("step", [0, 22])
def test_chunks_of_different_indexes_that_may_be(step: int) -> None:
    with lmarc.open(io.BytesIO(two_indexes(step))) as archive:
        assert archive.damage == []
        assert set(archive.test()) == ({"second"} if step else set())


# --- header ------------------------------------------------------------------------------------------------

MODEL = {"name": "m", "sha256": bytes(32), "size": 1}


def header(options: dict[str, Any], properties: dict[str, Any] | None = None) -> bytes:
    """A header with these options, its only backend with these properties."""
    return Header("w", (BackendRef("store", 1, properties or {}),), options).to_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"chunking": 5},
        {"chunking": []},
        {"chunking": "64"},
        {"models": {"name": "m"}},
        {"models": 1},
        {"models": "m"},
        {"models": [1]},
        {"models": [MODEL, "m"]},
        {"models": [[]]},
    ],
)
def test_header_options_of_the_wrong_type(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(lmarc.DamagedError):
        read_header(io.BytesIO(header(options)))
    with pytest.raises(lmarc.DamagedError):
        lmarc.open(io.BytesIO(build.build([build.file(b"a", b"a")], options=options)))


@pytest.mark.parametrize(
    ("model", "models"),
    [(0, []), (0, None), (1, [MODEL]), (2**62, [MODEL]), (-1, [MODEL]), ("0", [MODEL]), ([], [MODEL])],
)
def test_a_model_that_is_not_there(model: object, models: list[object] | None) -> None:
    options = {} if models is None else {"models": models}
    with pytest.raises(lmarc.DamagedError):
        read_header(io.BytesIO(header(options, {"model": model})))


def test_header_options_that_are_right() -> None:
    options = {"chunking": {"size": 5}, "models": [MODEL, MODEL | {"name": "n"}]}
    for model in (0, 1):
        read, _ = read_header(io.BytesIO(header(options, {"model": model})))
        assert read.options == options


# --- backends ----------------------------------------------------------------------------------------------


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    """A directory with a file and a plugin whose payloads decode only where they were made."""
    install(tmp_path / "plugins", "exact", good("exact").replace("PORTABLE", "MATCHING"))
    (tmp_path / "a").write_bytes(b"a line of text\n" * 50)
    return tmp_path


def use(folder: Path, *args: str, code: int) -> Result:
    return run(*args, cwd=folder, env={"PYTHONPATH": str(folder / "plugins")}, code=code)


def test_a_matching_backend_does_not_pack(exact: Path) -> None:
    done = use(exact, "pack", "a", "-o", "x", "-b", "exact", code=13)
    assert "exact" in done.err and "matching" in done.err
    assert len(done.err.splitlines()) == 1
    assert sorted(path.name for path in exact.iterdir()) == ["a", "plugins"]


def test_a_matching_backend_does_not_unpack(exact: Path) -> None:
    ref = BackendRef("exact", 1, {"promise": "matching"})
    entries = [build.file(b"one", b"first content"), build.file(b"two", b"second content")]
    data = build.build(entries, backends=(build.STORE, ref), codecs={b"two": 1})
    (exact / "x").write_bytes(data)
    done = use(exact, "unpack", "x", "-C", "out", code=13)
    assert "two: " in done.err and "matching" in done.err
    assert [path.name for path in (exact / "out").iterdir()] == ["one"]
    use(exact, "cat", "x", "two", code=13)
    use(exact, "info", "x", code=0)
    use(exact, "list", "x", code=0)


def test_a_matching_backend_is_listed_as_one_that_cannot_run(exact: Path) -> None:
    rows = {row["name"]: row for row in use(exact, "backends", "--json", code=0).json["backends"]}
    assert rows["exact"]["promise"] == "matching"
    assert rows["exact"]["missing"]
