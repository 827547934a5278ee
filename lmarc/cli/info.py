"""lmarc info."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from lmarc.cli.options import ArchivePath, Json, Key, MaxMembers
from lmarc.errors import exit_code

if TYPE_CHECKING:
    from lmarc.archive.read import Archive

#: Of a parameter's value, so many characters are shown.
_MAX_VALUE = 40


def info(archive: ArchivePath, max_members: MaxMembers = None, key: Key = None, json: Json = False) -> None:
    """Say what an archive is made of: writer, backends, chunks, sizes, and what decoding takes."""
    from lmarc.cli import render
    from lmarc.cli.session import opened

    with opened(archive, max_members=max_members, key=key) as source:
        facts = _facts(source)
        if json:
            render.print_json(facts)
        else:
            _print(facts)
        raise typer.Exit(exit_code(render.damage(source)))


def _facts(source: Archive) -> dict[str, Any]:
    from lmarc.cli import render
    from lmarc.container.frames import CHECK_SIZE
    from lmarc.errors import LmarcError

    head = render.header(source)
    for row, ref in zip(head["backends"], source.header.backends, strict=True):
        row |= {"params": dict(ref.params), "chunks": 0, "content": 0, "payload": 0}
    largest = 0
    for chunk in source.chunks:
        row = head["backends"][chunk.codec]
        row["chunks"] += 1
        row["content"] += chunk.size
        largest = max(largest, chunk.size)
        try:
            row["payload"] += source.payload_size(chunk)
        except LmarcError:
            row["damaged"] = row.get("damaged", 0) + 1
    kinds = Counter(member.kind for member in source.members)
    content = sum(member.size for member in source.members if member.kind == "file")
    stored = sum(row["payload"] for row in head["backends"])
    return head | {
        "size": source.size,
        "members": dict(sorted(kinds.items())),
        "content": content,
        "unique_content": sum(chunk.size for chunk in source.chunks),
        "payload": stored,
        "overhead": source.size - stored,
        "chunk_overhead": CHECK_SIZE,
        "chunks": len(source.chunks),
        "largest_chunk": largest,
        "decode_memory": source.decode_memory(),
        "shared_memory": source.shared_memory(),
        "options": dict(source.header.options),
        "damage": source.damage,
    }


def _print(facts: dict[str, Any]) -> None:
    from lmarc.archive.paths import escape
    from lmarc.cli import render

    print(f"format    {facts['format']}, written by lmarc {escape(facts['writer'])}")
    members = ", ".join(f"{count} {kind}" for kind, count in facts["members"].items())
    print(f"members   {members or 'none'}")
    share = f", {8 * facts['size'] / facts['content']:.3f} bits per byte" if facts["content"] else ""
    print(f"content   {facts['content']} bytes, {facts['unique_content']} unique")
    print(f"archive   {facts['size']} bytes, {facts['overhead']} of them not payload{share}")
    print(f"chunks    {facts['chunks']}, the largest {render.size(facts['largest_chunk'])}")
    if facts["decode_memory"] is not None:
        shared = facts["shared_memory"]
        note = f", of which all threads share {render.size(shared)}" if shared else ""
        print(f"decoding  takes {render.size(facts['decode_memory'])} for each thread{note}")
    for row in facts["backends"]:
        sizes = f"{row['chunks']} chunks, {row['content']} → {row['payload']} bytes"
        coding = " ".join([row["name"], str(row["version"]), *_params(row)])
        print(f"backend   {coding} ({row['promise']}): {sizes}")
    for model in facts["options"].get("models", []):
        print(f"model     {escape(_model(model))}")
    for text in facts["damage"]:
        print(f"damaged   {text}")


def _model(row: dict[str, Any]) -> str:
    """A model of the header in a line."""
    told = [str(row[key])[:_MAX_VALUE] for key in ("title", "architecture", "quantisation") if row.get(key)]
    sha256 = row.get("sha256")
    name = sha256.hex() if isinstance(sha256, bytes) else "?"
    return f"{str(row.get('name', '?'))[:_MAX_VALUE]} ({', '.join(told)}), {row.get('size', '?')} bytes, sha256 {name}"


def _params(row: dict[str, Any]) -> Iterator[str]:
    """What decoding depends on, also where the header leaves it out; what the backend does not know is not shown."""
    from lmarc.archive.paths import escape
    from lmarc.backends import registry
    from lmarc.errors import BackendMissingError

    try:
        defaults = registry.codec(row["name"], row["version"]).defaults
    except BackendMissingError:
        if row["promise"] == "matching":
            yield from (escape(f"{key} {str(value)[:_MAX_VALUE]}") for key, value in row["params"].items())
        return
    for key, usual in defaults.items():
        yield escape(f"{key} {str(row['params'].get(key, usual))[:_MAX_VALUE]}")
