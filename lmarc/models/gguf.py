"""What a GGUF file says of itself: its metadata, read within bounds; never its tensors."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

from lmarc.errors import BackendMissingError
from lmarc.models.files import open_regular
from lmarc.models.quantisation import quantisation

MAGIC = b"GGUF"
_VERSIONS = (2, 3)

#: Bytes of header and metadata together; of one string; of one key (GGUF's own limit).
MAX_METADATA = 256 << 20
MAX_STRING = 16 << 20
MAX_KEY = (1 << 16) - 1
#: Pairs of key and value; tensors; elements of one array, and of all.
MAX_PAIRS = 8192
MAX_TENSORS = 1 << 20
MAX_ELEMENTS = 4 << 20
MAX_ALL_ELEMENTS = 8 << 20
#: Longer strings, in bytes, and longer arrays, in elements, are passed over unless asked for.
MAX_KEPT_STRING = 4096
MAX_KEPT_ARRAY = 256

_BLOCK = 1 << 16
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
#: The least that a pair takes: length of the key, type, a byte.
_MIN_PAIR = 13

_TOKENIZER = "tokenizer."
_TEMPLATE = "tokenizer.chat_template"
_SOURCES = ("source.url", "source.huggingface.repository", "url", "source.repo_url", "repo_url")
_INSTRUCT = re.compile(r"instruct|chat|(?:^|[-_. ])it(?:$|[-_. ])", re.IGNORECASE)
#: In a tag, "it" alone is a language.
_INSTRUCT_TAG = re.compile(r"instruct|chat|-it(?:$|[-_. ])", re.IGNORECASE)

Value = int | float | bool | str | list[Any]


@dataclass(frozen=True)
class GgufInfo:
    """What a GGUF file says of itself; "" and 0 where it says nothing.

    `context_length` is in tokens. `tokenizer` is its kind, like "gpt2/llama-bpe": the model and the pre-tokenizer.

    `tokenizer_sha256` names all that decides tokenisation, b"" if there is nothing: of every pair whose key begins with
    "tokenizer." but not with "tokenizer.chat_template", take the sha256 of the pair as it stands in the file (length of
    the key, key, type, value; GGUF 2 and 3 write these alike); then, in the order of the keys' bytes, the sha256 of all
    these digests, one after the other.
    """

    version: int
    name: str
    architecture: str
    quantisation: str
    context_length: int
    tokenizer: str
    tokenizer_sha256: bytes
    is_instruct: bool
    source: str


def is_gguf(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like GGUF. Raises OSError if it cannot be read, UsageError if it is not a regular file."""
    file, _ = open_regular(os.fspath(path))
    with file:
        return file.read(len(MAGIC)) == MAGIC


def read_info(path: str | os.PathLike[str]) -> GgufInfo:
    """What the file says of itself.

    Raises BackendMissingError if it is not GGUF 2 or 3 in little-endian, cut short or beyond the bounds above; OSError
    if it cannot be read, UsageError if it is not a regular file.
    """
    version, values, digests = _read(path, ())
    general = {key.removeprefix("general."): value for key, value in values.items() if key.startswith("general.")}
    architecture = _text(general.get("architecture"))
    file_type = values.get("general.file_type")
    context = values.get(f"{architecture}.context_length")
    kind = [_text(values.get(f"tokenizer.ggml.{key}")) for key in ("model", "pre")]
    relevant = [digest for key, digest in sorted(digests.items()) if not key.startswith(_TEMPLATE.encode())]
    return GgufInfo(
        version=version,
        name=_text(general.get("name")),
        architecture=architecture,
        quantisation=quantisation(file_type) if type(file_type) is int else "",
        context_length=context if type(context) is int and context > 0 else 0,
        tokenizer="/".join(filter(None, kind)),
        tokenizer_sha256=hashlib.sha256(b"".join(relevant)).digest() if relevant else b"",
        is_instruct=_TEMPLATE.encode() in digests or _says_instruct(general),
        source=next(filter(None, (_text(general.get(key)) for key in _SOURCES)), ""),
    )


def read_metadata(path: str | os.PathLike[str], large: Collection[str] = ()) -> dict[str, Value]:
    """The values by key: strings and arrays beyond MAX_KEPT_STRING and MAX_KEPT_ARRAY only where `large` names them.

    Strings are text (what is not UTF-8 is replaced), but in arrays they are bytes: a token need not be text.
    Raises as `read_info`.
    """
    return _read(path, large)[1]


def _text(value: Value | None) -> str:
    return value if type(value) is str else ""


def _says_instruct(general: dict[str, Value]) -> bool:
    if any(_INSTRUCT.search(_text(general.get(key))) for key in ("name", "basename", "finetune")):
        return True
    tags = general.get("tags")
    texts = [tag.decode(errors="replace") for tag in tags if type(tag) is bytes] if type(tags) is list else []
    return any(map(_INSTRUCT_TAG.search, texts))


def _read(path: str | os.PathLike[str], wanted: Collection[str]) -> tuple[int, dict[str, Value], dict[bytes, bytes]]:
    """Version, the values that are kept, and for every key of the tokenizer the sha256 of the pair."""
    name = os.fspath(path)
    file, info = open_regular(name)
    with file:
        return _Reader(file, info.st_size, name).metadata(frozenset(wanted))


