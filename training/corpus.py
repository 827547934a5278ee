"""The text to train on, as one list of documents in one fixed order."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import blake3
import zstandard

DOMAINS = ("code", "lang_other", "logs", "mail_wiki", "prose_en", "structured")
MAX_BYTES = 2_000_000
WINDOW_LOG = 27
EXCLUDED = Path(__file__).with_name("excluded.txt")


class Document(NamedTuple):
    """A text and where it is from: `name` is its path below the folder of its domain."""

    domain: str
    name: str
    data: bytes

    @property
    def path(self) -> str:
        return f"{self.domain}/{self.name}"


def documents(
    train_dir: Path, packages_dir: Path | None = None, excluded: Path | None = EXCLUDED
) -> Iterator[Document]:
    """Every text once, sorted by domain and name, without those that `excluded` lists.

    `train_dir` holds DOMAIN.tar.zst, `packages_dir` what `training.fetch` made: DOMAIN/PACKAGE/PATH.
    """
    left_out = set(read_excluded(excluded)) if excluded is not None else set()
    seen: set[bytes] = set()
    for domain in DOMAINS:
        for document in sorted(_domain(domain, train_dir, packages_dir)):
            digest = blake3.blake3(document.data).digest()
            if digest not in seen and document.path not in left_out:
                yield document
            seen.add(digest)


def read_excluded(path: Path) -> dict[str, str]:
    """The excluded documents, DOMAIN/NAME to reason: lines `DOMAIN/NAME<tab>REASON`, `#` begins a comment."""
    if not path.exists():
        return {}
    lines = path.read_text("utf-8").splitlines()
    pairs = (line.partition("\t") for line in lines if line.strip() and not line.startswith("#"))
    return {name: reason for name, _, reason in pairs}


def _domain(domain: str, train_dir: Path, packages_dir: Path | None) -> Iterator[Document]:
    archive = train_dir / f"{domain}.tar.zst"
    if archive.exists():
        yield from _texts(domain, _members(archive))
    if packages_dir is not None:
        yield from _texts(domain, _files(packages_dir, domain))


def _texts(domain: str, files: Iterator[tuple[str, bytes]]) -> Iterator[Document]:
    for path, data in files:
        name = path.removeprefix(f"{domain}/")
        if name == path:
            raise ValueError(f"{path} is not below {domain}/")
        if data and b"\0" not in data:
            yield Document(domain, name, data[:MAX_BYTES])


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << WINDOW_LOG)
    with (
        archive.open("rb") as packed,
        decompressor.stream_reader(packed, read_across_frames=True) as stream,
        tarfile.open(fileobj=io.BufferedReader(stream, 1 << 20), mode="r|") as tar,
    ):
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            if file is not None:
                yield member.name.removeprefix("./"), file.read()


def _files(root: Path, domain: str) -> Iterator[tuple[str, bytes]]:
    for path in (root / domain).rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(root).as_posix(), path.read_bytes()
