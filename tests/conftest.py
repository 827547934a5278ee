"""Fixtures that several parts of the suite share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import trees

# A busy machine makes examples slow, which says nothing about the code.
settings.register_profile("lmarc", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lmarc")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A directory that is removed afterwards whatever has been extracted into it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    trees.remove_tree(folder)


@pytest.fixture(scope="session")
def hostile_tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The hostile tree, made once; not to be changed."""
    root = tmp_path_factory.mktemp("hostile") / "tree"
    trees.make_hostile_tree(root)
    yield root
    trees.remove_tree(root)
