"""Fetching a model because the user said so. The only code of lmarc that uses the network."""

from __future__ import annotations

import importlib

from lmarc.errors import BackendMissingError, LmarcError
from lmarc.models import huggingface
from lmarc.models.huggingface import HubName
from lmarc.models.identity import ModelFile, Progress, sha256_of


def fetch(text: str, *, progress: Progress | None = None) -> ModelFile:
    """Get hf://ORG/REPO/FILE[@REVISION] into the Hugging Face cache, unless it is there; hash it.

    Raises UsageError if it is no such name, BackendMissingError without huggingface_hub or if what came is not what
    its name says, LmarcError if fetching fails.
    """
    name = HubName.parse(text)
    try:
        found = huggingface.locate(name)
    except BackendMissingError:
        _download(name)
        found = huggingface.locate(name)
    sha256 = sha256_of(found.path, progress=progress)
    if found.claim not in (None, sha256):
        raise BackendMissingError(f"{found.path} is not what its name says: its sha256 is {sha256.hex()}")
    return found.as_model(sha256)


def _download(name: HubName) -> None:
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError:
        raise BackendMissingError(f"fetching {name} needs huggingface_hub: pip install huggingface_hub") from None
    try:
        # Said here, since the library reads the environment in its own way: it must lie where it will be looked for.
        hub.hf_hub_download(name.repo, name.file, revision=name.revision or None, cache_dir=huggingface.roots()[0])
    except Exception as error:
        # What the library raises has changed with its versions, and not all of it is OSError.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise LmarcError(f"{name} could not be fetched: {reason}") from error
