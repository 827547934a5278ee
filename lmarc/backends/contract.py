"""The plugin contract. A plugin is a module or object with the hook below, named by an entry point in group `lmarc`.

# pyproject.toml of the plugin; the entry point's name is the backend's name
[project.entry-points.lmarc]
shout = "lmarc_shout"

# lmarc_shout.py
from lmarc.backends.contract import CodecBackend, Promise, hookimpl

class Shout(CodecBackend):
    name, version, promise = "shout", 1, Promise.PORTABLE
    def compress(self, data, params): ...
    def decompress(self, payload, size, params): ...

@hookimpl
def lmarc_backend():
    return Shout()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import pluggy

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PROJECT = "lmarc"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Promise(StrEnum):
    """Where a payload decodes (DESIGN section 7)."""

    PORTABLE = "portable"  # on any machine: only integers decide
    MATCHING = "matching"  # where the environment in the header matches


class Backend(ABC):
    """What every backend declares."""

    #: Stable name written into archives, 1-64 of a-z 0-9 - _.
    name: ClassVar[str]
    #: Coding version written into archives, >= 1. Every version ever released stays decodable.
    version: ClassVar[int]
    promise: ClassVar[Promise]
    #: The parameters that decoding depends on, with the values they have where an archive's header says nothing. What
    #: a preset sets otherwise is written into the header. Other parameters are for packing only.
    defaults: ClassVar[Mapping[str, Any]] = {}

    def missing(self) -> str | None:
        """What keeps the backend from running here and how to get it, in a line; None if it can run."""
        return None

    def decodes(self, version: int) -> bool:
        """Whether payloads of that coding version can be decoded."""
        return 1 <= version <= self.version

    def at(self, version: int) -> Backend:
        """The backend that decodes payloads of that coding version, where `decodes` says that there is one."""
        return self


class CodecBackend(Backend):
    """A backend that turns bytes into a payload and back. Methods are called from several threads at once."""

    @abstractmethod
    def compress(self, data: bytes | bytearray | memoryview, params: Mapping[str, Any]) -> bytes:
        """Code data (at least one byte) into a payload. `params` are the preset's; a plugin's default is {}."""

    @abstractmethod
    def decompress(self, payload: memoryview, size: int, params: Mapping[str, Any]) -> bytes:
        """Decode a payload to exactly size bytes. Any exception means: damaged. Never trust the payload.

        `params` are those the archive's header has for this backend: anybody may have written them. Raise
        UnsupportedError for those that mean nothing.
        """

    def prepare(self, params: Mapping[str, Any]) -> None:
        """Do what has to be done once before the first chunk, and may take seconds: load a model, compile.

        Called before other threads code or decode with these parameters, perhaps again later. May raise.
        """

    def memory_bound(self, size: int, params: Mapping[str, Any]) -> int:
        """Bytes of memory that coding a chunk of that size takes at most, input and output not counted.

        `params` are the header's. A larger chunk takes no less.
        """
        return size

    def memory_shared(self, params: Mapping[str, Any]) -> int:
        """How much of memory_bound() is there once, however many threads code."""
        return 0


class Session(ABC):
    """Lanes of one model that advance together. Used by one thread."""

    @abstractmethod
    def advance(self, symbols: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        """Show every lane its next symbols, int32[lanes, steps]; at most `PredictorModel.steps` of them at once.

        Returns float32[lanes, steps, vocabulary]: a logit for every symbol that may follow each of those. The array may
        be used again by the next call. All lanes are given symbols at every step, also those that have ended.
        """

    def close(self) -> None:  # noqa: B027
        """Free what the session holds."""


class PredictorModel(ABC):
    """A model that is open. It owns no entropy coding: lmarc codes symbols by the scores it gives."""

    #: What this model promises, where that is not what its backend does.
    promise: Promise | None = None
    #: The bytes of every symbol, whatever those are; None or b"" for one that no text may produce.
    vocabulary: Sequence[bytes | None]
    #: The symbol that every lane begins with. Bytes that no symbol spells are shown to the model as this one too.
    first: int = 0
    #: Most lanes of a session, and most steps that may be scored at once. More than one step only where the scores have
    #: the same bits as those of single steps: a decoder can take single steps only.
    lanes: int = 1
    steps: int = 1
    #: After how many steps everything that decides scores has had its part in them; what the canary takes.
    canary_steps: int = 6
    #: What opening the model for decoding must be given again: integers, strings.
    settings: Mapping[str, Any]

    @abstractmethod
    def tokenize(self, text: bytes) -> Sequence[int] | npt.NDArray[np.int32]:
        """Symbols whose bytes, joined, are the text, which is valid UTF-8. Others are noticed, and not used."""

    @abstractmethod
    def session(self, lanes: int) -> Session:
        """A session of that many lanes, at their beginning. The one before it is not used any more."""

    def environment(self) -> Mapping[str, str]:
        """What besides model and settings decides the bits of scores: versions, instruction sets, devices."""
        return {}

    def about(self) -> Mapping[str, Any]:
        """What an archive says of the model for people: "title", "architecture", "quantisation", "source" as str, and
        "tokenizer", a map of "kind" (str) and "sha256" (bytes). What is under "advice" is said to whoever packs."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Free the model."""


class PredictorBackend(Backend):
    """A backend that opens models. The model file has been found and its hash checked by lmarc."""

    #: Endings of model files from which `--model` alone tells the backend.
    suffixes: ClassVar[tuple[str, ...]] = ()
    #: False for one that predicts without a model file: what it opens is then called "".
    needs_model: ClassVar[bool] = True

    def own_model(self, params: Mapping[str, Any]) -> str | None:
        """The path of a model file that comes with the backend, for whoever asks for these params or has these settings
        and names no other."""
        return None

    def group_size(self, params: Mapping[str, Any]) -> int | None:
        """Bytes of content that make a group at most, to pack with these params; None for what is usual."""
        return None

    @abstractmethod
    def open(self, path: str, params: Mapping[str, Any], threads: int) -> PredictorModel:
        """Open a model to pack with. `params` are what the user asked for (--set): integers and strings.

        Raise ValueError if the file is none that can be used, saying why, and UnsupportedError for params that mean
        nothing.
        """

    def reopen(self, path: str, settings: Mapping[str, Any], threads: int) -> PredictorModel:
        """Open a model to unpack with, as it was opened to pack: `settings` are the model's, as the header has them.

        Anybody may have written them: raise UnsupportedError for those that mean nothing.
        """
        return self.open(path, settings, threads)


class HookSpecs:
    """The hooks lmarc calls on a plugin."""

    @hookspec(firstresult=True)
    def lmarc_backend(self) -> Backend:
        """Return the backend whose name the entry point carries. Called once, when the backend is first needed."""
        raise NotImplementedError
