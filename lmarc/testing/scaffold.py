"""A new plugin package to begin with: it installs and passes its tests as it is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from lmarc.backends import registry
from lmarc.container.header import BACKEND_NAME
from lmarc.errors import TargetExistsError, UsageError

#: Files of the package by the templates they come from.
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "backend.py": "@MODULE@.py",
    "test_backend.py": "tests/test_@MODULE@.py",
    "ci.yml": ".github/workflows/ci.yml",
}


def scaffold(name: str, folder: Path) -> Path:
    """Write the package of a predictor of that name to lmarc-NAME in the folder; returns where it is.

    Raises UsageError for a name that is none or is taken, TargetExistsError.
    """
    if not BACKEND_NAME.match(name) or not (name[0].isalnum() and name[-1].isalnum()):
        raise UsageError(
            f"a plugin cannot be called {name!r}: 1 to 64 of a-z 0-9 - _, with a letter or digit at each end"
        )
    if name in registry.found() or name in registry.KNOWN_PLUGINS:
        raise UsageError(f"there is a backend {name!r} already")
    package = folder / f"lmarc-{name}"
    words = {
        "@NAME@": name,
        "@MODULE@": "lmarc_" + name.replace("-", "_"),
        "@CLASS@": "My" + "".join(word.capitalize() for word in name.replace("-", "_").split("_")),
    }
    try:
        package.mkdir(parents=True)
    except FileExistsError:
        raise TargetExistsError(f"{package} exists") from None
    for template, place in _FILES.items():
        path = package / _filled(place, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = files("lmarc.testing").joinpath("template", f"{template}.txt").read_text("utf-8")
        path.write_text(_filled(text, words), "utf-8")
    return package


def _filled(text: str, words: dict[str, str]) -> str:
    for key, word in words.items():
        text = text.replace(key, word)
    return text
