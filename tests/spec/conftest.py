"""Lets tests here import the second writer beside them, whatever pytest's import mode."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(autouse=True)
def stay() -> Iterator[None]:
    """The decoder goes into the directory that it extracts into."""
    here = os.getcwd()
    yield
    os.chdir(here)
