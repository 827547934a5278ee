"""Archives whose model, machine or header is not what it was: they say so, and nothing wrong is ever written."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures import random_models
from lmarc.archive.observer import Observer
from lmarc.archive.pack import Packer
from lmarc.archive.presets import MIB, ChunkCoder, Preset
from lmarc.container.header import read_header
from lmarc.models.identity import model_file
from tests.cli import program

Paths = dict[str, Path]
Properties = dict[str, Any]

#: What begins so is not for the model.
OTHER = b"By cm, please. "
MEMBERS = {
    b"predicted.txt": b"A model has read this and knows what comes next, as far as anybody can know that.\n" * 8,
    b"modelled.txt": OTHER + b"context models mix what they know of the bytes before. " * 30,
    b"stored.bin": OTHER + random.Random(1).randbytes(900),
}
PREDICTED, OTHERS = "predicted.txt", ("modelled.txt", "stored.bin")
#: An archive of a small model is refused in less than this, in seconds.
SOON = 10


@pytest.fixture(scope="module")
def model(models: Paths, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model where nobody looks."""
    path = tmp_path_factory.mktemp("given") / "the model.gguf"
    shutil.copyfile(models["bpe"], path)
    return path


def archive_of(model: Path, change: Callable[[Properties], None] = lambda _: None) -> bytes:
    """An archive with three chunks, one by the model, and with what it says of it changed.

    Not by the program, which makes one chunk of so little.
    """

    def predict(coder: ChunkCoder, data: bytes) -> tuple[str, bytes]:
        if data.startswith(OTHER):
            assert coder._cm is not None
            return coder._model(coder._cm, data)
        opened = coder._open()
        payload = opened.code(data)
        assert payload is not None
        assert isinstance(opened.reference.properties, dict)
        change(opened.reference.properties)
        return "llama", payload

    sink = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkCoder, "_predict", predict)
        packer = Packer(sink, Preset("llama", MIB, {}, model_file(model)), jobs=1, observer=Observer())
        for name, data in MEMBERS.items():
            packer.pack_bytes(name, data)
            packer._chunker.flush()
        result = packer.finish()
    assert result.chunks == {"llama": 1, "cm": 1, "store": 1}
    return sink.getvalue()


@pytest.fixture(scope="module")
def packed(model: Path) -> bytes:
    """The archive as it should be."""
    return archive_of(model)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "archive.lmarc"
    path.write_bytes(data)
    return path


def changed(packed: bytes, change: Callable[[Properties], None]) -> bytes:
    """The archive with the properties of its predictor changed, and all else where it was."""
    header, start = read_header(io.BytesIO(packed))
    backends = []
    for ref in header.backends:
        properties = {key: dict(value) if isinstance(value, dict) else value for key, value in ref.properties.items()}
        if ref.name == "llama":
            change(properties)
        backends.append(replace(ref, properties=properties))
    head = replace(header, backends=tuple(backends)).to_bytes()
    assert len(head) == start and head != packed[:start]
    return head + packed[start:]


def assert_only_others(folder: Path) -> None:
    """Of the archive, all but what the model has coded was written, and nothing else."""
    found = {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}
    assert found == {name: MEMBERS[name.encode()] for name in OTHERS}


def assert_all(folder: Path) -> None:
    assert {path.name.encode(): path.read_bytes() for path in folder.iterdir()} == MEMBERS


def test_as_it_was(packed: bytes, model: Path, tmp_path: Path) -> None:
    program.run("unpack", "-j", "1", "-m", model, "-C", tmp_path / "out", put(tmp_path, packed))
    assert_all(tmp_path / "out")


def test_model_that_is_not_here(packed: bytes, model: Path, tmp_path: Path) -> None:
    archive = put(tmp_path, packed)
    result = program.run("unpack", "-j", "1", "-C", tmp_path / "out", archive, code=13)
    assert hashlib.sha256(model.read_bytes()).hexdigest() in result.err
    assert "the model.gguf" in result.err and str(model.stat().st_size) in result.err
    assert_only_others(tmp_path / "out")
    # All that needs no model.
    assert program.names(archive) == sorted(MEMBERS)
    assert program.run("info", archive).code == 0
    assert program.run("cat", archive, *OTHERS).out == b"".join(MEMBERS[name.encode()] for name in OTHERS)
    assert program.run("test", "-j", "1", archive, *OTHERS).code == 0
    failed = program.run("test", "-j", "1", "--json", archive, code=13).json
    assert [row["path"] for row in failed["failed"]] == [PREDICTED]
    assert failed["damage"] == []
    wanted = program.run("models", "find", "--json", archive, code=13).json
    assert [row["sha256"] for row in wanted["models"]] == [hashlib.sha256(model.read_bytes()).hexdigest()]


