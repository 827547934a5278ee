"""models: list, find, verify, add, to people and to scripts. A home of its own for every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Result, run
from tests.container import build as container
from tests.models import build

DATA = build.model("The One", **{"tokenizer.chat_template": "x"})
OTHER = build.model("another")
SHA256, OTHER_SHA256 = build.sha256(DATA), build.sha256(OTHER)
NAME = "hf://org/repo/x.gguf"
#: A huggingface_hub that has one file, whatever its name.
HUB = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from tests.models import build
def hf_hub_download(repo_id, filename, *, revision, cache_dir):
    build.hub_file(Path(cache_dir), filename, Path(__file__).with_name("data").read_bytes(), repo=repo_id)
"""

Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home directory, with a model in every second place."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def models(home: Path) -> Run:
    """Runs `lmarc models` at home."""

    def command(*args: str | Path, env: dict[str, str] | None = None, **more: Any) -> Result:
        return run("models", *args, cwd=home, env=build.environment(home) | (env or {}), **more)

    return command


def archive(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """An archive whose header names those models."""
    path.write_bytes(container.build([container.file(b"f", b"x")], options={"models": list(rows)} if rows else None))
    return path


def row(data: bytes, **more: Any) -> dict[str, Any]:
    """A model as a header has it."""
    return {"sha256": build.sha256(data), "size": len(data), **more}


def hub(home: Path) -> Path:
    return home / ".cache" / "huggingface" / "hub"


# --- list --------------------------------------------------------------------------------------------------


def test_list(home: Path, models: Run) -> None:
    link = build.hub_file(hub(home), "x.gguf", DATA)
    blob = build.ollama_model(home / ".ollama" / "models", "library/other/1b", OTHER)
    plain = build.write(home / ".lmstudio" / "models" / "w.safetensors", b"weights")
    build.write(home / ".lmstudio" / "models" / "broken.gguf", b"no GGUF")
    done = models("list")
    (first,) = [line for line in done.lines if str(link) in line]
    assert first.split()[0] == SHA256.hex()[:12]
    for part in ("Q4_K_M", "llama", "The One", "Hugging Face cache: "):
        assert part in first
    assert any(line.startswith(OTHER_SHA256.hex()[:12]) and str(blob) in line for line in done.lines)
    assert any("w.safetensors" in line and "LM Studio" in line for line in done.lines)
    assert "broken.gguf is not a GGUF file" in done.err
    assert "broken.gguf" not in done.text
    rows = {each["path"]: each for each in models("list", "--json").json["models"]}
    assert rows[str(link)] == {
        "name": "The One",
        "architecture": "llama",
        "quantisation": "Q4_K_M",
        "context_length": 2048,
        "tokenizer": "gpt2",
        "instruct": True,
        "size": len(DATA),
        "sha256": SHA256.hex(),
        "file_name": "x.gguf",
        "path": str(link),
        "place": "Hugging Face cache",
        "source": NAME,
        "revision": build.COMMIT,
    }
    assert (rows[str(blob)]["file_name"], rows[str(blob)]["place"]) == ("other:1b", "Ollama")
    assert rows[str(plain)]["sha256"] == build.sha256(b"weights").hex()


def test_list_nothing(home: Path, models: Run) -> None:
    assert [line for line in models("list").lines if str(home) in line] == []
    assert isinstance(models("list", "--json").json["models"], list)
    assert list(home.iterdir()) == []


def test_names_are_escaped(home: Path, models: Run) -> None:
    build.write(home / ".lmstudio" / "models" / "x\n\x1b[31m.gguf", build.model("evil\x1b[2J\n"))
    (line,) = [line for line in models("list").lines if str(home) in line]
    assert line.isprintable()
    assert r"evil\x1b[2J\n" in line
    assert models("list", "--json").out.isascii()


# --- find --------------------------------------------------------------------------------------------------


def test_find_a_hash(home: Path, models: Run) -> None:
    link = build.hub_file(hub(home), "x.gguf", DATA)
    for what in (SHA256.hex()[:8], SHA256.hex(), NAME, f"{NAME}@main", link):
        done = models("find", what)
        assert done.text.startswith(SHA256.hex()[:12])
        assert str(link) in done.text
        (found,) = models("find", what, "--json").json["models"]
        assert (found["path"], found["sha256"], found["size"]) == (str(link), SHA256.hex(), len(DATA))


def test_find_nothing(home: Path, models: Run) -> None:
    for what in ("0" * 8, "0" * 64, NAME, "no-such-file.gguf"):
        done = models("find", what, code=13)
        assert done.out == b""
        assert what in done.err
        (found,) = models("find", what, "--json", code=13).json["models"]
        assert found["path"] is None
        assert what in found["missing"]
    assert f"lmarc models find --fetch {NAME}" in models("find", NAME, code=13).err
    assert "pickle" not in models("find", "hf://org/repo/x.pkl", code=2).text


def test_find_an_ambiguous_hash(home: Path, models: Run) -> None:
    folder = build.hub_file(hub(home), "x.gguf", DATA).parent
    twin = SHA256.hex()[:8] + "0" * 56
    build.write(folder.parent.parent / "blobs" / twin, OTHER)
    (folder / "y.gguf").symlink_to(f"../../blobs/{twin}")
    done = models("find", SHA256.hex()[:8], code=2)
    assert twin in done.err
    assert SHA256.hex() in done.err


def test_find_the_models_of_an_archive(home: Path, models: Run) -> None:
    path = build.write(home / "mine.gguf", DATA)
    models("add", path)
    rows = [row(DATA, name="in the archive"), row(OTHER, name="other", source=NAME, revision=build.COMMIT)]
    archive(home / "x.lmarc", rows)
    done = models("find", "x.lmarc", code=13)
    assert done.lines == [f"{SHA256.hex()[:12]}  in the archive  registered: {path}"]
    for part in ("model other ", OTHER_SHA256.hex(), f"{len(OTHER)} bytes", f"--fetch {NAME}@{build.COMMIT}"):
        assert part in done.err
    found, missing = models("find", "x.lmarc", "--json", code=13).json["models"]
    assert (found["name"], found["path"], found["place"]) == ("in the archive", str(path), "registered")
    assert (missing["name"], missing["path"], missing["source"]) == ("other", None, NAME)
    assert OTHER_SHA256.hex() in missing["missing"]
    archive(home / "y.lmarc", rows[:1])
    assert models("find", "-", stdin=(home / "y.lmarc").read_bytes()).lines == done.lines


def test_find_the_models_of_an_archive_without_any(home: Path, models: Run) -> None:
    archive(home / "x.lmarc", [])
    done = models("find", "x.lmarc")
    assert done.out == b""
    assert "names no models" in done.err
    assert models("find", "x.lmarc", "--json").json == {"models": []}


def test_find_in_what_is_broken(home: Path, models: Run) -> None:
    archive(home / "x.lmarc", [row(DATA)])
    data = bytearray((home / "x.lmarc").read_bytes())
    (home / "short.lmarc").write_bytes(data[:40])
    data[30] ^= 1
    (home / "flipped.lmarc").write_bytes(data)
    archive(home / "odd.lmarc", [{"sha256": b"short", "size": 1}])
    for name in ("short", "flipped", "odd"):
        assert models("find", f"{name}.lmarc", code=11).out == b""
    models("find", "-", stdin=b"no archive", code=10)
    models("find", ".", code=1)


def test_text_of_an_archive_is_escaped_and_no_command(home: Path, models: Run) -> None:
    archive(home / "x.lmarc", [row(OTHER, name="\x1b[2J", source="hf://org/repo/x.gguf;reboot")])
    done = models("find", "x.lmarc", code=13)
    assert done.err.strip().isprintable()
    assert "--fetch" not in done.err


# --- find --fetch ------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path: Path) -> dict[str, str]:
    """Variables with which a huggingface_hub is there that has DATA."""
    build.write(tmp_path / "lib" / "huggingface_hub.py", HUB.encode())
    build.write(tmp_path / "lib" / "data", DATA)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path / "lib"), os.environ.get("PYTHONPATH", "")]))}


