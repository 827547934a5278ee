"""The last look at a model file before it is used."""

from __future__ import annotations

from lmarc.errors import BackendMissingError, UsageError
from lmarc.models.identity import ModelFile, Progress, sha256_of


def checked(file: ModelFile, expected: bytes, *, progress: Progress | None = None, fresh: bool = False) -> None:
    """Return if the content's sha256 is the expected one: hashed now, or before and unchanged since (not if `fresh`).

    Raises BackendMissingError if it differs or the file cannot be read.
    """
    try:
        found = sha256_of(file.path, progress=progress, fresh=fresh)
    except OSError as error:
        raise BackendMissingError(f"model {file.path}: {error.strerror or error}") from error
    except UsageError as error:
        raise BackendMissingError(f"model {error}") from error
    if found != expected:
        raise BackendMissingError(f"model {file.path} has sha256 {found.hex()}, not {expected.hex()}")
