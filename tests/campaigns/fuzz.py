"""Coverage-guided fuzzing of what reads archives: ``python -m tests.campaigns.fuzz TARGET [libFuzzer arguments]``.

Only lmarc's errors may come out, each input within a second and 256 MiB. With a FILE it tries that one input, which is
how a fault is reproduced. Without -runs it goes on until something is wrong. Needs atheris.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pkgutil
import random
import re
import resource
import subprocess
import sys
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, cast

import msgpack
from blake3 import blake3

from tests.campaigns.campaign import Campaign, Tally

PLACE = Path(".campaigns") / "fuzz"
#: What one input may take: seconds of processor time, and bytes beyond what the process has when fuzzing begins.
SECONDS, MEMORY = 1.0, 256 << 20
#: For libFuzzer itself, mostly the corpus.
_OWN_MEMORY = 64 << 20
#: Wall time after which libFuzzer gives up an input that does not end.
_HANGS = 60
#: Longest input: what takes long or much because it is large is what the campaign of hostile archives has.
_LONGEST = 4096
_REPORT_EVERY = 5000
#: What the reader is told to accept.
_MOST_MEMBERS = 12
#: How often a part goes on after a death of the process.
_DEATHS = 3
#: Modules of the coding core that are Python; the others are compiled, and must not be instrumented.
_PYTHON_CODING = ("codec", "group", "numbers")


def _instrumented() -> AbstractContextManager[object]:
    """Within this, what is imported for the first time reports its coverage, in the fuzzing process."""
    if __name__ != "__main__":
        return nullcontext()
    import atheris

    import lmarc.coding

    compiled = [module.name for module in pkgutil.iter_modules(lmarc.coding.__path__, "lmarc.coding.")]
    python = {f"lmarc.coding.{name}" for name in _PYTHON_CODING}
    hook: AbstractContextManager[object] = atheris.instrument_imports(
        ["lmarc"], [name for name in compiled if name not in python]
    )
    return hook


with _instrumented():
    from lmarc.archive import recovery
    from lmarc.backends.contract import PredictorBackend, PredictorModel, Promise, Session
    from lmarc.container import frames, wire, zframe
    from lmarc.container.header import BackendRef, Header, read_header
    from lmarc.container.index import Chunk, IndexFrame, Member, Owner, parse_index
    from lmarc.container.reader import RECOVERY, ContainerReader
    from lmarc.container.writer import ContainerWriter, trailer
    from lmarc.errors import LmarcError


# --- real archives -----------------------------------------------------------------------------------------

_BACKENDS = (BackendRef("cm", 2), BackendRef("store", 1), BackendRef("zstd", 1))
_CONTENTS = (b"every byte comes back\n" * 9, b"0123456789" * 30, b"the third chunk")
_OWNERS = (Owner(0, 0, b"", b""), Owner(1000, 1000, b"ann", b"ann"), Owner(1, 2, b"a\xff", b"users"))


def _header() -> Header:
    return Header("campaign", _BACKENDS)


def _chunks(writer: ContainerWriter) -> None:
    for content in _CONTENTS:
        writer.add_chunk(1, len(content), blake3(content).digest(frames.CHECK_SIZE), content)


def _members() -> list[Member]:
    first, second, third = map(len, _CONTENTS)
    hash_of = [blake3(content).digest() for content in _CONTENTS]
    return [
        Member(b"notes", 0o040755, 10**18, _OWNERS[1]),
        Member(b"notes/a", 0o100644, 10**18, _OWNERS[1], first, 0, hash=hash_of[0]),
        Member(b"notes/b\xff", 0o100600, -5, _OWNERS[2], 9000, first, hash=hash_of[1], sparse=(16, 100, 8000, 200)),
        Member(b"c", 0o100644, 0, _OWNERS[0], third, first + second, hash=hash_of[2]),
        Member(b"empty", 0o100644, 0, _OWNERS[0], hash=blake3().digest()),
        Member(b"link", 0o120777, 1 << 62, _OWNERS[2], target=b"../\xfe"),
        Member(b"hard", 0, 0, _OWNERS[0], target=b"notes/a"),
    ]


def _archive(steps: Sequence[str]) -> bytes:
    """An archive made in steps: "chunks", "members", "checkpoint"."""
    sink = io.BytesIO()
    writer = ContainerWriter(sink, _header())
    for step in steps:
        if step == "chunks":
            _chunks(writer)
        elif step == "members":
            for member in _members():
                writer.add_member(member)
        else:
            writer.checkpoint()
    writer.close()
    return sink.getvalue()


def _frames_of(data: bytes) -> list[tuple[int, frames.FrameHead]]:
    return list(ContainerReader.open(io.BytesIO(data)).walk_frames())


# --- recipes -----------------------------------------------------------------------------------------------
#
# A file as msgpack: a list of what stands one behind the other. Bytes stand as they are; [type, codec, decoded, body]
# is a frame with valid checksums, decoded -1 the right size, body bytes or [value, bytes]: msgpack and what follows it;
# a number is a trailer, that many bytes off.


def _recipe_of(data: bytes, start: int) -> bytes:
    """The recipe of a whole archive from there on."""
    out: list[Any] = []
    for offset, head in _frames_of(data):
        body: Any = data[offset + head.size : offset + head.total]
        decoded = head.decoded
        if head.type == frames.INDEX:
            plain = zframe.decompress(body, head.decoded) if head.codec == frames.INDEX_ZSTD else body
            body, decoded = [*wire.parse_msgpack_prefix(plain)], -1
        elif head.type == RECOVERY:
            body = [*wire.parse_msgpack_prefix(body)]
        if offset >= start:
            out.append([head.type, head.codec, decoded, body])
            if data[offset + head.total + 4 : offset + head.total + 6] == b"\x8eZ":
                out.append(0)
    return _packed(out)


def _cook(recipe: bytes, out: bytearray) -> bytes:
    """What a recipe makes, behind `out`; a recipe that is none stands as it is."""
    try:
        value = msgpack.unpackb(recipe, strict_map_key=False)
    except Exception:
        return bytes(out + recipe)
    last = 0
    for item in value if type(value) is list else [recipe]:
        match item:
            case bytes():
                out += item
            case int():
                out += trailer((last + item) & 0xFFFFFFFF)
            case [int() as type_, int() as codec, int() as decoded, bytes() | list() as body]:
                packed = _body(body)
                size = len(packed) if decoded == -1 else decoded & (1 << 63) - 1
                if type_ & 0xFF == frames.INDEX and codec == frames.INDEX_ZSTD and type(body) is list:
                    packed = zframe.compress(packed, 1)
                frame = b"".join(frames.pack_frame(len(out), type_ & 0xFF, codec & (1 << 63) - 1, size, packed))
                out, last = out + frame, len(frame)
            case _:
                continue
    return bytes(out)


def _body(body: bytes | list[Any]) -> bytes:
    if type(body) is list:
        behind = body[1] if len(body) > 1 and type(body[1]) is bytes else b""
        return _packed(body[0] if body else None) + behind
    return cast(bytes, body)


def _packed(value: Any) -> bytes:
    return bytes(msgpack.packb(value, use_bin_type=True))


# --- mutation ----------------------------------------------------------------------------------------------

_NUMBERS = (0, 1, 2, 22, 255, 2**16, 2**26, 2**26 + 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_NEGATIVE = (-1, -(2**31), -(2**63))
_TEXTS = ("", "..", "../x", "/x", "a//b", "a\0b", "notes/a", "notes", "x" * 300)
_KEYS = ("backends", "canary", "chunking", "environment", "model", "models", "params", "promise", "removed", "requires")
_KEYS += ("segments", "sparse", "x")
_MODES = (0, 0o040755, 0o100644, 0o120777, 0o060000, 0o177777, 0o104755)
_OTHERS: tuple[Any, ...] = (None, True, 1.5, b"", b"\xff\xfe", b"text", [], {}, [[]], {"sparse": [0, 1]}, ["x"])


class Mutator:
    """Changes values of a msgpack value and what follows it; sometimes any bytes."""

    def __init__(self, seeds: Sequence[bytes]) -> None:
        self._grafts: list[Any] = []
        for seed in seeds:
            with suppress(Exception):
                self._collect(_unpacked(seed)[0])

    def _collect(self, value: Any) -> None:
        self._grafts.append(value)
        for item in _items(value):
            self._collect(item)

    def __call__(self, data: bytes, most: int, seed: int) -> bytes:
        """libFuzzer's custom mutator."""
        rng = random.Random(seed)
        if rng.random() < 0.08:
            return _mutated(data, most)
        try:
            value, rest = _unpacked(data)
            holder = [value]
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                self._change(holder, rng)
            if rest and rng.random() < 0.1:
                rest = _mutated(rest, len(rest) + 32)
            elif rng.random() < 0.03:
                rest = rng.choice((b"", rest + bytes(32), rest[:-1]))
            out = _packed(_in_order(holder[0])) + rest
        except Exception:
            # Not msgpack, or what msgpack cannot hold.
            return _mutated(data, most)
        return out if len(out) <= most else data

    def _change(self, holder: list[Any], rng: random.Random) -> None:
        node: Any = holder
        while True:
            inner = [item for item in _items(node) if item and type(item) in (list, dict)]
            if not inner or (node is not holder and rng.random() < 0.25):
                break
            node = rng.choice(inner)
        keys = list(node) if type(node) is dict else range(len(node))
        if not keys:
            return
        key = rng.choice(keys)
        old, choice = node[key], rng.randrange(14)
        if type(node) is list and node is not holder and choice < 5:
            other = rng.choice(keys)
            match choice:
                case 0:
                    del node[key]
                case 1:
                    node.insert(key, _copied(node[other]))
                case 2:
                    node[key], node[other] = node[other], old
                case 3:
                    node.insert(key, self._other(rng))
                case _:
                    node[other:] = node[other : other + rng.randrange(4)]
        elif type(node) is dict and choice < 5:
            if choice == 0:
                del node[key]
            else:
                node[rng.choice(_KEYS)] = self._other(rng)
        elif choice < 11 and old is not None and type(old) in (int, bytes, str):
            node[key] = self._changed(old, rng)
        else:
            node[key] = self._other(rng)

    def _changed(self, old: Any, rng: random.Random) -> Any:
        if type(old) is int:
            choice = rng.randrange(4)
            if choice == 0:
                return rng.choice((*_NUMBERS, *_NEGATIVE, *_MODES))
            changed = old + rng.choice((-1, 1, -3, 7, 22, 4096)) if choice < 3 else old ^ 1 << rng.randrange(63)
            return min(max(changed, -(1 << 63)), (1 << 64) - 1)
        raw = old if type(old) is bytes else old.encode()
        raw = _mutated(raw, len(raw) + 16) if raw or rng.random() < 0.5 else b"a"
        return raw if type(old) is bytes else raw.decode(errors="replace")

    def _other(self, rng: random.Random) -> Any:
        match rng.randrange(5):
            case 0:
                return rng.choice((*_NUMBERS, *_NEGATIVE))
            case 1:
                return rng.choice(_TEXTS)
            case 2:
                return _copied(rng.choice(_OTHERS))
            case _:
                return _copied(rng.choice(self._grafts))