def test_fetch_a_name(home: Path, models: Run, library: dict[str, str]) -> None:
    models("find", NAME, env=library, code=13)
    done = models("find", "--fetch", NAME, env=library)
    assert done.text.startswith(SHA256.hex()[:12])
    # It is found without fetching from then on.
    models("find", NAME)
    assert models("find", SHA256.hex()[:8]).text == done.text
    models("find", "--fetch", SHA256.hex(), env=library, code=2)


def test_fetch_for_an_archive(home: Path, models: Run, library: dict[str, str]) -> None:
    archive(home / "x.lmarc", [row(DATA, name="m", source=NAME)])
    models("find", "x.lmarc", env=library, code=13)
    assert models("find", "x.lmarc", "--fetch", env=library).text.startswith(SHA256.hex()[:12])
    models("find", "x.lmarc")
    # What came is not what the archive names.
    archive(home / "y.lmarc", [row(OTHER, name="m", source="hf://org/repo/y.gguf")])
    done = models("find", "y.lmarc", "--fetch", env=library, code=13)
    assert OTHER_SHA256.hex() in done.err
    archive(home / "z.lmarc", [row(OTHER, name="m", source="https://example.org/m")])
    assert "https://example.org/m" in models("find", "z.lmarc", "--fetch", env=library, code=13).err


