"""Finding models: every store, hashes and their beginnings, names on the hub, and what is said when there is none."""

from __future__ import annotations

import json
import os
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmarc.errors import BackendMissingError, DamagedError, LmarcError, UsageError
from lmarc.models import fetch, files, find, identity, register, stores
from lmarc.models.huggingface import HubName
from lmarc.models.wanted import Wanted
from tests.models import build

DATA = build.model("the one")
SHA256 = build.sha256(DATA)
OTHER = build.model("another")


@pytest.fixture
def hub(home: Path) -> Path:
    """Where the Hugging Face cache is."""
    return home / ".cache" / "huggingface" / "hub"


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if a file is hashed."""

    def read(*_args: Any, **_more: Any) -> bytes:
        raise AssertionError("a file is hashed")

    monkeypatch.setattr(find, "sha256_of", read)


# --- every store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "below", "place"),
    [
        ("LMARC_MODEL_PATH", "none:{home}/mine", "mine/a/b", "LMARC_MODEL_PATH"),
        ("LMARC_MODEL_PATH", "{home}/mine/x.GGUF", "mine", "LMARC_MODEL_PATH"),
        ("", "", ".lmstudio/models/org/repo", "LM Studio"),
        ("", "", ".cache/lm-studio/models/org/repo", "LM Studio"),
        ("", "", ".cache/llama.cpp", "llama.cpp cache"),
        ("LLAMA_CACHE", "~/elsewhere", "elsewhere", "llama.cpp cache"),
    ],
)
def test_folders(
    variable: str, value: str, below: str, place: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, value.format(home=home))
    path = build.write(home / below / "x.GGUF", DATA)
    build.write(home / below / "y.gguf", OTHER)
    build.write(home / below / "z.bin", b"no model")
    model = find.find(SHA256)
    assert model is not None
    assert (model.path, model.sha256, model.size, model.file_name) == (str(path), SHA256, len(DATA), "x.GGUF")
    assert model.place == place
    assert {os.path.basename(each.path) for each in stores.candidates()} <= {"x.GGUF", "y.gguf"}


def test_a_file_in_the_path_may_have_any_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build.write(home / "blob", DATA)
    monkeypatch.setenv("LMARC_MODEL_PATH", f"{home / 'none'}{os.pathsep}{path}")
    assert find.resolve(SHA256.hex()).path == str(path)


@pytest.mark.parametrize(
    ("variable", "value", "below"),
    [
        ("", "", ".cache/huggingface/hub"),
        ("HF_HUB_CACHE", "{home}/here", "here"),
        ("HUGGINGFACE_HUB_CACHE", "{home}/here", "here"),
        ("HF_HOME", "{home}/here", "here/hub"),
        ("XDG_CACHE_HOME", "{home}/here", "here/huggingface/hub"),
    ],
)
def test_hugging_face(
    variable: str, value: str, below: str, home: Path, monkeypatch: pytest.MonkeyPatch, unread: None
) -> None:
    if variable:
        monkeypatch.setenv(variable, value.format(home=home))
    build.hub_file(home / below, "other.gguf", OTHER)
    link = build.hub_file(home / below, "sub/x.gguf", DATA)
    model = find.find(SHA256)
    assert model is not None
    assert (model.path, model.file_name, model.place) == (str(link), "x.gguf", "Hugging Face cache")
    assert (model.source, model.revision) == ("hf://org/repo/sub/x.gguf", build.COMMIT)


def test_a_hub_blob_without_a_snapshot(hub: Path, unread: None) -> None:
    link = build.hub_file(hub, "x.gguf", DATA)
    link.unlink()
    model = find.find(SHA256)
    assert model is not None
    assert model.path == str(hub / "models--org--repo" / "blobs" / SHA256.hex())


def test_a_hub_snapshot_without_links(hub: Path) -> None:
    path = build.write(hub / "models--org--repo" / "snapshots" / build.COMMIT / "x.gguf", DATA)
    model = find.find(SHA256)
    assert model is not None
    assert model.path == str(path)


@pytest.mark.parametrize("variable", ["", "OLLAMA_MODELS"])
def test_ollama(variable: str, home: Path, monkeypatch: pytest.MonkeyPatch, unread: None) -> None:
    root = home / ".ollama" / "models"
    if variable:
        root = home / "here"
        monkeypatch.setenv(variable, str(root))
    blob = build.ollama_model(root, "library/llama3.2/1b", DATA)
    build.ollama_model(root, "someone/other/latest", OTHER)
    model = find.find(SHA256)
    assert model is not None
    assert (model.path, model.file_name, model.place) == (str(blob), "llama3.2:1b", "Ollama")
    # What a manifest names is a model; its licence is not.
    assert [each.file_name for each in stores.candidates()] == ["llama3.2:1b", "someone/other:latest"]


def test_an_ollama_blob_without_a_manifest(home: Path, unread: None) -> None:
    blob = build.write(home / ".ollama" / "models" / "blobs" / f"sha256-{SHA256.hex()}", DATA)
    assert find.resolve(f"sha256:{SHA256.hex()}").path == str(blob)


_LAYER = '{"layers": [1, {}, {"mediaType": "application/vnd.ollama.image.model", "digest": %s}]}'
MANIFESTS = ["", "[]", "{}", '{"layers": 1}', "[" * 9999, _LAYER % "1", _LAYER % '"sha256:../../../x"']


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_hostile_ollama_manifests(manifest: str, home: Path) -> None:
    build.write(home / ".ollama" / "models" / "manifests" / "host" / "library" / "m" / "tag", manifest.encode())
    assert list(stores.candidates()) == []


# --- the register ------------------------------------------------------------------------------------------


def test_registered(home: Path, unread: None) -> None:
    path = build.write(home / "somewhere" / "x.gguf", DATA)
    assert register.add(path).sha256 == SHA256
    model = find.find(SHA256)
    assert model is not None
    assert (model.path, model.place) == (str(path), "registered")
    assert register.registered_sha256(path) == SHA256
    assert register.registered_sha256(home) is None


def test_adding_again_replaces(home: Path) -> None:
    path = build.write(home / "x.gguf", DATA)
    register.add(path)
    build.write(path, OTHER, age=30)
    register.add(path)
    assert [each.claim for each in register.candidates()] == [build.sha256(OTHER)]
    assert register.registered_sha256(path) == build.sha256(OTHER)


def test_what_is_gone_or_has_another_size_is_passed_over(home: Path) -> None:
    for name in ("x.gguf", "y.gguf"):
        register.add(build.write(home / name, DATA))
    (home / "x.gguf").unlink()
    build.write(home / "y.gguf", DATA + b"more")
    assert find.find(SHA256) is None


ROW = {"path": "/x", "sha256": "00" * 32, "size": 1}
BAD_ROWS = [{**ROW, "path": "relative"}, {**ROW, "sha256": "zz"}, {**ROW, "size": "1"}, {**ROW, "sha256": "00"}, {}, 1]


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"nonsense", b'{"format": 2, "models": []}']
    + [json.dumps({"format": 1, "models": [row]}).encode() for row in BAD_ROWS],
)
def test_a_broken_register_is_said_and_kept(data: bytes, home: Path) -> None:
    place = build.write(home / "data" / "lmarc" / "models.json", data)
    path = build.write(home / "x.gguf", DATA)
    with pytest.warns(UserWarning, match="cannot be read"):
        assert find.find(SHA256) is None
    with pytest.raises(LmarcError, match="is broken"):
        register.add(path)
    assert place.read_bytes() == data
    assert register.registered_sha256(path) is None


# --- by hash -----------------------------------------------------------------------------------------------


def test_what_needs_no_reading_is_found_first(home: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = build.write(home / "mine" / "x.gguf", DATA)
    monkeypatch.setenv("LMARC_MODEL_PATH", str(home / "mine"))
    link = build.hub_file(hub, "x.gguf", DATA)
    found = [model.path for model in find.copies(SHA256)]
    assert found == [str(link), str(early)]
    # Once its hash is known, order is that of the stores, of what is under its name at once.
    assert [model.path for model in find.copies(SHA256, paths=[str(early)])] == [str(early), str(link)]


def test_only_files_of_the_right_size_are_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.write(home / "mine" / "a.gguf", OTHER + b"longer")
    path = build.write(home / "mine" / "b.gguf", DATA)
    monkeypatch.setenv("LMARC_MODEL_PATH", str(home / "mine"))
    totals: list[int] = []
    model = find.find(SHA256, size=len(DATA), progress=lambda _done, total: totals.append(total))
    assert model is not None
    assert model.path == str(path)
    assert set(totals) == {len(DATA)}
    assert find.find(SHA256, size=len(DATA) + 1) is None


def test_a_known_hash_needs_no_second_reading(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = build.write(home / "mine" / "b.gguf", DATA)
    monkeypatch.setenv("LMARC_MODEL_PATH", str(home / "mine"))
    identity.sha256_of(path)
    monkeypatch.setattr(find, "sha256_of", None)
    assert find.resolve(SHA256.hex()[:8]).path == str(path)


def test_require_passes_over_what_only_claims_to_be_it(home: Path, hub: Path) -> None:
    wanted = Wanted(SHA256, "the one", len(DATA))
    link = build.hub_file(hub, "x.gguf", DATA)
    assert find.require(wanted).path == str(link)
    flipped = bytearray(DATA)
    flipped[-1] ^= 1
    build.write(link.resolve(), bytes(flipped), age=30)
    with pytest.raises(BackendMissingError, match=f"{link}, which is damaged"):
        find.require(wanted)
    good = build.write(home / ".lmstudio" / "models" / "x.gguf", DATA)
    assert find.require(wanted).path == str(good)
    good.unlink()
    given = build.write(home / "given", DATA)
    assert find.require(wanted, paths=[str(given)]).path == str(given)


def test_what_is_said_of_a_missing_model(home: Path) -> None:
    source = "hf://org/repo/x.gguf"
    with pytest.raises(BackendMissingError) as caught:
        find.require(Wanted(SHA256, "tiny", 4321, source, build.COMMIT))
    text = str(caught.value)
    assert caught.value.exit_code == 13
    for part in ("tiny", SHA256.hex(), "4321 bytes", f"lmarc models find --fetch {source}@{build.COMMIT}"):
        assert part in text
    for place in (
        "LMARC_MODEL_PATH (not set)",
        "Ollama",
        "LM Studio",
        "llama.cpp",
        str(home / ".cache/huggingface/hub"),
    ):
        assert place in text
    with pytest.raises(BackendMissingError, match="lmarc models add FILE"):
        find.require(Wanted(SHA256))


@pytest.mark.parametrize("source", ["hf://org/repo/x.gguf; rm -rf ~", "hf://org/repo/$(x).gguf", "hf://-x/y/z.gguf"])
def test_no_command_from_what_an_archive_says(source: str, home: Path) -> None:
    assert "--fetch" not in Wanted(SHA256, source=source).advice
    assert "--fetch" not in Wanted(SHA256, source="hf://org/repo/x.gguf", revision="; rm").advice


@pytest.mark.parametrize("row", [{}, {"sha256": SHA256}, {"sha256": "00" * 32, "size": 1}, {"sha256": b"", "size": 1}])
def test_a_header_without_a_hash(row: dict[str, Any]) -> None:
    with pytest.raises(DamagedError):
        Wanted.from_header(row)


def test_a_header_with_odd_texts() -> None:
    row = {"sha256": SHA256, "size": 3, "name": 7, "source": b"x", "revision": "r" * 10_000}
    assert Wanted.from_header(row) == Wanted(SHA256, "", 3, "", "r" * 200)


# --- what --model takes ------------------------------------------------------------------------------------


def test_a_path_wins(home: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.hub_file(hub, "x.gguf", DATA)
    monkeypatch.chdir(home)
    path = build.write(home / SHA256.hex()[:10], OTHER)
    model = find.resolve(path.name)
    assert (model.path, model.sha256) == (str(path), build.sha256(OTHER))
    path.unlink()
    assert find.resolve(path.name).sha256 == SHA256
    path.mkdir()
    with pytest.raises(UsageError, match="folder"):
        find.resolve(path.name)


def test_prefixes(home: Path, hub: Path) -> None:
    build.hub_file(hub, "x.gguf", DATA)
    for text in (SHA256.hex()[:8], SHA256.hex()[:63].upper(), SHA256.hex(), f"sha256-{SHA256.hex()[:9]}"):
        assert find.resolve(text).sha256 == SHA256
    for text in (SHA256.hex()[:7], f"{SHA256.hex()}0", "no/such/file.gguf", "", "a\0b"):
        with pytest.raises(BackendMissingError, match="there is no model"):
            find.resolve(text)
    with pytest.raises(BackendMissingError, match="begins 0123456789"):
        find.resolve("0123456789")
    with pytest.raises(BackendMissingError, match="is not on this disk"):
        find.resolve("0" * 64)


def test_a_prefix_of_a_file_that_must_be_read(home: Path) -> None:
    path = build.write(home / ".lmstudio" / "models" / "x.gguf", DATA)
    model = find.resolve(SHA256.hex()[:8])
    assert (model.path, model.sha256) == (str(path), SHA256)


def test_an_ambiguous_prefix(hub: Path) -> None:
    # Files with such hashes would take a day to find; blobs with such names do not.
    link = build.hub_file(hub, "x.gguf", DATA)
    twin = SHA256.hex()[:10] + "0" * 54
    build.write(link.parent.parent.parent / "blobs" / twin, OTHER)
    (link.parent / "y.gguf").symlink_to(f"../../blobs/{twin}")
    for digits in (8, 10):
        with pytest.raises(UsageError) as caught:
            find.resolve(SHA256.hex()[:digits])
        assert twin in str(caught.value)
        assert SHA256.hex() in str(caught.value)
    assert find.resolve(SHA256.hex()[:11]).path == str(link)
    # The same model in two places is one.
    build.hub_file(hub, "x.gguf", DATA, repo="org/fork")
    assert find.resolve(SHA256.hex()[:11]).sha256 == SHA256


# --- names on the hub --------------------------------------------------------------------------------------


def test_revisions(hub: Path) -> None:
    build.hub_file(hub, "x.gguf", DATA, refs=["main", "v1"])
    build.hub_file(hub, "x.gguf", OTHER, commit=build.OTHER_COMMIT, refs=["dev", "refs/pr/1"])
    for revision in ("", "@main", "@v1", f"@{build.COMMIT}"):
        model = find.resolve(f"hf://org/repo/x.gguf{revision}")
        assert (model.sha256, model.revision) == (SHA256, build.COMMIT)
    for revision in ("@dev", "@refs/pr/1", f"@{build.OTHER_COMMIT}"):
        assert find.resolve(f"hf://org/repo/x.gguf{revision}").sha256 == build.sha256(OTHER)
    for name in ("repo/x.gguf@v2", "repo/y.gguf", "fork/x.gguf", f"repo/x.gguf@{'c' * 40}"):
        with pytest.raises(BackendMissingError, match=f"--fetch hf://org/{name}"):
            find.resolve(f"hf://org/{name}")


def test_without_main(hub: Path) -> None:
    build.hub_file(hub, "x.gguf", DATA, refs=[])
    assert find.resolve("hf://org/repo/x.gguf").revision == build.COMMIT
    build.hub_file(hub, "x.gguf", OTHER, commit=build.OTHER_COMMIT, refs=[])
    with pytest.raises(UsageError, match=f"@{build.COMMIT}, .*@{build.OTHER_COMMIT}"):
        find.resolve("hf://org/repo/x.gguf")


@pytest.mark.parametrize("ref", [b"", b"../../../x", b"\xff", b"a" * 1000])
def test_hostile_refs(ref: bytes, hub: Path) -> None:
    link = build.hub_file(hub, "x.gguf", DATA)
    (link.parent.parent.parent / "refs" / "main").write_bytes(ref)
    assert find.resolve("hf://org/repo/x.gguf").revision == build.COMMIT


NO_NAMES = ["", "org", "org/repo", "org/repo/", "org/repo/../../x.gguf", "org//x.gguf", "../repo/x.gguf"]
NO_NAMES += ["org/repo/x.gguf@", "org/repo/x.gguf@../x", "org/repo/x.gguf@a@b", "org/repo/x y.gguf", "org/--x/y.gguf"]
NO_NAMES += ["org/repo/pytorch_model.bin", "org/repo/x.pkl"]


@pytest.mark.parametrize("path", NO_NAMES)
def test_names_that_are_none(path: str, home: Path) -> None:
    with pytest.raises(UsageError):
        find.resolve(f"hf://{path}")


@given(st.text(max_size=30), st.text(max_size=10))
def test_a_name_is_plain_or_refused(path: str, revision: str) -> None:
    text = f"hf://org/repo/{path}.gguf@{revision}"
    try:
        name = HubName.parse(text)
    except UsageError:
        return
    assert str(name) == text
    assert ".." not in os.path.join(name.file, name.revision).split("/")
    assert name.file.isascii()


# --- fetching ----------------------------------------------------------------------------------------------


def _install_hub(monkeypatch: pytest.MonkeyPatch, data: bytes) -> list[dict[str, Any]]:
    """A huggingface_hub that has one file; returns the calls it gets."""
    calls: list[dict[str, Any]] = []

    def hf_hub_download(repo_id: str, filename: str, *, revision: str | None, cache_dir: str) -> str:
        calls.append({"repo": repo_id, "file": filename, "revision": revision})
        if filename != "x.gguf":
            raise RuntimeError("404: no such thing\nsecond line")
        return str(build.hub_file(Path(cache_dir), filename, data))

    module = types.ModuleType("huggingface_hub")
    monkeypatch.setattr(module, "hf_hub_download", hf_hub_download, raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return calls


def test_fetch(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = _install_hub(monkeypatch, DATA)
    for _ in range(2):
        model = fetch.fetch("hf://org/repo/x.gguf")
        assert (model.sha256, model.file_name) == (SHA256, "x.gguf")
    assert calls == [{"repo": "org/repo", "file": "x.gguf", "revision": None}]
    with pytest.raises(LmarcError, match=r"could not be fetched: 404: no such thing$"):
        fetch.fetch("hf://org/repo/y.gguf@v1")
    assert calls[1]["revision"] == "v1"
    with pytest.raises(UsageError):
        fetch.fetch(SHA256.hex())


def test_fetch_looks_at_what_came(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _install_hub(monkeypatch, DATA)
    link = build.hub_file(hub, "x.gguf", DATA)
    build.write(link.resolve(), DATA[:-1], age=30)
    with pytest.raises(BackendMissingError, match="not what its name says"):
        fetch.fetch("hf://org/repo/x.gguf")


def test_fetch_without_the_library(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BackendMissingError, match="pip install huggingface_hub"):
        fetch.fetch("hf://org/repo/x.gguf")


# --- walking -----------------------------------------------------------------------------------------------


def test_loops_and_broken_links(home: Path) -> None:
    root = home / ".lmstudio" / "models"
    path = build.write(root / "a" / "x.gguf", DATA)
    (root / "a" / "up").symlink_to(root)
    (root / "loop.gguf").symlink_to("loop.gguf")
    (root / "broken.gguf").symlink_to("nowhere")
    (root / "folder.gguf").mkdir()
    os.mkfifo(root / "pipe.gguf")
    (root / "again.gguf").symlink_to(path)
    assert sorted(each.path for each in stores.candidates()) == [str(root / "again.gguf")]
    assert list(files.walk(str(root))) == [str(root / "again.gguf"), str(path)]


def test_bounds(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = home.joinpath(*"abcdefghijkl")
    build.write(deep / "x.gguf", DATA)
    assert list(files.walk(str(home))) == []
    for number in range(20):
        build.write(home / f"{number:02}.gguf", DATA)
    monkeypatch.setattr(files, "MAX_ENTRIES", 10)
    with pytest.warns(UserWarning, match="not all looked at"):
        assert len(list(files.walk(str(home)))) <= 10


def test_nothing_anywhere(home: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(stores.candidates()) == []
        assert find.find(SHA256) is None
    assert list(home.iterdir()) == []
