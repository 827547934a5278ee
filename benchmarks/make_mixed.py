"""Make a tree of mixed files for benchmarks from what is installed on this machine.

    python benchmarks/make_mixed.py DIR --mb 100 --seed 1

Takes copies of the Python library, site-packages and /usr until the size is reached: source, documents, data,
binaries, pictures and things already compressed, in fixed shares, no content twice. On an unchanged machine the
same seed makes the same tree (the digest printed last tells); another machine makes another.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Shares of the bytes, and the name endings that belong; what is in no other class is "other".
CLASSES: dict[str, tuple[float, str]] = {
    "code": (0.24, "py pyi c h cc cpp hpp cuh js ts css pl pm sh vim cmake go rs java rb lua tcl el php m4 awk"),
    "documents": (0.12, "txt md rst html htm tex pod info 1 3 5 7 8"),
    "data": (0.15, "json xml csv tsv yaml yml toml po sql svg ini conf cfg properties desktop dectest bc"),
    "binary": (0.22, "so a o exe dll dat bin npy mgc"),
    "media": (0.08, "png jpg jpeg gif ico webp bmp ttf otf woff woff2 wav au ogg mp3 pdf"),
    "packed": (0.06, "gz xz bz2 zst zip jar whl npz egg"),
    "other": (0.13, ""),
}
CLASS_OF = {ending: name for name, (_, endings) in CLASSES.items() for ending in endings.split()}
# Byte-compiled files and caches come and go as programs run, keys are nobody's to copy, and Linux has a hundred
# languages of message catalogues where people have one.
SKIPPED_DIRS = {"__pycache__", ".git", ".cache", "dist-info", "ssl", "ca-certificates"}
SKIPPED_ENDINGS = {"pyc", "pyo", "mo", "nbi", "nbc", "pem", "key", "crt", "lock", "log", "pid"}
LARGEST_SHARE = 0.02  # of the whole tree, that one file may have
# /usr is full of tiny files; of those near 0 bytes this share is kept, of those of COMMON_SIZE all.
TINY_KEPT = 0.1
COMMON_SIZE = 24_000


class Candidate(NamedTuple):
    """A file that may be taken."""

    order: bytes
    kind: str
    size: int
    source: str
    target: str


def sources() -> list[tuple[str, str]]:
    """Where to look: (label, directory). A directory met twice counts the first time."""
    paths = sysconfig.get_paths()
    found = [("site-packages", paths["purelib"]), ("site-packages", paths["platlib"]), ("python", paths["stdlib"])]
    found += [(name, f"/usr/{name}") for name in ("share", "include", "bin", "lib", "libexec")]
    return [(label, path) for label, path in found if os.path.isdir(path)]


def ending(path: str) -> str:
    """The kind of file its name says: `so` for libx.so.3.1, "" for none."""
    name = os.path.basename(path).lower()
    if ".so." in name:
        return "so"
    return name.rpartition(".")[2] if "." in name.lstrip(".") else ""


def walk(top: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """Yield (path, size) of every regular file below `top` that we can read."""
    todo = [top]
    while todo:
        folder = todo.pop()
        try:
            info = os.stat(folder)
            if (info.st_dev, info.st_ino) in seen:
                continue
            seen.add((info.st_dev, info.st_ino))
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not any(entry.name.endswith(name) for name in SKIPPED_DIRS):
                    todo.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                info = entry.stat(follow_symlinks=False)
                if info.st_mode & stat.S_IROTH and ending(entry.name) not in SKIPPED_ENDINGS:
                    yield entry.path, info.st_size


def candidates(seed: int, avoid: Path, largest: int) -> list[Candidate]:
    """All files that may be taken, in the seed's order: one file more or less on disk moves no other."""
    seen: set[tuple[int, int]] = set()
    if avoid.exists():
        info = avoid.stat()
        seen.add((info.st_dev, info.st_ino))
    found = []
    for label, top in sources():
        for path, size in walk(top, seen):
            if not 0 < size <= largest or not path.isprintable():
                continue
            target = f"{label}/{os.path.relpath(path, top)}"
            order = hashlib.blake2b(f"{seed} {target}".encode(), digest_size=16).digest()
            if int.from_bytes(order[8:], "big") / 2**64 > TINY_KEPT + size / COMMON_SIZE:
                continue
            found.append(Candidate(order, CLASS_OF.get(ending(path), "other"), size, path, target))
    return sorted(found)


class Tree:
    """The tree being made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.contents: dict[str, str] = {}
        self.sizes: dict[str, int] = {}
        self._hashes: set[str] = set()

    def take(self, file: Candidate) -> int:
        """Copy one file unless its content is there already; the bytes copied."""
        if file.target in self.contents:
            return 0
        try:
            data = Path(file.source).read_bytes()
            info = os.stat(file.source)
        except OSError:
            return 0
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._hashes or not data:
            return 0
        self._hashes.add(digest)
        target = self.root / file.target
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755 if info.st_mode & stat.S_IXUSR else 0o644)
        os.utime(target, ns=(info.st_mtime_ns, info.st_mtime_ns))
        self.contents[file.target] = digest
        self.sizes[file.target] = len(data)
        return len(data)

    def finish(self) -> None:
        """Give directories a time that does not depend on the clock."""
        for folder, _, _ in os.walk(self.root, topdown=False):
            os.utime(folder, ns=(0, 0))

    def digest(self) -> str:
        """One hash over all names and contents."""
        lines = "".join(f"{self.contents[target]} {target}\n" for target in sorted(self.contents))
        return hashlib.sha256(lines.encode()).hexdigest()


def make_mixed(root: Path, total: int, seed: int) -> Tree:
    """Fill `root` with about `total` bytes."""
    tree = Tree(root)
    files = candidates(seed, root, max(int(total * LARGEST_SHARE), 4096))
    left = {name: int(total * share) for name, (share, _) in CLASSES.items()}
    spare: list[Candidate] = []
    for file in files:
        if file.size <= left[file.kind]:
            left[file.kind] -= tree.take(file)
        else:
            spare.append(file)
    # A class this machine is short of is made up from the others.
    missing = sum(left.values())
    for file in spare:
        if missing < total // 2000:
            break
        if file.size <= missing:
            missing -= tree.take(file)
    tree.finish()
    return tree


def report(tree: Tree) -> None:
    """Print count and bytes by name ending."""
    table: dict[str, list[int]] = {}
    for target, size in tree.sizes.items():
        table.setdefault(ending(target), []).append(size)
    rows = sorted(table.items(), key=lambda row: -sum(row[1]))
    print(f"{'ending':<12}{'files':>8}{'bytes':>14}")
    rest = [size for _, sizes in rows[40:] for size in sizes]
    for name, sizes in [*rows[:40], ("(rest)", rest)]:
        print(f"{name or '(none)':<12}{len(sizes):>8}{sum(sizes):>14,}")
    print(f"{'total':<12}{len(tree.sizes):>8}{sum(tree.sizes.values()):>14,}")
    print(f"sha256 of names and contents: {tree.digest()}")


def main() -> None:
    """Make the tree the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path, help="a directory that is not there yet, or empty")
    parser.add_argument("--mb", type=float, default=100, help="size in millions of bytes (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="another seed takes other files (default 1)")
    args = parser.parse_args()
    if args.dir.exists() and any(args.dir.iterdir()):
        sys.exit(f"{args.dir} is not empty")
    args.dir.mkdir(parents=True, exist_ok=True)
    report(make_mixed(args.dir, int(args.mb * 1e6), args.seed))


if __name__ == "__main__":
    main()