def _mutated(data: bytes, most: int) -> bytes:
    import atheris

    # Looked up at every call: Fuzz() puts it there.
    return bytes(atheris.Mutate(data, most))


def _unpacked(data: bytes) -> tuple[Any, bytes]:
    unpacker = msgpack.Unpacker(None, max_buffer_size=max(len(data), 1))
    unpacker.feed(data)
    value = unpacker.unpack()
    return value, data[unpacker.tell() :]


def _items(value: Any) -> list[Any]:
    if type(value) is dict:
        return list(value.values())
    return value if type(value) is list else []


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else value


def _in_order(value: Any) -> Any:
    if type(value) is dict:
        return {key: _in_order(value[key]) for key in sorted(value, key=str.encode)}
    return [_in_order(item) for item in value] if type(value) is list else value


# --- targets -----------------------------------------------------------------------------------------------


class Target(ABC):
    """Something that takes bytes that anybody may have written."""

    #: Whether inputs are msgpack, or begin with it.
    structured: ClassVar[bool] = True

    @abstractmethod
    def seeds(self) -> list[bytes]:
        """Inputs to begin with, from what lmarc itself writes."""

    @abstractmethod
    def try_out(self, data: bytes) -> None:
        """Take an input. Raises LmarcError; anything else is a fault."""


