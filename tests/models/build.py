"""Tiny GGUF files, and the stores of other programs, made from nothing; a home of its own for every test."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}

#: Variables that say where models are; empty is as good as not set.
PLACES = ("LMARC_MODEL_PATH", "HF_HUB_CACHE", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "OLLAMA_MODELS", "LLAMA_CACHE")
COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40


@dataclass(frozen=True)
class Typed:
    """A value with the GGUF type to write it with; for arrays, that of the elements."""

    kind: int
    value: Any


def string(text: str | bytes) -> bytes:
    """A GGUF string."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(given: Any) -> bytes:
    """Type and value."""
    if isinstance(given, Typed) and isinstance(given.value, list):
        head = struct.pack("<IIQ", ARRAY, given.kind, len(given.value))
        if given.kind == STRING:
            return head + b"".join(map(string, given.value))
        return head + struct.pack(f"<{len(given.value)}{_FORMATS[given.kind]}", *given.value)
    if isinstance(given, Typed):
        return struct.pack("<I" + _FORMATS[given.kind], given.kind, given.value)
    if isinstance(given, list):
        return value(Typed(STRING, given))
    if isinstance(given, (str, bytes)):
        return struct.pack("<I", STRING) + string(given)
    return value(Typed(BOOL if isinstance(given, bool) else U32 if isinstance(given, int) else F32, given))


def pair(key: str | bytes, given: Any) -> bytes:
    """A key with its value."""
    return string(key) + value(given)


def gguf(pairs: Mapping[str, Any] | Sequence[bytes], *, version: int = 3, tensors: bytes = b"tensors") -> bytes:
    """A GGUF file with that metadata; what stands where tensors should is nobody's business."""
    rows = [pair(*each) for each in pairs.items()] if isinstance(pairs, Mapping) else list(pairs)
    return b"GGUF" + struct.pack("<IQQ", version, 1, len(rows)) + b"".join(rows) + tensors


def model(name: str = "tiny", **more: Any) -> bytes:
    """A GGUF file with a name and what most have."""
    metadata = {"general.architecture": "llama", "general.name": name, "general.file_type": 15}
    return gguf({**metadata, "llama.context_length": 2048, "tokenizer.ggml.model": "gpt2", **more})


def sha256(data: bytes) -> bytes:
    """As lmarc names models."""
    return hashlib.sha256(data).digest()


def environment(home: Path) -> dict[str, str]:
    """Variables with which nothing outside of home is looked at, but Ollama's place for the whole system."""
    xdg = {f"XDG_{name}_HOME": str(home / folder) for name, folder in (("CACHE", ".cache"), ("DATA", "data"))}
    return {"HOME": str(home), **xdg, **dict.fromkeys(PLACES, "")}


def write(path: Path, data: bytes, *, age: float = 60) -> Path:
    """A file, folders made as needed, changed so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    when = time.time() - age
    os.utime(path, (when, when))
    return path


def hub_file(
    root: Path, file: str, data: bytes, *, repo: str = "org/repo", commit: str = COMMIT, refs: Sequence[str] = ("main",)
) -> Path:
    """A file as huggingface_hub stores it below root; returns the link in the snapshot."""
    folder = root / f"models--{repo.replace('/', '--')}"
    blob = write(folder / "blobs" / sha256(data).hex(), data)
    link = folder / "snapshots" / commit / file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    for ref in refs:
        (folder / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / ref).write_text(commit)
    return link


def ollama_model(root: Path, name: str, data: bytes) -> Path:
    """A model as Ollama stores it below root (name is library/llama3/8b); returns the blob."""
    blob = write(root / "blobs" / f"sha256-{sha256(data).hex()}", data)
    licence = b"do what you like"
    write(root / "blobs" / f"sha256-{sha256(licence).hex()}", licence)
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{sha256(data).hex()}"},
        {"mediaType": "application/vnd.ollama.image.license", "digest": f"sha256:{sha256(licence).hex()}"},
    ]
    manifest = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
    write(root / "manifests" / "registry.ollama.ai" / name, manifest)
    return blob
