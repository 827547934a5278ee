"""Archives that someone made to hurt: valid checksums, impossible structure. And a box to read them in.

Two sorts: named cases, each built for one weakness, and random changes of header and index by number.
"""

from __future__ import annotations

import errno
import io
import json
import os
import random
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
from blake3 import blake3

import lmarc
from lmarc.archive.presets import Preset
from lmarc.cli import render
from lmarc.container import frames, wire, zframe
from lmarc.container.header import BackendRef, Header, read_header
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.common import Subject, clear, flip, judge_all, make_tree, shares, workplace

ESCAPE = b"lmarc-escaped"
FILE, DIR, SYMLINK, HARDLINK = 0o100644, 0o040755, 0o120777, 0
#: What reading any archive of at most a few MB may take beyond what the process has at the start, and the address space
#: it may take for that, of which a thread that allocates reserves more than it uses.
MEMORY = 256 << 20
_ADDRESS_SPACE = 1 << 30
#: Seconds of processor time for one archive, and what is added for each of its bytes.
SECONDS = 1.0
SECONDS_PER_BYTE = 4e-5
_WALL = 30
_READ_LIMIT = 1 << 20


# --- building ----------------------------------------------------------------------------------------------


@dataclass
class Parts:
    """An archive taken apart: whatever of it is changed, `build` gives it valid lengths and checksums."""

    header: Any = field(default_factory=lambda: ["campaign", [["cm", 2], ["store", 1], ["zstd", 1]]])
    chunks: list[tuple[int, int, bytes]] = field(default_factory=list)
    index: Any = None
    hashes: bytes = b""

    @classmethod
    def of(cls, data: bytes) -> Parts:
        """Take a whole archive without checkpoints apart."""
        header, _ = read_header(io.BytesIO(data))
        with lmarc.open(io.BytesIO(data)) as archive:
            chunks = []
            for chunk in archive.chunks:
                head = frames.parse_head(chunk.offset, data[chunk.offset : chunk.offset + frames.MAX_HEAD])
                body = chunk.offset + head.size
                chunks.append((chunk.codec, chunk.size, data[body : body + head.stored]))
        at = len(data) - 6 - int.from_bytes(data[-6:-2], "little")
        head = frames.parse_head(at, data[at : at + frames.MAX_HEAD])
        body = data[at + head.size : at + head.total]
        plain = zframe.decompress(body, head.decoded) if head.codec else body
        index, hashes = wire.parse_msgpack_prefix(plain)
        rows = [backend.to_row() for backend in header.backends]
        return cls([header.writer, rows, *([dict(header.options)] if header.options else [])], chunks, index, hashes)

    def add_chunk(self, content: bytes, codec: int = 1, payload: bytes | None = None, size: int | None = None) -> None:
        """Add a chunk; codec is a position in the header's backends: 0 cm, 1 store, 2 zstd."""
        coded = payload if payload is not None else zframe.compress(content, 3) if codec == 2 else content
        self.chunks.append((codec, size or len(content), blake3(content).digest(8) + coded))

    def set_index(self, members: list[Any], hashes: bytes = b"", owners: Any = None) -> Parts:
        """An index over the chunks that have been added."""
        flat: list[int] = []
        for codec, size, _ in self.chunks:
            flat += (0, size, codec)
        self.index, self.hashes = [0, [[0]] if owners is None else owners, flat, members], hashes
        return self

    def build(self, *, place: bool = True, raw_index: bytes | None = None) -> bytes:
        """The archive. With `place` the index's chunk offsets are set to where the chunks are."""
        packed = pack(self.header)
        out = bytearray(wire.MAGIC + b"\x01" + wire.pack_uvarint(len(packed)) + packed)
        out += wire.crc32(out).to_bytes(4, "little")
        last = 0
        for number, (codec, size, body) in enumerate(self.chunks):
            if place:
                self.index[2][3 * number] = len(out) - last
            last = len(out)
            out += b"".join(frames.pack_frame(len(out), frames.CHUNK, codec, size, body))
        return finish(out, pack(self.index) + self.hashes if raw_index is None else raw_index)