class HeaderTarget(Target):
    """The header's msgpack, given a valid length and checksum; or a whole header, given a valid checksum."""

    def seeds(self) -> list[bytes]:
        model = {"beside": {"a": bytes(32)}, "name": "m", "sha256": bytes(32), "size": 9, "tokenizer": {"kind": "x"}}
        with_model = {"canary": bytes(16), "environment": {"os": "x"}, "model": 0, "params": {"a": 1, "b": "c"}}
        headers = [
            _header(),
            Header("1.0", (BackendRef("zstd", 1),), {"chunking": {"lanes": 4, "size": 65536}}),
            Header("1.0", (BackendRef("cm", 2, {"params": {"level": 2}}), BackendRef("store", 1)), {"x": [1, "y"]}),
            Header("", (BackendRef("torch", 1, {**with_model, "promise": "matching"}),), {"models": [model, {}]}),
        ]
        whole = [header.to_bytes() for header in headers]
        prefix = len(wire.MAGIC) + 1
        return [*whole, *(data[wire.parse_uvarint(data, prefix)[1] : -4] for data in whole)]

    def try_out(self, data: bytes) -> None:
        if data[:2] == wire.MAGIC[:2]:
            head = data[:-4]
        else:
            head = wire.MAGIC + bytes((wire.FORMAT_VERSION,)) + wire.pack_uvarint(len(data)) + data
        whole = head + wire.crc32(head).to_bytes(4, "little")
        header, end = read_header(io.BytesIO(whole))
        for ref in header.backends:
            _ = (ref.promise, ref.params)
        if header.to_bytes() != whole[:end]:
            raise AssertionError("the header is not the one that was read")


