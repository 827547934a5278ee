"""Ollama's store as it lies on disk: manifests/HOST/NAMESPACE/MODEL/TAG name blobs/sha256-HEX."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from lmarc.models import jsonfile
from lmarc.models.candidates import Candidate, candidate
from lmarc.models.files import from_environment, in_home, walk

PLACE = "Ollama"
_SYSTEM = "/usr/share/ollama/.ollama/models"
_MODEL_LAYER = "application/vnd.ollama.image.model"
_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})\Z")
_DEFAULTS = ("registry.ollama.ai/", "library/")
_MAX_MANIFEST = 1 << 20


def roots() -> list[str]:
    """Stores; they need not exist."""
    return list(dict.fromkeys([*from_environment("OLLAMA_MODELS"), *in_home(".ollama", "models"), _SYSTEM]))


def candidates() -> Iterator[Candidate]:
    """The model files that manifests name, called as Ollama calls them (llama3.2:1b)."""
    for root in roots():
        manifests = os.path.join(root, "manifests")
        for path in walk(manifests, lambda name: not name.startswith(".")):
            for digest in _model_layers(path):
                name = _model_name(os.path.relpath(path, manifests))
                found = candidate(_blob(root, digest), PLACE, file_name=name)
                if found is not None:
                    yield found


def named(sha256: bytes) -> Iterator[Candidate]:
    """Blobs that their name says have that sha256, whether or not a manifest names them."""
    for root in roots():
        found = candidate(_blob(root, sha256.hex()), PLACE)
        if found is not None:
            yield next((each for each in candidates() if each.path == found.path), found)


def _blob(root: str, digest: str) -> str:
    return os.path.join(root, "blobs", f"sha256-{digest}")


def _model_layers(path: str) -> Iterator[str]:
    try:
        manifest = jsonfile.load(path, _MAX_MANIFEST)
    except (OSError, ValueError):
        return
    layers = manifest.get("layers") if type(manifest) is dict else None
    for layer in layers if type(layers) is list else ():
        if type(layer) is dict and layer.get("mediaType") == _MODEL_LAYER:
            match = _DIGEST.match(str(layer.get("digest")))
            if match:
                yield match[1]


def _model_name(path: str) -> str:
    for default in _DEFAULTS:
        path = path.removeprefix(default)
    name, _, tag = path.rpartition("/")
    return f"{name}:{tag}"