def finish(out: bytearray, plain: bytes) -> bytes:
    """Add an index, given as it is before compression, and the trailer."""
    packed = zframe.compress(plain, 3)
    if len(packed) < len(plain):
        last = b"".join(frames.pack_frame(len(out), frames.INDEX, frames.INDEX_ZSTD, len(plain), packed))
    else:
        last = b"".join(frames.pack_frame(len(out), frames.INDEX, frames.INDEX_PLAIN, len(plain), plain))
    return bytes(out + last + len(last).to_bytes(4, "little") + b"\x8e\x5a")


def pack(value: Any) -> bytes:
    """Any value as msgpack, maps sorted."""
    return bytes(msgpack.packb(_sorted(value), use_bin_type=True))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=str)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _row(path: str | bytes, mode: int, *more: Any) -> list[Any]:
    return [path, mode, 0, 0, *more]


def _empty() -> bytearray:
    return bytearray(Header("campaign", (BackendRef("store", 1),)).to_bytes())


# --- named cases -------------------------------------------------------------------------------------------


def hole(size: int, runs: list[int]) -> bytes:
    """A file of so many bytes, nearly all of them hole."""
    parts = Parts()
    if runs:
        parts.add_chunk(b"x" * sum(runs[1::2]))
    row = _row("hole", FILE, size, 0, {"sparse": runs})
    return parts.set_index([row], blake3(b"x" * sum(runs[1::2])).digest()).build()


def many_runs() -> bytes:
    """Many holes of a byte between runs of a byte."""
    count = 200_000
    parts = Parts()
    parts.add_chunk(b"x" * count, 2)
    row = _row("runs", FILE, 2 * count, 0, {"sparse": [1, 1] * count})
    return parts.set_index([row], blake3(b"x" * count).digest()).build()


def raw(plain: bytes) -> bytes:
    """An archive with nothing but an index."""
    return finish(_empty(), plain)


def array(count: int) -> bytes:
    """How a msgpack array of so many values begins."""
    return b"\xdd" + count.to_bytes(4, "big")


def many_chunks(count: int = 5_000_000) -> bytes:
    """An index that names chunks in a file that has none."""
    return b"\x94\x00\x90" + array(3 * count) + b"\x01\x01\x00" * count + b"\x90"


def many_owners(count: int = 7_000_000) -> bytes:
    """An index with owners and no member."""
    return b"\x94\x00" + array(count) + b"\x91\x01" * count + b"\x90\x90"


def many_members(count: int = 1_500_000) -> bytes:
    """An index of directories, all with the same name."""
    return b"\x94\x00\x91\x91\x00\x90" + array(count) + pack(["a", DIR, 0, 0]) * count


def distant_chunks(count: int) -> bytes:
    """An index that names chunks as close together as they can be, in a file that has none."""
    return b"\x94\x00\x90" + array(3 * count) + b"\x16\x01\x00" * count + b"\x90"


def named_members(count: int) -> bytes:
    """An index of directories, each with a name of its own."""
    rows = b"".join(b"\x94\xa4%s\xcdA\xed\x00\x00" % _name(i) for i in range(count))
    return b"\x94\x00\x91\x91\x00\x90" + array(count) + rows


def _name(number: int) -> bytes:
    """Four letters, for numbers below 2^20."""
    return bytes(64 + (number >> shift & 31) for shift in (15, 10, 5, 0))


def members_and_owners(count: int) -> bytes:
    """An index of directories, each with a name and an owner of its own."""
    rows = b"".join(b"\x94\xa4%s\xcdA\xed\x00%s" % (_name(i), pack(i)) for i in range(count))
    owners = b"".join(b"\x91" + pack(i) for i in range(count))
    return b"\x94\x00" + array(count) + owners + b"\x90" + array(count) + rows


def many_losses(count: int) -> bytes:
    """Many files of one content, in chunks of one byte, every second of which is broken."""
    parts = Parts()
    content = bytes(number & 255 for number in range(count))
    for number in range(count):
        body = blake3(content[number : number + 1] + b"?" * (number & 1)).digest(8) + content[number : number + 1]
        parts.chunks.append((1, 1, body))
    rows = [_row(f"f{number}", FILE, count, 0) for number in range(count)]
    return parts.set_index(rows, blake3(content).digest() * count).build()