def _use(data: bytes) -> None:
    """Open an archive and take what its index promises. Raises LmarcError."""
    reader = ContainerReader.open(io.BytesIO(data), _MOST_MEMBERS)
    for chunk in reader.chunks[:16]:
        with suppress(LmarcError):
            reader.payload_size(chunk)
            reader.read_chunk(chunk)
    for member in reader.members[:64]:
        _ = (member.kind, list(islice(member.data_runs(), 64)), reader.chunks_of(member.start, member.end))
    reader.before()
    reader.last_whole()


class FramesTarget(Target):
    """A recipe of what follows a header: frames, checkpoints, trailers and bytes between."""

    def __init__(self) -> None:
        self._prefix = _header().to_bytes()

    def seeds(self) -> list[bytes]:
        steps = (["chunks", "members"], ["chunks", "checkpoint", "members", "checkpoint"], [])
        made = [_recipe_of(_archive(each), len(self._prefix)) for each in steps]
        unknown = msgpack.unpackb(made[0])
        unknown[1:1] = [[0x7A, 5, 7, b"skipped"], b"\xae\x9b", [0x5A, 0, 0, b"not known"]]
        return [*made, _packed(unknown), _packed(unknown[:4])]

    def try_out(self, data: bytes) -> None:
        _use(_cook(data, bytearray(self._prefix)))


