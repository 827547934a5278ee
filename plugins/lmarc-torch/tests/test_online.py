"""A learner that both sides train on what has just been coded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import lmarc
from lmarc.testing.contents import CONTENTS, PROSE
from tests.cli import program

Run = Callable[..., program.Result]
SMALL = ("--set", "width=32", "--set", "lanes=3")


def test_round_trip(run_always: Run, tmp_path: Path) -> None:
    """No model is given, neither to pack nor to unpack."""
    (tmp_path / "tree").mkdir()
    contents = {"prose": PROSE * 20, "bytes": CONTENTS["every byte"], "other": CONTENTS["invalid UTF-8"], "one": b"x"}
    for name, data in contents.items():
        (tmp_path / "tree" / name).write_bytes(data)
    run_always("pack", "--online", *SMALL, "-b", "torch", "tree", cwd=tmp_path)
    with lmarc.open(tmp_path / "tree.lmarc") as archive:
        refs = {
            archive.header.backends[chunk.codec].name: archive.header.backends[chunk.codec] for chunk in archive.chunks
        }
        assert refs["torch"].promise == "matching"
        assert (refs["torch"].params["width"], refs["torch"].params["lanes"]) == (32, 3)
    program.run("unpack", "-C", "out", "tree.lmarc", cwd=tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "tree").iterdir()} == contents
    # The same again gives the same bytes: nothing depends on what was learned before.
    first = (tmp_path / "tree.lmarc").read_bytes()
    run_always("pack", "--online", *SMALL, "-b", "torch", "-f", "tree", cwd=tmp_path)
    assert (tmp_path / "tree.lmarc").read_bytes() == first


def test_it_learns() -> None:
    from lmarc_torch.backend import Torch

    from lmarc.backends.predicted import PredictorCodec

    backend = Torch()
    path = backend.own_model({"mode": "online"})
    assert path is not None
    model = backend.open(path, {"mode": "online", "width": 64, "lanes": 1}, 1)
    codec = PredictorCodec(backend, model, mixing=False)
    data = bytes(range(97, 123)) * 150
    assert len(codec.compress(data, {})) < len(data) / 4
    assert codec.decompress(memoryview(codec.compress(data[:500], {})), 500, {}) == data[:500]


@pytest.mark.parametrize("setting", ["width=0", "lanes=100", "rate=fast", "context=64"])
def test_set_what_cannot_be(tmp_path: Path, setting: str) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    program.run("pack", "--online", "--set", setting, "-b", "torch", "a.txt", cwd=tmp_path, code=2)


def test_other_modes_need_a_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE)
    assert "--model" in program.run("pack", "-b", "torch", "a.txt", cwd=tmp_path, code=2).err


def test_what_packing_will_take_is_measured(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(PROSE * 3)
    args = ("pack", "--online", *SMALL, "-b", "torch", "a.txt", "--max-time")
    assert "tokens/s" in program.run(*args, "0.001", cwd=tmp_path, code=17).err
    program.run(*args, "1h", cwd=tmp_path)


def test_another_instruction_set_is_noticed(run_always: Run, tmp_path: Path) -> None:
    """By the canary, which is taken from a learner that has learned something."""
    (tmp_path / "a.txt").write_bytes(PROSE * 3)
    run_always("pack", "--online", "--set", "width=64", "-b", "torch", "a.txt", cwd=tmp_path)
    env = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    result = program.run("cat", "a.txt.lmarc", "a.txt", cwd=tmp_path, env=env, code=None)
    assert result.code == 14 or (result.code == 0 and result.out == PROSE * 3)
