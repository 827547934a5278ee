"""lmarc models: a group of commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmarc.cli.options import Json
from lmarc.errors import BackendMissingError, DamagedError, LmarcError, NotAnArchiveError, UsageError, exit_code

if TYPE_CHECKING:
    from lmarc.models.candidates import Candidate
    from lmarc.models.identity import ModelFile, Progress
    from lmarc.models.wanted import Wanted

#: Digits of a sha256 that a listing shows: enough to name one by.
_PREFIX = 12

models = typer.Typer(
    help="Models on this disk: list, find, verify, add.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@models.command("list")
def list_models(json: Json = False) -> None:
    """List all models: sha256, size, quantisation, architecture, name, where.

    Files whose sha256 is not known yet are read once, which may take long; what is known then is remembered.
    """
    from lmarc.cli import render
    from lmarc.models import stores

    rows = []
    with _hashing() as progress:
        for found in stores.candidates():
            try:
                rows.append(_row(found, progress))
            except LmarcError as error:
                _say(str(error))
            except OSError as error:
                _say(f"{found.path}: {error.strerror or error}")
    if json:
        render.print_json({"models": rows})
        return
    widths = [max((len(row[key]) for row in rows), default=0) for key in ("quantisation", "architecture")]
    for row in rows:
        _print(
            f"{row['sha256'][:_PREFIX]}  {render.size(row['size']):>8}  {row['quantisation']:{widths[0]}}  "
            f"{row['architecture']:{widths[1]}}  {row['name'] or row['file_name']}  {row['place']}: {row['path']}"
        )


@models.command("find")
def find_model(
    what: Annotated[
        str,
        typer.Argument(
            metavar="HASH|hf://ORG/REPO/FILE[@REVISION]|ARCHIVE",
            help="At least 8 digits of a sha256, a name on the Hugging Face hub, or an archive (- reads one from "
            "standard input): then every model that it names.",
        ),
    ],
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download what is missing from the Hugging Face hub, if it is named there.")
    ] = False,
    json: Json = False,
) -> None:
    """Say where a model is, or how to get it.

    The exit code is 13 if one is missing. Only --fetch uses the network.
    """
    from lmarc.cli import render

    wanted = _wanted_by(what)
    rows: list[dict[str, Any]] = []
    errors: list[Exception] = []
    with _hashing() as progress:
        for each in [None] if wanted is None else wanted:
            row = _wanted_row(each)
            try:
                model = _find(what, fetch, progress) if each is None else _find_wanted(each, fetch, progress)
            except (OSError, LmarcError) as error:
                if each is None and isinstance(error, UsageError):
                    raise
                errors.append(error)
                rows.append(row | {"path": None, "place": None, "missing": _reason(error)})
            else:
                rows.append(row | _found_row(model, row))
    if json:
        render.print_json({"models": rows})
    for row in rows:
        if "missing" in row:
            _say(row["missing"])
        elif not json:
            _print(f"{row['sha256'][:_PREFIX]}  {row['name']}  {row['place']}: {row['path']}")
    if not rows:
        _say(f"{what} names no models")
    raise typer.Exit(exit_code(errors))


@models.command("verify")
def verify_model(
    what: Annotated[str, typer.Argument(metavar="FILE|HASH", help="A model file, or at least 8 digits of a sha256.")],
    json: Json = False,
) -> None:
    """Read a model file through and compare.

    Says whether its sha256 is what its name says (a blob of the Hugging Face cache or of Ollama) or what it was when it
    was added; the exit code is 11 if not.
    """
    from lmarc.cli import render
    from lmarc.models.candidates import named_sha256
    from lmarc.models.identity import sha256_of
    from lmarc.models.register import registered_sha256

    with _hashing() as progress:
        path = what if os.path.exists(what) else _claimed(what, progress)
        says = {"its name": named_sha256(path), "the register": registered_sha256(path)}
        expected = {who: sha256 for who, sha256 in says.items() if sha256 is not None}
        found = sha256_of(path, progress=progress, fresh=True)
    wrong = [f"{who} says {sha256.hex()}" for who, sha256 in expected.items() if sha256 != found]
    if json:
        ok = not wrong if expected else None
        render.print_json({"path": os.path.abspath(path), "sha256": found, "expected": expected, "ok": ok})
        raise typer.Exit(DamagedError.exit_code if wrong else 0)
    if wrong:
        raise DamagedError(f"{path}: the sha256 is {found.hex()}, but {', '.join(wrong)}")
    verdict = f"as {' and '.join(expected)} says" if expected else "nothing says what it should be"
    _print(f"{found.hex()}  {path}: {verdict}")


@models.command("add")
def add_model(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A GGUF or safetensors file; it stays where it is.")],
    json: Json = False,
) -> None:
    """Remember a model file: archives find it."""
    from lmarc.cli import render
    from lmarc.models import files, gguf, register

    if gguf.is_gguf(file):
        gguf.read_info(file)
    elif not files.is_safetensors(file):
        raise UsageError(f"{file} is neither GGUF nor safetensors")
    with _hashing() as progress:
        model = register.add(file, progress=progress)
    if json:
        render.print_json({"path": model.path, "sha256": model.sha256, "size": model.size})
    else:
        _print(f"{model.sha256.hex()}  {model.path}")


def _row(found: Candidate, progress: Progress) -> dict[str, Any]:
    """A model for JSON. Raises what reading it raises."""
    from lmarc.models import gguf
    from lmarc.models.files import is_safetensors
    from lmarc.models.identity import sha256_of

    row: dict[str, Any] = {"name": "", "architecture": "", "quantisation": ""}
    if not is_safetensors(found.file_name):
        info = gguf.read_info(found.path)
        row = {"name": info.name, "architecture": info.architecture, "quantisation": info.quantisation}
        row |= {"context_length": info.context_length, "tokenizer": info.tokenizer, "instruct": info.is_instruct}
    sha256 = found.known_sha256() or sha256_of(found.path, progress=progress)
    row |= {"size": found.size, "sha256": sha256.hex(), "file_name": found.file_name, "path": found.path}
    return row | {"place": found.place, "source": found.source, "revision": found.revision}


def _wanted_row(wanted: Wanted | None) -> dict[str, Any]:
    if wanted is None:
        return {"sha256": None, "name": "", "size": None, "source": "", "revision": ""}
    row = {"sha256": wanted.sha256.hex(), "name": wanted.name, "size": wanted.size}
    return row | {"source": wanted.source, "revision": wanted.revision}


def _found_row(model: ModelFile, row: dict[str, Any]) -> dict[str, Any]:
    """What is added to a row when the model is found: an archive's own words stay."""
    known = {"sha256": model.sha256.hex(), "name": model.file_name, "size": model.size}
    known |= {"source": model.source, "revision": model.revision}
    return {key: value for key, value in known.items() if not row[key]} | {"path": model.path, "place": model.place}