class IndexTarget(Target):
    """A decoded index, parsed alone and as the last of an archive that has chunks and a checkpoint."""

    def __init__(self) -> None:
        made = _archive(["chunks", "checkpoint", "members"])
        (self._checkpoint, _), (at, _) = [place for place in _frames_of(made) if place[1].type == frames.INDEX]
        self._base = made[:at]
        self._lone = _archive(["chunks", "members"])
        self._alone_at = next(at for at, head in _frames_of(self._lone) if head.type == frames.INDEX)

    def seeds(self) -> list[bytes]:
        reader = ContainerReader.open(io.BytesIO(self._lone))
        stream = sum(map(len, _CONTENTS))
        extra = [BackendRef("torch", 1, {"model": 0}), BackendRef("brotli", 1)]
        models: list[dict[str, Any]] = [{"name": "m", "sha256": bytes(32), "size": 1}]
        follows = IndexFrame(stream, [], reader.members, [self._checkpoint])
        more = IndexFrame(stream, [], [], [self._checkpoint], [], extra, models, len(_BACKENDS), 0)
        alone = IndexFrame(0, reader.chunks, reader.members, removed=[b"gone", b"\xff"])
        return [each.to_bytes() for each in (follows, more, alone, IndexFrame(0, reader.chunks, reader.members))]

    def try_out(self, data: bytes) -> None:
        head = frames.FrameHead(frames.INDEX, frames.INDEX_PLAIN, len(data), len(data), 0, 0)
        index = parse_index(head, data, 1 << 62)
        # One that names checkpoints, or begins in the stream, follows one; others stand alone.
        base = self._base if index.segments or index.base else self._lone[: self._alone_at]
        frame = b"".join(frames.pack_frame(len(base), frames.INDEX, frames.INDEX_PLAIN, len(data), data))
        _use(base + frame + trailer(len(frame)))


class RecoveryTarget(Target):
    """A recipe of a whole file with recovery data, looked for and repaired by it."""

    def __init__(self) -> None:
        self._source, self._target = os.memfd_create("source"), _Target()

    def seeds(self) -> list[bytes]:
        data = _archive(["chunks", "members"])
        size, half = len(data), len(data) // 2
        start = _frames_of(data)[0][0]
        groups = [
            recovery.groups_for(data, 5),
            [recovery.Group(0, size, 256, 1, 2, blake3(data).digest())],
            [
                recovery.Group(0, half, 256, 2, 1, blake3(data[:half]).digest()),
                recovery.Group(half, size - half, 256, 1, 3, blake3(data[half:]).digest()),
            ],
        ]
        made = [data + b"".join(recovery.tail(data, each, [], sum(map(len, _CONTENTS)))) for each in groups]
        recipes = []
        for whole in made:
            tail = msgpack.unpackb(_recipe_of(whole, size))
            recipes += [_packed([data, *tail]), _packed([data[:9] + b"??" + data[11:], *tail])]
        inner = msgpack.unpackb(_recipe_of(made[0], start))
        return [*recipes, _packed([data[:start], *inner])]

    def try_out(self, data: bytes) -> None:
        whole = _cook(data, bytearray())
        os.ftruncate(self._source, 0)
        os.pwrite(self._source, whole, 0)
        self._target.clear()
        recovery.repair(f"/proc/self/fd/{self._source}", cast(Any, self._target))


