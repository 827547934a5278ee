"""The examples in the documentation of lmarc's modules run, and every public thing is documented."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import lmarc

MODULES = ["lmarc", *(module.name for module in pkgutil.walk_packages(lmarc.__path__, "lmarc."))]


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in MODULES if name != "lmarc.__main__" and ".coding" not in name])
def test_examples(name: str) -> None:
    assert doctest.testmod(load(name)).failed == 0
    assert load(name).__doc__


def test_there_are_examples_of_the_public_api() -> None:
    found = doctest.DocTestFinder()
    documented = {name: bool(found.find(getattr(lmarc, name))[0].examples) for name in ("open", "compress", "is_lmarc")}
    assert documented == {"open": True, "compress": True, "is_lmarc": True}
