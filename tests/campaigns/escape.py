"""Escape: a corpus of archives made to write outside the target, and a judge of what comes of each.

An attack is an archive, perhaps with something planted in the target beforehand, and what must come of it: the exit
code, which members are refused, and what stands in the target afterwards, to the last entry. Around the target lies
what nobody may touch.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import lmarc
from lmarc.archive.paths import display
from lmarc.container import frames
from lmarc.container.header import Header
from lmarc.container.index import Chunk, IndexFrame, Owner
from lmarc.container.writer import trailer
from lmarc.errors import DamagedError, exit_code
from tests import trees
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.hostile import DIR, ESCAPE, FILE, HARDLINK, SYMLINK, rows
from tests.cli.nobody import COMMAND_AS_NOBODY
from tests.cli.program import COMMAND, run
from tests.container import build
from tests.container.build import Entry, directory, file, hardlink, symlink

#: In a path or a link's target, stands for the folder that the target is in.
PLACE = b"@PLACE@"
EVIL = b"evil"
GOOD = file(b"good", b"good")
_NOBODY = 65_534
#: What tests/trees.py removes level by level takes long from such a length of paths on.
_DEEP = 1000
#: What no attack may make, wherever its path is absolute or climbs to the root.
_NEVER = (
    *(folder + ESCAPE for folder in (b"/", b"/tmp/", b"/etc/", b"/var/tmp/", b"/dev/shm/")),
    *(b"/precious", b"/new", b"/tmp/precious"),
)


# --- what an attack is -------------------------------------------------------------------------------------


class Thing(NamedTuple):
    """What stands at a path: kind as tests/trees.py says it, content or target, mode and mtime (None: any).

    `same` is the first path of the same file, where there are several; a planted one's may lie outside.
    """

    kind: str
    data: bytes = b""
    mode: int | None = None
    mtime_ns: int | None = None
    same: bytes = b""


def a_file(data: bytes, mode: int | None = None) -> Thing:
    """A regular file."""
    return Thing("file", data, mode)


def a_link(target: bytes) -> Thing:
    """A symbolic link."""
    return Thing("symlink", target)


def a_hard_link(path: bytes) -> Thing:
    """Another name for what is at a path, relative to the target."""
    return Thing("hard link", path)


A_DIRECTORY = Thing("directory")
Things = Mapping[bytes, Thing]


@dataclass(frozen=True)
class Outcome:
    """What must come of an extraction: exit code, what each refused member's error stands for, and what is left."""

    code: int
    failed: Mapping[bytes, int]
    left: Things


@dataclass(frozen=True)
class Attack:
    """An archive and what must come of it, by option; `there` is planted in the target before."""

    name: str
    entries: tuple[Entry, ...]
    outcome: Outcome
    but: Mapping[str, Outcome] = field(default_factory=dict)
    there: Things = field(default_factory=dict)
    options: tuple[str, ...] = ()
    make: Callable[[Iterable[Entry]], bytes] = build.build

    def expected(self, option: str) -> Outcome:
        """What must come of it with an option. Without the trailer all is as with it, but for the exit code."""
        if option in self.but:
            return self.but[option]
        return Outcome(11, self.outcome.failed, self.outcome.left) if option == CUT else self.outcome


#: How lmarc is told to extract. CUT: without the archive's trailer, so that its index has to be found by walking.
#: ALONE: each refused member asked for by its name, and replacing.
PLAIN, FORCE, SKIP, RESUME, OWNER, CUT, ALONE = "", "force", "skip_existing", "resume", "owner", "cut", "alone"
OPTIONS = (PLAIN, FORCE, SKIP, RESUME, OWNER, CUT, ALONE)
_KEYWORDS = (FORCE, SKIP, RESUME, OWNER)


def left_of(entries: Iterable[Entry], refused: Iterable[bytes] = (), there: Things | None = None) -> dict[bytes, Thing]:
    """What stands in the target when all members but the refused ones are extracted, and the directories above them."""
    left: dict[bytes, Thing] = {}
    contents: dict[bytes, list[bytes]] = {}
    files = {member.path: (member, content) for member, content in entries if member.kind == "file"}
    for member, _ in entries:
        path = member.path
        if path in refused:
            continue
        at = path
        while b"/" in at:
            at = at.rpartition(b"/")[0]
            left.setdefault(at, Thing("directory", mode=0o755))
        if member.kind == "dir":
            left[path] = Thing("directory", mode=member.mode & 0o1777, mtime_ns=member.mtime_ns)
        elif member.kind == "symlink":
            left[path] = Thing("symlink", member.target, mtime_ns=member.mtime_ns)
        else:
            name = member.target if member.kind == "hardlink" else path
            source, content = files[name]
            contents.setdefault(name, []).append(path)
            left[path] = Thing("file", content, source.mode & 0o1777, source.mtime_ns)
    for paths in contents.values():
        first = min(paths)
        left.update({path: left[path]._replace(same=first) for path in paths if len(paths) > 1})
    for path, thing in (there or {}).items():
        left.setdefault(path, thing)
    return left


ATTACKS: dict[str, Attack] = {}


def attack(
    name: str,
    *entries: Entry,
    refused: Iterable[bytes] | Mapping[bytes, int] = (),
    code: int | None = None,
    there: Things | None = None,
    left: Things | None = None,
    but: Mapping[str, Outcome] | None = None,
    options: Iterable[str] = OPTIONS,
    make: Callable[[Iterable[Entry]], bytes] = build.build,
) -> None:
    """Add an attack. Unless `left` says otherwise, all that is not refused is left as its member has it, and what was
    there beside it; unless `code` does, the exit code is that of what is refused (16 unless `refused` says another)."""
    assert name not in ATTACKS, name
    entries = (*entries, GOOD)
    failed = dict(refused) if isinstance(refused, Mapping) else dict.fromkeys(refused, 16)
    if code is None:
        code = max(failed.values(), default=0)
    outcome = Outcome(code, failed, left_of(entries, failed, there) if left is None else left)
    ATTACKS[name] = Attack(name, entries, outcome, dict(but or {}), dict(there or {}), tuple(options), make)


def nothing(name: str, make: Callable[[], bytes], code: int) -> None:
    """Add an archive of which nothing is extracted: its index is refused as a whole."""
    assert name not in ATTACKS, name
    options = (PLAIN, FORCE, SKIP, RESUME, CUT)
    ATTACKS[name] = Attack(
        name, (), Outcome(code, {}, {}), {CUT: Outcome(11, {}, {})}, options=options, make=lambda _: make()
    )


def _of_kind(kind: str, path: bytes) -> Entry:
    return {
        "file": file(path, EVIL),
        "directory": directory(path),
        "symlink": symlink(path, b"outside"),
        "hard link": hardlink(path, b"good"),
    }[kind]


def _say(path: bytes) -> str:
    text = repr(path)[1:]
    return text if len(text) < 60 else f"{text[:30]}... ({len(path)})"


# --- paths that are refused --------------------------------------------------------------------------------