def _wanted_by(what: str) -> list[Wanted] | None:
    """The models that an archive's header names; None if `what` is no archive. Raises what reading a header raises."""
    from lmarc.container.header import read_header
    from lmarc.models.wanted import Wanted

    if what != "-" and not os.path.exists(what):
        return None
    try:
        if what == "-":
            header, _ = read_header(sys.stdin.buffer)
        else:
            with open(what, "rb") as file:
                header, _ = read_header(file)
    except NotAnArchiveError:
        if what == "-":
            raise
        return None
    return [Wanted.from_header(row) for row in header.models]


def _find(what: str, fetch: bool, progress: Progress) -> ModelFile:
    from lmarc.models import fetch as fetching
    from lmarc.models.find import resolve

    return fetching.fetch(what, progress=progress) if fetch else resolve(what, progress=progress)


def _find_wanted(wanted: Wanted, fetch: bool, progress: Progress) -> ModelFile:
    from lmarc.models import fetch as fetching
    from lmarc.models.find import copies, missing
    from lmarc.models.parts import are_beside
    from lmarc.models.verify import checked

    found = copies(wanted.sha256, size=wanted.size, progress=progress)
    model = next((each for each in found if are_beside(each.path, wanted.beside, progress)), None)
    if model is None and fetch and wanted.hub_name is not None:
        model = fetching.fetch(str(wanted.hub_name), progress=progress)
        checked(model, wanted.sha256)
    if model is None:
        raise missing(wanted)
    return model


def _claimed(what: str, progress: Progress) -> str:
    """A file that is the model, or else one that claims to be it: what is wrong with it will be said."""
    from lmarc.models.find import claimants, resolve

    try:
        return resolve(what, progress=progress).path
    except BackendMissingError:
        for each in claimants(what):
            return each.path
        raise


@contextmanager
def _hashing() -> Iterator[Progress]:
    """A bar for files that are hashed, one after the other."""
    from lmarc.cli.progress import Reporter

    last = 0
    with Reporter("hashing") as reporter:

        def progress(done: int, total: int) -> None:
            nonlocal last
            if done == 0:
                last = 0
                reporter.found(1, total)
            reporter.progress(done - last, 0)
            last = done

        yield progress


def _reason(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)


def _print(text: str) -> None:
    from lmarc.archive.paths import escape

    print(escape(text))


def _say(text: str) -> None:
    from lmarc.archive.paths import escape

    print(f"lmarc: {escape(text)}", file=sys.stderr)