class _Target:
    """A file in memory that repair() writes to."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("target")

    def clear(self) -> None:
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)

    def fileno(self) -> int:
        return self._fd

    def write(self, data: bytes) -> int:
        return os.write(self._fd, data)


class CodingTarget(Target):
    """Backend, size and payload. A chunk is decoded with a check that nothing has, so it must always be refused.

    Compiled code is made to check its indices, and its errors are looked for behind the decoder's.
    """

    structured = False
    #: What is behind an error of the decoder when the payload is to blame.
    expected: tuple[type[BaseException], ...]
    #: Most bytes of content, by backend.
    most: ClassVar[Sequence[int]] = (256, 256, 1 << 16, 128)

    def __init__(self) -> None:
        # Apart from the machine code that does not check.
        os.environ |= {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str((PLACE / "numba").absolute())}
        assert "numba" not in sys.modules
        with _instrumented():
            import zstandard

            from lmarc.archive.decode import ChunkDecoder
            from lmarc.backends.predicted import PredictorCodec
            from lmarc.coding import codec, group
            from lmarc.coding.vocabulary import Vocabulary
        self.expected = (ValueError, zstandard.ZstdError)
        self._codec, self._group = codec, group
        refs = (BackendRef("cm", 2), BackendRef("cm", 2, {"params": {"level": 2}}), BackendRef("zstd", 1))
        self._header = Header("campaign", refs)
        self._decoder = ChunkDecoder(ContainerReader(io.BytesIO(), self._header, 0, 0))
        model = _Model()
        self._predictor = PredictorCodec(_Backend(), model)
        self._vocabulary = Vocabulary(model.vocabulary)

    def seeds(self) -> list[bytes]:
        texts = [b"the quick brown fox [1, 2]; jumps\n" * 3, bytes(range(200)), b"a", b"\xe8\1\0\0\0x" * 9]
        out = []
        for text in texts:
            size = (len(text) - 1).to_bytes(2, "little")
            out += [bytes([level - 1]) + size + self._codec.encode(text, level) for level in (1, 2)]
            out.append(b"\2" + size + zframe.compress(text, 3))
            ranks = self._vocabulary.spell(text[:100])
            size = (len(text[:100]) - 1).to_bytes(2, "little")
            for lanes in sorted({1, min(3, len(ranks))}):
                advance = _Session().advance
                out.append(b"\3" + size + self._group.encode(ranks, self._vocabulary, advance, 0, lanes, 1))
        # Heads of payloads with segments of every kind.
        rows = ((1, 0, 1, 1), (60, 17, 1, 1), (60, 2, 3, 9), (60, 3, 2, 8))
        head = bytes([len(rows), *(value for row in rows for value in row)])
        out.append(b"\1" + (sum(row[0] for row in rows) - 1).to_bytes(2, "little") + head + b"any code")
        return out

    def try_out(self, data: bytes) -> None:
        number, payload = (data[0] & 3 if data else 0), data[3:]
        size = 1 + int.from_bytes(data[1:3], "little") % self.most[number]
        try:
            if number == len(self._header.backends):
                self._predictor.symbols_of(memoryview(payload))
                if len(self._predictor.decompress(memoryview(payload), size, {})) != size:
                    raise AssertionError("a group of the wrong size")
                return
            body = bytes(frames.CHECK_SIZE) + payload
            file = io.BytesIO(b"".join(frames.pack_frame(0, frames.CHUNK, number, size, body)))
            self._decoder.container = ContainerReader(file, self._header, 0, 0)
            self._decoder.decode(Chunk(0, size, number, 0))
        except LmarcError as error:
            if error.__cause__ is not None and not isinstance(error.__cause__, (LmarcError, *self.expected)):
                raise error.__cause__ from None
            raise
        raise AssertionError("content that is not what was packed is not refused")


class _Session(Session):
    """Scores that follow from the last symbol of a lane."""

    def advance(self, symbols: Any) -> Any:
        import numpy as np

        size = len(_Model.vocabulary)
        return np.sin(symbols[..., np.newaxis] * 7.0 + np.arange(size)).astype(np.float32) * 4


class _Model(PredictorModel):
    """A model whose vocabulary has words, gaps, and two symbols of the same bytes."""

    vocabulary = (None, b"the", b"th", b"t", b"h", b"e", b" ", b"quick", b"qu", b"e", b"", b"\xff\xfe", b"\0", b"1, ")
    settings: Mapping[str, Any] = MappingProxyType({})
    lanes, steps = 4, 1

    def tokenize(self, text: bytes) -> Sequence[int]:
        return []

    def session(self, lanes: int) -> Session:
        return _Session()


class _Backend(PredictorBackend):
    name, version, promise = "campaign", 1, Promise.PORTABLE

    def open(self, path: str, params: Mapping[str, Any], threads: int) -> PredictorModel:
        return _Model()


TARGETS: dict[str, type[Target]] = {
    "header": HeaderTarget,
    "frames": FramesTarget,
    "index": IndexTarget,
    "recovery": RecoveryTarget,
    "coding": CodingTarget,
}


# --- the fuzzing process -----------------------------------------------------------------------------------


class Watch:
    """Tries inputs and keeps the figures. With a report faults are kept and noted there; otherwise they are raised."""

    def __init__(self, name: str, target: Target, report: Path | None, replayed: int, runs: int) -> None:
        self._name, self._target, self._report = name, target, report
        self._replayed, self._runs = replayed, runs
        self._calls = self._refused = 0
        self._slowest, self._memory = 0.0, _status("VmRSS")
        self._faults: dict[str, str] = {}
        self._again: Counter[str] = Counter()
        # So that VmHWM is what fuzzing takes, not what starting took.
        Path("/proc/self/clear_refs").write_text("5")

    def __call__(self, data: bytes) -> None:
        """libFuzzer's test of one input."""
        self._calls += 1
        began = time.process_time()
        try:
            self._target.try_out(data)
        except LmarcError:
            self._refused += 1
        except Exception as error:
            self._fault(data, error)
        took = time.process_time() - began
        self._slowest = max(self._slowest, took)
        if took > SECONDS:
            self._fault(data, TimeoutError(f"took {took:.1f} s"))
        if self._report is not None and (self._calls % _REPORT_EVERY == 0 or self._calls == self._runs):
            self._write(self._report)

    def _fault(self, data: bytes, error: Exception) -> None:
        if self._report is None:
            raise error
        stack = traceback.extract_tb(error.__traceback__)
        where = f"{type(error).__name__} at {Path(stack[-1].filename).name}:{stack[-1].lineno}" if stack else "slow"
        self._again[where] += 1
        if where not in self._faults:
            path = _kept(self._name, data)
            trace = " < ".join(f"{Path(step.filename).name}:{step.lineno}" for step in reversed(stack[-5:]))
            what = f"{type(error).__name__}: {str(error)[:200]}"
            self._faults[where] = f"{what} ({trace}); python -m tests.campaigns.fuzz {self._name} {path}"
            self._write(self._report)

    def _write(self, report: Path) -> None:
        tried = max(self._calls - self._replayed, 0)
        tally = Tally(tried)
        tally.counts += {
            self._name: tried,
            f"{self._name} refused": self._refused,
            "corpus tried again": self._replayed,
        }
        tally.counts += {f"{self._name}: {where}": count for where, count in self._again.items()}
        tally.peak(f"{self._name} s", self._slowest)
        tally.peak(f"{self._name} MiB", (_status("VmHWM") - self._memory) / (1 << 20))
        tally.faults = list(self._faults.values())
        beside = report.with_suffix(".new")
        beside.write_text(json.dumps(tally.to_json()))
        beside.replace(report)