UNSAFE_PATHS = (
    # Absolute.
    *(b"/" + ESCAPE, b"//" + ESCAPE, b"///" + ESCAPE, b"/tmp/" + ESCAPE, b"/etc/" + ESCAPE, b"/", b"//", b"/."),
    *(PLACE + b"/outside/new", PLACE + b"/outside/precious", PLACE + b"/target/inside", b"/" + PLACE + b"/new"),
    *(b"/dev/shm/" + ESCAPE, b"/proc/self/cwd/" + ESCAPE, b"/./" + ESCAPE, b"/../" + ESCAPE),
    # Parents: at the front, in the middle, at the end, more of them than there are directories above.
    *(b"..", b"../" + ESCAPE, b"../outside/precious", b"../outside/new", b"../target/inside", b"../target", b"../"),
    *(b"../target-beside/new", b"../../" + ESCAPE, b"../" * 50 + b"tmp/" + ESCAPE, b"../" * 50 + ESCAPE),
    *(
        b"a/..",
        b"a/../b",
        b"a/../../new",
        b"a/b/../../../new",
        b"good/../../new",
        b"a/../..",
        b"./../new",
        b".//../new",
    ),
    *(b"..//new", b"../.", b"a/b/c/d/../../../../../new", b".../../new", b"a/../../outside/precious", b"a/./../../new"),
    # Dots and empty components: two spellings of one path.
    *(b".", b"./", b"./a", b"a/.", b"a/./b", b"././a", b"a/b/.", b"", b"a/", b"a//", b"a//b", b"a///b", b"d/./../new"),
    # NUL bytes: the path that the system sees ends there.
    *(b"a\0b", b"\0", b"../new\0.txt", b"good\0", b"../outside/precious\0.txt", b"a/\0/b", b"a\0/../../new"),
)

for _path in UNSAFE_PATHS:
    for _kind in ("file", "directory", "symlink", "hard link"):
        attack(f"a {_kind} at {_say(_path)}", _of_kind(_kind, _path), refused=[_path])
attack(
    "absolute and relative paths mixed",
    *(file(path, EVIL) for path in UNSAFE_PATHS),
    *(file(b"fine/%d" % number, b"fine") for number in range(5)),
    refused=UNSAFE_PATHS,
)


# --- names that are names here -----------------------------------------------------------------------------

WINDOWS_NAMES = (
    *(
        b"..\\evil",
        b"..\\..\\evil",
        b"a\\..\\b",
        b"a\\..\\..\\b",
        b"\\evil",
        b"\\\\server\\share",
        b"\\\\?\\C:\\x",
        b".\\x",
    ),
    *(b"C:\\x", b"C:x", b"C:/x", b"C:", b"c:\\windows\\system32\\evil.dll", b"C:../x", b"C:\\..\\x", b"\\??\\C:\\x"),
    *(
        b"CON",
        b"con",
        b"NUL",
        b"aux.txt",
        b"PRN",
        b"COM1",
        b"LPT1.txt",
        b"con.tar.gz",
        b"CONIN$",
        b"com\xc2\xb9",
        b"NUL /x",
    ),
    *(
        b"dot.",
        b"dots...",
        b"space ",
        b"both. .",
        b"d./x",
        b"d /x",
        b"a:b",
        b"a::$DATA",
        b"good:stream",
        b"good::$DATA",
    ),
    *(
        b"d::$INDEX_ALLOCATION/x",
        b"*",
        b"?",
        b"<x>",
        b'"x"',
        b"a|b",
        b"evil.lnk",
        b"desktop.ini",
        b"PROGRA~1/x",
        b"GIT~1/x",
    ),
)
UNIX_NAMES = (
    *(b"...", b"....", b"..a", b"a..", b".. ", b" ..", b"..\t", b".../x", b"..../x", b". ", b" ", b"..\x01", b"..;/x"),
    *(
        b"~",
        b"~/x",
        b"~root/x",
        b"$HOME/x",
        b"${IFS}",
        b"`id`",
        b"$(id)",
        b"-rf",
        b"--",
        b"-C",
        b"--help",
        b"@list",
        b"@",
    ),
    *(b"|id", b">out", b"a;b", b"a&b", b"[a]", b"{a,b}", b"%s%n", b"{0}", b"#x", b"!x", b"^x", b"a'b", b"-"),
    # Encoded dots and slashes, which nobody decodes.
    *(b"%2e%2e/x", b"..%2fx", b"%2e%2e%2fx", b"..%c0%afx", b"..\xc0\xafx", b"\xc0\xae\xc0\xae/x", b"\xe0\x80\xae./x"),
    *(
        "..∕x".encode(),
        "..⁄x".encode(),
        "‥/x".encode(),
        "．．/x".encode(),
        "．．／x".encode(),
        "..\u2215..\u2215x".encode(),
    ),
    # Where others keep what they trust.
    *(
        b".git/hooks/post-checkout",
        b".GIT/config",
        b".Git/config",
        ".g\u200cit/config".encode(),
        b"git~1/config",
        b".git ",
    ),
    *(b".git./config", b".git::$INDEX_ALLOCATION/config", ".git\u200d/config".encode(), "\ufeff.git/config".encode()),
    *(b".gitmodules", b".ssh/authorized_keys", b".bashrc", b"etc/passwd", b"dev/null", b"proc/self/mem", b"core"),
    # What lmarc itself makes.
    *(
        b".lmarc-00000000-1",
        b".lmarc-",
        b".lmarc-x.kept",
        b"d/.lmarc-00000000-2",
        b".lmarc-d/x",
        b".lmarc-" + b"x" * 248,
    ),
)
SHOWN_NAMES = (
    *(
        b"\x1b[2J",
        b"\x1b[31mred",
        b"\x1b]0;title\x07",
        b"\x1bc",
        b"\x1b]8;;mailto:x\x1b\\x\x1b]8;;\x1b\\",
        b"\x1bP0;0|x\x1b\\",
    ),
    *(
        "\x9b31m".encode(),
        "\x9d0;x\x9c".encode(),
        b"\x9b31m",
        b"\r",
        b"a\rb",
        b"a\nb",
        b"\n",
        b"\t",
        b"\x08\x08x",
        b"\x7f",
    ),
    *(bytes(range(1, 32)), "".join(map(chr, range(0x80, 0xA0))).encode(), b"x\x0bx\x0cx", b"good\nlmarc: all is well"),
    *(
        "a\u202egpj.exe".encode(),
        "\u2066x\u2069".encode(),
        "\u200f".encode(),
        "\u061c".encode(),
        "\u2028x\u2029".encode(),
    ),
    *(
        "a\u200bb".encode(),
        "\u2060".encode(),
        "\ufeffx".encode(),
        "\U000e0041".encode(),
        "\u180e".encode(),
        "\u00ad".encode(),
    ),
    *("\u0301".encode(), ("e" + "\u0301" * 90).encode(), "\ufffe".encode(), "\U0010ffff".encode(), "\ue000".encode()),
    *(
        b"\xff",
        b"\x80",
        b"caf\xe9",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\x97",
        b"\xfe\xff",
        b"x\xc3",
        b"\\x1b[2J",
    ),
)
NAMES = (*WINDOWS_NAMES, *UNIX_NAMES, *SHOWN_NAMES)

for _path in NAMES:
    attack(f"a name: {_say(_path)}", file(_path, EVIL))
attack("names, as directories", *(file(b"%d/%s/x" % (n, path), EVIL) for n, path in enumerate(NAMES)))
attack(
    "names, as links out of the target",
    *(symlink(b"%d/%s" % (number, path), PLACE + b"/outside/" + path) for number, path in enumerate(NAMES)),
)
attack("names, as hard links", *(hardlink(b"%d/%s" % (number, path), b"good") for number, path in enumerate(NAMES)))
attack(
    "names that are shown, refused",
    *(file(b"../" + path, EVIL) for path in SHOWN_NAMES),
    refused=[b"../" + path for path in SHOWN_NAMES],
)
attack(
    "names that are shown, below a link",
    symlink(b"l", b"../outside"),
    *(file(b"l/" + path, EVIL) for path in SHOWN_NAMES),
    refused=[b"l/" + path for path in SHOWN_NAMES],
)

