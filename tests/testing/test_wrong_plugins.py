"""Every check bites: a plugin that is wrong in one way fails it, by name; one that is right passes all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lmarc.testing import CodecSuite, PredictorSuite
from lmarc.testing.suite import Suite
from tests.cli import program
from tests.plugins.distributions import install
from tests.testing.wrong_plugins import CODECS, PREDICTORS, Wrong, source

WRONG = PREDICTORS | CODECS
_RUN = """
import json, sys
from lmarc.backends import registry
from lmarc.testing import CheckError, CodecSuite, PredictorSuite
out = {}
for name, check in json.load(sys.stdin).items():
    kind = CodecSuite if "codec" in name else PredictorSuite
    suite = type("Suite", (kind,), {"backend": name, "large": 2000, "patience": 3.0 if name == "hanging" else 60.0})()
    try:
        getattr(suite, "test_" + check)()
        out[name] = ""
    except CheckError as error:
        out[name] = str(error)
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PYTHONPATH with all of them, two that are good, and one that cannot be imported."""
    folder = tmp_path_factory.mktemp("plugins")
    for name in (*WRONG, "good", "good-codec"):
        install(folder, name, source(name), version="0.7")
    return install(folder, "crashing", "raise RuntimeError('no libfoo here')", version="0.7")


@pytest.fixture(scope="module")
def failures(plugins: Path) -> dict[str, str]:
    """What the check that has to fail says of each of them."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps({name: wrong.check for name, wrong in WRONG.items()}),
        env=program.environment({"PYTHONPATH": str(plugins)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", WRONG)
def test_check_bites(failures: dict[str, str], name: str) -> None:
    assert f"backend {name!r} of lmarc-test-{name}==0.7: " in failures[name]
    assert WRONG[name].said in failures[name]


@pytest.mark.parametrize(("suite", "wrong"), [(PredictorSuite, PREDICTORS), (CodecSuite, CODECS)])
def test_every_check_has_a_wrong_plugin(suite: type[Suite], wrong: dict[str, Wrong]) -> None:
    assert {name.removeprefix("test_") for name in suite.checks()} == {each.check for each in wrong.values()}


@pytest.mark.parametrize("name", ["good", "good-codec"])
def test_good_plugins_pass(plugins: Path, tmp_path: Path, name: str) -> None:
    env = {"PYTHONPATH": str(plugins)}
    facts = program.run("plugin", "check", name, "--large", "20000", "--json", env=env, cwd=tmp_path).json
    assert facts["good"] and facts["plugin"] == f"lmarc-test-{name}==0.7"
    assert all(row["failure"] == "" for row in facts["checks"])
    assert {"version", "large content", "speed"} <= facts["figures"].keys()
    if name == "good":
        assert "log loss" in facts["figures"]["overhead"]


def test_certificate_of_a_wrong_one(plugins: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(plugins)}
    result = program.run("plugin", "check", "hanging", "--patience", "2", env=env, cwd=tmp_path, code=1)
    assert "lmarc-test-hanging==0.7: it did not come back within 2 s" in result.text
    # What comes after is not tried: it would hang as well.
    assert result.lines[-1].startswith("predictor 'hanging' of lmarc-test-hanging==0.7")
    assert [line for line in result.lines if line.startswith("-  ")]
    options = ("plugin", "check", "lossy", "--large", "2000")
    result = program.run(*options, env=env, cwd=tmp_path, code=1)
    assert len([line for line in result.lines if line.startswith("FAILED")]) == 1
    result = program.run(*options, "--except", "tokenizer", env=env, cwd=tmp_path)
    assert result.lines[-1].endswith("keeps all that is checked, tokenizer left out")
    program.run(*options, "--except", "nothing", env=env, cwd=tmp_path, code=2)


def test_plugin_that_cannot_be_imported(plugins: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(plugins)}
    result = program.run("plugin", "check", "crashing", env=env, cwd=tmp_path, code=13)
    assert "lmarc-test-crashing==0.7" in result.err and "no libfoo here" in result.err
    assert "not installed" in program.run("plugin", "check", "nowhere", env=env, cwd=tmp_path, code=13).err


def test_broken_plugins_cost_others_one_warning(plugins: Path, tmp_path: Path) -> None:
    """Of all these, those that an ordinary command comes upon at most."""
    (tmp_path / "a.txt").write_bytes(b"some text\n" * 99)
    env = {"PYTHONPATH": str(plugins)}
    for command in (["pack", "a.txt"], ["list", "a.txt.lmarc"], ["test", "a.txt.lmarc"]):
        assert "warning" not in program.run(*command, env=env, cwd=tmp_path).err
    warned = [line for line in program.run("backends", env=env, cwd=tmp_path).err.splitlines() if "warning" in line]
    assert len(warned) == 1 and "crashing" in warned[0]


def test_scores_that_are_none_cost_the_chunk_alone(plugins: Path, tmp_path: Path) -> None:
    """A pack with a model that gives NaN says who, and is whole."""
    (tmp_path / "a.txt").write_bytes(b"some text, and more of it\n" * 99)
    for name in ("nan", "infinite", "shape", "raising"):
        env = {"PYTHONPATH": str(plugins)}
        packed = program.run("pack", "-f", "a.txt", "--backend", name, env=env, cwd=tmp_path)
        (warned,) = [line for line in packed.err.splitlines() if "warning" in line]
        assert f"lmarc-test-{name}==0.7" in warned
        assert program.run("cat", "a.txt.lmarc", "a.txt", cwd=tmp_path).out == (tmp_path / "a.txt").read_bytes()
