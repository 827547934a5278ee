"""docs/plugins.md does what it says, and says all there is."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from lmarc.backends import contract, logits, settings
from tests.cli import program

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")
_BLOCK = re.compile(r"^```(sh|python)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment of its own to install into, on top of the one that runs this."""
    folder = tmp_path_factory.mktemp("author")
    venv.create(folder / "env", with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    installed = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(installed)]
    (folder / "env" / "lib" / version / "site-packages" / "above.pth").write_text("\n".join(lines))
    for name in ("lmarc", "pytest", "pip"):
        script = folder / "env" / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{folder}/env/bin/python" -m {name} "$@"\n')
        script.chmod(0o755)
    return program.environment({"PATH": f"{folder}/env/bin:{os.environ['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"})


def test_every_block_in_order(author: dict[str, str], tmp_path: Path) -> None:
    for language, place, text in _BLOCK.findall(PAGE):
        if language == "python":
            path = tmp_path / place
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-ec", text], cwd=tmp_path, env=author, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    # What the versions are for.
    for number in "12":
        info = tmp_path / f"rle{number}" / f"lmarc_rle-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lmarc-rle\nVersion: {number}\n")
        (info / "entry_points.txt").write_text("[lmarc]\nrle = lmarc_rle\n")
    (tmp_path / "lines").write_bytes(b"-" * 7000 + b"=" * 300)
    first, second = ({"PYTHONPATH": str(tmp_path / f"rle{number}")} for number in "12")
    for name, env in (("one", first), ("two", second)):
        packed = program.run("pack", "lines", "-o", f"{name}.lmarc", "-b", "rle", "--json", env=env, cwd=tmp_path)
        assert packed.json["chunks"] == {"rle": 1}
    for name in ("one", "two"):
        assert program.run("cat", f"{name}.lmarc", "lines", env=second, cwd=tmp_path).out[:1] == b"-"
    assert program.run("cat", "one.lmarc", "lines", env=first, cwd=tmp_path).out == (tmp_path / "lines").read_bytes()
    refused = program.run("cat", "two.lmarc", "lines", env=first, cwd=tmp_path, code=13)
    assert "does not decode version 2" in refused.err and "upgrade lmarc-rle" in refused.err
    assert (
        "'rle' is not installed: install the plugin"
        in program.run("cat", "two.lmarc", "lines", cwd=tmp_path, code=13).err
    )
    for env in (first, second):
        assert "keeps all" in program.run("plugin", "check", "rle", "--large", "9000", env=env, cwd=tmp_path).text


def public(of: object) -> list[str]:
    return [name for name in vars(of) if not name.startswith("_")]


CLASSES = [
    contract.Backend,
    contract.CodecBackend,
    contract.PredictorBackend,
    contract.PredictorModel,
    contract.Session,
]


def members(kind: type) -> list[str]:
    return sorted({*public(kind), *(name for name in kind.__annotations__ if not name.startswith("_"))})


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_member_is_on_the_page(kind: type) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind.__name__}` |")]
    named = {re.match(r"\w+", name)[0] for name in re.findall(r"`([^`]+)`", row)[1:]}  # type: ignore[index]
    assert named == set(members(kind))
    for name in members(kind):
        member = vars(kind).get(name)
        if inspect.isfunction(member):
            assert member.__doc__, f"{kind.__name__}.{name} has no docstring"
        else:
            source = inspect.getsource(kind)
            assert re.search(rf"#:[^\n]*\n(?:    #:[^\n]*\n)*(?:    \w+:[^\n]*\n)*    {name}\b", source), name


def test_every_public_name_is_on_the_page() -> None:
    defined = [
        name
        for name in public(contract)
        if getattr(vars(contract)[name], "__module__", contract.__name__) == contract.__name__
        and not inspect.ismodule(vars(contract)[name])
        and name not in ("TYPE_CHECKING", "annotations")
    ]
    for name in [*defined, "hookimpl", "hookspec"]:
        assert f"`{name}`" in PAGE, name
    for module in (logits, settings):
        for name in public(module):
            if inspect.isfunction(vars(module)[name]) and vars(module)[name].__module__ == module.__name__:
                assert f"`{name}" in PAGE, name


def exercised() -> str:
    """What calls or sets members of the contract: lmarc itself and its own plugins."""
    root = Path(__file__).parents[2]
    files = [*(root / "lmarc").rglob("*.py"), *(root / "plugins").glob("*/lmarc_*.py")]
    files += (root / "plugins").glob("*/lmarc_*/*.py")
    return "\n".join(path.read_text("utf-8") for path in files if path.name != "contract.py")


def test_every_member_is_used() -> None:
    source = exercised()
    for kind in CLASSES:
        for name in members(kind):
            assert re.search(rf"[.\"]{name}\b", source), f"nothing uses {kind.__name__}.{name}"