class _Reader:
    """Reads front to back through a window of the file, counting what it takes."""

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file = file
        self._size = size
        self._name = name
        self._window = b""
        self._at = 0
        #: Where the window begins in the file.
        self._start = 0
        self._elements = 0

    def metadata(self, wanted: frozenset[str]) -> tuple[int, dict[str, Value], dict[bytes, bytes]]:
        version, pairs = self._head()
        values: dict[str, Value] = {}
        digests: dict[bytes, bytes] = {}
        keys: set[bytes] = set()
        for _ in range(pairs):
            length = self._take(8)
            key = self._take(self._bounded(length, MAX_KEY, "a key of {} bytes"))
            if key in keys:
                self._fail(f"the key {key.decode(errors='replace')!r} comes twice")
            keys.add(key)
            kind = self._take(4)
            digest = hashlib.sha256(length + key + kind) if key.startswith(_TOKENIZER.encode()) else None
            text = key.decode(errors="replace")
            value = self._value(_U32.unpack(kind)[0], text in wanted, digest.update if digest else _ignore)
            if value is not None:
                values[text] = value
            if digest is not None:
                digests[key] = digest.digest()
        return version, values, digests

    def _head(self) -> tuple[int, int]:
        if self._size < len(MAGIC) or self._take(len(MAGIC)) != MAGIC:
            self._fail("it does not begin with GGUF")
        raw = self._take(4)
        version = _U32.unpack(raw)[0]
        if int.from_bytes(raw, "big") in (1, *_VERSIONS):
            self._fail("it is big-endian")
        if version not in _VERSIONS:
            self._fail(f"version {version}, not 2 or 3")
        self._bounded(self._take(8), MAX_TENSORS, "{} tensors")
        pairs = self._bounded(self._take(8), MAX_PAIRS, "{} keys")
        self._need(pairs * _MIN_PAIR)
        return version, pairs

    def _value(self, kind: int, wanted: bool, sink: Callable[[bytes], object]) -> Value | None:
        """The value if it is kept; all its bytes go to sink."""
        if kind == _STRING:
            text = self._string(sink)
            return text.decode(errors="replace") if wanted or len(text) <= MAX_KEPT_STRING else None
        if kind == _ARRAY:
            return self._array(wanted, sink)
        raw = self._take(struct.calcsize(self._format(kind)))
        sink(raw)
        value: Value = struct.unpack("<" + self._format(kind), raw)[0]
        return value

    def _array(self, wanted: bool, sink: Callable[[bytes], object]) -> list[Any] | None:
        head = self._take(12)
        sink(head)
        kind = _U32.unpack_from(head)[0]
        count = self._bounded(head[4:], MAX_ELEMENTS, "an array of {} elements")
        self._elements += count
        if self._elements > MAX_ALL_ELEMENTS:
            self._fail(f"arrays of more than {MAX_ALL_ELEMENTS} elements")
        if kind == _ARRAY:
            self._fail("an array of arrays")
        kept: list[Any] | None = [] if wanted or count <= MAX_KEPT_ARRAY else None
        if kind == _STRING:
            self._strings(count, kept, sink)
        else:
            self._numbers(self._format(kind), count, kept, sink)
        return kept

    def _numbers(self, form: str, count: int, kept: list[Any] | None, sink: Callable[[bytes], object]) -> None:
        size = struct.calcsize(form)
        self._need(count * size)
        while count:
            some = min(count, _BLOCK // size)
            raw = self._take(some * size)
            sink(raw)
            if kept is not None:
                kept.extend(struct.unpack(f"<{some}{form}", raw))
            count -= some

    def _strings(self, count: int, kept: list[Any] | None, sink: Callable[[bytes], object]) -> None:
        self._need(count * _U64.size)
        while count:
            # All that lie whole in the window, which is as good as all: a vocabulary has hundreds of thousands.
            window, at, end = self._window, self._at, len(self._window)
            while count and at + 8 <= end:
                after = at + 8 + _U64.unpack_from(window, at)[0]
                if after > end:
                    break
                if kept is not None:
                    kept.append(window[at + 8 : after])
                at = after
                count -= 1
            sink(window[self._at : at])
            self._at = at
            if count:
                text = self._string(sink)
                if kept is not None:
                    kept.append(text)
                count -= 1

    def _string(self, sink: Callable[[bytes], object]) -> bytes:
        length = self._take(8)
        text = self._take(self._bounded(length, MAX_STRING, "a string of {} bytes"))
        sink(length)
        sink(text)
        return text

    def _format(self, kind: int) -> str:
        if kind not in _SCALARS:
            self._fail(f"a value of unknown type {kind}")
        return _SCALARS[kind]

    def _bounded(self, raw: bytes, limit: int, what: str) -> int:
        value: int = _U64.unpack(raw)[0]
        if value > limit:
            self._fail(what.format(value))
        return value

    def _need(self, count: int) -> None:
        """Fail unless so many bytes are left in the file, and may be read."""
        end = self._start + self._at + count
        if end > self._size:
            self._fail("it ends within its metadata")
        if end > MAX_METADATA:
            self._fail(f"metadata of more than {MAX_METADATA} bytes")

    def _take(self, count: int) -> bytes:
        after = self._at + count
        if after > len(self._window):
            self._need(count)
            self._fill(count)
            after = count
        taken = self._window[self._at : after]
        self._at = after
        return taken

    def _fill(self, count: int) -> None:
        """Move the window to where reading is, with at least so many bytes."""
        parts = [self._window[self._at :]]
        missing = max(count, _BLOCK) - len(parts[0])
        while missing > 0 and (block := self._file.read(missing)):
            parts.append(block)
            missing -= len(block)
        self._start += self._at
        self._at = 0
        self._window = b"".join(parts)
        if len(self._window) < count:
            self._fail("it ends within its metadata")

    def _fail(self, reason: str) -> NoReturn:
        raise BackendMissingError(f"{self._name} is not a GGUF file that lmarc can read: {reason}")


def _ignore(_data: bytes) -> None:
    """What nobody wants hashed."""
