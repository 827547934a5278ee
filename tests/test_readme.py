"""The README says what works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_python_example_runs(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("print('hello')\n" * 20)
    (tmp_path / "src" / "build").mkdir()
    (tmp_path / "more.txt").write_text("And more of it.\n")
    (tmp_path / "notes.txt").write_text("Prediction is compression.\n")
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "restored" / "src" / "main.py").read_text() == "print('hello')\n" * 20


def test_ci_runs_the_test_command() -> None:
    command = next(line.strip() for line in README.splitlines() if "-m pytest" in line)
    script = (ROOT / ".ci" / "run").read_text().replace("--quiet ", "")
    for part in command.split(" && "):
        assert part in script


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_commands_are_all_named() -> None:
    from lmarc.cli.main import COMMANDS

    for name in COMMANDS:
        assert re.search(rf"\blmarc {name}\b", README)