def _kept(name: str, data: bytes) -> Path:
    """Where an input that is to blame has been put."""
    folder = PLACE / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{blake3(data).hexdigest(8)}"
    path.write_bytes(data)
    return path


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(key + ":"))


def _limit_memory() -> None:
    # Not libFuzzer's -rss_limit_mb: that looks once a second, and sees nothing that is freed before. What goes beyond
    # this fails where it is asked for.
    limit = _status("VmSize") + MEMORY + _OWN_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(arguments: Sequence[str]) -> None:
    """Fuzz. `--report=FILE` and `--inputs=N`, inputs beside those of the corpus, are for the campaign."""
    import atheris

    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"{__doc__}\nTARGET is one of {', '.join(TARGETS)}")
    name, rest = arguments[0], list(arguments[1:])
    own = dict(argument[2:].split("=", 1) for argument in rest if argument.startswith("--"))
    rest = [argument for argument in rest if not argument.startswith("--")]
    target = TARGETS[name]()
    seeds = target.seeds()
    # What is made at first use is not an input's.
    for seed in (*seeds, b""):
        with suppress(LmarcError):
            target.try_out(seed)
    replayed = runs = 0
    if all(argument.startswith("-") for argument in rest):
        corpus = PLACE / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)
        rest.append(str(corpus))
        # libFuzzer tries the empty input, then those of the corpus.
        replayed = 1 + len(list(corpus.iterdir()))
    if "inputs" in own:
        runs = replayed + int(own["inputs"])
        rest.insert(0, f"-runs={runs}")
    watch = Watch(name, target, Path(own["report"]) if "report" in own else None, replayed, runs)
    (PLACE / "faults").mkdir(parents=True, exist_ok=True)
    usual = [f"-timeout={_HANGS}", f"-max_len={_LONGEST}", "-rss_limit_mb=0", "-reload=0", "-len_control=0"]
    usual.append(f"-artifact_prefix={PLACE / 'faults'}/{name}-")
    mutation = {"custom_mutator": Mutator(seeds)} if target.structured else {}
    warnings.simplefilter("error")
    atheris.Setup([sys.argv[0], *usual, *rest], watch, **mutation)
    _limit_memory()
    atheris.Fuzz()


