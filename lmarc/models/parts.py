"""Models of several files: what lies beside a safetensors file and belongs to it, as Hugging Face lays models out."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress

from lmarc.errors import UsageError
from lmarc.models import jsonfile
from lmarc.models.files import SAFETENSORS, is_safetensors
from lmarc.models.huggingface import PART
from lmarc.models.identity import Progress, sha256_of

INDEX = "model.safetensors.index.json"
#: What decides, besides the weights, how a model reads a text and what it makes of it.
_OTHERS = ("config.json", "tokenizer.json", INDEX)
_NAME = re.compile(rf"(?=.{{1,200}}\Z){PART}\Z")
MOST_SHARDS = 1000
MOST_PARTS = MOST_SHARDS + len(_OTHERS)


def is_name(name: object) -> bool:
    """Whether a file of a model may be called so: nothing that leads out of its folder."""
    return type(name) is str and _NAME.match(name) is not None


def main_file(folder: str) -> str:
    """The file that a model's folder is known by: model.safetensors, or the first of several that hold the weights.

    Raises UsageError if there is none.
    """
    single = os.path.join(folder, "model" + SAFETENSORS)
    if os.path.isfile(single):
        return single
    names = _shards(folder)
    if not names:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SAFETENSORS) and is_name(name))
        if len(names) > 1:
            raise UsageError(f"{folder} has several safetensors files and no {INDEX}: name one")
    if not names:
        raise UsageError(f"{folder} is a folder without safetensors files, not a model")
    return os.path.join(folder, names[0])


def weights_of(path: str) -> list[str]:
    """The names of all files that hold weights of the model that `path` is the main file of."""
    folder, name = os.path.split(path)
    names = _shards(folder)
    return names if name in names else [name]


def beside(path: str, progress: Progress | None = None) -> dict[str, bytes]:
    """sha256 by name of the other files of a model in the main file's folder; empty for models of one file.

    Raises OSError, UsageError.
    """
    if not is_safetensors(path):
        return {}
    folder, name = os.path.split(os.path.abspath(path))
    # Whatever is there is read, or refused: nothing that decides is left out.
    names = {*weights_of(path), *(other for other in _OTHERS if os.path.lexists(os.path.join(folder, other)))} - {name}
    return {other: sha256_of(os.path.join(folder, other), progress=progress) for other in sorted(names)}


def are_beside(path: str, wanted: Mapping[str, bytes], progress: Progress | None = None) -> bool:
    """Whether all of these files lie beside the main file, and no other that would change the model."""
    try:
        return beside(path, progress) == dict(wanted)
    except (OSError, UsageError):
        return False


def differing(path: str, wanted: Mapping[str, bytes]) -> str:
    """The names of those that are not as they should be, for messages."""
    found: dict[str, bytes] = {}
    with suppress(OSError, UsageError):
        found = beside(path)
    return ", ".join(sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name)))


def _shards(folder: str) -> list[str]:
    """Names of the files that the index says hold weights, sorted; empty without an index. Raises UsageError."""
    path = os.path.join(folder, INDEX)
    if not os.path.lexists(path):
        return []
    try:
        table = jsonfile.load(path)
        names = sorted(set(table["weight_map"].values()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} is not an index of weights: {error}") from None
    if len(names) > MOST_SHARDS or not all(is_name(name) and name.endswith(SAFETENSORS) for name in names):
        raise UsageError(f"{path} names files that cannot be a model's")
    return names