def many_values(count: int = 15_000_000) -> bytes:
    """An index with a map that nobody reads."""
    return b"\x95\x00\x90\x90\x90\x81\xa1x" + array(count) + b"\x00" * count


def many_segments(count: int = 15_000_000) -> bytes:
    """An index that names checkpoints in a file that has none."""
    return b"\x95\x00\x90\x90\x90\x81\xa8segments" + array(count) + b"\x01" * count


def many_indexes(count: int, plain: bytes) -> bytes:
    """Many checkpoints, each large when decoded."""
    out, packed, at = _empty(), zframe.compress(plain, 3), []
    for _ in range(count):
        at.append(len(out))
        out += b"".join(frames.pack_frame(len(out), frames.INDEX, frames.INDEX_ZSTD, len(plain), packed))
    deltas = [b - a for a, b in zip([0, *at], at, strict=False)]
    return finish(out, pack([0, [], [], [], {"segments": deltas}]))


def padded(make: Callable[[int], bytes], item: int, checkpoints: int = 0) -> bytes:
    """An index as large as the limits allow, of which a part that nobody reads does not compress."""
    stored = wire.MAX_INDEX // 64 + 1000
    plain = make((wire.MAX_INDEX - stored - 2000) // item)
    noise = random.Random(item).randbytes(stored)
    plain = bytes((0x95,)) + plain[1:] + b"\x81\xa1x\xc6" + len(noise).to_bytes(4, "big") + noise
    return many_indexes(checkpoints, plain) if checkpoints else raw(plain)


#: How to make each, and how many bytes of msgpack one row takes.
_LARGEST: dict[str, tuple[Callable[[int], bytes], int]] = {
    "chunks": (many_chunks, 3),
    "chunks that could be": (distant_chunks, 3),
    "owners": (many_owners, 2),
    "members with names": (named_members, len(b"\x94\xa4name\xcdA\xed\x00\x00")),
    "members": (many_members, len(pack(["a", DIR, 0, 0]))),
}


def nested(code: bytes, count: int) -> bytes:
    """msgpack that opens arrays or maps and never closes them."""
    return raw(code * count)


def sync_storm(size: int) -> bytes:
    """No trailer, and a sync marker at every second byte."""
    return bytes(_empty() + frames.SYNC * (size // 2))


def head_storm(count: int) -> bytes:
    """No trailer, and valid heads of index frames that all claim the rest of the file."""
    out, size = _empty(), 40
    end = len(out) + count * size
    while len(out) < end:
        head = frames.SYNC + bytes((frames.INDEX,)) + wire.pack_uvarint(0)
        stored = end - len(out) - 30
        head += wire.pack_uvarint(max(stored, 1)) + wire.pack_uvarint(max(stored, 1)) + b"\0\0\0\0"
        crc = wire.crc32(len(out).to_bytes(8, "little") + head).to_bytes(4, "little")
        out += (head + crc).ljust(size, b"\0")
    return bytes(out)


def segments(kind: str) -> bytes:
    """Checkpoints that lead back to themselves or to nowhere."""
    out = _empty()
    first = len(out)
    body = pack([0, [], [], [], {"segments": [first]}])
    out += b"".join(frames.pack_frame(len(out), frames.INDEX, frames.INDEX_PLAIN, len(body), body))
    lists = {
        "loop": [first],
        "itself": [len(out)],
        "beyond": [1 << 62],
        "sum overflows": [(1 << 63) - 1] * 100,
    }
    return finish(out, pack([0, [], [], [], {"segments": lists[kind]}]))


def one_chunk(payload: bytes, codec: int, size: int) -> bytes:
    """A file in one chunk with a payload that no coder wrote."""
    parts = Parts()
    parts.add_chunk(b"?", codec, payload, size)
    return parts.set_index([_row("file", FILE, size, 0)], bytes(32)).build()


def rows(*members: list[Any], owners: Any = None) -> bytes:
    """An archive of members without content."""
    count = sum(row[1] & 0o170000 == 0o100000 for row in members)
    return Parts().set_index(list(members), blake3(b"").digest() * count, owners).build()


def _header(*values: Any) -> bytes:
    return Parts(list(values)).set_index([]).build()


CASES: dict[str, Callable[[], bytes]] = {
    "a hole of 2^40 bytes": lambda: hole(1 << 40, [(1 << 40) - 1, 1]),
    "a hole of 2^60 bytes": lambda: hole(1 << 60, [(1 << 60) - 5, 5]),
    "nothing but 2^62 bytes of hole": lambda: hole(1 << 62, []),
    "holes to the last byte there is": lambda: hole((1 << 63) - 1, [(1 << 63) - 3, 2]),
    "200_000 runs": many_runs,
    "millions of chunks": lambda: raw(many_chunks()),
    "millions of owners": lambda: raw(many_owners()),
    "a million members": lambda: raw(many_members()),
    "millions of values": lambda: raw(many_values()),
    "millions of checkpoints": lambda: raw(many_segments()),
    "60 checkpoints of chunks": lambda: many_indexes(60, many_chunks()),
    "60 checkpoints of members": lambda: many_indexes(60, many_members()),
    **{f"as large as allowed: {what}": partial(padded, make, rest) for what, (make, rest) in _LARGEST.items()},
    "members with owners": lambda: raw(members_and_owners(30_000)),
    "as large as allowed, eight times: members": partial(padded, *_LARGEST["members"], 8),
    "as large as allowed, eight times: owners": partial(padded, *_LARGEST["owners"], 8),
    "many losses": lambda: many_losses(3000),
    "nested arrays": lambda: nested(b"\x91", 1_000_000),
    "nested arrays of millions": lambda: nested(b"\xdd\x00\xff\xff\xff", 1_000_000),
    "nested maps of millions": lambda: nested(b"\xdf\x00\x0f\xff\xff\xa1a", 1_000_000),
    "an array of 2^32": lambda: nested(b"\xdd\xff\xff\xff\xff", 1),
    "a text of 2^32": lambda: nested(b"\xdb\xff\xff\xff\xff", 1),
    "sync markers only": lambda: sync_storm(2 << 20),
    "heads only": lambda: head_storm(20_000),
    **{f"segments: {kind}": partial(segments, kind) for kind in ("loop", "itself", "beyond", "sum overflows")},
    "noise as cm": lambda: one_chunk(random.Random(1).randbytes(3000), 0, 4096),
    "nothing as cm": lambda: one_chunk(b"", 0, 100_000),
    "noise as zstd": lambda: one_chunk(random.Random(2).randbytes(3000), 2, 4096),
    "64 MiB from nothing": lambda: one_chunk(zframe.compress(bytes(64 << 20), 3), 2, 64 << 20),
    "a chunk beyond the limit": lambda: one_chunk(b"x" * 100, 2, (1 << 26) + 1),
    "a chunk of 2^62": lambda: one_chunk(b"x" * 100, 2, 1 << 62),
    "a path of 30_000 levels": lambda: rows(_row("a/" * 30_000 + "a", DIR)),
    "twenty paths of 30_000 levels": lambda: rows(*(_row(f"{i}/" + "a/" * 30_000 + "a", DIR) for i in range(20))),
    "twenty paths of 2_000 levels": lambda: rows(*(_row(f"{i}/" + "a/" * 2_000 + "a", FILE, 0, 0) for i in range(100))),
    "names out of the directory": lambda: rows(
        *(_row(f"{prefix}{ESCAPE.decode()}", FILE, 0, 0) for prefix in ("../", "/tmp/", "a/../../", "./", "//", ".."))
    ),
    "through a link": lambda: rows(_row("l", SYMLINK, ".."), _row(f"l/{ESCAPE.decode()}", FILE, 0, 0)),
    "a link to itself": lambda: rows(_row("l", SYMLINK, "l"), _row("h", HARDLINK, "h")),
    "a target of 60_000": lambda: rows(_row("l", SYMLINK, "x/" * 30_000)),
    "a name of 60_000": lambda: rows(_row("x" * 60_000, FILE, 0, 0)),
    "times at both ends": lambda: rows(
        *([f"{i}", FILE, when, 0, 0, 0] for i, when in enumerate((-(1 << 63), (1 << 63) - 1))),
        *([f"d{i}", DIR, when, 0] for i, when in enumerate((-(1 << 63), (1 << 63) - 1))),
        *([f"l{i}", SYMLINK, when, 0, "x"] for i, when in enumerate((-(1 << 63), (1 << 63) - 1))),
    ),
    "owners at the end": lambda: rows(
        ["a", FILE, 0, 0, 0, 0], ["b", SYMLINK, 0, 1, "x"], owners=[[(1 << 32) - 1], [(1 << 32) - 2, "x" * 60_000]]
    ),
    "a NUL in an owner": lambda: rows(["a", FILE, 0, 0, 0, 0], owners=[[5, "ro\0ot"]]),
    "a header of 100_000 backends": lambda: _header("campaign", [[f"b{i}", 1] for i in range(100_000)]),
    "a version of 2^63": lambda: _header("campaign", [["store", (1 << 63) - 1], ["zstd", 1]]),
    "a writer with escapes": lambda: _header("\x1b[2J\0", [["store", 1]]),
    "a thousand features": lambda: _header("campaign", [["store", 1]], {"requires": ["f" * 900] * 1000}),
    "models that are none": lambda: _header("campaign", [["store", 1, {"model": 7}]], {"models": [7, {}, "x"]}),
    "parameters for store": lambda: _header("campaign", [["store", 1, {"params": {"x": [[[[1]]]]}}]]),
}


# --- payloads ----------------------------------------------------------------------------------------------


def payload_bits(data: bytes) -> int:
    """Bits in the bodies of all chunks."""
    return 8 * sum(len(body) for _, _, body in Parts.of(data).chunks)


def repaired_flip(data: bytes, bit: int) -> bytes:
    """The archive with one bit of a chunk's body changed and its checksum made to match: the decoder gets to see it."""
    parts = Parts.of(data)
    for number, (codec, size, body) in enumerate(parts.chunks):
        if bit < 8 * len(body):
            parts.chunks[number] = (codec, size, flip(body, bit))
            break
        bit -= 8 * len(body)
    return parts.build()


# --- random changes ----------------------------------------------------------------------------------------

_NUMBERS = (0, 1, -1, 2, 255, 2**16, 2**26, 2**26 + 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**63))
_TEXTS = ("", "..", "../" + ESCAPE.decode(), "/tmp/" + ESCAPE.decode(), "a/../../" + ESCAPE.decode(), "notes", "a\0b")
_OTHERS: tuple[Any, ...] = (None, True, 1.5, b"\xff\xfe", b"text", [], {}, [[]], {"sparse": [0, 1]}, {"segments": [1]})


def change(subject: Subject, whole: Parts, rng: random.Random) -> bytes:
    """The archive with some values of its header or its index changed, all checksums valid."""
    parts = Parts(deepcopy(whole.header), list(whole.chunks), deepcopy(whole.index), whole.hashes)
    in_header = rng.random() < 0.15
    value = parts.header if in_header else parts.index
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _mutate(value, rng)
    if not in_header and rng.random() < 0.1:
        parts.hashes = rng.choice((b"", parts.hashes[:-1], parts.hashes + bytes(32), rng.randbytes(len(parts.hashes))))
    try:
        return parts.build(place=in_header)
    except (OverflowError, ValueError, UnicodeEncodeError):
        return subject.data


def _mutate(root: Any, rng: random.Random) -> None:
    # Mostly deep inside, where the members are.
    node = root
    while True:
        inner = [item for item in (node.values() if isinstance(node, dict) else node) if isinstance(item, (list, dict))]
        inner = [item for item in inner if item]
        if not inner or rng.random() < 0.2:
            break
        node = rng.choice(inner)
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    if not keys:
        return
    key = rng.choice(keys)
    old = node[key]
    match rng.randrange(10):
        case 0 if isinstance(node, list):
            del node[key]
        case 1 if isinstance(node, list):
            node.insert(key, deepcopy(old))
        case 2 if isinstance(node, list):
            other = rng.choice(keys)
            node[key], node[other] = node[other], node[key]
        case 3 if isinstance(node, list):
            node.append(deepcopy(rng.choice((*_NUMBERS, *_TEXTS, *_OTHERS))))
        case 4 if isinstance(node, dict):
            node[rng.choice(("x", "sparse", "segments", "requires", "params"))] = deepcopy(
                rng.choice((*_NUMBERS, *_OTHERS))
            )
        case 5:
            node[key] = deepcopy(rng.choice(_OTHERS))
        case 6:
            node[key] = rng.choice(_TEXTS)
        case 7 if isinstance(old, int):
            node[key] = old + rng.choice((-1, 1, 7, 4096))
        case 8 if isinstance(old, int):
            node[key] = old ^ 1 << rng.randrange(16)
        case _:
            node[key] = rng.choice(_NUMBERS)


# --- reading in a box --------------------------------------------------------------------------------------


def use(data: bytes, place: bytes, *, owner: bool) -> list[str]:
    """Do everything with an archive that a command would; what it should not have done."""
    inside = os.path.join(place, b"in")
    os.mkdir(inside)
    faults = []
    try:
        with lmarc.open(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                render.line(info, 10)
                json.dumps([render.member(info), str(info.mtime)])
            render.header(archive)
            archive.decode_memory()
            errors = [*archive.test(jobs=1).values()]
            result = archive.extractall(os.fsdecode(inside), jobs=1, owner=owner, keep_going=True, check=False)
            failed = result.failed
            errors += [*failed.values(), *result.unwritten.values()]
            for info in archive.infolist():
                if info.is_file() and info.size <= _READ_LIMIT and os.fsencode(info.name) not in failed:
                    archive.read(info.name)
    except lmarc.LmarcError as error:
        errors = [error]
    for error in errors:
        if isinstance(error, OSError):
            # What the system refuses is no fault of the reader's.
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOTEMPTY, errno.EBADF, errno.ENOENT):
                faults.append(f"failed with {error!r}")
        elif not isinstance(error, lmarc.LmarcError):
            faults.append(f"failed with {error!r}")
    names = os.listdir(place)
    if names != [b"in"] or os.path.lexists(b"/tmp/" + ESCAPE):
        faults.append(f"written outside: {names}")
    return faults


@dataclass
class Box:
    """What became of a function run in a child process of limited memory."""

    result: Any = None
    faults: list[str] = field(default_factory=list)
    memory: int = 0
    cpu: float = 0.0
    wall: float = 0.0


def boxed(function: Callable[[bytes], Any], wall: float = _WALL) -> Box:
    """Run function(place) in a child process and see what it takes."""
    box = Box()
    with workplace() as place:
        reading, writing = os.pipe()
        began = time.monotonic()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        child = os.fork()
        if child == 0:
            os.close(reading)
            _child(function, place, writing)
        os.close(writing)
        out = b""
        while (left := began + wall - time.monotonic()) > 0:
            if select.select([reading], [], [], left)[0]:
                piece = os.read(reading, 1 << 16)
                if not piece:
                    break
                out += piece
        else:
            os.kill(child, signal.SIGKILL)
            box.faults.append(f"not done after {wall} s")
        os.close(reading)
        _, status, usage = os.wait4(child, 0)
        box.wall = time.monotonic() - began
        if out:
            answer = json.loads(out)
            box.result, box.memory, box.cpu = answer["result"], answer["memory"], answer["cpu"]
            box.faults += answer["faults"]
        elif not box.faults:
            box.faults.append(f"the child ended with status {status}")
        box.memory = box.memory or max(usage.ru_maxrss * 1024 - before, 0)
        if box.memory > MEMORY:
            box.faults.append(f"took {box.memory >> 20} MiB")
        # Not in Python: what was extracted may be deeper than that likes.
        subprocess.run(["rm", "-rf", "--", os.path.join(place, b"in")], check=True)
    return box


def _child(function: Callable[[bytes], Any], place: bytes, writing: int) -> None:
    answer: dict[str, Any] = {"result": None, "faults": [], "memory": 0, "cpu": 0.0}
    began, before = time.process_time(), _status("VmRSS")
    try:
        limit = _status("VmSize") + _ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        answer["result"] = function(place)
    except MemoryError:
        answer["faults"] = [f"took more than {_ADDRESS_SPACE >> 20} MiB"]
    except BaseException as error:
        answer["faults"] = [f"{type(error).__name__} escaped: {str(error)[:300]}"]
    try:
        answer["cpu"] = time.process_time() - began
        answer["memory"] = max(_status("VmHWM") - before, 0)
        os.write(writing, json.dumps(answer).encode())
    finally:
        os._exit(0)


def _status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(name + ":"))


def use_changes(subject: Subject, numbers: range, seed: int, place: bytes) -> dict[str, Any]:
    """Use many changed archives one after the other; how many, how long the slowest took, and what was wrong."""
    faults: list[str] = []
    slowest = 0.0
    parts = Parts.of(subject.data)
    for number in numbers:
        data = change(subject, parts, random.Random(f"{seed} {number}"))
        began = time.process_time()
        try:
            problems = use(data, place, owner=number % 2 == 0)
        except BaseException as error:
            problems = [f"{type(error).__name__} escaped: {str(error)[:300]}"]
        took = time.process_time() - began
        clear(place)
        slowest = max(slowest, took)
        if took > SECONDS:
            problems.append(f"took {took:.1f} s")
        faults += [f"change {number}: {problem}" for problem in problems]
    return {"faults": faults, "slowest": slowest, "cases": len(numbers)}


class Hostile(Campaign):
    """Changes by number, each hundred in a child process of limited memory."""

    name = "hostile"
    what = "structured changes of headers, indexes and chunk tables, all checksums valid: 1 s and 256 MiB each"
    cases = 200_000
    part = 1000
    box = 100

    def prepare(self, folder: Path) -> int:
        """Make the archive that is changed."""
        make_tree(folder / "tree", self.seed, noise=1000, text=3000, files=3)
        self.subject = Subject.make("zstd", folder / "tree", Preset("zstd", 1 << 10, {"level": 3}), checkpoint=1 << 30)
        return self.cases

    def run(self, numbers: range) -> Tally:
        """Use the changed archives."""
        tally = Tally()
        for first in range(numbers.start, numbers.stop, self.box):
            inside = range(first, min(first + self.box, numbers.stop))
            box = boxed(partial(use_changes, self.subject, inside, self.seed), wall=120)
            tally.faults += [f"changes from {first}: {fault}" for fault in box.faults]
            tally.peak("MiB", box.memory >> 20)
            if box.result:
                tally.cases += box.result["cases"]
                tally.faults += box.result["faults"]
                tally.peak("s", box.result["slowest"])
        return tally


class Bombs(Campaign):
    """The named cases."""

    name = "bombs"
    what = "archives made to exhaust: declared sizes, overlaps, a million members, deep nesting, repeated references"
    part = 1

    def prepare(self, folder: Path) -> int:
        """One case for each."""
        return len(CASES)

    def run(self, numbers: range) -> Tally:
        """Use them."""
        tally = Tally()
        for number in numbers:
            name = list(CASES)[number]
            data = CASES[name]()
            box = boxed(lambda place, data=data: use(data, place, owner=True))
            problems = [*box.faults, *(box.result or [])]
            if box.cpu > SECONDS + SECONDS_PER_BYTE * len(data):
                problems.append(f"took {box.cpu:.1f} s")
            tally.cases += 1
            tally.peak("MiB", box.memory >> 20)
            tally.peak("s", box.cpu)
            tally.faults += [f"{name}, {len(data)} bytes: {problem}" for problem in problems]
        return tally


class Payloads(Campaign):
    """Every bit of the payloads of two archives."""

    name = "payloads"
    what = "every bit of the payloads by cm and zstd flipped, the checksums made to match: the decoder gets to see it"
    part = 500

    def prepare(self, folder: Path) -> int:
        """Make the archives."""
        self.subjects = []
        for kind, noise, text, files, preset in (
            ("cm", 200, 600, 2, Preset("cm", 500)),
            ("zstd", 1000, 3000, 3, Preset("zstd", 1 << 10, {"level": 3})),
        ):
            make_tree(folder / kind, self.seed, noise=noise, text=text, files=files)
            self.subjects.append(Subject.make(kind, folder / kind, preset, checkpoint=1 << 30))
        return sum(map(_payload_bits_of, self.subjects))

    def run(self, numbers: range) -> Tally:
        """Flip them: what is decoded must be refused by its hash, or be what was packed."""
        tally = Tally()
        for subject, inside in shares(self.subjects, _payload_bits_of, numbers):
            tally.add(judge_all(subject, repaired_flip, inside, may_pass=True))
        return tally


def _payload_bits_of(subject: Subject) -> int:
    return payload_bits(subject.data)