def test_fetch_without_the_library(home: Path, models: Run, library: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "lib" / "huggingface_hub.py").write_text("raise ImportError")
    assert "pip install huggingface_hub" in models("find", "--fetch", NAME, env=library, code=13).err


def test_fetch_that_fails(home: Path, models: Run, library: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "lib" / "data").unlink()
    assert f"{NAME} could not be fetched" in models("find", "--fetch", NAME, env=library, code=1).err


# --- verify and add ----------------------------------------------------------------------------------------


def test_verify_a_blob(home: Path, models: Run) -> None:
    link = build.hub_file(hub(home), "x.gguf", DATA)
    for what in (link, SHA256.hex()[:9], NAME):
        assert models("verify", what).text.startswith(SHA256.hex())
    assert "as its name says" in models("verify", link).text
    facts = models("verify", "--json", link).json
    assert facts == {"path": str(link), "sha256": SHA256.hex(), "expected": {"its name": SHA256.hex()}, "ok": True}
    build.write(link.resolve(), DATA[:-1] + b"!", age=30)
    done = models("verify", link, code=11)
    assert "its name says" in done.err
    assert done.out == b""
    for what in (SHA256.hex(), SHA256.hex()[:9]):
        assert models("verify", what, "--json", code=11).json["ok"] is False
    assert f"{link}, which is damaged" in models("find", SHA256.hex(), code=13).err


def test_add_and_verify(home: Path, models: Run) -> None:
    path = build.write(home / "x.gguf", DATA)
    assert "nothing says" in models("verify", "x.gguf").text
    assert models("verify", "x.gguf", "--json").json["ok"] is None
    assert models("add", "x.gguf").text == f"{SHA256.hex()}  {path}\n"
    assert models("add", "--json", "x.gguf").json == {"path": str(path), "sha256": SHA256.hex(), "size": len(DATA)}
    assert "as the register says" in models("verify", "x.gguf").text
    assert str(path) in models("find", SHA256.hex()).text
    build.write(path, DATA[:-1] + b"!", age=30)
    assert "the register says" in models("verify", "x.gguf", code=11).err


def test_what_cannot_be_added(home: Path, models: Run) -> None:
    build.write(home / "x.bin", b"weights")
    build.write(home / "broken.gguf", DATA[:99])
    build.write(home / "x.safetensors", b"weights")
    os.mkfifo(home / "pipe.gguf")
    for name, code in {"x.bin": 2, "broken.gguf": 13, "none.gguf": 1, ".": 2, "pipe.gguf": 2}.items():
        done = models("add", name, code=code)
        assert done.out == b""
        assert name in done.err
    models("verify", "none.gguf", code=13)
    models("verify", ".", code=2)
    models("add", "x.safetensors")


# --- the group ---------------------------------------------------------------------------------------------


def test_help(models: Run) -> None:
    text = models("--help").text
    places = [text.index(f"\n  {command} ") for command in ("list", "find", "verify", "add")]
    assert places == sorted(places)
    assert models("-h").text == text
    for command in ("list", "find", "verify", "add"):
        assert "Usage" in models(command, "-h").text
    models(code=2)
    models("no-such-command", code=2)


def test_commands_stand_in_order() -> None:
    from lmarc.cli.main import COMMANDS

    text = run("--help").text
    places = [text.index(f"\n  {command} ") for command in COMMANDS]
    assert places == sorted(places)


_LOOK = """
import sys
sys.argv[0] = "lmarc"
from lmarc.cli.main import add_commands, app
add_commands(sys.argv[1:])
try:
    app()
except SystemExit as end:
    assert not end.code, end.code
names = {"numpy", "numba", "rich", "blake3", "msgpack", "json", "hashlib", "lmarc.models"}
print(sorted(names & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("args", [["--help"], ["models", "--help"]])
def test_help_imports_little(args: list[str], home: Path) -> None:
    done = run(*args, env=build.environment(home), command=(sys.executable, "-c", _LOOK))
    plain = run("list", "--help", env=build.environment(home), command=(sys.executable, "-c", _LOOK))
    assert done.err == plain.err
    assert not {"numpy", "rich", "blake3", "lmarc.models"} & set(done.err.replace("'", " ").split())