#: Two names that are one where case or spelling does not count: the first a link, below the second a member.
COLLISIONS = (
    *((b"A", b"a"), (b"a", b"A"), (b".git", b".GIT"), (b"lib", b"LiB"), (b"a ", b"a"), (b"a", b"a."), (b"a", b"a. .")),
    *(("é".encode(), "e\u0301".encode()), ("e\u0301".encode(), "é".encode()), ("É".encode(), "é".encode())),
    *(
        ("ﬁ".encode(), b"fi"),
        ("ß".encode(), b"ss"),
        ("ẞ".encode(), "ß".encode()),
        ("ſ".encode(), b"s"),
        (b"K", "\u212a".encode()),
    ),
    *(
        ("İ".encode(), "i\u0307".encode()),
        ("ı".encode(), b"I"),
        ("Å".encode(), "\u212b".encode()),
        ("Σ".encode(), "ς".encode()),
    ),
    *((b".git", ".g\u200cit".encode()), (b".git", "\ufeff.git".encode()), (b".git", ".git\u200d".encode())),
    *(
        (b".git", b"GIT~1"),
        (b"longname.text", b"LONGNA~1.TEX"),
        (b"a", b"a::$INDEX_ALLOCATION"),
        (b"a", b"a:$I30:$INDEX"),
    ),
    *(
        ("Ａ".encode(), b"A"),
        ("①".encode(), b"1"),
        ("㎏".encode(), b"kg"),
        ("ǆ".encode(), "ǅ".encode()),
        ("𐐀".encode(), "𐐨".encode()),
    ),
)


def _collide(one: bytes, other: bytes) -> dict[str, tuple[Entry, ...]]:
    out = b"../outside"
    return {
        "a link and a file below": (symlink(one, out), file(other + b"/precious", EVIL), file(other + b"/new", EVIL)),
        # As in CVE-2021-21300: the directory is made, replaced by the link, and then written to.
        "a directory, a link and a file below": (
            *(directory(other), file(other + b"/first", EVIL), symlink(one, out), file(other + b"/precious", EVIL)),
        ),
        "a link and an empty directory": (symlink(one, out), directory(other, mode=0o777)),
        "a link to a file and a file": (symlink(one, b"../outside/precious"), file(other, EVIL)),
        "a link and a link below": (symlink(one, out), symlink(other + b"/new", b"x"), directory(other + b"/d/e")),
        "a link and a hard link": (
            symlink(one, out),
            hardlink(other + b"/new", b"good"),
            hardlink(other + b"x", b"good"),
        ),
        "two files and a hard link to one": (file(one, b"one"), file(other, b"other"), hardlink(b"h", one)),
        "a file and a file below": (file(one, b"one"), file(other + b"/x", b"other")),
    }


#: The attacks that are worth trying where case does not count.
COLLIDING: set[str] = set()
for _one, _other in COLLISIONS:
    for _what, _entries in _collide(_one, _other).items():
        _name = f"{_say(_one)} and {_say(_other)}: {_what}"
        attack(_name, *_entries, options=(PLAIN, FORCE, SKIP, RESUME))
        COLLIDING.add(_name)
    _name = f"{_say(_one)} and {_say(_other)}: a planted link and files below"
    _entries = (file(_other + b"/precious", EVIL), file(_other + b"/new", EVIL), directory(_other, mode=0o777))
    attack(_name, *_entries, there={_one: a_link(b"../outside")}, options=(PLAIN, FORCE, SKIP, RESUME))
    COLLIDING.add(_name)


# --- links of the archive ----------------------------------------------------------------------------------

LINK_TARGETS = (
    *(b"..", b"../outside", b"../outside/", b"/", b"/tmp", b".", b"./", b"good", b"l", b"d", b"../target", PLACE),
    *(PLACE + b"/outside", PLACE + b"/outside/precious", b"../outside/precious", b"d/../../outside", b"/proc/self/cwd"),
    *(b"/proc/self/root", b"/dev/null", b"/dev/stdin", b"nowhere", b"../outside/new", b"x/" * 100 + b"..", b"\x1b[2J"),
)
for _target in LINK_TARGETS:
    _below = (
        *(file(b"l/precious", EVIL), file(b"l/new", EVIL), file(b"l/d/e/f", EVIL), directory(b"l/dir", mode=0o777)),
        *(symlink(b"l/link", b"x"), hardlink(b"l/hard", b"good"), hardlink(b"through", b"l/precious")),
    )
    attack(
        f"below a link to {_say(_target)}",
        *(symlink(b"l", _target), *_below, directory(b"d"), file(b"l.txt", b"beside"), file(b"l-x/f", b"beside")),
        refused=[member.path for member, _ in _below],
    )
    attack(
        f"below a link to {_say(_target)}, which comes last",
        *_below,
        symlink(b"l", _target),
        refused=[m.path for m, _ in _below],
    )
    attack(f"a link to {_say(_target)}, alone", symlink(b"l", _target), symlink(b"d/l", _target), directory(b"d"))

attack(
    "a link that has the target's own name below",
    symlink(b"l", b"../target"),
    file(b"l/l/good", EVIL),
    refused=[b"l/l/good"],
)
attack(
    "a chain of links",
    *(symlink(b"a", b"b"), symlink(b"b", b"c"), symlink(b"c", b".."), file(b"a/new", EVIL), file(b"b/new", EVIL)),
    file(b"c/outside/precious", EVIL),
    refused=[b"a/new", b"b/new", b"c/outside/precious"],
)
attack(
    "a chain of forty links",
    *(symlink(b"l%02d" % number, b"l%02d" % (number + 1)) for number in range(40)),
    *(symlink(b"l40", b"../outside"), file(b"l00/precious", EVIL), file(b"l39/new", EVIL), file(b"l40/new", EVIL)),
    refused=[b"l00/precious", b"l39/new", b"l40/new"],
)
attack(
    "a chain that climbs a step with each link",
    *(
        directory(b"d"),
        directory(b"d/d"),
        symlink(b"d/d/up", b".."),
        symlink(b"d/d/up/up", b"../.."),
        symlink(b"up", b"d/d/up/up"),
    ),
    *(file(b"up/new", EVIL), file(b"d/d/up/up/new", EVIL)),
    refused=[b"d/d/up/up", b"up/new", b"d/d/up/up/new"],
)
# Checking each link's text for itself would let these pass.
attack(
    "links that are each inside, and together outside",
    *(directory(b"a/b/c"), symlink(b"x", b"a/b/c"), symlink(b"y", b"x/../../../.."), file(b"y/outside/precious", EVIL)),
    symlink(b"x/z", b"../../.."),
    refused=[b"y/outside/precious", b"x/z"],
)
attack(
    "a link in a directory made for an earlier member",
    *(file(b"d/first", b"1"), symlink(b"d/l", b"../../outside"), file(b"d/l/precious", EVIL), file(b"d/l/d/x", EVIL)),
    refused=[b"d/l/precious", b"d/l/d/x"],
)
attack("links in a circle", symlink(b"a", b"b"), symlink(b"b", b"a"), file(b"a/x", EVIL), refused=[b"a/x"])
attack("a link to itself", symlink(b"l", b"l"), file(b"l/l", EVIL), refused=[b"l/l"])
attack(
    "a link to the current directory, many times",
    symlink(b"l", b"."),
    file(b"l/" * 30 + b"x", EVIL),
    refused=[b"l/" * 30 + b"x"],
)
attack(
    "a link far down",
    *(symlink(b"d/" * 1300 + b"l", b"../" * 1301 + b"outside"), file(b"d/" * 1300 + b"l/precious", EVIL)),
    refused=[b"d/" * 1300 + b"l/precious"],
    options=(PLAIN, FORCE, ALONE),
)
attack(
    "below a file",
    *(file(b"f", b"f"), file(b"f/x", EVIL), directory(b"f/d"), symlink(b"f/l", b".."), hardlink(b"f/h", b"good")),
    refused=[b"f/x", b"f/d", b"f/l", b"f/h"],
)
attack(
    "below a hard link", hardlink(b"h", b"good"), file(b"h/x", EVIL), file(b"h/d/x", EVIL), refused=[b"h/x", b"h/d/x"]
)
attack(
    "below what is below a link",
    *(
        symlink(b"l", b".."),
        directory(b"l/outside"),
        symlink(b"l/outside/l", b"."),
        file(b"l/outside/l/precious", EVIL),
    ),
    refused=[b"l/outside", b"l/outside/l", b"l/outside/l/precious"],
)
attack("a link with an empty target", symlink(b"l", b""), refused=[b"l"])
attack(
    "a link with a NUL byte in its target",
    symlink(b"l", b"good\0../outside"),
    symlink(b"m", b"\0"),
    refused=[b"l", b"m"],
)
attack("a refused link, and a member below", symlink(b"l", b""), file(b"l/x", EVIL), refused=[b"l", b"l/x"])
attack("a link with the longest target", symlink(b"l", b"x" * 4095), symlink(b"m", b"x/" * 2000))
attack(
    "a link with too long a target",
    symlink(b"l", b"x" * 4096),
    symlink(b"m", b"../" * 20_000),
    refused={b"l": 1, b"m": 1},
)
attack("a link whose target is not UTF-8", symlink(b"l", b"../\xff"), file(b"l/x", EVIL), refused=[b"l/x"])
attack(
    "links with the bits of a program",
    *(
        (symlink(name, target)[0]._replace(mode=0o126777), b"")
        for name, target in ((b"l", b"../outside/precious"), (b"m", b"good"))
    ),
)


