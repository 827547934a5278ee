"""A home of its own for every test."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmarc.models import ollama
from tests.models import build


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home directory, in which no model is; nothing else is looked at."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name, value in build.environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ollama, "_SYSTEM", str(tmp_path / "system-ollama"))
    return folder
