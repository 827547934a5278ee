"""The Hugging Face cache as it lies on disk: models--ORG--REPO/{refs,snapshots,blobs}. Never asks the network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmarc.errors import BackendMissingError, UsageError
from lmarc.models.candidates import Candidate, candidate
from lmarc.models.files import cache_home, folders_in, from_environment, in_home, is_model_name, open_regular, walk

PLACE = "Hugging Face cache"
SCHEME = "hf://"
_MAIN = "main"
_PREFIX = "models--"
#: What may stand between slashes of a name, as a pattern: no "..", no option of a command, nothing that a shell would
#: act on.
PART = r"[A-Za-z0-9_][A-Za-z0-9._+=,-]*"
_PATH = re.compile(rf"{PART}(?:/{PART})*\Z")
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_MAX_REF = 256


@dataclass(frozen=True)
class HubName:
    """A file of a repository on the Hugging Face hub. The revision is a branch, a tag or a commit; "" for main."""

    repo: str
    file: str
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> HubName:
        """From hf://ORG/REPO/FILE[@REVISION]. Raises UsageError if that is not its form, or FILE is no model's name."""
        path, at, revision = text.removeprefix(SCHEME).partition("@")
        parts = path.split("/", 2)
        if not text.startswith(SCHEME) or len(parts) < 3 or not _PATH.match(path) or len(text) > 1000:
            raise UsageError(f"{text!r} is not hf://ORG/REPO/FILE or hf://ORG/REPO/FILE@REVISION")
        if at and not _PATH.match(revision):
            raise UsageError(f"{revision!r} is not a revision")
        if not is_model_name(path):
            raise UsageError(f"{text}: only GGUF and safetensors files are models")
        return cls("/".join(parts[:2]), parts[2], revision)

    @property
    def source(self) -> str:
        """The name without the revision."""
        return f"{SCHEME}{self.repo}/{self.file}"

    def __str__(self) -> str:
        return f"{self.source}@{self.revision}" if self.revision else self.source


def roots() -> list[str]:
    """Cache folders, the one that huggingface_hub would use first; they need not exist."""
    places = from_environment("HF_HUB_CACHE") + from_environment("HUGGINGFACE_HUB_CACHE")
    places += from_environment("HF_HOME", "hub")
    places += [os.path.join(home, "huggingface", "hub") for home in cache_home()]
    return list(dict.fromkeys(places + in_home(".cache", "huggingface", "hub")))


def candidates() -> Iterator[Candidate]:
    """All model files of all snapshots, in each repository those of the main branch first."""
    for root in roots():
        for folder in _repositories(root):
            yield from _files(os.path.join(root, folder))


def named(sha256: bytes) -> Iterator[Candidate]:
    """Files that their blob's name says have that sha256."""
    for root in roots():
        for folder in _repositories(root):
            blob = os.path.join(root, folder, "blobs", sha256.hex())
            found = candidate(blob, PLACE)
            if found is not None:
                # A snapshot's link has the name that people know, and some programs look at its suffix.
                links = [file for file in _files(os.path.join(root, folder)) if file.claim == sha256]
                yield from links or [found]


def locate(name: HubName) -> Candidate:
    """The file of that name in the cache. Raises BackendMissingError if it is not there.

    Without a revision that is the one of main, or else of the only other snapshot that has it; raises UsageError if
    several have different ones.
    """
    wanted = name.revision or _MAIN
    others: dict[str, Candidate] = {}
    for root in roots():
        repository = os.path.join(root, _PREFIX + name.repo.replace("/", "--"))
        commits = folders_in(os.path.join(repository, "snapshots"))
        for commit in (_commit(repository, wanted), wanted):
            found = _snapshot_file(repository, commit, name.file) if commit in commits else None
            if found is not None:
                return found
        if not name.revision:
            files = (_snapshot_file(repository, commit, name.file) for commit in commits)
            others |= {os.path.realpath(file.path): file for file in files if file is not None}
    if len(others) > 1:
        lines = ", ".join(sorted(f"{name}@{file.revision}" for file in others.values()))
        raise UsageError(f"{name} may be one of several: {lines}")
    if not others:
        raise BackendMissingError(
            f"{name} is not in the Hugging Face cache ({', '.join(roots())}); get it: lmarc models find --fetch {name}"
        )
    return next(iter(others.values()))


def _repositories(root: str) -> list[str]:
    return [folder for folder in folders_in(root) if folder.startswith(_PREFIX)]


def _files(repository: str) -> Iterator[Candidate]:
    snapshots = os.path.join(repository, "snapshots")
    main = _commit(repository, _MAIN)
    for commit in sorted(folders_in(snapshots), key=lambda name: (name != main, name)):
        for path in walk(os.path.join(snapshots, commit)):
            found = _snapshot_file(repository, commit, os.path.relpath(path, os.path.join(snapshots, commit)))
            if found is not None:
                yield found


def _snapshot_file(repository: str, commit: str, file: str) -> Candidate | None:
    path = os.path.join(repository, "snapshots", commit, file)
    repo = os.path.basename(repository).removeprefix(_PREFIX).replace("--", "/")
    return candidate(path, PLACE, source=HubName(repo, file).source, revision=commit)


def _commit(repository: str, ref: str) -> str:
    """The commit that a branch or tag of the cache names; "" if it names none."""
    try:
        file, _ = open_regular(os.path.join(repository, "refs", ref))
        with file:
            text = file.read(_MAX_REF).decode("ascii").strip()
    except (OSError, ValueError, UsageError):
        return ""
    return text if _COMMIT.match(text) else ""