# --- hard links --------------------------------------------------------------------------------------------

for _path in (b"/etc/" + ESCAPE, b"../new", b"l/new", b"a/../new", b"./x", b"", b"x\0"):
    attack(
        f"a hard link to a refused file at {_say(_path)}",
        *(symlink(b"l", b".."), file(_path, EVIL), hardlink(b"h", _path), hardlink(b"d/h2", _path)),
        refused=[_path, b"h", b"d/h2"],
    )
#: An index with such a link is damaged: what it lists otherwise is extracted.
for _target in (
    *(
        b"../outside/precious",
        PLACE + b"/outside/precious",
        b"/etc/passwd",
        b"nowhere",
        b"",
        b".",
        b"..",
        b"h",
        b"./good",
        b"/good",
    ),
    *(b"good/", b"a/../good", b"good\0", b"d", b"l", b"to-good", b"l/precious", b"h2"),
):
    _entries = (
        *(
            directory(b"d"),
            symlink(b"l", b"../outside"),
            symlink(b"to-good", b"good"),
            symlink(b"out", b"../outside/precious"),
        ),
        *(hardlink(b"h", _target), hardlink(b"h2", b"good"), hardlink(b"d/h3", _target)),
    )
    attack(
        f"a hard link to {_say(_target)}, which is no file of the archive",
        *_entries,
        refused={b"h": 1, b"d/h3": 1},
        code=11,
    )
attack(
    "a hard link below a link", symlink(b"l", b"../outside"), hardlink(b"l/precious", b"good"), refused=[b"l/precious"]
)
attack(
    "hard links to themselves in a circle",
    hardlink(b"h", b"i"),
    hardlink(b"i", b"h"),
    refused={b"h": 1, b"i": 1},
    code=11,
)
attack(
    "a chain of hard links",
    *(hardlink(b"a", b"b"), hardlink(b"b", b"c"), hardlink(b"c", b"good")),
    refused={b"a": 1, b"b": 1},
    code=11,
)
attack(
    "a link and a hard link to it",
    symlink(b"l", b"../outside/precious"),
    hardlink(b"h", b"l"),
    refused={b"h": 1},
    code=11,
)


# --- duplicates, and parts of an index ---------------------------------------------------------------------


def in_parts(entries: Iterable[Entry]) -> bytes:
    """An archive with a part of the index for each member, whatever their names are."""
    out, at, base = bytearray(Header("test", (build.STORE,)).to_bytes()), [], 0
    for member, content in entries:
        chunks = []
        if content:
            member = member._replace(start=base)
            chunks = [Chunk(len(out), len(content), 0, base)]
            out += b"".join(frames.pack_frame(len(out), frames.CHUNK, 0, len(content), build.check(content) + content))
        at.append(len(out))
        out += b"".join(IndexFrame(base, chunks, [member]).to_frame(len(out)))
        base += len(content)
    last = b"".join(IndexFrame(base, [], [], at).to_frame(len(out)))
    return bytes(out + last + trailer(len(last)))


def _twice(*kinds: int, path: str = "l") -> Callable[[], bytes]:
    members = []
    for kind in kinds:
        more = {FILE: [0, 0], DIR: [], SYMLINK: ["../outside/precious"], HARDLINK: ["good"]}[kind]
        members.append([path, kind, 0, 0, *more])
    return lambda: rows(["good", FILE, 0, 0, 0, 0], *members)


_KIND_NAMES = {FILE: "a file", DIR: "a directory", SYMLINK: "a link", HARDLINK: "a hard link"}
for _first in _KIND_NAMES:
    for _second in _KIND_NAMES:
        nothing(f"{_KIND_NAMES[_first]} and {_KIND_NAMES[_second]} of one name", _twice(_first, _second), 11)
nothing("a link, a file, a link and a file of one name", _twice(SYMLINK, FILE, SYMLINK, FILE), 11)
nothing("a refused name twice", _twice(FILE, SYMLINK, path="../outside/precious"), 11)
attack(
    "a link in one part of the index, a file below in another",
    *(symlink(b"l", b"../outside"), file(b"d/f", b"f"), file(b"l/precious", EVIL), hardlink(b"h", b"l/precious")),
    refused=[b"l/precious", b"h"],
    make=in_parts,
)
for _first, _second in (
    *(
        (symlink(b"l", b"../outside/precious"), file(b"l", EVIL)),
        (file(b"l", EVIL), symlink(b"l", b"../outside/precious")),
    ),
    *((symlink(b"l", b"../outside"), directory(b"l")), (directory(b"l", mode=0o777), symlink(b"l", b"../outside"))),
):
    attack(
        f"a {_first[0].kind} in one part of the index, a {_second[0].kind} of the same name in another",
        *(_first, _second),
        code=11,
        left=left_of([_first, GOOD]),
        make=in_parts,
    )


# --- modes and types ---------------------------------------------------------------------------------------

for _name, _type in {
    "a character device": stat.S_IFCHR,
    "a block device": stat.S_IFBLK,
    "a FIFO": stat.S_IFIFO,
    "a socket": stat.S_IFSOCK,
    "type 0o030000": 0o030000,
    "type 0o050000": 0o050000,
    "type 0o160000": 0o160000,
    "type 0o170000": 0o170000,
}.items():
    for _more in ([], [0, 0], ["x"], [0x103], [1, 3, {"rdev": 0x103}]):
        nothing(
            f"{_name}, {len(_more)} more fields {_more}",
            lambda mode=_type | 0o666, more=_more: rows(["good", FILE, 0, 0, 0, 0], ["null", mode, 0, 0, *more]),
            15,
        )
for _mode in (0o200000 | FILE, 0o1020666, -1, 1 << 31, 1 << 63, -(1 << 63), FILE << 16):
    nothing(f"a mode of {_mode:#o}", lambda mode=_mode: rows(["good", FILE, 0, 0, 0, 0], ["x", mode, 0, 0, 0, 0]), 11)
