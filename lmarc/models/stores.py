"""Where models lie on this disk: every store, in the order in which it is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from lmarc.models import huggingface, ollama, register
from lmarc.models.candidates import Candidate, candidate
from lmarc.models.files import cache_home, from_environment, in_home, is_safetensors, walk

VARIABLE = "LMARC_MODEL_PATH"
_LM_STUDIO = "LM Studio"
_LLAMA_CPP = "llama.cpp cache"


def candidates() -> Iterator[Candidate]:
    """All files of all stores that may be models, each once; one that has others beside it, once in each folder."""
    seen: set[tuple[str, str]] = set()
    for found in _all():
        folder = os.path.dirname(found.path) if is_safetensors(found.path) else ""
        key = os.path.realpath(found.path), folder
        if key not in seen:
            seen.add(key)
            yield found


def named(sha256: bytes) -> Iterator[Candidate]:
    """Files that are in a store under that sha256: found at once, nothing walked."""
    yield from huggingface.named(sha256)
    yield from ollama.named(sha256)


def at(paths: Iterable[str], place: str) -> Iterator[Candidate]:
    """Files given by path, whatever they are called, and the model files below folders given."""
    for path in paths:
        for file in walk(path) if os.path.isdir(path) else (path,):
            found = candidate(file, place)
            if found is not None:
                yield found


def places() -> list[str]:
    """All that is looked at, for messages."""
    given = os.environ.get(VARIABLE)
    out = [f"{VARIABLE} ({given})" if given else f"{VARIABLE} (not set)"]
    out += [f"the register ({register.location()})"]
    for place, roots in (
        (huggingface.PLACE, huggingface.roots()),
        (ollama.PLACE, ollama.roots()),
        (_LM_STUDIO, _lm_studio()),
        (_LLAMA_CPP, _llama_cpp()),
    ):
        out.append(f"{place} ({', '.join(roots)})")
    return out


def _all() -> Iterator[Candidate]:
    yield from at(_given(), VARIABLE)
    yield from register.candidates()
    yield from huggingface.candidates()
    yield from ollama.candidates()
    yield from at(_lm_studio(), _LM_STUDIO)
    yield from at(_llama_cpp(), _LLAMA_CPP)


def _given() -> list[str]:
    return [path for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]


def _lm_studio() -> list[str]:
    return in_home(".lmstudio", "models") + in_home(".cache", "lm-studio", "models")


def _llama_cpp() -> list[str]:
    places = from_environment("LLAMA_CACHE") + [os.path.join(home, "llama.cpp") for home in cache_home()]
    return list(dict.fromkeys(places + in_home(".cache", "llama.cpp")))