def test_model_with_one_bit_changed(packed: bytes, model: Path, tmp_path: Path) -> None:
    data = bytearray(model.read_bytes())
    data[-1000] ^= 1
    other = tmp_path / "the model.gguf"
    other.write_bytes(data)
    result = program.run("unpack", "-m", other, "-C", tmp_path / "out", put(tmp_path, packed), code=13)
    assert hashlib.sha256(model.read_bytes()).hexdigest() in result.err
    assert_only_others(tmp_path / "out")


def test_model_in_another_quantisation(packed: bytes, model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "the model.gguf"
    other.parent.mkdir()
    random_models.quantise(model, other, "q8_0")
    # As the file, and below a folder.
    for number, given in enumerate((other, other.parent)):
        out = tmp_path / f"out {number}"
        program.run("unpack", "-m", given, "-C", out, put(tmp_path, packed), code=13)
        assert_only_others(out)


def test_model_found_by_variable(packed: bytes, model: Path, tmp_path: Path) -> None:
    env = {"LMARC_MODEL_PATH": f"{tmp_path / 'nowhere'}:{model.parent}"}
    program.run("unpack", "-j", "1", "-C", tmp_path / "out", put(tmp_path, packed), env=env)
    assert_all(tmp_path / "out")


def test_model_found_in_the_hub_cache(packed: bytes, model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hf" / "hub" / "models--someone--some-model"
    blob = repository / "blobs" / hashlib.sha256(model.read_bytes()).hexdigest()
    blob.parent.mkdir(parents=True)
    shutil.copyfile(model, blob)
    link = repository / "snapshots" / ("c" * 40) / "some-model-f16.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../blobs/{blob.name}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    env = {"HF_HOME": str(tmp_path / "hf")}
    program.run("unpack", "-j", "1", "-C", tmp_path / "out", put(tmp_path, packed), env=env)
    assert_all(tmp_path / "out")
    # A name is not enough.
    data = blob.read_bytes()
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    program.run("unpack", "-j", "1", "-C", tmp_path / "broken", put(tmp_path, packed), env=env, code=13)
    assert_only_others(tmp_path / "broken")


def of_setting(key: str, change: Callable[[Any], Any]) -> Callable[[Properties], None]:
    def apply(properties: Properties) -> None:
        properties["params"][key] = change(properties["params"][key])

    return apply


def without_setting(key: str) -> Callable[[Properties], None]:
    """Another key of the same length in its place."""

    def apply(properties: Properties) -> None:
        properties["params"]["x" * len(key)] = properties["params"].pop(key)

    return apply


CHANGED = {
    "lanes": of_setting("lanes", lambda lanes: lanes - 1),
    "context": of_setting("context", lambda context: context - 64),
    "cache": of_setting("kv", lambda kv: {"f16/bf16": "bf16/f16"}.get(kv, kv[::-1])),
    "another setting": without_setting("flash"),
    "no slide": without_setting("slide"),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED.keys())
def test_changed_settings(packed: bytes, model: Path, tmp_path: Path, change: Callable[[Properties], None]) -> None:
    archive = put(tmp_path, changed(packed, change))
    start = time.monotonic()
    result = program.run("unpack", "-j", "1", "-m", model, "-C", tmp_path / "out", archive, code=None)
    assert result.code in (14, 15), (result.code, result.err)
    assert time.monotonic() - start < SOON
    assert_only_others(tmp_path / "out")


@pytest.mark.parametrize("key", ["lanes", "context"])
def test_changed_settings_are_another_environment(packed: bytes, model: Path, tmp_path: Path, key: str) -> None:
    archive = put(tmp_path, changed(packed, CHANGED[key]))
    result = program.run("cat", "-m", model, archive, PREDICTED, code=14)
    assert result.out == b"" and len(result.err.splitlines()) == 1
    assert "settings" in result.err


#: The program with less memory than any of these would take.
_IN_SMALL = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from lmarc.cli.main import main
main()
"""
IMPOSSIBLE: list[Properties] = [
    {"lanes": 0},
    {"rows": 99},
    {"steps": 0},
    {"keep": 1 << 19},
    {"context": 100},
    {"slide": "later"},
    {"kv": "i1"},
    {"lanes": 257},
    # Each within its limits.
    {"lanes": 256, "context": 1 << 20},
    {"lanes": 256, "rows": 256, "steps": 512, "context": 512, "keep": 0},
    {"context": -64},
]


@pytest.mark.parametrize("settings", IMPOSSIBLE, ids=str)
def test_impossible_settings(model: Path, tmp_path: Path, settings: Properties) -> None:
    archive = put(tmp_path, archive_of(model, lambda properties: properties["params"].update(settings)))
    start = time.monotonic()
    command = (sys.executable, "-c", _IN_SMALL)
    result = program.run("unpack", "-j", "1", "-m", model, "-C", tmp_path / "out", archive, code=None, command=command)
    assert result.code in (13, 14, 15, 17), (result.code, result.err)
    assert time.monotonic() - start < SOON
    assert_only_others(tmp_path / "out")


def test_another_environment_that_gives_the_same_scores(packed: bytes, model: Path, tmp_path: Path) -> None:
    def change(properties: Properties) -> None:
        properties["environment"] = {key: value[::-1] for key, value in properties["environment"].items()}

    program.run("unpack", "-j", "1", "-m", model, "-C", tmp_path / "out", put(tmp_path, changed(packed, change)))
    assert_all(tmp_path / "out")


def test_another_environment_with_other_scores(packed: bytes, model: Path, tmp_path: Path) -> None:
    here: dict[str, str] = {}

    def change(properties: Properties) -> None:
        properties["canary"] = bytes(byte ^ 1 for byte in properties["canary"])
        here.update(properties["environment"])
        properties["environment"]["llama-cpp-python"] = "9" * len(here["llama-cpp-python"])

    archive = put(tmp_path, changed(packed, change))
    start = time.monotonic()
    result = program.run("unpack", "-j", "1", "-m", model, "-C", tmp_path / "out", archive, code=14)
    assert time.monotonic() - start < SOON
    version = here["llama-cpp-python"]
    assert f"llama-cpp-python: {'9' * len(version)} there, {version} here" in result.err
    assert result.err.count(" there, ") == 1
    assert_only_others(tmp_path / "out")


def test_other_scores_in_the_same_environment(packed: bytes, model: Path, tmp_path: Path) -> None:
    def change(properties: Properties) -> None:
        properties["canary"] = bytes(len(properties["canary"]))

    result = program.run("cat", "-m", model, put(tmp_path, changed(packed, change)), PREDICTED, code=14)
    assert result.out == b"" and "nothing that the archive names" in result.err


@pytest.mark.parametrize("key", ["canary", "model", "environment"])
def test_properties_left_out(packed: bytes, model: Path, tmp_path: Path, key: str) -> None:
    def change(properties: Properties) -> None:
        properties["x" * len(key)] = properties.pop(key)

    archive = put(tmp_path, changed(packed, change))
    code = {"canary": 14, "model": 13, "environment": 0}[key]
    result = program.run("cat", "-m", model, archive, PREDICTED, code=code)
    assert result.out == (b"" if code else MEMBERS[PREDICTED.encode()])


def test_model_row_that_is_wrong(packed: bytes, model: Path, tmp_path: Path) -> None:
    header, start = read_header(io.BytesIO(packed))
    (row,) = header.options["models"]
    for wrong in ({"sha256": bytes(32)}, {"size": row["size"] ^ 1}, {"sha256": "0" * 30}):
        head = replace(header, options={**header.options, "models": [row | wrong]}).to_bytes()
        if len(head) == start:
            result = program.run("cat", "-m", model, put(tmp_path, head + packed[start:]), PREDICTED, code=None)
            assert result.code in (11, 13) and result.out == b""


def test_payload_with_a_bit_changed(packed: bytes, model: Path, tmp_path: Path) -> None:
    """The archive's own checks catch that before the model is asked."""
    _, start = read_header(io.BytesIO(packed))
    data = bytearray(packed)
    data[start + 40] ^= 4
    program.run("unpack", "-j", "1", "-m", model, "-C", tmp_path / "out", put(tmp_path, bytes(data)), code=11)
    assert_only_others(tmp_path / "out")


def test_model_given_where_none_is_needed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"no model was here " * 9)
    program.run("pack", "-p", "fast", "-o", tmp_path / "a.lmarc", tmp_path / "text")
    program.run("test", "-m", model, "-m", tmp_path / "nowhere", tmp_path / "a.lmarc")