for _mode in (0o4755, 0o1, 0o7777):
    nothing(
        f"a hard link of mode {_mode:04o}",
        lambda mode=_mode: rows(["good", FILE, 0, 0, 0, 0], ["h", mode, 0, 0, "good"]),
        11,
    )

_OWNERS = (build.NOBODY, Owner(12_345, 54_321, b"", b""), Owner(4_000_000_000, 4_000_000_001, b"no such", b"none"))
for _owner in _OWNERS:
    for _mode in (0o4755, 0o2755, 0o6755, 0o7777, 0o4000, 0o6111, 0o2644, 0o1755):
        attack(
            f"mode {_mode:04o} of {_owner.uid}",
            *(
                file(b"f", EVIL, mode=_mode, owner=_owner),
                hardlink(b"h", b"f"),
                file(b"d/empty", mode=_mode, owner=_owner),
            ),
            *(
                (member._replace(owner=_owner), b"")
                for member, _ in (directory(b"d", mode=_mode | 0o700), directory(b"e", mode=_mode))
            ),
            (symlink(b"l", b"../outside/precious")[0]._replace(owner=_owner), b""),
        )
for _mode in (0o000, 0o100, 0o111, 0o400, 0o444, 0o500, 0o555, 0o1000, 0o777, 0o7000):
    attack(
        f"a directory of mode {_mode:04o}, and what is below",
        *(
            directory(b"d", mode=_mode),
            file(b"d/f", b"f"),
            directory(b"d/e", mode=_mode),
            file(b"d/e/f", b"f", mode=0o000),
        ),
        *(symlink(b"d/e/l", b"../../../outside"), hardlink(b"d/h", b"d/e/f"), file(b"d/e/l/precious", EVIL)),
        refused=[b"d/e/l/precious"],
    )


# --- lengths -----------------------------------------------------------------------------------------------

for _length in (256, 300, 4096, 65_533):
    _names = [b"n" * _length, b"d/" + b"n" * _length, b"l" * _length, b"h" * _length]
    attack(
        f"names of {_length}",
        *(file(_names[0], EVIL), file(_names[1], EVIL), symlink(_names[2], b"x"), hardlink(_names[3], b"good")),
        refused=dict.fromkeys(_names, 1),
        # It was made for what could not be made in it.
        left={**left_of([GOOD]), b"d": A_DIRECTORY},
        options=(PLAIN, FORCE, SKIP, RESUME, CUT),
    )
attack(
    "a directory with a name too long",
    *(directory(b"n" * 256), file(b"n" * 256 + b"/x", EVIL), file(b"m" * 300 + b"/x", EVIL)),
    refused={b"n" * 256: 1, b"n" * 256 + b"/x": 1, b"m" * 300 + b"/x": 1},
    options=(PLAIN, FORCE, SKIP, RESUME, CUT),
)
attack("the longest name", file(b"n" * 255, b"x"), symlink(b"l" * 255, b"x"), directory(b"d" * 255))
attack(
    "a path beyond PATH_MAX",
    file(b"/".join([b"n" * 200] * 30), b"x"),
    symlink(b"/".join([b"n" * 200] * 29 + [b"l"]), b"x"),
)
attack("a path of 65,000 bytes", file(b"/".join([b"n" * 249] * 260), b"x"), options=(PLAIN, RESUME))
attack(
    "2,000 levels",
    *(directory(b"d/" * 1999 + b"d"), file(b"d/" * 2000 + b"f", b"x"), symlink(b"d/" * 1999 + b"l", b"../" * 1300)),
    file(b"d/" * 1999 + b"l/precious", EVIL),
    refused=[b"d/" * 1999 + b"l/precious"],
    options=(PLAIN, RESUME),
)
attack(
    "2,000 levels and up again",
    file(b"d/" * 2000 + b"../" * 2001 + b"new", EVIL),
    refused=[b"d/" * 2000 + b"../" * 2001 + b"new"],
)
nothing(
    "a path of 4,097 components", lambda: rows(["good", FILE, 0, 0, 0, 0], ["d/" * 4096 + "f", FILE, 0, 0, 0, 0]), 17
)
nothing("a path of 65,536 bytes", lambda: rows(["good", FILE, 0, 0, 0, 0], ["d" * 65_536, FILE, 0, 0, 0, 0]), 17)
nothing("a target of 65,536 bytes", lambda: rows(["good", FILE, 0, 0, 0, 0], ["l", SYMLINK, 0, 0, "x" * 65_536]), 17)
for _odd in (b"../x", ["..", "x"], None, 7, {"": "../x"}):
    nothing(f"a path that is {_odd!r}", lambda odd=_odd: rows(["good", FILE, 0, 0, 0, 0], [odd, FILE, 0, 0, 0, 0]), 11)


# --- what stands in the target beforehand ------------------------------------------------------------------


def planted(
    name: str,
    *entries: Entry,
    there: Things,
    force: Outcome | None = None,
    skip: Mapping[bytes, int] | None = None,
    resume: Outcome | None = None,
) -> None:
    """Add an attack that finds something where a member goes: nothing is done unless an option says what. With `force`
    all is as the members have it, unless it says otherwise; `skip` are the members that are refused when what stands
    there is kept."""
    every = (*entries, GOOD)
    failed = skip or {}
    stops = Outcome(1, {}, there)
    kept = left_of(every, {*failed, *there}, there)
    but = {
        FORCE: force or Outcome(0, {}, left_of(every, (), there)),
        SKIP: Outcome(max(failed.values(), default=0), failed, kept),
        RESUME: resume or stops,
        CUT: stops,
    }
    attack(name, *entries, there=there, code=1, left=there, but=but, options=(PLAIN, FORCE, SKIP, RESUME, CUT))


OUTWARD = {
    "a folder outside": b"../outside",
    "a folder outside, absolute": PLACE + b"/outside",
    "the folder above": b"..",
    "the root": b"/",
    "itself": b"l",
    "nothing yet": b"../outside/new",
    "the target": b".",
    "a folder beside it": b"d",
}
for _name, _target in OUTWARD.items():
    _there = {b"l": a_link(_target), b"d": A_DIRECTORY, b"d/precious": a_file(b"precious")}
    _below = (
        *(file(b"l/precious", EVIL), file(b"l/new", EVIL), file(b"l/x/y", EVIL), symlink(b"l/link", b"x")),
        *(hardlink(b"l/hard", b"good"), directory(b"l/dir/dir", mode=0o777), file(b"l/empty")),
    )
    attack(f"below a planted link to {_name}", *_below, there=_there, refused=[member.path for member, _ in _below])
    _below = (file(b"l/precious", EVIL), file(b"l/new", EVIL), symlink(b"l/link", b"x"))
    planted(
        f"a directory where a planted link to {_name} is",
        *(directory(b"l", mode=0o777), *_below),
        there=_there,
        skip=dict.fromkeys([b"l", *(member.path for member, _ in _below)], 16),
    )

