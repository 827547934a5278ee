"""Real archives: packed, listed, tested and unpacked by the program, each in a process of its own."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from lmarc_llama.library import library

import lmarc
from fixtures import random_models
from lmarc.archive import predictors
from lmarc.backends import predicted, registry
from lmarc.models.identity import ModelFile, model_file
from lmarc.testing.contents import CONTENTS, PROSE, write_tree
from tests.cli import program

Paths = dict[str, Path]
Run = Callable[..., program.Result]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all of them; not to be changed."""
    return write_tree(tmp_path_factory.mktemp("hostile") / "tree")


def assert_unpacked(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def coded_by(archive: Path) -> set[str]:
    """The backends that the chunks need."""
    with lmarc.open(archive) as opened:
        return {opened.header.backends[chunk.codec].name for chunk in opened.chunks}


def test_round_trip_with_other_threads(models: Paths, run_always: Run, tree: Path, tmp_path: Path) -> None:
    model = models["bpe"]
    archives = []
    for jobs, others in (("1", "2"), ("2", "1")):
        archives.append(tmp_path / f"{jobs}.lmarc")
        run_always("pack", "-j", jobs, "-m", model, "-o", archives[-1], tree)
        assert coded_by(archives[-1]) == {"llama"}
        program.run("unpack", "-j", others, "-m", model, "-C", tmp_path / f"from {jobs}", archives[-1])
        assert_unpacked(tmp_path / f"from {jobs}" / "tree")
    assert archives[0].read_bytes() == archives[1].read_bytes()


@pytest.mark.parametrize("name", ["spm", "rwkv7", "mamba", "ugm", "wpm"])
def test_round_trip(models: Paths, run_always: Run, tree: Path, tmp_path: Path, name: str) -> None:
    """Also of a model in lockstep, and with vocabularies that do not fit a text."""
    run_always("pack", "-j", "1", "-m", models[name], "-o", tmp_path / "a.lmarc", tree)
    assert coded_by(tmp_path / "a.lmarc") == {"llama"}
    program.run("unpack", "-j", "2", "-m", models[name], "-C", tmp_path, tmp_path / "a.lmarc")
    assert_unpacked(tmp_path / "tree")


def test_round_trip_by_whatever_is_best(models: Paths, tree: Path, tmp_path: Path) -> None:
    paths = [tree / name for name in ("prose", "Chinese", "zeros", "random")]
    for archive in ("a.lmarc", "b.lmarc"):
        program.run("pack", "-j", "1", "-m", models["bpe"], "-o", tmp_path / archive, *paths)
    assert (tmp_path / "a.lmarc").read_bytes() == (tmp_path / "b.lmarc").read_bytes()
    program.run("unpack", "-j", "1", "-m", models["bpe"], "-C", tmp_path / "out", tmp_path / "a.lmarc")
    assert all((tmp_path / "out" / path.name).read_bytes() == path.read_bytes() for path in paths)


def test_archive_names_the_model(models: Paths, run_always: Run, tree: Path, tmp_path: Path) -> None:
    model, archive = models["bpe"], tmp_path / "a.lmarc"
    # The ending of the file's name says the backend, in any case.
    named = tmp_path / "A Model.GGUF"
    named.symlink_to(model)
    run_always("pack", "-j", "1", "-m", named, "-o", archive, tree)
    facts = program.run("info", "--json", archive).json
    (row,) = (row for row in facts["backends"] if row["chunks"])
    assert (row["name"], row["version"], row["promise"]) == ("llama", 1, "matching")
    assert row["content"] == sum(len(data) for data in CONTENTS.values())
    assert 0 < row["payload"] < row["content"]
    (said,) = facts["options"]["models"]
    assert said["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert said["size"] == model.stat().st_size
    assert said["name"] == "A Model.GGUF"
    assert (said["architecture"], said["quantisation"]) == ("llama", "F16")
    assert said["tokenizer"]["kind"] == "gpt2/gpt-2"
    assert len(bytes.fromhex(said["tokenizer"]["sha256"])) == 32
    assert facts["options"]["chunking"]["lanes"] == row["params"]["lanes"]
    text = program.run("info", archive).text
    assert "llama 1" in text and "matching" in text
    listed = program.run("list", "--json", archive).json
    assert len(listed["members"]) == len(CONTENTS) + 1


def test_cat_and_diff_use_the_model(models: Paths, run_always: Run, tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "a.lmarc"
    run_always("pack", "-j", "1", "-m", models["spm"], "-o", archive, tree)
    assert program.run("cat", "-m", models["spm"], archive, "tree/prose").out == CONTENTS["prose"]
    # A folder may be given too; and other models that are no help.
    options = ("-m", models["bpe"], "-m", models["spm"].parent)
    assert program.run("test", "-j", "1", *options, archive).code == 0
    assert program.run("diff", "-m", models["spm"], archive, tree).code == 0
    missing = program.run("cat", archive, "tree/prose", code=13)
    assert missing.out == b""


def test_pipes(models: Paths, run_always: Run, tmp_path: Path) -> None:
    packed = run_always("pack", "-j", "1", "-m", models["spm"], "-o", "-", "-", stdin=PROSE * 2).out
    assert program.run("cat", "-m", models["spm"], "-", "stdin", stdin=packed).out == PROSE * 2


def test_set(models: Paths, run_always: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE * 8)
    settings = ("--set", "lanes=3", "--set", "context=128", "--set", "keep=32", "--set", "slide=again")
    run_always("pack", *settings, "-m", models["bpe"], "a.txt", cwd=tmp_path)
    with lmarc.open(tmp_path / "a.txt.lmarc") as archive:
        (ref,) = archive.header.backends
        wished = {"lanes": 3, "context": 128, "keep": 32, "slide": "again"}
        assert {key: ref.params[key] for key in wished} == wished
        assert archive.header.options["chunking"]["lanes"] == 3
    assert program.run("cat", "-m", models["bpe"], "a.txt.lmarc", "a.txt", cwd=tmp_path).out == PROSE * 8


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("lanes=0", 2, "lanes 0"),
        ("lanes=1000", 2, "lanes 1000"),
        ("lanes=many", 2, "lanes 'many'"),
        ("slide=never", 2, "slide 'never'"),
        ("rows=1", 2, "no setting 'rows'"),
        ("depth=1", 2, "no setting 'depth'"),
        ("lanes", 2, "KEY=VALUE"),
        ("keep=1024", 2, "shape"),
    ],
)
def test_set_what_cannot_be(models: Paths, tmp_path: Path, setting: str, code: int, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    result = program.run("pack", "--set", setting, "-m", models["bpe"], "a.txt", cwd=tmp_path, code=code)
    assert said in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_set_to_all_that_an_archive_says(models: Paths, run_always: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE * 2)
    run_always("pack", "-m", models["bpe"], "a.txt", cwd=tmp_path)
    with lmarc.open(tmp_path / "a.txt.lmarc") as archive:
        settings = [f"--set={key}={value}" for key, value in archive.header.backends[0].params.items()]
    assert "no setting" in program.run("pack", "-f", *settings, "-m", models["bpe"], "a.txt", cwd=tmp_path, code=2).err


def test_set_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    assert "--model" in program.run("pack", "--set", "lanes=1", "a.txt", cwd=tmp_path, code=2).err


@pytest.mark.skipif(library().llama_supports_gpu_offload(), reason="this llama.cpp has been built for a GPU")
def test_offload_without_a_gpu(models: Paths, run_always: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    assert "GPU" in program.run("pack", "--set", "offload=9", "-m", models["bpe"], "a.txt", cwd=tmp_path, code=13).err


@pytest.mark.skipif(not library().llama_supports_gpu_offload(), reason="this llama.cpp has not been built for a GPU")
def test_offload(models: Paths, run_always: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE * 8)
    run_always("pack", "--set", "offload=99", "-m", models["bpe"], "a.txt", cwd=tmp_path)
    with lmarc.open(tmp_path / "a.txt.lmarc") as archive:
        (ref,) = archive.header.backends
        assert ref.params["offload"] == 99
        assert ref.properties["environment"]["devices"]
    assert program.run("cat", "-m", models["bpe"], "a.txt.lmarc", "a.txt", cwd=tmp_path).out == PROSE * 8


def test_advice_against_an_instruct_model(models: Paths, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    named = models["bpe"].read_bytes()
    assert named.count(b"lmarc tiny") == 1
    (tmp_path / "chat.gguf").write_bytes(named.replace(b"lmarc tiny", b"tiny chat "))
    assert "base model" in program.run("pack", "-fm", "chat.gguf", "a.txt", cwd=tmp_path).err
    assert "base model" not in program.run("pack", "-fm", models["bpe"], "a.txt", cwd=tmp_path).err


def test_backend_that_needs_a_model(tree: Path, models: Paths, tmp_path: Path) -> None:
    archive = tmp_path / "a.lmarc"
    refused = program.run("pack", "--backend", "llama", "-o", archive, tree, code=2)
    assert "--model" in refused.err
    plain = tmp_path / "model.bin"
    plain.symlink_to(models["spm"])
    assert "--backend" in program.run("pack", "-m", plain, "-o", archive, tree, code=2).err
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + bytes(1000))
    unusable = program.run("pack", "-m", junk, "-o", archive, tree, code=13)
    assert "junk.gguf" in unusable.err and len(unusable.err.splitlines()) == 1
    program.run("pack", "-m", tmp_path / "nowhere.gguf", "-o", archive, tree, code=13)
    assert not archive.exists()


def test_backend_named_for_a_file_of_another_ending(models: Paths, run_always: Run, tmp_path: Path) -> None:
    plain, text = tmp_path / "model.bin", tmp_path / "text"
    plain.symlink_to(models["spm"])
    text.write_bytes(PROSE)
    run_always("pack", "-j", "1", "-b", "llama", "-m", plain, "-o", tmp_path / "a.lmarc", text)
    assert coded_by(tmp_path / "a.lmarc") == {"llama"}
    program.run("test", "-j", "1", "-m", plain, tmp_path / "a.lmarc")


def test_never_larger_than_without(models: Paths, tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "a.txt").write_bytes(PROSE * 2)
    (folder / "b.py").write_bytes(Path(random_models.__file__).read_bytes()[:2000])
    (folder / "c.bin").write_bytes(random.Random(3).randbytes(700))
    sizes: list[tuple[int, int]] = []
    for options in (("-p", "best", "-b", "cm"), ("-m", models["bpe"])):
        archive = tmp_path / f"{len(sizes)}.lmarc"
        program.run("pack", "-j", "1", *options, "-o", archive, folder)
        facts = program.run("info", "--json", archive).json
        assert archive.stat().st_size == facts["payload"] + facts["overhead"]
        sizes.append((facts["payload"], facts["overhead"]))
    assert sizes[1][0] <= sizes[0][0]
    # What names the model and what it takes to run it as it was run.
    assert sizes[1][1] <= sizes[0][1] + 1500


def test_what_the_model_has_learned_helps(opened_for_packing: Callable[[str], predictors.OpenPredictor]) -> None:
    learned, random_ = (len(opened_for_packing(name).codec.compress(PROSE, {})) for name in ("bpe", "spm"))
    assert learned < random_


def test_many_lanes(
    opened_for_packing: Callable[[str], predictors.OpenPredictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More symbols than one lane takes: several, of which the last is the shortest."""
    monkeypatch.setattr(predicted, "_LEAST_SYMBOLS", 250)
    codec = opened_for_packing("bpe").codec
    data = random.Random(5).randbytes(1001) + PROSE
    payload = codec.compress(data, {})
    assert payload[0] > 1
    assert codec.decompress(memoryview(payload), len(data), {}) == data


def test_a_text_longer_than_the_context(models: Paths) -> None:
    codec = predictors.open_for_packing("llama", file_of(models["spm"]), {"context": 64, "lanes": 2}, 1).codec
    data = bytes(random.Random(6).choices(b"abcdefgh \n", k=1500))
    payload = codec.compress(data, {})
    assert codec.decompress(memoryview(payload), len(data), {}) == data
    codec.close()


def test_damaged_payloads_give_errors(opened_for_packing: Callable[[str], predictors.OpenPredictor]) -> None:
    from lmarc.errors import DamagedError

    codec = opened_for_packing("spm").codec
    data = PROSE
    payload = codec.compress(data, {})
    rng = random.Random(9)
    for _ in range(12):
        broken = bytearray(payload)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        try:
            # What it gives is compared with the chunk's check.
            assert len(codec.decompress(memoryview(bytes(broken)), len(data), {})) == len(data)
        except DamagedError:
            pass
    for cut in (0, 1, 5, len(payload) // 2):
        with pytest.raises(DamagedError):
            codec.decompress(memoryview(payload[:cut]), len(data), {})
            raise DamagedError("it decodes to something else")


def file_of(path: Path) -> ModelFile:
    return model_file(path)


@pytest.fixture(scope="module")
def opened_for_packing(models: Paths) -> Callable[[str], predictors.OpenPredictor]:
    """Opens a model as a pack does, each once."""
    found: dict[str, predictors.OpenPredictor] = {}

    def opened(name: str) -> predictors.OpenPredictor:
        if name not in found:
            found[name] = predictors.open_for_packing("llama", file_of(models[name]), {}, 1)
        return found[name]

    return opened


def test_the_backend_is_implied_by_the_kind_of_file() -> None:
    assert registry.predictor_for("x/model.gguf") == "llama"
    assert registry.predictor_for("x/model.onnx") != "llama"
