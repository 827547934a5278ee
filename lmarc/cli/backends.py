"""lmarc backends."""

from __future__ import annotations

from lmarc.cli.options import Json


def backends(json: Json = False) -> None:
    """List backends: name, coding version, promise, where it comes from, whether it can run and what is missing."""
    from lmarc.backends import registry
    from lmarc.cli import render

    rows = [registry.describe(name) for name in sorted(registry.found())]
    if json:
        render.print_json({"backends": rows})
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        version = row["version"] if row["version"] is not None else "-"
        state = "ready" if row["missing"] is None else f"cannot run: {row['missing']}"
        print(f"{row['name']:{width}}  {version!s:>3}  {row['promise'] or '-':8}  {row['distribution']}  {state}")
