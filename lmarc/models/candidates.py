"""Files that may be models, and what is known of them without reading them."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass

from lmarc.models.identity import ModelFile, cached_sha256

_BLOB = re.compile(r"(?:sha256-)?([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class Candidate:
    """A regular file in some store. `claim` is the sha256 that its name or the register gives it.

    The other fields are those of ModelFile.
    """

    path: str
    size: int
    file_name: str
    place: str
    source: str = ""
    revision: str = ""
    claim: bytes | None = None

    def known_sha256(self) -> bytes | None:
        """The sha256 as far as it is known without reading: computed before, else claimed."""
        return cached_sha256(self.path) or self.claim

    def as_model(self, sha256: bytes) -> ModelFile:
        """The same as a model with that sha256."""
        return ModelFile(self.path, sha256, self.size, self.file_name, self.place, self.source, self.revision)


def candidate(
    path: str, place: str, *, file_name: str = "", source: str = "", revision: str = "", claim: bytes | None = None
) -> Candidate | None:
    """The file at path; None if there is no regular file. Without a claim, what its name says is one."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    path = os.path.abspath(path)
    name = file_name or os.path.basename(path)
    return Candidate(path, info.st_size, name, place, source, revision, claim or named_sha256(path))


def named_sha256(path: str) -> bytes | None:
    """The sha256 that a file's name, links followed, gives it: it is a blob of the Hugging Face cache or of Ollama."""
    folder, name = os.path.split(os.path.realpath(path))
    match = _BLOB.match(name)
    return bytes.fromhex(match[1]) if match and os.path.basename(folder) == "blobs" else None
