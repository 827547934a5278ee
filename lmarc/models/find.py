"""Finding a model on this disk: by its hash, or by what a user calls it. Never asks the network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

from lmarc.errors import BackendMissingError, UsageError
from lmarc.models import huggingface, parts, stores
from lmarc.models.candidates import Candidate
from lmarc.models.huggingface import HubName
from lmarc.models.identity import ModelFile, Progress, model_file, sha256_of
from lmarc.models.verify import checked
from lmarc.models.wanted import Wanted

GIVEN = "given"
#: The fewest hexadecimal digits that may stand for a hash.
MIN_PREFIX = 8
_HASH = re.compile(rf"(?:sha256[:-])?([0-9a-f]{{{MIN_PREFIX},64}})\Z", re.IGNORECASE)


def copies(
    sha256: bytes, *, size: int | None = None, paths: Sequence[str] = (), progress: Progress | None = None
) -> Iterator[ModelFile]:
    """Files that are that model, the cheapest to find first; ask for the next if one turns out not to be it.

    First `paths` (files and folders), hashed; then what has the hash for its name or has been hashed before, in the
    order of the stores; last, the other files of the stores, hashed one by one. Of a known size in bytes, files of
    another are passed over.
    """
    seen: set[str] = set()

    def new(found: Iterable[Candidate]) -> Iterator[Candidate]:
        for each in found:
            if each.path not in seen and size in (None, each.size):
                yield each

    def take(found: Candidate) -> ModelFile:
        seen.add(found.path)
        return found.as_model(sha256)

    for each in new(stores.at(paths, GIVEN)):
        if _hash(each, progress) == sha256:
            yield take(each)
    unread = []
    for each in new(chain(stores.named(sha256), stores.candidates())):
        known = each.known_sha256()
        if known == sha256:
            yield take(each)
        elif known is None:
            unread.append(each)
    for each in unread:
        if _hash(each, progress) == sha256:
            yield take(each)


def find(
    sha256: bytes, *, size: int | None = None, paths: Sequence[str] = (), progress: Progress | None = None
) -> ModelFile | None:
    """Where the model of that sha256 is; None if nowhere. Not `checked` yet: `require` is for what will use it."""
    return next(copies(sha256, size=size, paths=paths, progress=progress), None)


def require(wanted: Wanted, *, paths: Sequence[str] = (), progress: Progress | None = None) -> ModelFile:
    """A file that is that model, its content checked.

    Raises BackendMissingError, with where it was looked for and how to get it, if there is none.
    """
    others: list[str] = []
    for model in copies(wanted.sha256, size=wanted.size, paths=paths, progress=progress):
        with suppress(BackendMissingError):
            checked(model, wanted.sha256, progress=progress)
            if parts.are_beside(model.path, wanted.beside, progress):
                return replace(model, beside=wanted.beside)
            others.append(f"{os.path.dirname(model.path)}, where {parts.differing(model.path, wanted.beside)} differs")
    raise missing(wanted, paths=[*paths, *others])


def missing(wanted: Wanted, *, paths: Sequence[str] = ()) -> BackendMissingError:
    """The error for a model that is not on this disk: how to get it, where it was looked for, what is not it."""
    false = [f"{each.path}, which is damaged or another file" for each in claimants(wanted.sha256.hex())]
    places = "; ".join([*paths, *stores.places(), *false])
    return BackendMissingError(f"{wanted.label} is not on this disk; {wanted.advice}. Looked at: {places}")


def claimants(text: str) -> Iterator[Candidate]:
    """Files of which their name or the register says that their sha256 begins so, whatever it is. Nothing is read."""
    match = _HASH.match(text)
    if match is None:
        return
    digits = match[1].lower()
    named = stores.named(bytes.fromhex(digits)) if len(digits) == 64 else ()
    seen: set[str] = set()
    for each in chain(named, stores.candidates()):
        if each.claim is not None and each.claim.hex().startswith(digits) and each.path not in seen:
            seen.add(each.path)
            yield each


def resolve(text: str, *, progress: Progress | None = None) -> ModelFile:
    """The model that `--model` names: a path, at least 8 digits of a sha256, or hf://ORG/REPO/FILE[@REVISION].

    A path wins where it exists, and is hashed; a folder stands for the model that lies in it. Of the others the hash
    may be what the file's name says: `checked` before use. Raises BackendMissingError if there is no such model,
    UsageError if there are several or the text is no name of one, OSError if a file cannot be read.
    """
    model = _named(text, progress)
    return replace(model, beside=parts.beside(model.path, progress))


def _named(text: str, progress: Progress | None) -> ModelFile:
    """Its main file."""
    if os.path.lexists(text):
        path = parts.main_file(text) if os.path.isdir(text) else text
        return model_file(path, progress=progress, place=GIVEN)
    if text.startswith(huggingface.SCHEME):
        found = huggingface.locate(HubName.parse(text))
        return found.as_model(found.known_sha256() or sha256_of(found.path, progress=progress))
    match = _HASH.match(text)
    if match is None:
        raise BackendMissingError(
            f"there is no model {text}: neither a file, nor {MIN_PREFIX} to 64 digits of a sha256, nor hf://ORG/REPO/FILE"
        )
    digits = match[1].lower()
    if len(digits) == 64:
        sha256 = bytes.fromhex(digits)
        model = find(sha256, progress=progress)
        if model is None:
            raise missing(Wanted(sha256))
        return model
    return _by_prefix(digits, progress)


def _by_prefix(digits: str, progress: Progress | None) -> ModelFile:
    """The only model whose sha256 begins so; files are hashed if none of those whose hash is known does."""
    known: dict[bytes, ModelFile] = {}
    unread = []
    for each in stores.candidates():
        sha256 = each.known_sha256()
        if sha256 is None:
            unread.append(each)
        elif sha256.hex().startswith(digits):
            known.setdefault(sha256, each.as_model(sha256))
    for each in () if known else unread:
        sha256 = _hash(each, progress)
        if sha256 is not None and sha256.hex().startswith(digits):
            known.setdefault(sha256, each.as_model(sha256))
    if len(known) > 1:
        lines = ", ".join(f"{model.sha256.hex()} ({model.path})" for model in known.values())
        raise UsageError(f"{digits} is the beginning of several models' sha256: {lines}")
    if not known:
        raise BackendMissingError(
            f"no model on this disk has a sha256 that begins {digits}. Looked at: {'; '.join(stores.places())}"
        )
    return next(iter(known.values()))


def _hash(found: Candidate, progress: Progress | None) -> bytes | None:
    """The sha256; None of a file that cannot be read or is not there any more."""
    with suppress(OSError, UsageError):
        return sha256_of(found.path, progress=progress)
    return None