# --- the campaign ------------------------------------------------------------------------------------------


class Fuzz(Campaign):
    """Inputs made by libFuzzer. A case is one that was not in the corpus when its part began."""

    name = "fuzz"
    what = "coverage-guided inputs for header, frames, index, recovery data and coding: lmarc's errors only"
    cases = 10_000_000
    part = 50_000
    #: Parts by target.
    split: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"header": 64, "frames": 44, "index": 66, "recovery": 18, "coding": 8}
    )
    _folder = ""

    def prepare(self, folder: Path) -> int:
        """Look whether there is what it takes."""
        if importlib.util.find_spec("atheris") is None:
            raise SystemExit("fuzzing needs atheris: pip install atheris (for Linux, CPython up to 3.13)")
        self._folder = str(folder)
        return self.part * sum(self.split.values())

    def target_of(self, number: int) -> str:
        """The target of a part. Every beginning of the campaign has of each what the split says."""
        spread = [((i + 0.5) / parts, name) for name, parts in self.split.items() for i in range(parts)]
        return sorted(spread)[number][1]

    def run(self, numbers: range) -> Tally:
        """Fuzz one target."""
        part = numbers.start // self.part
        name, tally = self.target_of(part), Tally()
        for death in range(_DEATHS):
            # Never 0: that is none to libFuzzer.
            seed = 1 + (self.seed * 1_000_003 + part * _DEATHS + death) % (1 << 31)
            tally.add(self._fuzz(name, len(numbers) - tally.cases, seed))
            if tally.cases >= len(numbers):
                break
        return tally

    def _fuzz(self, name: str, inputs: int, seed: int) -> Tally:
        report = Path(self._folder) / f"{name}-{seed}.json"
        command = [sys.executable, "-m", "tests.campaigns.fuzz", name, f"--report={report}", f"--inputs={inputs}"]
        done = subprocess.run([*command, f"-seed={seed}", "-verbosity=0"], capture_output=True, check=False)
        tally = Tally.from_json(json.loads(report.read_text())) if report.exists() else Tally()
        if done.returncode or tally.cases < inputs:
            said = done.stderr.decode(errors="replace")
            kept = re.search(r"Test unit written to (\S+)", said)
            where = f"python -m tests.campaigns.fuzz {name} {kept[1]}" if kept else "no input was kept"
            lines = [line for line in said.splitlines() if line.strip() and not line.startswith(("INFO", "WARNING"))]
            last = " | ".join(lines[-12:])[:800]
            tally.faults.append(f"{name}, seed {seed}: the process ended with {done.returncode}; {where}: {last}")
        return tally


if __name__ == "__main__":
    main(sys.argv[1:])
