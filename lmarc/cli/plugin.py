"""lmarc plugin: a group of commands for authors of backends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmarc.cli.options import Json, settings_of

if TYPE_CHECKING:
    from lmarc.testing.certificate import Outcome

plugin = typer.Typer(
    help="For authors of backends: new, check.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@plugin.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The backend's name, which archives will hold.")],
    directory: Annotated[
        Path, typer.Option("--directory", "-C", metavar="DIR", help="Where the folder lmarc-NAME is made.")
    ] = Path(),
) -> None:
    """Begin a plugin: a package that installs and passes its tests as it is. See docs/plugins.md."""
    from lmarc.testing.scaffold import scaffold

    package = scaffold(name, directory)
    print(f"{package}: pip install -e '{package}[test]', then pytest {package}, then lmarc plugin check {name}")


@plugin.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of an installed backend.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", metavar="FILE", help="The model that a predictor is to open.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="How to run it, as pack has it.")
    ] = None,
    large: Annotated[
        int | None,
        typer.Option("--large", metavar="BYTES", min=1, help="The largest content; less for what is slow [1048576]."),
    ] = None,
    patience: Annotated[
        float | None, typer.Option("--patience", metavar="SECONDS", help="After which a check has hung [600].")
    ] = None,
    excepted: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="CHECK", help="A check to leave out; the certificate says so."),
    ] = None,
    json: Json = False,
) -> None:
    """Check an installed backend, and print a certificate: what was tried, what came of it, figures.

    Exit code 1 if a check failed, 13 if the backend is not there or cannot be loaded.
    """
    from lmarc._version import __version__
    from lmarc.cli import render
    from lmarc.testing.certificate import certify

    def tell(outcome: Outcome) -> None:
        if not json:
            state = {"": "ok", None: "-"}.get(outcome.failure, "FAILED")
            print(f"{state:6}  {outcome.name:22}  {outcome.seconds:6.1f} s  {outcome.about}", flush=True)
            if outcome.failure:
                print(f"        {outcome.failure}", flush=True)

    certificate = certify(
        name,
        model=model,
        params=settings_of(setting or ()),
        large=large,
        patience=patience,
        excepted=excepted or (),
        told=tell,
    )
    if json:
        rows = [vars(outcome) for outcome in certificate.outcomes]
        facts = {"backend": name, "plugin": certificate.plugin, "kind": certificate.kind, "lmarc": __version__}
        render.print_json(facts | {"good": certificate.is_good, "checks": rows, "figures": dict(certificate.figures)})
    else:
        for key, value in certificate.figures.items():
            print(f"{key:16}  {value}")
        failed = sum(outcome.failure != "" and not outcome.is_excepted for outcome in certificate.outcomes)
        verdict = "keeps all that is checked" if certificate.is_good else f"{failed} checks failed or were not tried"
        verdict += "".join(f", {outcome.name} left out" for outcome in certificate.outcomes if outcome.is_excepted)
        print(f"{certificate.kind} {name!r} of {certificate.plugin}, lmarc {__version__}: {verdict}")
    raise typer.Exit(0 if certificate.is_good else 1)