attack(
    "below a planted link further down",
    *(directory(b"d"), file(b"d/l/precious", EVIL), file(b"d/l/e/new", EVIL), file(b"d/f", b"f")),
    there={b"d": A_DIRECTORY, b"d/l": a_link(b"../../outside")},
    refused=[b"d/l/precious", b"d/l/e/new"],
    left={
        b"d": A_DIRECTORY,
        b"d/l": a_link(b"../../outside"),
        b"d/f": a_file(b"f", 0o644),
        **left_of([GOOD]),
    },
)
attack(
    "below a planted chain of links",
    *(file(b"a/precious", EVIL), file(b"b/new", EVIL), hardlink(b"a/h", b"good")),
    there={b"a": a_link(b"b"), b"b": a_link(b"../outside")},
    refused=[b"a/precious", b"b/new", b"a/h"],
)
attack(
    "a hard link to what is below a planted link",
    *(file(b"l/precious", EVIL), hardlink(b"h", b"l/precious")),
    there={b"l": a_link(b"../outside")},
    refused=[b"l/precious"],
    # What is in the way is found out too late for the other to take the file's place.
    but={FORCE: Outcome(16, {b"l/precious": 16, b"h": 1}, {**left_of([GOOD]), b"l": a_link(b"../outside")})},
    options=(PLAIN, FORCE, SKIP, RESUME, CUT),
)

IN_THE_WAY: dict[str, Thing] = {
    "a link to a file outside": a_link(b"../outside/precious"),
    "a link to a file outside, absolute": a_link(PLACE + b"/outside/precious"),
    "a link to a program outside": a_link(b"../outside/program"),
    "a link to nothing outside": a_link(b"../outside/new"),
    "a link to a folder outside": a_link(b"../outside"),
    "a link to itself": a_link(b"f"),
    "a link to a device": a_link(b"/dev/null"),
    "a hard link to a file outside": a_hard_link(b"../outside/precious"),
    "a hard link to a program outside": a_hard_link(b"../outside/program"),
    "a hard link to a link outside": a_hard_link(b"../outside/link"),
    "a FIFO": Thing("fifo"),
    "a socket": Thing("socket"),
    "a file": a_file(b"mine", 0o600),
    "a file closed to all": a_file(b"mine", 0o000),
}
for _name, _thing in IN_THE_WAY.items():
    for _kind, _entry in {
        "file": file(b"f", EVIL),
        "empty file": file(b"f"),
        "file of the same content": file(b"f", b"precious", mode=0o666),
        "link": symlink(b"f", b"good"),
        "hard link": hardlink(b"f", b"good"),
    }.items():
        # What is just as in the archive is complete for --resume; it is not outside that mode and time are set.
        _same = _kind == "file of the same content" and _name in (
            "a hard link to a file outside",
            "a hard link to a program outside",
        )
        planted(
            f"a {_kind} where {_name} is",
            *(_entry, file(b"f2", b"2")),
            there={b"f": _thing},
            resume=Outcome(0, {}, left_of([file(b"f2", b"2"), GOOD], (), {b"f": _thing})) if _same else None,
        )
    planted(
        f"a hard link to a file where {_name} is",
        *(file(b"f", EVIL), hardlink(b"h", b"f"), hardlink(b"d/i", b"f")),
        there={b"f": _thing},
    )
    if _thing.kind in ("fifo", "socket", "file"):
        attack(
            f"below {_name} that is there",
            *(file(b"f/x", EVIL), symlink(b"f/l", b"x"), hardlink(b"f/h", b"good")),
            there={b"f": _thing},
            refused=[b"f/x", b"f/l", b"f/h"],
        )
for _kind, _entry in {
    "file": file(b"f", EVIL),
    "link": symlink(b"f", b".."),
    "hard link": hardlink(b"f", b"good"),
}.items():
    for _inside in ({}, {b"f/mine": a_file(b"mine")}):
        _there = {b"f": A_DIRECTORY, **_inside}
        planted(
            f"a {_kind} where a directory is, with {len(_inside)} inside",
            _entry,
            there=_there,
            force=Outcome(1, {b"f": 1}, left_of([GOOD], (), _there)),
        )

#: What lmarc would keep chunks in, to go on with: its name can be known beforehand.
LABEL = b"@LABEL@"
_KEPT = b".lmarc-" + LABEL + b".kept"
for _name, _thing in IN_THE_WAY.items():
    _there = {_KEPT: _thing}
    # Nothing is kept where it cannot be, and no file of others is taken; without --resume, nobody looks.
    _cannot_be_opened = _thing.kind in ("symlink", "socket") or _name == "a hard link to a link outside"
    attack(
        f"{_name} where chunks would be kept",
        there=_there,
        but={} if _cannot_be_opened else {RESUME: Outcome(1, {}, _there)},
        options=(PLAIN, FORCE, SKIP, RESUME),
    )
attack("a member where chunks would be kept", file(_KEPT, b"lmarc kept 1\n"), options=(PLAIN, FORCE, SKIP, RESUME, CUT))
attack(
    "a link where chunks would be kept",
    symlink(_KEPT, b"../outside/precious"),
    options=(PLAIN, FORCE, SKIP, RESUME, CUT),
)


# --- trying one --------------------------------------------------------------------------------------------


