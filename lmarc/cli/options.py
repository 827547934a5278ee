"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from lmarc.errors import UsageError

ArchivePath = Annotated[str, typer.Argument(metavar="ARCHIVE", help="The archive; - reads it from standard input.")]
Members = Annotated[
    list[str] | None, typer.Argument(metavar="[MEMBER]...", help="Names or globs; a directory means all below it.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Threads [default: the processors there are].")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary; errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Name each member on standard error.")]
MaxTime = Annotated[
    str | None,
    typer.Option(
        "--max-time", metavar="TIME", help="Refuse at once if a model would take longer: seconds, or 90m, 12h, 2d."
    ),
]
#: What pack and add have in common.
PresetName = Annotated[str, typer.Option("--preset", "-p", help="fast (zstd), balanced or best (cm).")]
BackendName = Annotated[str | None, typer.Option("--backend", "-b", help="A backend by name; see lmarc backends.")]
PackModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A model file that predicts: a path, a hash, hf://ORG/REPO/FILE."),
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="How to run the model, as far as its backend lets one choose."),
]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", "-x", metavar="PATTERN", help="Leave out, as in .gitignore.")
]
Include = Annotated[
    list[str] | None, typer.Option("--include", "-i", metavar="PATTERN", help="Of files, take only these.")
]
GitIgnore = Annotated[bool, typer.Option("--gitignore", help="Leave out .git and what .gitignore files name.")]
Key = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="For an encrypted archive: an age identity, SSH key, or the passphrase.",
    ),
]
MaxMembers = Annotated[
    int | None,
    typer.Option(
        "--max-members",
        metavar="N",
        min=0,
        help="Refuse an archive of more members.  [default: 262144, and more, up to 2097152, where the archive has two "
        "bytes for each]",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", metavar="FILE", help="Where a model that the archive needs may be; also a folder."),
]

#: More digits than any number has that a header can hold.
_MOST_DIGITS = 19
_SIZES = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str | None) -> float | None:
    """The seconds that a --max-time says. Raises UsageError."""
    if text is None:
        return None
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"--max-time {text!r} is no time: give seconds, or 90m, 12h, 2d")
    return seconds


def bytes_of(text: str | None) -> int | None:
    """The bytes that a --max-size says. Raises UsageError."""
    if text is None:
        return None
    unit = _SIZES.get(text[-1:].lower(), 0)
    number = text[:-1] if unit else text
    if not number.isascii() or not number.isdigit() or len(number) >= _MOST_DIGITS:
        raise UsageError(f"--max-size {text!r} is no size: give bytes, or 500M, 20G, 1T")
    return int(number) * (unit or 1)


def settings_of(texts: Iterable[str]) -> dict[str, int | str]:
    """What --set says. Raises UsageError."""
    found: dict[str, int | str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise UsageError(f"--set {text!r} is not KEY=VALUE")
        found[key] = int(value) if value.isascii() and value.isdigit() and len(value) < _MOST_DIGITS else value
    return found
