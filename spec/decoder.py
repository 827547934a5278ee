"""Educational decoder for lmarc archives, written from FORMAT.md alone; numbers like (4.1) are its sections.
It goes by the index and recovers nothing where that is damaged (5). Its BLAKE3 is slow: some 30 MB/s.
python spec/decoder.py list ARCHIVE            prints JSON
python spec/decoder.py extract ARCHIVE DIR     extracts what `store` and `zstd` coded into DIR, new or empty"""

import json
import mmap
import os
import re
import sys
import tempfile
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from struct import pack, unpack
from typing import IO, Any

import zstandard

EXIT = {"io": 1, "not-lmarc": 10, "damaged": 11, "backend-missing": 13, "unsupported": 15, "unsafe": 16, "limit": 17}
MiB = 1 << 20


class Bad(Exception): ...  # what is wrong, and its category (7)


def need(condition: object, what: str, category: str = "damaged") -> None:
    if not condition:
        raise Bad(what, category)


# BLAKE3. A word is an integer of 64-bit lanes, one for each node hashed at once: no sum carries into the next lane.
IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
CHUNK_START, CHUNK_END, PARENT, ROOT = 1, 2, 4, 8


def hash_nodes(data: bytes | bytearray, counters: Sequence[int], first: int, last: int) -> bytes:
    """The values of as many nodes of equal size as there are counters; the flags are for their end blocks."""
    count, size, lanes = len(counters), len(data) // len(counters), f"<{len(counters)}Q"
    blocks = max(1, -(-size // 64))
    words = unpack(f"<{count * blocks * 16}I", data.ljust(count * blocks * 64, b"\0"))
    ones, counter = (int.from_bytes(pack(lanes, *x), "little") for x in ([1] * count, counters))
    mask, cv = ones * 0xFFFFFFFF, (iv := [word * ones for word in IV])
    for block in range(blocks):
        m = [int.from_bytes(pack(lanes, *words[16 * block + i :: 16 * blocks]), "little") for i in range(16)]
        length, flags = min(64, size - 64 * block), first * (block == 0) | last * (block == blocks - 1)
        v = [*cv, *iv[:4], counter & mask, counter >> 32 & mask, length * ones, flags * ones]
        for i in range(56):  # seven rounds: four columns, then four diagonals
            a, b, c, d = i % 4, 4 + (i + i // 4 % 2) % 4, 8 + (i + i // 4 % 2 * 2) % 4, 12 + (i + i // 4 % 2 * 3) % 4
            one, two = m[i % 8 * 2 : i % 8 * 2 + 2]
            for x, y, z, word, turn in (a, b, d, one, 16), (c, d, b, 0, 12), (a, b, d, two, 8), (c, d, b, 0, 7):
                v[x] = v[x] + v[y] + word & mask
                v[z] = ((v[z] ^ v[x]) >> turn | (v[z] ^ v[x]) << 32 - turn) & mask
            m = [m[p] for p in PERMUTATION] if i % 8 == 7 else m
        cv = [v[i] ^ v[i + 8] for i in range(8)]
    columns = (unpack(lanes, word.to_bytes(8 * count, "little")) for word in cv)
    return b"".join(pack("<8I", *row) for row in zip(*columns, strict=True))


def blake3(pieces: Iterable[bytes]) -> bytes:
    values, rest = bytearray(), b""
    for piece in pieces:
        rest += piece
        done, full = len(values) // 32, (len(rest) - 1) // 1024  # the last chunk waits: it may be the root
        if full > 0:
            values += hash_nodes(rest[: 1024 * full], range(done, done + full), CHUNK_START, CHUNK_END)
            rest = rest[1024 * full :]
    values += hash_nodes(rest, [len(values) // 32], CHUNK_START, CHUNK_END | (0 if values else ROOT))
    while len(values) > 32:  # pairs, layer by layer; an odd value at the end moves up as it is
        even, flags = len(values) // 64 * 64, PARENT | ROOT * (len(values) == 64)
        layer = (values[i : min(i + MiB, even)] for i in range(0, even, MiB))
        values[:even] = b"".join(hash_nodes(part, [0] * (len(part) // 64), flags, 0) for part in layer)
    return bytes(values)


# Primitives (1). For type bytes of msgpack from 0xC0 on: kind of value, and how many bytes hold its number or length
LONG = "- - - - b1b2b4- - - - - u1u2u4u8i1i2i4i8- - - - - s1s2s4a2a4m2m4"
LEAST = {"b1": 0, "u1": 128, "i1": 32, "s1": 32, "a2": 16, "m2": 16}  # what has no shorter form
UVARINT = rb"([\x80-\xff]{0,8}[\x01-\x7f]|\0)"
HEADER, HEAD = re.compile(rb".{6}" + UVARINT, re.S), re.compile(rb"(\xae\x9b(.)%b(.{4}))(.{4})" % (UVARINT * 3), re.S)
TYPES = {"n": int, "i": int, "s": str, "t": str | bytes, "a": list, "o": dict, "x": object}  # n ≥ 0, t bytes-or-text
KINDS = {0o100000: ("file", "nn"), 0o040000: ("dir", ""), 0o120000: ("symlink", "t"), 0: ("hardlink", "t")}  # (4.1)


def uvarint(data: bytes) -> int:
    return sum((byte & 127) << 7 * i for i, byte in enumerate(data))


def msgpack(data: bytes, at: int, depth: int = 0) -> tuple[Any, int]:
    """One canonical value, and where it ends."""
    tag, at = data[at], at + 1
    if tag < 0x80 or tag >= 0xE0:
        return (tag ^ 0x80) - 0x80, at
    kind, size = "mass"[tag >> 4 & 3], tag & (31 if tag >= 0xA0 else 15)
    if tag >= 0xC0:
        kind, width = LONG[2 * tag - 0x180], int(LONG[2 * tag - 0x17F])
        size, at = int.from_bytes(data[at : at + width], "big", signed=kind == "i"), at + width
        least = LEAST.get(f"{kind}{width}", 1 << 4 * width - (kind == "i"))
        need(at <= len(data) and (~size if kind == "i" else size) >= least, "msgpack is cut off, or not shortest")
    if kind in "ui":
        return size, at
    need(at + size <= len(data) and (depth < 16 or kind in "sb"), "msgpack ends too early or is too deep")
    if kind in "sb":
        return data[at : at + size].decode() if kind == "s" else data[at : at + size], at + size
    items = []
    for _ in range(size if kind == "a" else 2 * size):
        item, at = msgpack(data, at, depth + 1)
        items.append(item)
    if kind == "a":
        return items, at
    need(all(type(key) is str for key in items[::2]) and items[::2] == sorted({*items[::2]}), "map keys not in order")
    return dict(zip(items[::2], items[1::2], strict=True)), at


def fields(value: Any, kinds: str) -> list[Any]:
    """The elements of an array of these kinds, or of integers; then the options that may follow them, or {}."""
    kinds = "n" * len(value) if kinds == "*" else kinds
    need(isinstance(value, list) and len(value) - len(kinds) in (0, 1), "not an array of the right size")
    found = []
    for kind, item in zip(kinds + "o", value, strict=False):
        need(isinstance(item, TYPES[kind]) and (item or kind != "o"), "a value is not of the right type, or empty")
        need(kind not in "ni" or -(kind == "i") << 63 <= item < 1 << 63 + (kind == "i"), "not an integer in range")
        need(not isinstance(item, bytes) or item.decode(errors="replace").encode() != item, "a bin that is text")
        found.append(item.encode() if kind == "t" and isinstance(item, str) else item)
    return found if len(found) > len(kinds) else [*found, {}]


def unzstd(data: bytes, size: int) -> bytes:
    frame = zstandard.get_frame_parameters(data)
    need(data[:4] == zstandard.FRAME_HEADER and frame.content_size == size and not frame.dict_id, "not that zstd frame")
    need(frame.window_size <= 128 * MiB, "a zstd window is too large", "limit")
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


class Archive:
    def read(self, path: str) -> None:
        with open(path, "rb") as file:
            magic = file.read(6)  # (2.1)
            need(magic[:5] == b"\x8eLMAR", "no magic", "not-lmarc")
            need(magic[5] == 1, f"format version {magic[5]}", "unsupported")
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = HEADER.match(self.data)  # (2.2)
        at, end = (start.end(), start.end() + uvarint(start[1])) if start else (7, 0)
        need(end - at <= MiB, "the header is too long", "limit")
        need(self.data[end : end + 4] == pack("<I", zlib.crc32(self.data[:end])), "the header is damaged")
        value, at = msgpack(self.data[:end], at)
        self.writer, backends, extra = fields(value, "sx")
        need(extra.get("requires", []) == [], f"requires {extra.get('requires')!a}", "unsupported")
        self.backends: list[tuple[str, int, dict[str, Any]]] = []
        self.models = len(extra.get("models", []))
        self.add_backends(backends)
        need(at == end and isinstance(backends, list) and self.data[-2:] == b"\x8e\x5a", "not a header and trailer")
        self.chunks = [(0, 0, 0, 0)]  # end in the content stream, offset, codec, decoded size; one before all of them
        self.members: dict[bytes, dict[str, Any]] = {}  # by path: what `list` prints
        self.runs: dict[bytes, tuple[int, int]] = {}  # by path of a file: its part of the content stream
        self.index_size, self.cache = 0, (0, b"")
        self.read_index(len(self.data) - 6 - unpack("<I", self.data[-6:-2])[0], len(self.data) - 6)
        spans = [*sorted({run for run in self.runs.values() if run[0] < run[1]}), (self.chunks[-1][0], 0)]
        need(all(one[1] <= two[0] for one, two in pairwise(spans)), "contents overlap, or lie outside of the stream")
        need({m["target"] for m in self.members.values() if m["type"] == "hardlink"} <= {*self.runs}, "link to no file")

    def add_backends(self, rows: list[Any]) -> None:  # (2.2)
        for name, version, extra in (fields(row, "sn") for row in rows):
            good = version and re.fullmatch("[a-z0-9_-]{1,64}", name) and extra.get("promise", "matching") == "matching"
            need(good and (name, version, extra) not in self.backends, "a backend is not valid, or listed twice")
            need(extra.get("model", -1) < self.models, "a model that is not in the list")
            self.backends.append((name, version, extra))

    def frame(self, at: int, kind: str) -> tuple[int, int, bytes, int]:  # (2.3) codec, decoded size, body, its end
        match = HEAD.match(self.data, at) if 0 < at < len(self.data) else None
        if not match or match[7] != pack("<I", zlib.crc32(pack("<Q", at) + match[1])):
            raise Bad(f"no valid frame at {at}", "damaged")
        found, (codec, stored, size) = match[2].decode("latin-1"), map(uvarint, match.group(3, 4, 5))
        need(found == kind, f"frame type {found!a}", "damaged" if ord(found) & 32 or found in "CI" else "unsupported")
        self.index_size += size if kind == "I" else 0
        good = stored <= 64 * MiB + 65536 and size <= (min(8 * MiB, 64 * stored + 65536) if kind == "I" else 64 * MiB)
        need(good and self.index_size <= 1024 * MiB, f"the frame at {at} is too large", "limit")
        body, end = self.data[match.end() : match.end() + stored], match.end() + stored
        need(end <= len(self.data) and pack("<I", zlib.crc32(body)) == match[6], f"damage in the body at {at}")
        return codec, size, body, end

    def read_index(self, offset: int, end: int = 0, before: Sequence[int] = ()) -> None:  # (4); the last has an end
        codec, size, data, frame_end = self.frame(offset, "I")
        data = unzstd(data, size) if codec == 1 else data
        need(len(data) == size and codec < 2 and end in (0, frame_end), "an index frame is not valid")
        value, at = msgpack(data, 0)
        base, owners, chunks, members, extra = fields(value, "naaa")
        segments = list(accumulate(fields(extra.get("segments", []), "*")[:-1]))
        for name in ("segments", "removed", "backends", "models"):
            need(name not in extra or (isinstance(extra[name], list) and extra[name]), f"{name} are none")
        good = "segments" not in extra or (0 not in segments and len({*segments}) == len(segments))
        need(good and (end or not segments or segments == before), "segments, or their offsets")
        for i, segment in enumerate(segments if end else []):
            need(segment < offset, "a segment is not before the last index frame")
            self.read_index(segment, before=segments[:i])
        for name, known in (("models", self.models), ("backends", len(self.backends))):
            first, *more = extra.get(name, [known])
            good = first == known and bool(more) == (name in extra) and known + len(more) <= 4096
            need(good, f"{name} do not follow those before")
            if name == "models":
                need(all(isinstance(model, dict) for model in more), "a model is not a map")
                self.models += len(more)
            else:
                self.add_backends(more)
        for path in fields(extra.get("removed", []), "t" * len(extra.get("removed", [])))[:-1]:
            need(path in self.members, "a path is removed that is none of a member")
            self.runs.pop(path, None)
            del self.members[path]
        need(base == self.chunks[-1][0], "base is not where the chunks before end")
        chunks = fields(chunks, "*")[:-1]
        for place, size, codec in zip(accumulate(chunks[::3]), chunks[1::3], chunks[2::3], strict=True):
            good = self.chunks[-1][1] + 22 <= place < offset
            need(good and size and codec < len(self.backends), "a chunk is not valid")
            need(size <= 64 * MiB, "a chunk is too large", "limit")
            self.chunks.append((self.chunks[-1][0] + size, place, codec, size))
        need(len(members) >= len(owners) == len({*map(str, owners)}), "an owner stands twice, or there are too many")
        people = []
        for row in owners:
            *row, extra = fields(row, "ntnt"[: len(row)])
            uid, uname, gid, gname = {1: [*row, b"", *row, b""], 2: row * 2}.get(len(row), row)
            good = row[1:] != [b""] and row[:2] != row[2:] and (uid or not uname) and (gid or not gname) and not extra
            people.append({"uid": uid, "gid": gid, "uname": uname, "gname": gname})
            need(good and uid | gid < 1 << 32, "an owner is not valid, or not in its shortest form")
        for row in members:  # (4.1)
            need(row[1] & 0o170000 in KINDS, "a member of unknown type", "unsupported")
            kind, more = KINDS[row[1] & 0o170000]
            path, mode, mtime, owner, *rest, extra = fields(row, "tnin" + more)
            good = max(map(len, [path, *rest[: more == "t"]])) <= 65535 and path.count(b"/") < 4096
            need(good and len(extra.get("sparse", "")) <= 65536, "a path, link target or sparse is too long", "limit")
            need(mode < (1 if kind == "hardlink" else 1 << 16) and path not in self.members, "a mode, or a path twice")
            self.members[path] = member = {"path": path, "type": kind, "mode": mode & 0o7777, "mtime_ns": mtime}
            member |= people[owner] | ({"target": rest[0]} if more == "t" else {})
            if kind == "file":
                member |= {"size": rest[0], "blake3": data[at : at + 32].hex()}
                member |= {"sparse": fields(extra["sparse"], "*")[:-1]} if "sparse" in extra else {}
                runs, at = member.get("sparse", [0, rest[0]]), at + 32
                good = len(runs) % 2 == 0 and sum(runs) <= rest[0] and (all(runs[1:]) or "sparse" not in extra)
                need(good and (sum(runs[1::2]) or not rest[1]), "sparse runs, or the start of an empty file")
                self.runs[path] = rest[1], rest[1] + sum(runs[1::2])
        need(at == len(data), "the hashes of an index frame are too few or too many")

    def stream(self, at: int, end: int) -> bytes:  # (3) or less, to where the chunk ends that holds `at`
        i = bisect_right(self.chunks, at, key=lambda chunk: chunk[0])
        if self.cache[0] != i:
            _, offset, *expected = self.chunks[i]
            codec, size, body, _ = self.frame(offset, "C")
            need(expected == [codec, size] and len(body) >= 8, "a chunk is not what the index says")
            name, version, _ = self.backends[codec]
            need(name in ("store", "zstd") and version == 1, f"{name} {version}", "backend-missing")
            data = unzstd(body[8:], size) if name == "zstd" else body[8:]
            check = blake3(data[j : j + MiB] for j in range(0, len(data), MiB))[:8]
            need(len(data) == size and check == body[:8], "a chunk does not decode to what was coded")
            self.cache = i, data
        return self.cache[1][at - self.chunks[i - 1][0] : end - self.chunks[i - 1][0]]

    def content(self, member: dict[str, Any], file: IO[bytes]) -> Iterator[bytes]:  # also written, holes left out
        at, runs = self.runs[member["path"]][0], member.get("sparse", [0, member["size"]])
        for hole, length in zip(runs[::2], runs[1::2], strict=True):
            file.seek(hole, os.SEEK_CUR)
            end = at + length
            while at < end:
                data = self.stream(at, min(at + MiB, end))
                yield data
                at += file.write(data)

    def safe(self, path: bytes) -> bool:  # (4.1)
        kind, target = self.members[path]["type"], self.members[path].get("target", b"-")
        above = (self.members.get(path[:i], {}) for i, byte in enumerate(path) if byte == ord("/"))
        good = all(parent.get("type", "dir") == "dir" for parent in above) and target and b"\0" not in path + target
        return bool(good and not {b"", b".", b".."} & {*path.split(b"/")} and (kind != "hardlink" or self.safe(target)))

    def turn(self, path: bytes) -> tuple[int, int]:  # files in the order of their contents, then links, directories
        return self.runs.get(path, (1 << 63, self.members[path]["type"] == "dir"))

    def extract(self, path: bytes) -> None:  # into the working directory
        member = self.members[path]
        need(self.safe(path), "unsafe path or target", "unsafe")
        os.makedirs(path if member["type"] == "dir" else os.path.dirname(path) or b".", exist_ok=True)
        if member["type"] == "file":
            with tempfile.NamedTemporaryFile(dir=b".") as file:
                need(blake3(self.content(member, file)).hex() == member["blake3"], "the hash does not match")
                file.truncate(member["size"])
                os.link(file.name, path)
        if "target" in member:
            (os.link if member["type"] == "hardlink" else os.symlink)(member["target"], path)
        else:
            os.chmod(path, member["mode"] & 0o1777)
        os.utime(path, ns=(member["mtime_ns"],) * 2, follow_symlinks=False)


def main(arguments: list[str]) -> int:
    if (len(arguments), *arguments[:1]) not in ((2, "list"), (3, "extract")):
        print(__doc__, file=sys.stderr)
        return 2
    code, archive, todo = 0, Archive(), [b""]  # first the archive as a whole, then what to extract
    for i, path in enumerate(todo):
        try:
            if i:
                archive.extract(path)
                continue
            archive.read(arguments[1])
            if arguments[0] == "list":
                members = [archive.members[path] for path in sorted(archive.members)]
                known = [(name, version, extra.get("promise", "portable")) for name, version, extra in archive.backends]
                backends = [{"name": name, "version": version, "promise": promise} for name, version, promise in known]
                listing = {"format": 1, "writer": archive.writer, "backends": backends, "members": members}
                print(json.dumps(listing, indent=1, default=lambda data: data.decode(errors="surrogateescape")))
            else:
                need(not os.makedirs(arguments[2], exist_ok=True) and not os.listdir(arguments[2]), "not empty", "io")
                os.chdir(arguments[2])
                todo += sorted(sorted(archive.members, reverse=True), key=archive.turn)
        except (Bad, OSError, TypeError, ValueError, LookupError, RecursionError, zstandard.ZstdError) as error:
            what, category = error.args if isinstance(error, Bad) else (error, "damaged")
            category = "io" if isinstance(error, (OSError, RecursionError)) else category
            print(f"decoder: {category}: {ascii(path)[1:] + ': ' if i else ''}{what}", file=sys.stderr)
            code = EXIT[category]
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
