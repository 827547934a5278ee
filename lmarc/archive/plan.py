"""Planning: which sources lie beside each other in the content stream, so that like data shares a chunk."""

from __future__ import annotations

import codecs
import os
import stat
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum

from lmarc.archive import fs
from lmarc.archive.walk import Source

_SNIFF = 4096
#: Below this a file of unknown kind is not worth opening twice.
_MIN_SNIFF = 512
#: Noise has at most this many times the pairs of equal bytes that a uniform distribution has.
_NOISE = (11, 10)
#: Text in an 8-bit encoding has at least this share of ASCII, in tenths.
_MIN_ASCII = 7
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b"))
_CONTINUATION = bytes(range(0x80, 0xC0))
_HIGH = bytes(range(0x80, 0x100))


class Kind(IntEnum):
    """What data looks like; the order is the order in the content stream."""

    PROSE = 0
    MARKUP = 1
    SOURCE = 2
    DATA = 3
    LOG = 4
    BINARY = 5
    PACKED = 6


_EXTENSIONS = {
    Kind.PROSE: "txt md rst tex org adoc text 1 2 3 4 5 6 7 8 pod texi eml mbox srt po pot",
    Kind.MARKUP: "html htm xml xhtml svg xsl xsd rss atom plist css scss less",
    Kind.SOURCE: (
        "py pyi pyx c h cc cpp cxx hh hpp hxx java js mjs cjs jsx ts tsx go rs rb php pl pm sh bash zsh fish lua r jl"
        " swift kt kts scala cs fs vb m mm sql el lisp lsp clj hs ml mli ex exs erl s asm f f90 pas d zig nim v vue"
        " cmake mk mak am in m4 gradle bat cmd ps1 awk sed tcl vim proto thrift graphql tf nix"
    ),
    Kind.DATA: "json jsonl ndjson csv tsv yaml yml toml ini cfg conf properties geojson ipynb lock env sym map ldif",
    Kind.LOG: "log out err trace",
    Kind.BINARY: (
        "o a so dll exe dylib pyc pyo class wasm bin dat db sqlite sqlite3 bmp wav aiff au tar tif tiff ppm pgm pnm raw"
        " ico cur xls doc ppt mdb npy pdb obj mo gmo ttf otf parquet safetensors gguf"
    ),
    Kind.PACKED: (
        "png jpg jpeg jfif gif webp avif heic jxl mp3 m4a aac ogg oga opus flac wma mp4 m4v mkv webm mov avi wmv mpg"
        " mpeg zip gz tgz bz2 tbz xz txz lz lzma lz4 zst br 7z rar jar war apk whl egg docx xlsx pptx odt ods odp epub"
        " pdf deb rpm cab dmg woff woff2 lmarc crx npz pack"
    ),
}
_KIND_OF = {extension.encode(): kind for kind, names in _EXTENSIONS.items() for extension in names.split()}


def order(sources: Iterable[Source]) -> list[tuple[Kind, Source]]:
    """Regular files in the order of the content stream: by kind, extension, then path."""
    keyed = []
    for source in sources:
        extension = _extension(source.path)
        kind = _KIND_OF.get(extension)
        if kind is None:
            kind = _sniff(source)
        keyed.append((kind, extension, source.path, source))
    keyed.sort(key=lambda item: item[:3])
    return [(kind, source) for kind, _, _, source in keyed]


def _extension(path: bytes) -> bytes:
    name = path.rsplit(b"/", 1)[-1]
    stem, dot, extension = name.rpartition(b".")
    return extension.lower() if dot and stem else b""


def _sniff(source: Source) -> Kind:
    """The kind of a file whose name does not tell, from a sample at its middle."""
    size = source.stat.st_size
    if size < _MIN_SNIFF:
        return Kind.PROSE
    try:
        fd = fs.open_file(source.root, source.location)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return Kind.BINARY
            sample = os.pread(fd, _SNIFF, max(size // 2 - _SNIFF // 2, 0))
        finally:
            os.close(fd)
    except OSError:
        return Kind.BINARY
    return kind_of_sample(sample)


def kind_of_sample(sample: bytes) -> Kind:
    """PROSE for what reads as text, PACKED for what looks like noise, BINARY for the rest."""
    if _is_text(sample):
        return Kind.PROSE
    # The number of pairs of equal bytes: in noise each value is as frequent as another. Integers, since the order in
    # the archive must not depend on a library's version.
    pairs = sum(count * (count - 1) for count in Counter(sample).values())
    return Kind.PACKED if pairs * 256 * _NOISE[1] < len(sample) * (len(sample) - 1) * _NOISE[0] else Kind.BINARY


def _is_text(sample: bytes) -> bool:
    """UTF-8, whose first and last character the sample may cut, or an 8-bit encoding: mostly letters, no controls."""
    if sample.translate(None, _CONTROLS) != sample:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample.lstrip(_CONTINUATION))
        return True
    except UnicodeDecodeError:
        return 10 * len(sample.translate(None, _HIGH)) > len(sample) * _MIN_ASCII
