"""Writes spec/vectors/ from the independent writer in tests/spec/builder.py: python spec/make_vectors.py

Each vector is a function named after it. What it returns is (archive, expectation): for a sound archive the contents
of its files by path, for another (exit code, why[, "extract" if that shows only when contents are read]).
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "spec")]

import decoder  # noqa: E402
from builder import (  # noqa: E402
    DIR,
    FILE,
    HARD,
    LINK,
    MAGIC,
    MTIME,
    Bin,
    Builder,
    Index,
    Part,
    chunk,
    crc,
    digest,
    frame,
    framed,
    header,
    header_of,
    pack,
    trailer,
    uvarint,
    zstd,
)

Good = dict[bytes, bytes]
Bad = tuple[Any, ...]
Vector = tuple[bytes, Good | Bad]
VECTORS: dict[str, Callable[[], Vector]] = {}
ERRORS = {code: name for name, code in decoder.EXIT.items()}
HELLO = b"hello, world\n"
PROSE = b"It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of"
PROSE += (
    b" a wife. However little known the feelings or views of such a man may be on his first entering a neighbourhood"
)


def vector(make: Callable[[], Vector]) -> Callable[[], Vector]:
    VECTORS[make.__name__.replace("_", "-")] = make
    return make


def one_file(
    content: bytes = HELLO,
    path: Any = "hello.txt",
    codec: int = 0,
    data: bytes | Part | None = None,
    head: bytes | None = None,
) -> Builder:
    builder = Builder(head)
    builder.chunk(content, codec, data)
    builder.file(path, content)
    return builder


def replaced(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


# Sound archives


@vector
def good_empty() -> Vector:
    return Builder().finish(lambda index: index.owners.clear()), {}


@vector
def good_no_backends() -> Vector:
    builder = Builder(header([]))
    builder.member("dir", DIR)
    builder.file("empty", b"")
    return builder.finish(), {b"empty": b""}


@vector
def good_store_one_file() -> Vector:
    return one_file().finish(), {b"hello.txt": HELLO}


@vector
def good_zstd_one_file() -> Vector:
    return one_file(PROSE, "prose.txt", 1).finish(), {b"prose.txt": PROSE}


@vector
def good_zstd_two_chunks() -> Vector:
    builder = Builder()
    builder.chunk(PROSE[:100], 1)
    builder.chunk(PROSE[100:], 1)
    builder.file("a", PROSE[:40])
    builder.file("across", PROSE[40:150], 40)
    builder.file("b", PROSE[150:], 150)
    return builder.finish(), {b"a": PROSE[:40], b"across": PROSE[40:150], b"b": PROSE[150:]}


@vector
def good_mixed_backends() -> Vector:
    builder = Builder(header([["zstd", 1], ["nosuch", 7], ["store", 1]]))
    builder.chunk(PROSE, 0, chunk(PROSE, 0, zstd(PROSE)))
    builder.chunk(HELLO, 2)
    builder.file("hello", HELLO, len(PROSE))
    builder.file("prose", PROSE, 0)
    return builder.finish(), {b"hello": HELLO, b"prose": PROSE}


@vector
def good_cm_text() -> Vector:
    from lmarc.backends.cm import ContextMixing

    coded = ContextMixing().compress(PROSE, {})
    builder = one_file(PROSE, "prose.txt", 0, chunk(PROSE, 0, coded), header([["cm", 2]]))
    return builder.finish(), {b"prose.txt": PROSE}


@vector
def good_symlink_hardlink() -> Vector:
    builder = Builder()
    builder.chunk(HELLO)
    builder.member("dir", 0o041777)
    builder.file("dir/file", HELLO, mode=0o106755)
    builder.member("dir/hard", HARD, "dir/file")
    builder.member("dir/up", LINK, "../dir/file")
    builder.member("dangling", LINK, "/nowhere/at all")
    return builder.finish(), {b"dir/file": HELLO}


@vector
def good_sparse() -> Vector:
    builder = Builder()
    start = builder.chunk(b"headtail")
    content = b"\0" * 4096 + b"head" + b"\0" * 10000 + b"tail" + b"\0" * 17
    builder.member("all-hole", FILE, 70000, 0, {"sparse": []}, content=b"")
    builder.member("holes", FILE, len(content), start, {"sparse": [4096, 4, 10000, 4]}, content=b"headtail")
    builder.member("no-hole", FILE, 8, start, {"sparse": [0, 8]}, content=b"headtail")
    builder.member("trailing", FILE, 40, start, {"sparse": [0, 8]}, content=b"headtail")
    builder.member("vast", FILE, 1 << 40, start, {"sparse": [1 << 39, 8]}, content=b"headtail")
    return builder.finish(), {b"holes": content, b"no-hole": b"headtail", b"trailing": b"headtail" + bytes(32)}


@vector
def good_duplicates() -> Vector:
    builder = Builder()
    builder.chunk(HELLO + b"other")
    for name in ("a", "b", "c"):
        builder.file(name, HELLO)
    builder.file("d", b"other", len(HELLO))
    return builder.finish(), {b"a": HELLO, b"b": HELLO, b"c": HELLO, b"d": b"other"}


@vector
def good_stream_with_gaps() -> Vector:
    builder = Builder()
    builder.chunk(b"..hello..")
    builder.file("hello", b"hello", 2)
    return builder.finish(), {b"hello": b"hello"}


@vector
def good_nonutf8_names() -> Vector:
    builder = Builder()
    builder.chunk(HELLO)
    paths = [b"latin-\xe9", b"surrogate-\xed\xa0\x80", b"utf8-\xc3\xa9", b"new\nline \\ \x1b[31m", b"\xff\xfe/\x80"]
    for path in paths:
        builder.file(path, HELLO)
    builder.member(b"link", LINK, b"to-\xe9")
    builder.member(b"hard", HARD, b"latin-\xe9")
    return builder.finish(), dict.fromkeys(paths, HELLO)


@vector
def good_checkpoints() -> Vector:
    builder = Builder()
    builder.chunk(b"first")
    builder.file("a", b"first", owner=0)
    builder.checkpoint()
    builder.member("b", DIR)
    builder.member("b/hard", HARD, "c")
    builder.checkpoint()
    builder.index.owners = [[7, "seven"], [0]]
    builder.chunk(b"second")
    builder.chunk(b"third", 1)
    builder.file("c", b"secondthird", 5)
    builder.file("d", b"first")
    return builder.finish(), {b"a": b"first", b"c": b"secondthird", b"d": b"first"}


@vector
def good_checkpoint_index_only_at_end() -> Vector:
    builder = Builder()
    builder.chunk(HELLO)
    builder.file("a", HELLO)
    builder.checkpoint()
    return builder.finish(lambda index: index.owners.clear()), {b"a": HELLO}


@vector
def good_owners() -> Vector:
    builder = Builder()
    owners: list[list[Any]] = [[0], [1000], [1000, "ana"], [1000, "ana", 100, "users"], [0, "", 5, b"tty-\xe9"]]
    builder.index.owners = [*owners, [65534, b"\xff", (1 << 32) - 1, ""]]
    for i in range(len(builder.index.owners)):
        builder.member(f"{i}", DIR, owner=i)
    return builder.finish(), {}


@vector
def bad_owners_more_than_members() -> Vector:
    builder = Builder()
    builder.index.owners = [[7], [1000, "ana"], [0]]
    builder.member("dir", DIR, owner=1)
    return builder.finish(), (11, "three owners for one member")


@vector
def good_owner_unused() -> Vector:
    builder = Builder()
    builder.index.owners = [[7], [1000, "ana"]]
    builder.member("a", DIR, owner=1)
    builder.member("b", DIR, owner=1)
    return builder.finish(), {}


@vector
def bad_chunk_offsets_too_close() -> Vector:
    builder = one_file()
    return builder.finish(lambda index: index.chunks.__setitem__(0, 21)), (11, "a chunk that begins at offset 21")


@vector
def bad_limit_components() -> Vector:
    builder = Builder()
    builder.member("/".join(["d"] * 4097), DIR)
    return builder.finish(), (17, "a path of 4,097 components")


@vector
def bad_limit_index_ratio() -> Vector:
    start = b"\x95\x00\x90\x90\x90\x81\xa1z\xc6"
    body = start + struct.pack(">I", (1 << 20) - len(start) - 4) + bytes((1 << 20) - len(start) - 4)
    return limit_checkpoint(frame("I", 1, len(body), zstd(body, 19)), "an index frame of 2^20 bytes from a few")


@vector
def bad_owner_twice() -> Vector:
    builder = Builder()
    builder.index.owners = [[7], [7]]
    builder.member("a", DIR, owner=0)
    builder.member("b", DIR, owner=1)
    return builder.finish(), (11, "the same owner in two rows")


@vector
def good_optional_frame_skipped() -> Vector:
    builder = Builder()
    builder.raw(frame("x", 99, 1 << 40, b"whatever"))
    builder.chunk(HELLO)
    builder.raw(frame("\xe9", 0, 0, b""))
    builder.file("hello", HELLO)
    return builder.finish(), {b"hello": HELLO}


@vector
def good_optional_keys_skipped() -> Vector:
    extra = {"zz": [0, 1 << 63, -1, "x", Bin(b"y"), {"a": 1, "b": []}]}
    head = header([["store", 1, extra]], {**extra, "chunking": {"size": 65536, **extra}, "requires": []})
    builder = Builder(head)
    builder.chunk(HELLO)
    builder.member("dir", DIR, extra)
    builder.member("file", FILE, len(HELLO), 0, extra, content=HELLO)
    builder.member("hard", HARD, "file", extra)
    builder.member("link", LINK, "file", extra)
    builder.index.options.update(extra)
    return builder.finish(), {b"file": HELLO}


@vector
def good_matching_properties() -> Vector:
    model = {
        "sha256": Bin(b"\1" * 32),
        "name": "m",
        "size": 5,
        "tokenizer": {"kind": "byte", "sha256": Bin(b"\2" * 32)},
    }
    matching = ["neural", 3, {"promise": "matching", "model": 0, "params": {"context": 2048}}]
    options = {"models": [model], "chunking": {"size": 1024, "lanes": 4, "context": 2048, "overlap": 64}}
    return one_file(head=header([["store", 1], matching], options)).finish(), {b"hello.txt": HELLO}


@vector
def good_backend_two_versions() -> Vector:
    return one_file(head=header([["store", 1], ["store", 2]])).finish(), {b"hello.txt": HELLO}


@vector
def good_unsafe_looking() -> Vector:
    """Names and targets that are odd, and safe."""
    builder = one_file()
    names = ["...", "..a", "a..", "-rf", "~", "C:\\x", "a b", " ", ".lmarc-decoder"]
    for name in names:
        builder.file(name, HELLO)
    builder.member("up", LINK, "../../..")
    builder.member("hello.txt.d", DIR)
    builder.file("hello.txt.d/x", HELLO)
    return builder.finish(), dict.fromkeys([name.encode() for name in ["hello.txt", "hello.txt.d/x", *names]], HELLO)


@vector
def good_negative_mtime() -> Vector:
    builder = Builder()
    for i, mtime in enumerate([-1, -33, -129, -(1 << 31) - 1, 0, 1, (1 << 63) - 1, -(1 << 63)]):
        builder.member(f"{i}", DIR, mtime=mtime)
    return builder.finish(), {}


@vector
def good_index_zstd() -> Vector:
    builder = one_file()
    for i in range(40):
        builder.member(f"directory-{i:02}", DIR)
    return builder.finish(frame_of=lambda body: frame("I", 1, len(body), zstd(body))), {b"hello.txt": HELLO}


@vector
def good_msgpack_widths() -> Vector:
    """Lengths and numbers on both sides of each boundary between encodings."""
    builder = Builder()
    sizes = (15, 16, 31, 32, 127, 128, 255, 256, 257)
    for size in sizes:
        builder.member(("p" * 99 + "/") * (size // 100) + "q" * (size % 100), DIR, mtime=size << 24)
    builder.member(b"\xff" * 255, DIR, {f"{i:03}": i for i in range(17)})
    builder.member("long", LINK, "t" * 300)
    return builder.finish(), {}


# Damaged archives


@vector
def bad_magic() -> Vector:
    return replaced(one_file().finish(), 4, b"S"), (10, "the fifth byte of the magic is another")


@vector
def bad_magic_empty_file() -> Vector:
    return b"", (10, "an empty file")


@vector
def bad_header_crc() -> Vector:
    data = one_file().finish()
    at = len(header())
    return replaced(data, at - 1, bytes([data[at - 1] ^ 1])), (11, "CRC of the header")


@vector
def bad_head_crc_index() -> Vector:
    builder = one_file()
    at = len(builder.data) + 5
    data = builder.finish()
    return replaced(data, at, bytes([data[at] ^ 1])), (11, "CRC of the head of the index frame")


@vector
def bad_head_crc_chunk() -> Vector:
    data = one_file().finish()
    at = len(header()) + 6
    return replaced(data, at, bytes([data[at] ^ 1])), (11, "CRC of the head of a chunk", "extract")


@vector
def bad_sync_chunk() -> Vector:
    good = chunk(HELLO)(0)
    data = framed(b"\xae\x9c" + good[2 : good.index(HELLO) - 12], good[good.index(HELLO) - 8 :])
    return one_file(data=data).finish(), (11, "sync bytes of a chunk, whose head CRC is right", "extract")


@vector
def bad_frame_moved_chunk() -> Vector:
    data = chunk(HELLO)(len(header()) + 1)
    return one_file(data=data).finish(), (11, "the head CRC of a chunk is for the next offset", "extract")


@vector
def bad_frame_moved_index() -> Vector:
    return one_file().finish(frame_of=lambda body: lambda at: frame("I", 0, len(body), body)(at - 1)), (
        11,
        "the head CRC of the index frame is for the offset before",
    )


@vector
def bad_frame_moved_checkpoint() -> Vector:
    builder = one_file()
    body = builder.index.encode()
    builder.segments.append(len(builder.data))
    builder.raw(frame("I", 0, len(body), body)(0))
    builder.index = Index(base=builder.total)
    return builder.finish(), (11, "the head CRC of a checkpoint is for offset 0")


@vector
def bad_frame_without_offset() -> Vector:
    good = chunk(HELLO)(0)
    head = good[: good.index(HELLO) - 12]
    data = head + crc(head) + good[good.index(HELLO) - 8 :]
    return one_file(data=data).finish(), (11, "the head CRC of a chunk leaves its offset out", "extract")


@vector
def bad_body_crc() -> Vector:
    data = one_file().finish()
    at = data.index(HELLO)
    return replaced(data, at, b"j"), (11, "CRC of the body of a chunk", "extract")


@vector
def bad_body_crc_index() -> Vector:
    data = one_file().finish()
    at = data.rindex(digest(HELLO))
    return replaced(data, at, b"\0\0"), (11, "CRC of the body of the index frame")


@vector
def bad_check_mismatch() -> Vector:
    data = frame("C", 0, len(HELLO), b"\0" * 8 + HELLO)
    return one_file(data=data).finish(), (11, "check of a chunk", "extract")


@vector
def bad_member_hash_mismatch() -> Vector:
    builder = one_file()
    builder.index.hashes = [digest(b"something else")]
    return builder.finish(), (11, "hash of a file; its chunk is sound", "extract")


@vector
def bad_chunk_behind_index() -> Vector:
    def build(place: int) -> tuple[Builder, int]:
        builder = Builder()
        builder.index.chunks = [place, len(HELLO), 0]
        builder.file("a", HELLO)
        builder.total = len(HELLO)
        builder.checkpoint()
        at = len(builder.data)
        builder.raw(chunk(HELLO, 0))
        return builder, at

    # Where it will be depends on how many bytes say that.
    builder, at = build(0)
    for _ in range(3):
        builder, at = build(at)
    return builder.finish(lambda index: index.owners.clear()), (11, "a checkpoint names a chunk behind itself")


@vector
def bad_chunk_without_check() -> Vector:
    return one_file(b"1", data=frame("C", 0, 1, b"1234567")).finish(), (11, "chunk body under 8 bytes", "extract")


@vector
def bad_store_size() -> Vector:
    data = frame("C", 0, 5, digest(HELLO)[:8] + HELLO)
    builder = Builder()
    builder.chunk(HELLO[:5], 0, data)
    builder.file("hello", HELLO[:5])
    return builder.finish(), (11, "a stored chunk is longer than its decoded size", "extract")


@vector
def bad_codec_mismatch() -> Vector:
    builder = one_file(data=chunk(HELLO, 0))
    builder.index.chunks[2] = 1
    return builder.finish(), (11, "index and frame disagree on the codec of a chunk", "extract")


@vector
def bad_decoded_mismatch() -> Vector:
    builder = one_file(data=frame("C", 0, len(HELLO) + 1, digest(HELLO)[:8] + HELLO))
    return builder.finish(), (11, "index and frame disagree on the decoded size of a chunk", "extract")


def cut(at: Callable[[bytes], int], where: str) -> Vector:
    data = one_file().finish()
    return data[: at(data)], (11, f"the file ends {where}")


@vector
def bad_truncated_magic() -> Vector:
    return cut(lambda data: 5, "before the format version")


@vector
def bad_truncated_header() -> Vector:
    return cut(lambda data: 12, "in the header")


@vector
def bad_truncated_after_header() -> Vector:
    return cut(lambda data: len(header()), "after the header")


@vector
def bad_truncated_chunk() -> Vector:
    return cut(lambda data: data.index(HELLO) + 3, "in the body of a chunk")


@vector
def bad_truncated_index() -> Vector:
    return cut(lambda data: len(data) - 20, "in the index frame")


@vector
def bad_truncated_before_trailer() -> Vector:
    return cut(lambda data: len(data) - 6, "before the trailer")


@vector
def bad_truncated_last_byte() -> Vector:
    return cut(lambda data: len(data) - 1, "one byte early")


@vector
def bad_trailer_size() -> Vector:
    data = one_file().finish()
    size = struct.unpack("<I", data[-6:-2])[0]
    return data[:-6] + trailer(size + 1), (11, "the trailer leads one byte before the index frame")


@vector
def bad_trailer_size_huge() -> Vector:
    return one_file().finish()[:-6] + trailer(0xFFFFFFFF), (11, "the trailer leads before the file")


@vector
def bad_trailer_mark() -> Vector:
    return one_file().finish()[:-1] + b"\x5b", (11, "the last byte is another")


@vector
def bad_trailer_to_chunk() -> Vector:
    data = chunk(HELLO)(len(header()))
    return header() + data + trailer(len(data)), (11, "the trailer leads to a chunk")


@vector
def bad_trailing_bytes() -> Vector:
    return one_file().finish() + b"\0", (11, "a byte after the trailer")


@vector
def bad_gap_before_trailer() -> Vector:
    data = one_file().finish()
    size = struct.unpack("<I", data[-6:-2])[0]
    return data[:-6] + b"\0" + trailer(size + 1), (11, "a byte between the index frame and the trailer")


# msgpack and primitives


def index_bytes(body: bytes, why: str) -> Vector:
    return Builder().finish(encode=lambda index: body), (11, why)


@vector
def bad_noncanonical_integer() -> Vector:
    return index_bytes(b"\x94\xcc\x00\x90\x90\x90", "0 in two bytes")


@vector
def bad_noncanonical_signed() -> Vector:
    return index_bytes(b"\x94\xd1\x00\x80\x90\x90\x90", "a positive integer in a signed form")


@vector
def bad_noncanonical_array() -> Vector:
    return index_bytes(b"\xdc\x00\x04\x00\x90\x90\x90", "four elements in a long array")


@vector
def bad_noncanonical_str() -> Vector:
    builder = Builder()
    builder.member("dir", DIR)
    return builder.finish(encode=lambda index: pack(index.value()).replace(b"\xa3dir", b"\xd9\x03dir")), (
        11,
        "a path in a long str",
    )


@vector
def bad_noncanonical_bin_path() -> Vector:
    builder = Builder()
    builder.member(Bin(b"dir"), DIR)
    return builder.finish(), (11, "a path that is UTF-8 is a bin")


@vector
def bad_str_not_utf8() -> Vector:
    builder = Builder()
    builder.member("dir", DIR)
    return builder.finish(encode=lambda index: pack(index.value()).replace(b"dir", b"d\xffr")), (
        11,
        "a str that is not UTF-8",
    )


@vector
def bad_msgpack_nil() -> Vector:
    return index_bytes(b"\x94\xc0\x90\x90\x90", "nil")


@vector
def bad_msgpack_float() -> Vector:
    return index_bytes(b"\x94\xca\0\0\0\0\x90\x90\x90", "a float")


@vector
def bad_msgpack_bool() -> Vector:
    return index_bytes(b"\x95\x00\x90\x90\x90\x81\xa1z\xc3", "a boolean, in an unknown option")


@vector
def bad_msgpack_ext() -> Vector:
    return index_bytes(b"\x95\x00\x90\x90\x90\x81\xa1z\xd4\x01\x00", "an extension type, in an unknown option")


@vector
def bad_chunks_fall_together() -> Vector:
    builder = one_file()
    builder.index.chunks += [0, len(HELLO), 0]
    return builder.finish(), (11, "a chunk is listed twice")


@vector
def bad_msgpack_bool_for_integer() -> Vector:
    return index_bytes(b"\x94\xc2\x90\x90\x90", "false where an integer must be")


@vector
def bad_msgpack_too_short() -> Vector:
    return index_bytes(b"\x94\x00\x90\x90\xdd\xff\xff\xff\xff", "an array of 4,294,967,295 elements that are not there")


@vector
def bad_msgpack_nested_deep() -> Vector:
    options = b"\x81\xa1z" + b"\x91" * 30 + b"\x00"
    return index_bytes(b"\x95\x00\x90\x90\x90" + options, "nested 32 deep")


@vector
def bad_duplicate_map_key() -> Vector:
    return index_bytes(b"\x95\x00\x90\x90\x90\x82\xa1z\x00\xa1z\x00", "a key twice")


@vector
def bad_unsorted_map_keys() -> Vector:
    return index_bytes(b"\x95\x00\x90\x90\x90\x82\xa1z\x00\xa1y\x00", "keys not in order")


@vector
def bad_map_key_integer() -> Vector:
    return index_bytes(b"\x95\x00\x90\x90\x90\x81\x01\x00", "a key that is an integer")


@vector
def bad_empty_options() -> Vector:
    return index_bytes(b"\x95\x00\x90\x90\x90\x80", "an empty map of options")


@vector
def bad_extra_element() -> Vector:
    return index_bytes(b"\x96\x00\x90\x90\x90\x81\xa1z\x00\x00", "an element after the options")


@vector
def bad_index_bytes_after() -> Vector:
    return index_bytes(b"\x94\x00\x90\x90\x90\0", "a byte after the hashes")


@vector
def bad_hashes_missing() -> Vector:
    builder = one_file()
    builder.index.hashes = [digest(HELLO)[:31]]
    return builder.finish(), (11, "31 bytes of hashes for one file")


@vector
def bad_overlong_uvarint() -> Vector:
    body = pack(["test", [["store", 1]]])
    head = MAGIC + bytes([len(body) | 128, 0]) + body
    return Builder(head + crc(head)).finish(), (11, "the header's length in two bytes")


@vector
def bad_overlong_uvarint_frame() -> Vector:
    body = pack([0, [], [], []])
    head = b"\xae\x9bI\x80\x00" + uvarint(len(body)) + uvarint(len(body)) + crc(body)
    last = framed(head, body)(len(header()))
    return header() + last + trailer(len(last)), (11, "codec 0 of the index frame in two bytes")


@vector
def bad_uvarint_ten_bytes() -> Vector:
    body = pack([0, [], [], []])
    head = b"\xae\x9bI\0" + uvarint(len(body)) + b"\x80" * 9 + b"\x01" + crc(body)
    last = framed(head, body)(len(header()))
    return header() + last + trailer(len(last)), (11, "a uvarint of ten bytes")


# Header


def bad_header(body: bytes, why: str) -> Vector:
    return Builder(header_of(body)).finish(), (11, why)


@vector
def bad_header_not_array() -> Vector:
    return bad_header(pack({"writer": "test"}), "the header is a map")


@vector
def bad_header_bytes_after() -> Vector:
    return bad_header(pack(["test", []]) + b"\0", "a byte after the msgpack of the header")


@vector
def bad_backend_name() -> Vector:
    return bad_header(pack(["test", [["Store", 1]]]), "a backend's name in upper case")


@vector
def bad_backend_version() -> Vector:
    return bad_header(pack(["test", [["store", 0]]]), "a backend of version 0")


@vector
def bad_backend_twice() -> Vector:
    return bad_header(pack(["test", [["store", 1], ["zstd", 1], ["store", 1]]]), "a backend is listed twice")


@vector
def bad_backend_promise() -> Vector:
    return bad_header(pack(["test", [["store", 1, {"promise": "portable"}]]]), "a promise that is not `matching`")


@vector
def bad_backend_properties_empty() -> Vector:
    return bad_header(pack(["test", [["store", 1, {}]]]), "an empty map of properties")


# Content stream and index


@vector
def bad_overlapping_runs() -> Vector:
    builder = one_file()
    builder.file("other", HELLO[1:6], 1)
    return builder.finish(), (11, "two files' runs overlap and are not equal")


@vector
def bad_run_outside_stream() -> Vector:
    builder = one_file()
    builder.file("other", b"xx", len(HELLO))
    return builder.finish(), (11, "a run past the end of the content stream")


@vector
def bad_run_huge() -> Vector:
    builder = one_file()
    builder.member("other", FILE, (1 << 63) - 1, (1 << 63) - 1, content=b"")
    return builder.finish(), (11, "a run whose end is over 2^63")


@vector
def bad_empty_file_start() -> Vector:
    builder = one_file()
    builder.file("empty", b"", 1)
    return builder.finish(), (11, "an empty file whose start is not 0")


@vector
def bad_duplicate_paths() -> Vector:
    builder = one_file()
    builder.member("hello.txt", DIR)
    return builder.finish(), (11, "two members with one path")


@vector
def bad_duplicate_paths_checkpoint() -> Vector:
    builder = one_file()
    builder.checkpoint()
    builder.member("hello.txt", DIR)
    return builder.finish(), (11, "a path in a checkpoint and in the last index frame")


def with_segments(change: Callable[[list[int]], list[int]], why: str) -> Vector:
    builder = one_file()
    builder.checkpoint()
    builder.member("dir", DIR)
    return builder.finish(lambda index: index.options.update(segments=change(index.options["segments"]))), (11, why)


@vector
def bad_segment_offset() -> Vector:
    return with_segments(lambda segments: [segments[0] + 1], "a segment's offset is one too large")


@vector
def bad_segment_to_chunk() -> Vector:
    return with_segments(lambda segments: [len(header())], "a segment leads to a chunk")


@vector
def bad_segment_outside() -> Vector:
    return with_segments(lambda segments: [1 << 40], "a segment leads past the end of the file")


@vector
def bad_segment_twice() -> Vector:
    return with_segments(lambda segments: [*segments, 0], "a segment is named twice")


@vector
def bad_segment_is_last() -> Vector:
    builder = Builder()
    here = len(builder.data)
    return builder.finish(lambda index: index.options.update(segments=[here])), (
        11,
        "the last index frame names itself",
    )


@vector
def bad_segment_with_segments() -> Vector:
    builder = one_file()
    builder.index.options["segments"] = [len(header())]
    builder.checkpoint()
    return builder.finish(), (11, "a checkpoint has segments of its own")


@vector
def bad_base() -> Vector:
    builder = one_file()
    builder.checkpoint()
    builder.chunk(b"more")
    builder.index.base -= 1
    return builder.finish(), (11, "base of the last index frame is not where the chunks before end")


@vector
def bad_chunk_order() -> Vector:
    builder = Builder()
    builder.chunk(b"one")
    builder.chunk(b"two")
    first, size, codec, step, *more = builder.index.chunks
    return builder.finish(lambda index: setattr(index, "chunks", [first + step, size, codec, -step, *more])), (
        11,
        "chunks are not in file order",
    )


@vector
def bad_chunk_order_over_frames() -> Vector:
    builder = Builder()
    here = len(builder.data)
    builder.chunk(b"one")
    after = len(builder.data)
    builder.chunk(b"two")
    builder.index.chunks = [after, 3, 0]
    builder.index.members.append(["a", FILE, MTIME, 0, 3, 0])
    builder.index.hashes.append(digest(b"two"))
    builder.total = 3
    builder.checkpoint()
    builder.index.chunks = [here, 3, 0]
    builder.file("b", b"one", 3)
    return builder.finish(), (11, "a chunk of the last index frame is before one of a checkpoint")


@vector
def bad_chunk_twice_over_frames() -> Vector:
    builder = one_file()
    builder.checkpoint()
    builder.index.chunks = [len(header()), len(HELLO), 0]
    return builder.finish(), (11, "two index frames list one chunk")


@vector
def bad_chunk_fields() -> Vector:
    builder = one_file()
    builder.index.chunks.append(0)
    return builder.finish(), (11, "four integers in chunks")


@vector
def bad_chunk_codec() -> Vector:
    builder = Builder()
    builder.chunk(HELLO, 2, chunk(HELLO, 2))
    return builder.finish(), (11, "a chunk's codec is not in backends")


@vector
def bad_chunk_empty() -> Vector:
    builder = Builder()
    builder.chunk(b"")
    return builder.finish(), (11, "a chunk of decoded size 0")


@vector
def bad_chunk_offset() -> Vector:
    builder = one_file()
    builder.index.chunks[0] += 1
    return builder.finish(), (11, "a chunk's offset is one too large", "extract")


@vector
def bad_index_codec() -> Vector:
    return Builder().finish(frame_of=lambda body: frame("I", 2, len(body), body)), (11, "an index frame of codec 2")


@vector
def bad_index_size() -> Vector:
    return Builder().finish(frame_of=lambda body: frame("I", 0, len(body) + 1, body)), (
        11,
        "an index frame whose body is not as long as it says",
    )


@vector
def bad_owner_missing() -> Vector:
    builder = Builder()
    builder.member("dir", DIR, owner=1)
    return builder.finish(), (11, "a member's owner is not in owners")


@vector
def bad_owner_three() -> Vector:
    return Builder().finish(lambda index: index.owners.append([1, "a", 1])), (11, "an owner of three elements")


def bad_owner(owner: list[Any], why: str) -> Vector:
    return Builder().finish(lambda index: index.owners.append(owner)), (11, why)


@vector
def bad_owner_name_empty() -> Vector:
    return bad_owner([1000, ""], "[uid, uname] where [uid] says it")


@vector
def bad_owner_group_repeated() -> Vector:
    return bad_owner([1000, "ana", 1000, "ana"], "[uid, uname, gid, gname] where [uid, uname] says it")


@vector
def bad_owner_four_for_one() -> Vector:
    return bad_owner([1000, "", 1000, ""], "[uid, uname, gid, gname] where [uid] says it")


@vector
def bad_owner_five() -> Vector:
    return bad_owner([1000, "ana", 100, "users", {"a": 1}], "an owner of five elements")


@vector
def bad_owner_number_range() -> Vector:
    return bad_owner([1 << 32], "an owner number of 2^32")


@vector
def bad_owner_zero_named() -> Vector:
    return bad_owner([0, "root"], "a name of user 0")


@vector
def bad_owner_group_zero_named() -> Vector:
    return bad_owner([1000, "ana", 0, "root"], "a name of group 0")


@vector
def good_mtime_range() -> Vector:
    builder = Builder()
    builder.member("first", DIR, mtime=-(1 << 63))
    builder.member("last", DIR, mtime=(1 << 64) - 1)
    return builder.finish(), {}


@vector
def bad_mode_range() -> Vector:
    builder = Builder()
    builder.member("dir", DIR | 1 << 16)
    return builder.finish(), (11, "a mode over 65,535")


@vector
def bad_member_short() -> Vector:
    builder = Builder()
    builder.index.members.append(["dir", DIR, MTIME])
    return builder.finish(), (11, "a member without an owner")


@vector
def bad_member_long() -> Vector:
    builder = Builder()
    builder.member("dir", DIR, "more")
    return builder.finish(), (11, "a directory with an element too many")


@vector
def bad_hardlink_to_missing() -> Vector:
    builder = one_file()
    builder.member("hard", HARD, "nowhere")
    return builder.finish(), (11, "a hard link to a path that no member has")


@vector
def bad_hardlink_to_dir() -> Vector:
    builder = Builder()
    builder.member("dir", DIR)
    builder.member("hard", HARD, "dir")
    return builder.finish(), (11, "a hard link to a directory")


@vector
def bad_hardlink_to_hardlink() -> Vector:
    builder = one_file()
    builder.member("hard", HARD, "hello.txt")
    builder.member("harder", HARD, "hard")
    return builder.finish(), (11, "a hard link to a hard link")


@vector
def bad_hardlink_mode() -> Vector:
    builder = one_file()
    builder.member("hard", 0o644, "hello.txt")
    return builder.finish(), (11, "a hard link whose mode is not 0")


def bad_sparse(runs: list[int], size: int, why: str) -> Vector:
    builder = Builder()
    start = builder.chunk(b"headtail")
    builder.member("holes", FILE, size, start, {"sparse": runs}, content=b"")
    return builder.finish(), (11, why)


@vector
def bad_sparse_sum() -> Vector:
    return bad_sparse([10, 4, 10, 4], 27, "the runs are longer than the file")


@vector
def bad_sparse_odd() -> Vector:
    return bad_sparse([10, 4, 10], 100, "three integers in sparse")


@vector
def bad_sparse_empty_run() -> Vector:
    return bad_sparse([10, 0], 100, "a run of length 0")


@vector
def bad_sparse_hole_zero() -> Vector:
    return bad_sparse([10, 4, 0, 4], 100, "a hole of length 0 that is not the first")


@vector
def bad_sparse_negative() -> Vector:
    return bad_sparse([-4, 8], 100, "a hole of negative length")


# zstd


def bad_zstd(coded: bytes, size: int, why: str) -> Vector:
    builder = Builder()
    builder.chunk(PROSE[:size].ljust(size), 1, frame("C", 1, size, digest(PROSE)[:8] + coded))
    builder.file("prose", PROSE[:size].ljust(size))
    return builder.finish(), (11, why, "extract")


@vector
def bad_zstd_size_lies() -> Vector:
    return bad_zstd(zstd(PROSE), len(PROSE) + 1, "the zstd frame states another size than the chunk")


@vector
def bad_zstd_size_false() -> Vector:
    coded = bytearray(zstd(PROSE))
    coded[5] += 1
    return bad_zstd(bytes(coded), len(PROSE) + 1, "the zstd frame's content is shorter than it states")


@vector
def bad_zstd_size_missing() -> Vector:
    return bad_zstd(zstd(PROSE, write_content_size=False), len(PROSE), "the zstd frame states no size")


@vector
def bad_zstd_trailing_bytes() -> Vector:
    return bad_zstd(zstd(PROSE) + b"\0", len(PROSE), "a byte after the zstd frame")


@vector
def bad_zstd_two_frames() -> Vector:
    return bad_zstd(zstd(PROSE) + zstd(b"more"), len(PROSE), "two zstd frames")


@vector
def bad_zstd_skippable() -> Vector:
    skip = b"\x50\x2a\x4d\x18" + struct.pack("<I", 4) + b"skip"
    return bad_zstd(skip + zstd(PROSE), len(PROSE), "a skippable frame before the zstd frame")


@vector
def bad_zstd_truncated() -> Vector:
    return bad_zstd(zstd(PROSE)[:-1], len(PROSE), "the zstd frame ends early")


@vector
def bad_index_zstd_size_lies() -> Vector:
    return one_file().finish(frame_of=lambda body: frame("I", 1, len(body) + 1, zstd(body))), (
        11,
        "the index states another size than its zstd frame",
    )


# Unsafe members


def unsafe(path: Any, why: str) -> Vector:
    builder = one_file()
    builder.member(path, DIR)
    return builder.finish(), (16, why, "extract")


@vector
def bad_unsafe_absolute() -> Vector:
    return unsafe("/tmp/lmarc-must-not-write-this", "an absolute path")


@vector
def bad_unsafe_parent() -> Vector:
    return unsafe("a/../../b", "a component that is ..")


@vector
def bad_unsafe_dot() -> Vector:
    return unsafe("a/./b", "a component that is .")


@vector
def bad_unsafe_empty_component() -> Vector:
    return unsafe("a//b", "an empty component")


@vector
def bad_unsafe_trailing_slash() -> Vector:
    return unsafe("a/", "an empty last component")


@vector
def bad_unsafe_empty_path() -> Vector:
    return unsafe("", "an empty path")


@vector
def bad_unsafe_nul() -> Vector:
    return unsafe("a\0b", "a NUL byte")


@vector
def bad_unsafe_hardlink_target() -> Vector:
    builder = Builder()
    builder.file("../outside", b"")
    builder.member("hard", HARD, "../outside")
    return builder.finish(), (16, "a hard link to an unsafe member", "extract")


@vector
def bad_unsafe_hardlink_to_below_symlink() -> Vector:
    builder = Builder()
    builder.member("a", LINK, "/tmp")
    builder.file("a/lmarc-must-not-write-this", b"")
    builder.member("hard", HARD, "a/lmarc-must-not-write-this")
    return builder.finish(), (16, "a hard link to a file below a symbolic link", "extract")


@vector
def bad_unsafe_below_file() -> Vector:
    builder = one_file()
    builder.member("hello.txt/deep/below", DIR)
    return builder.finish(), (16, "a member two levels below a regular file", "extract")


@vector
def bad_unsafe_below_hardlink() -> Vector:
    builder = one_file()
    builder.member("hard", HARD, "hello.txt")
    builder.file("hard/below", b"")
    return builder.finish(), (16, "a member below a hard link", "extract")


@vector
def bad_unsafe_below_later_symlink() -> Vector:
    builder = Builder()
    builder.file("a/lmarc-must-not-write-this", b"")
    builder.checkpoint()
    builder.member("a", LINK, "/tmp")
    return builder.finish(), (16, "a member below a symbolic link that a later index frame lists", "extract")


@vector
def bad_unsafe_symlink_empty() -> Vector:
    builder = one_file()
    builder.member("link", LINK, "")
    return builder.finish(), (16, "a symbolic link with an empty target", "extract")


@vector
def bad_unsafe_symlink_nul() -> Vector:
    builder = one_file()
    builder.member("link", LINK, "hello\0txt")
    return builder.finish(), (16, "a symbolic link with a NUL byte in its target", "extract")


@vector
def bad_unsafe_below_symlink() -> Vector:
    builder = Builder()
    builder.member("a", LINK, "/tmp")
    builder.member("a/lmarc-must-not-write-this", DIR)
    return builder.finish(), (16, "a member below a symbolic link", "extract")


# Limits


@vector
def bad_limit_header() -> Vector:
    return MAGIC + uvarint((1 << 20) + 1) + bytes(100), (17, "a header of 2^20 + 1 bytes")


@vector
def bad_limit_header_huge() -> Vector:
    return MAGIC + uvarint((1 << 63) - 1) + bytes(100), (17, "a header of 2^63 - 1 bytes")


def limit_checkpoint(bad: Part, why: str) -> Vector:
    builder = Builder()
    builder.index.owners.clear()
    at = len(builder.data)
    builder.raw(bad)
    return builder.finish(lambda index: index.options.update(segments=[at])), (17, why)


@vector
def bad_limit_index_body() -> Vector:
    return limit_checkpoint(frame("I", 0, 4, b"", (1 << 26) + (1 << 16) + 1), "a body over 2^26 + 2^16 bytes")


@vector
def bad_limit_index_decoded() -> Vector:
    return limit_checkpoint(frame("I", 1, (1 << 23) + 1, bytes(1 << 18)), "an index frame of 2^23 + 1 bytes")


@vector
def bad_limit_chunk_body() -> Vector:
    data = frame("C", 0, len(HELLO), b"", 1 << 62)
    return one_file(data=data).finish(), (17, "a chunk body of 2^62 bytes", "extract")


@vector
def bad_limit_chunk_decoded() -> Vector:
    size = (1 << 26) + 1
    builder = Builder()
    builder.chunk(b"", 1, frame("C", 1, size, bytes(8) + zstd(b"")), size)
    builder.member("huge", FILE, size, 0, content=b"")
    return builder.finish(), (17, "a chunk of 2^26 + 1 bytes, as the index says too")


@vector
def bad_limit_path() -> Vector:
    builder = Builder()
    builder.member("p" * 65536, DIR)
    return builder.finish(frame_of=lambda body: frame("I", 1, len(body), zstd(body))), (17, "a path of 65,536 bytes")


@vector
def bad_limit_target() -> Vector:
    builder = Builder()
    builder.member("link", LINK, "t" * 65536)
    return builder.finish(frame_of=lambda body: frame("I", 1, len(body), zstd(body))), (17, "a target of 65,536 bytes")


@vector
def bad_limit_zstd_window() -> Vector:
    coded = b"\x28\xb5\x2f\xfd\xc0\xf8" + struct.pack("<Q", len(HELLO)) + bytes([len(HELLO) << 3 | 1, 0, 0]) + HELLO
    data = frame("C", 1, len(HELLO), digest(HELLO)[:8] + coded.replace(b"\xc0\xf8", b"\xc0\x90", 1))
    return one_file(codec=1, data=data).finish(), (17, "a zstd window of 2^28 bytes", "extract")


# Unsupported


@vector
def unsupported_version() -> Vector:
    return replaced(one_file().finish(), 5, b"\x02"), (15, "format version 2")


@vector
def unsupported_feature() -> Vector:
    return one_file(head=header(options={"requires": ["time-travel"]})).finish(), (15, "a required feature")


@vector
def unsupported_feature_before_backends() -> Vector:
    head = header([["Future", {"a": 1}]], {"requires": ["better-backends"]})
    return Builder(head).finish(), (15, "a required feature; `backends` is not valid in this version")


@vector
def unsupported_frame_type_index() -> Vector:
    return one_file().finish(frame_of=lambda body: frame("J", 0, len(body), body)), (
        15,
        "the trailer leads to a frame of type J",
    )


@vector
def unsupported_frame_type_chunk() -> Vector:
    data = frame("D", 0, len(HELLO), digest(HELLO)[:8] + HELLO)
    return one_file(data=data).finish(), (15, "the index leads to a frame of type D for a chunk", "extract")


@vector
def unsupported_member_type_device() -> Vector:
    builder = one_file()
    builder.member("null", 0o020666)
    return builder.finish(), (15, "a character device")


@vector
def unsupported_backend_missing() -> Vector:
    builder = Builder(header([["store", 1], ["nosuch", 1]]))
    builder.chunk(HELLO)
    builder.chunk(PROSE, 1, chunk(PROSE, 1, b"coded by nosuch"))
    builder.file("readable", HELLO)
    builder.file("unreadable", PROSE, len(HELLO))
    return builder.finish(), (13, "the content of `unreadable` needs backend nosuch; `readable` does not", "extract")


@vector
def unsupported_backend_version() -> Vector:
    return one_file(head=header([["store", 2]])).finish(), (13, "store of coding version 2", "extract")


def expectation(archive: bytes, expected: Good | Bad) -> dict[str, Any]:
    if isinstance(expected, tuple):
        code, why, *on = expected
        return {"error": ERRORS[code], "exit": code, "why": why} | ({"on": on[0]} if on else {})
    with tempfile.NamedTemporaryFile() as file, contextlib.redirect_stdout(io.StringIO()) as out:
        file.write(archive)
        file.flush()
        if decoder.main(["list", file.name]):
            raise AssertionError("the decoder refuses what should be good")
    listing: dict[str, Any] = json.loads(out.getvalue())
    for member in listing["members"]:
        content = expected.get(member["path"].encode(errors="surrogateescape"))
        if content is not None and len(content) <= 64:
            member["content_hex"] = content.hex()
    return listing


def main(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for name, make in VECTORS.items():
        try:
            archive, expected = make()
        except ImportError as error:
            print(f"{name}: left as it is: {error}", file=sys.stderr)
            continue
        (directory / f"{name}.lmarc").write_bytes(archive)
        text = json.dumps(expectation(archive, expected), indent=1)
        (directory / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "vectors")