class Place:
    """A folder with a target in it, and around that what no extraction may touch."""

    def __init__(self, root: str, owner: int | None = None) -> None:
        """`owner` is the user who extracts, if that is another."""
        self.root = os.fsencode(root)
        self.target = os.path.join(self.root, b"target")
        self.archive = os.path.join(self.root, b"cwd/x.lmarc")
        self._owner = owner
        for name in ("outside/folder", "target-beside", "cwd"):
            os.makedirs(os.path.join(root, name))
        for name, mode in {"precious": 0o600, "program": 0o755, "folder/inner": 0o644}.items():
            path = os.path.join(root, "outside", name)
            Path(path).write_bytes(b"precious")
            os.chmod(path, mode)
        Path(root, "cwd/x.lmarc").write_bytes(b"")
        os.symlink("precious", os.path.join(root, "outside/link"))
        os.link(os.path.join(root, "outside/program"), os.path.join(root, "target-beside/program"))
        for folder, _, names in os.walk(self.root):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                os.utime(path, ns=(build.WHEN // 3, build.WHEN // 3), follow_symlinks=False)
                self._give(path)

    def _give(self, path: bytes) -> None:
        if self._owner is not None:
            os.chown(path, self._owner, self._owner, follow_symlinks=False)

    def plant(self, there: Things) -> None:
        """A new target with this in it."""
        os.mkdir(self.target)
        self._give(self.target)
        for path, thing in sorted(there.items()):
            at = os.path.join(self.target, path)
            if thing.kind == "directory":
                os.mkdir(at)
            elif thing.kind == "symlink":
                os.symlink(thing.data, at)
            elif thing.kind == "hard link":
                os.link(os.path.join(self.target, thing.data), at, follow_symlinks=False)
                continue
            elif thing.kind == "fifo":
                os.mkfifo(at)
            elif thing.kind == "socket":
                self._bind(at)
            else:
                Path(os.fsdecode(at)).write_bytes(thing.data)
                os.chmod(at, 0o644 if thing.mode is None else thing.mode)
            self._give(at)

    def _bind(self, path: bytes) -> None:
        # What a socket can be bound to is short.
        with chdir(os.path.dirname(path)), socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.basename(path))

    def clear(self, *, deep: bool) -> None:
        """Remove the target; `deep`: it may have thousands of levels."""
        if deep:
            subprocess.run(["rm", "-rf", "--", self.target], check=True)
        else:
            trees.remove_tree(Path(os.fsdecode(self.target)))

    def outside(self, *, links: bool = True) -> dict[bytes, tuple[object, ...]]:
        """All there is but for what is in the target; `links`: with what changes when a name of a file goes."""
        found = {path: (os.path.lexists(path),) for path in _NEVER}
        todo = [self.root]
        while todo:
            path = todo.pop()
            info = os.lstat(path)
            data: object = None
            if stat.S_ISDIR(info.st_mode):
                names = sorted(os.listdir(path))
                todo += (os.path.join(path, name) for name in names if path != self.root or name != b"target")
                data = names
            elif stat.S_ISLNK(info.st_mode):
                data = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                data = Path(os.fsdecode(path)).read_bytes()
            facts = (info.st_mode, info.st_uid, info.st_gid, info.st_ino, info.st_size, info.st_mtime_ns, data)
            found[path] = (*facts, info.st_nlink, info.st_ctime_ns) if links else facts
        return found


@dataclass
class Said:
    """What came of one extraction: exit code, what each refused member's error stands for, and what was shown.

    `stopped`: it ended with an error before it came to the members.
    """

    code: int
    failed: Mapping[bytes, int | None] = field(default_factory=dict)
    shown: str = ""
    faults: list[str] = field(default_factory=list)
    stopped: bool = False


def in_process(data: bytes, place: Place, option: str) -> Said:
    """Extract with lmarc as a library."""
    target = os.fsdecode(place.target)
    keywords = {name: name == option for name in _KEYWORDS}
    with warnings.catch_warnings(), chdir(os.path.join(place.root, b"cwd")):
        warnings.simplefilter("ignore")
        try:
            with lmarc.open(io.BytesIO(data)) as archive:
                failed = archive.extractall(target, jobs=1, check=False, **keywords).failed
                errors = [*map(DamagedError, archive.damage), *failed.values()]
        except lmarc.LmarcError as error:
            return Said(error.exit_code, stopped=True)
    faults = [
        f"{path!r}: {error!r}" for path, error in failed.items() if not isinstance(error, lmarc.LmarcError | OSError)
    ]
    return Said(exit_code(errors), {path: exit_code([error]) for path, error in failed.items()}, "", faults)


def on_the_command_line(place: Place, option: str, *, as_nobody: bool, as_json: bool) -> Said:
    """Extract with the program, from the place's archive."""
    options = [f"--{option.replace('_', '-')}"] if option in _KEYWORDS else []
    options += ["--json"] if as_json else []
    command = COMMAND_AS_NOBODY if as_nobody else COMMAND
    try:
        done = run(
            *("unpack", "x.lmarc", "-C", place.target, *options),
            cwd=Path(os.fsdecode(place.archive)).parent,
            code=None,
            command=command,
        )
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return Said(-1, faults=[f"{type(error).__name__}: {str(error)[:300]}"])
    said = Said(done.code, shown=done.out.decode(errors="surrogateescape") + done.err)
    if as_json and done.out:
        said.failed = {os.fsencode(row["path"]): None for row in json.loads(done.out)["failed"]}
    said.faults += [f"shown raw: {char!a}" for char in set(said.shown) if not char.isprintable() and char != "\n"]
    return said


def alone(data: bytes, place: Place, expected: Outcome) -> Said:
    """Ask for each refused member by its name, replacing what is there."""
    faults: list[str] = []
    failed: dict[bytes, int] = {}
    with warnings.catch_warnings(), chdir(os.path.join(place.root, b"cwd")), lmarc.open(io.BytesIO(data)) as archive:
        warnings.simplefilter("ignore")
        for path in expected.failed:
            name = os.fsdecode(path)
            result = archive.extract(name, os.fsdecode(place.target), force=True, jobs=1, check=False)
            if result.members:
                faults.append(f"{path!r}: asked for alone, {result.members} members were extracted")
            failed |= {path: exit_code([error]) for path, error in result.failed.items()}
    return Said(expected.code, failed, "", faults)


def differences(place: Place, left: Things) -> list[str]:
    """What stands in the target and should not, or the other way round."""
    faults = []
    found = trees.snapshot(Path(os.fsdecode(place.target)), special=True, full_mode=True)
    for path in found.keys() - left.keys():
        faults.append(f"{trees.show(path)}: a {found[path].kind} that should not be there")
    for path, wanted in left.items():
        faults += [f"{trees.show(path)}: {what}" for what in _differs(place, path, found.get(path), wanted)]
    return faults


def _differs(place: Place, path: bytes, entry: trees.Entry | None, wanted: Thing) -> Iterator[str]:
    if entry is None:
        yield "not there"
        return
    if wanted.kind == "hard link":
        if not os.path.samestat(*(os.lstat(os.path.join(place.target, at)) for at in (path, wanted.data))):
            yield "no longer what was planted"
        return
    if entry.kind != wanted.kind:
        yield f"a {entry.kind}, not a {wanted.kind}"
        return
    if wanted.kind == "file" and entry.digest != _sha256(wanted.data):
        yield "other content"
    if entry.target != (wanted.data if wanted.kind == "symlink" else b""):
        yield f"leads to {entry.target!r}"
    if wanted.mode is not None and entry.mode != wanted.mode:
        yield f"mode {entry.mode:04o}, not {wanted.mode:04o}"
    if wanted.mode is None and entry.mode & 0o6000:
        yield f"mode {entry.mode:04o}"
    if wanted.mtime_ns is not None and entry.mtime_ns != wanted.mtime_ns:
        yield f"mtime {entry.mtime_ns}, not {wanted.mtime_ns}"
    if (min(entry.links) if entry.links else b"") != wanted.same:
        yield f"shared by {entry.links}, should be by {wanted.same!r} and others"


@lru_cache(maxsize=256)
def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Filled:
    """An attack for one place: its archive, and what must come of it there."""

    def __init__(self, attack: Attack, place: Place) -> None:
        self._place, self.attack = place.root, attack
        entries = [
            (member._replace(path=self._fill(member.path), target=self._fill(member.target)), content)
            for member, content in attack.entries
        ]
        self.data = attack.make(entries)
        if any(LABEL in path for path in (*attack.there, *(member.path for member, _ in entries))):
            with lmarc.open(io.BytesIO(self.data)) as archive:
                self._label = archive._decoder.identity().encode()
            entries = [(member._replace(path=self._fill(member.path)), content) for member, content in entries]
            self.data = attack.make(entries)
        self.members = [member for member, _ in entries]
        self.contents = {member.path: content for member, content in entries}

    _label = LABEL

    def _fill(self, text: bytes) -> bytes:
        return text.replace(PLACE, self._place).replace(LABEL, self._label)

    def things(self, things: Things) -> dict[bytes, Thing]:
        """Things as they are here."""
        return {
            self._fill(path): thing if thing.kind == "file" else thing._replace(data=self._fill(thing.data))
            for path, thing in things.items()
        }

    def outcome(self, option: str) -> Outcome:
        """What must come of it here."""
        expected = self.attack.expected(option)
        if option == ALONE:
            expected = Outcome(expected.code, expected.failed, self.attack.there)
        failed = {self._fill(path): code for path, code in expected.failed.items()}
        return Outcome(expected.code, failed, self.things(expected.left))


#: Ways to extract. FOLDED: as a library, on a file system that takes names that differ in case for one.
PROCESS, COMMAND_LINE, AS_NOBODY, FOLDED = "in process", "command line", "command line as nobody", "folded"


class Case(NamedTuple):
    """An attack, how it is tried, and with which option."""

    attack: str
    way: str
    option: str


def cases() -> list[Case]:
    """All there are: each attack with each option in process, and a spread of them on the command line."""
    usual, slow, folded = [], [], []
    for number, attack in enumerate(ATTACKS.values()):
        options = [option for option in attack.options if option != OWNER or os.geteuid() == 0]
        if 16 not in attack.outcome.failed.values():
            options = [option for option in options if option != ALONE]
        usual += [Case(attack.name, PROCESS, option) for option in options]
        shown = [option for option in options if option != ALONE]
        slow.append(Case(attack.name, COMMAND_LINE, shown[number % len(shown)]))
        if number % 3 == 0 and os.geteuid() == 0:
            unowned = [option for option in shown if option != OWNER]
            slow.append(Case(attack.name, AS_NOBODY, unowned[number // 3 % len(unowned)]))
        if attack.name in COLLIDING:
            folded += [Case(attack.name, FOLDED, option) for option in options]
    return [*usual, *slow, *(folded if can_fold() else [])]


class Bench:
    """Where cases are tried one after the other. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._places: dict[str, Place] = {}
        self._filled: Filled | None = None

    def __enter__(self) -> Bench:
        before = os.umask(0o022)
        self._stack.callback(os.umask, before)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _place(self, way: str) -> Place:
        sort = way if way in (AS_NOBODY, FOLDED) else PROCESS
        if sort not in self._places:
            owner = _NOBODY if sort == AS_NOBODY else None
            where = folding() if sort == FOLDED else scratch()
            self._places[sort] = Place(self._stack.enter_context(where), owner)
        return self._places[sort]

    def attempt(self, case: Case, number: int) -> tuple[Said, list[str]]:
        """Try one case: what came of it, and what is wrong with that."""
        place = self._place(case.way)
        if self._filled is None or self._filled.attack.name != case.attack or self._filled._place != place.root:
            self._filled = Filled(ATTACKS[case.attack], place)
        filled = self._filled
        data = filled.data[:-3] if case.option == CUT else filled.data
        there = filled.things(filled.attack.there)
        # Where a planted name is one of a file outside, replacing that name is seen there.
        links = all(thing.kind != "hard link" for thing in there.values())
        place.plant(there)
        if case.way in (COMMAND_LINE, AS_NOBODY):
            Path(os.fsdecode(place.archive)).write_bytes(data)
        try:
            before = place.outside(links=links)
            if case.option == ALONE:
                said = alone(data, place, filled.outcome(ALONE))
            elif case.way in (PROCESS, FOLDED):
                said = in_process(data, place, case.option)
            else:
                said = on_the_command_line(place, case.option, as_nobody=case.way == AS_NOBODY, as_json=number % 2 == 0)
            after = place.outside(links=links)
            faults = [
                f"outside the target: {path!r} {before.get(path)} -> {after.get(path)}"
                for path in before.keys() | after.keys()
                if before.get(path) != after.get(path)
            ]
            faults += said.faults
            if case.way == FOLDED:
                return said, faults + folded_differences(place, filled, said)
            expected = filled.outcome(case.option)
            if said.code != expected.code:
                faults.append(f"exit code {said.code}, not {expected.code}")
            faults += _compare_failed(said, expected, case.way)
            return said, faults + differences(place, expected.left)
        finally:
            place.clear(deep=any(len(member.path) > _DEEP for member in filled.members))


def _compare_failed(said: Said, expected: Outcome, way: str) -> list[str]:
    if way == PROCESS:
        return [
            f"{path!r}: {said.failed.get(path, 'not')} refused, should be {expected.failed.get(path, 'not')}"
            for path in said.failed.keys() | expected.failed.keys()
            if said.failed.get(path) != expected.failed.get(path)
        ]
    faults = [
        f"{path!r}: not said to be refused" for path in expected.failed if f"lmarc: {display(path)}: " not in said.shown
    ]
    if said.failed and said.failed.keys() != expected.failed.keys():
        faults.append(f"refused by JSON: {sorted(said.failed)}, should be {sorted(expected.failed)}")
    return faults


# --- where case does not count -----------------------------------------------------------------------------


@contextmanager
def scratch() -> Iterator[str]:
    """An empty folder, in memory where that is possible."""
    folder = tempfile.mkdtemp(prefix="lmarc-escape-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    try:
        yield folder
    finally:
        trees.remove_tree(Path(folder))


def _tool(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/sbin", "/usr/sbin", "/bin")))


def can_fold() -> bool:
    """Whether a file system that takes names that differ in case for one can be had: NTFS as ntfs-3g has it."""
    return os.geteuid() == 0 and os.path.exists("/dev/fuse") and None not in map(_tool, ("mkntfs", "lowntfs-3g"))


@contextmanager
def folding() -> Iterator[str]:
    """An empty folder on such a file system, which has links of both kinds."""
    with scratch() as folder:
        image, mounted = os.path.join(folder, "image"), os.path.join(folder, "mounted")
        os.mkdir(mounted)
        with open(image, "wb") as file:
            file.truncate(32 << 20)
        subprocess.run([str(_tool("mkntfs")), "-F", "-q", "-Q", image], check=True, capture_output=True)
        command = [str(_tool("lowntfs-3g")), "-o", "ignore_case,no_detach", image, mounted]
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 10
            while not os.path.ismount(mounted):
                if daemon.poll() is not None or time.monotonic() > until:
                    raise OSError("lowntfs-3g does not mount")
                time.sleep(0.05)
            inside = os.path.join(mounted, "place")
            os.mkdir(inside)
            yield inside
        finally:
            subprocess.run(["umount", mounted], check=False, capture_output=True)
            daemon.terminate()
            daemon.wait()


def folded_differences(place: Place, filled: Filled, said: Said) -> list[str]:
    """What is wrong where two members may have one name: each is as it should be, or said to have failed."""
    faults = []
    found = trees.snapshot(Path(os.fsdecode(place.target)), special=True, full_mode=True)
    for path, entry in found.items():
        if entry.kind not in ("file", "directory", "symlink") or b".lmarc-" in path:
            faults.append(f"{path!r}: a {entry.kind} that should not be there")
    if said.stopped:
        return faults
    contents = {
        member.path: filled.contents[member.target or member.path]
        for member in filled.members
        if member.kind in ("file", "hardlink")
    }
    there = filled.things(filled.attack.there)
    for member in filled.members:
        if member.path in said.failed:
            continue
        at = os.path.join(place.target, member.path)
        wanted = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK}.get(member.kind, stat.S_IFREG)
        try:
            info = os.lstat(at)
        except OSError as error:
            faults.append(f"{member.path!r}: said to be extracted: {error.strerror}")
            continue
        if stat.S_IFMT(info.st_mode) != wanted:
            faults.append(f"{member.path!r}: said to be extracted, something else is there")
        elif member.path in contents and Path(os.fsdecode(at)).read_bytes() != contents[member.path]:
            faults.append(f"{member.path!r}: said to be extracted, other content is there")
        elif member.kind == "symlink" and os.readlink(at) != member.target and not there:
            faults.append(f"{member.path!r}: said to be extracted, another link is there")
    return faults


# --- all of them -------------------------------------------------------------------------------------------


def attempt_all(chosen: Iterable[tuple[int, Case]]) -> Tally:
    """Try cases, given with their numbers."""
    tally = Tally()
    with Bench() as bench:
        for number, case in chosen:
            tally.cases += 1
            try:
                said, faults = bench.attempt(case, number)
            except Exception as error:
                tally.faults.append(f"{case}: {type(error).__name__} escaped: {str(error)[:300]}")
                continue
            tally.faults += [f"{case}: {fault[:500]}" for fault in faults]
            tally.counts[case.way] += 1
            tally.counts[f"exit {said.code}"] += 1
            if case.way != FOLDED:
                tally.counts["members refused"] += len(ATTACKS[case.attack].expected(case.option).failed)
    return tally


class Escape(Campaign):
    """Every attack with every option, a spread of them by the program, and where case does not count."""

    name = "escape"
    what = "archives made to write outside the target: nothing there changes, and what is left is as it must be"
    part = 50

    def prepare(self, folder: Path) -> int:
        """Nothing is needed but the list."""
        self._cases = cases()
        return len(self._cases)

    def run(self, numbers: range) -> Tally:
        """Try these."""
        return attempt_all((number, self._cases[number]) for number in numbers)
