"""Plugins: found by their distribution, loaded when needed, and no danger to the rest."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.cli.program import Result, names, run
from tests.plugins.distributions import HEAD, good, install

TEXT = b"a line of text\n" * 50


class Place:
    """A directory with a source file and one for plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        self.plugins.mkdir()
        (folder / "a.txt").write_bytes(TEXT)

    def run(self, *args: str | bytes | Path, code: int | None = 0, plugins: bool = True) -> Result:
        """Run lmarc with the plugins, or without."""
        env = {"PYTHONPATH": str(self.plugins)} if plugins else None
        return run(*args, cwd=self.folder, env=env, code=code)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def warned(done: Result) -> list[str]:
    """The lines that warn."""
    return [line for line in done.err.splitlines() if "warning" in line]


def test_a_good_plugin(place: Place) -> None:
    install(place.plugins, "flip", good("flip"))
    packed = place.run("pack", "a.txt", "-o", "x.lmarc", "--backend", "flip", "--json")
    assert packed.json["chunks"] == {"flip": 1}
    assert warned(packed) == []
    facts = place.run("info", "--json", "x.lmarc").json
    assert facts["backends"][0]["name"] == "flip"
    assert facts["payload"] == len(TEXT) - 1
    assert place.run("cat", "x.lmarc", "a.txt").out == TEXT
    place.run("test", "x.lmarc")
    place.run("unpack", "x.lmarc", "-C", "out")
    assert (place.folder / "out" / "a.txt").read_bytes() == TEXT
    again = place.run("pack", "a.txt", "-o", "y.lmarc", "--backend", "flip", "-j", "2")
    assert warned(again) == []
    assert (place.folder / "x.lmarc").read_bytes() == (place.folder / "y.lmarc").read_bytes()


def test_backends_lists_it(place: Place) -> None:
    install(place.plugins, "flip", good("flip"))
    missing = good("absent") + "\nBackend.missing = lambda self: 'model sha256:abc not on this disk'\n"
    install(place.plugins, "absent", missing)
    rows = {row["name"]: row for row in place.run("backends", "--json").json["backends"]}
    assert {"cm", "store", "zstd", "flip", "absent"} <= rows.keys()
    assert rows["flip"].pop("distribution") == "lmarc-test-flip==1.2"
    assert rows["flip"] == {"name": "flip", "version": 1, "promise": "portable", "missing": None}
    assert "not on this disk" in rows["absent"]["missing"]
    lines = place.run("backends").lines
    assert [line for line in lines if line.startswith("flip") and "lmarc-test-flip==1.2" in line and "ready" in line]
    assert "not on this disk" in place.run("pack", "a.txt", "-b", "absent", code=13).err


def test_where_the_plugin_is_missing(place: Place) -> None:
    install(place.plugins, "flip", good("flip"))
    (place.folder / "b.png").write_bytes(bytes(range(256)) + b"\n")
    place.run("pack", "a.txt", "b.png", "-o", "x.lmarc", "--backend", "flip")
    out = place.folder / "out"
    done = place.run("unpack", "x.lmarc", "-C", out, plugins=False, code=None)
    assert done.code == 13
    assert "'flip'" in done.err
    assert not (out / "a.txt").exists()
    assert names(place.folder / "x.lmarc") == [b"a.txt", b"b.png"]
    for command in (["test", "x.lmarc"], ["cat", "x.lmarc", "a.txt"]):
        assert "'flip'" in place.run(*command, plugins=False, code=13).err
    place.run("list", "x.lmarc", plugins=False)
    place.run("info", "x.lmarc", plugins=False)
    place.run("diff", "x.lmarc", plugins=False)


def test_what_other_backends_coded_is_extracted_without_the_plugin(place: Place) -> None:
    from lmarc.container.header import BackendRef
    from tests.container import build

    entries = [build.file(b"known", b"known"), build.file(b"unknown", b"unknown"), build.hardlink(b"link", b"unknown")]
    refs = (build.STORE, BackendRef("no-such-plugin", 1), BackendRef("store", 9))
    data = build.build([*entries, build.file(b"newer", b"newer")], backends=refs, codecs={b"unknown": 1, b"newer": 2})
    (place.folder / "x.lmarc").write_bytes(data)
    done = place.run("unpack", "x.lmarc", "-C", "out", code=13)
    assert "no-such-plugin" in done.err
    assert "version 9" in done.err
    assert [path.name for path in (place.folder / "out").iterdir()] == ["known"]


def method(name: str, compress: str = "", decompress: str = "") -> str:
    """A backend with other bodies for its methods."""
    source = good(name)
    if compress:
        source = source.replace("return bytes(byte ^ 0x55 for byte in bytes(data))[:-1]", compress)
    if decompress:
        source = source.replace("assert len(payload) == size - 1", decompress)
    return source


#: Plugins that cannot be loaded: what is wrong, and a word of the reason.
BROKEN = {
    "import": ("raise ImportError('no libfoo here')", "libfoo"),
    "syntax": ("def (", "SyntaxError"),
    "missing-module": ("import no_such_module_at_all", "no_such_module_at_all"),
    "exits": ("raise SystemExit(0)", "SystemExit"),
    "no-hook": (HEAD, "lmarc_backend"),
    "hook-signature": (good("hook-signature").replace("def lmarc_backend()", "def lmarc_backend(extra)"), "extra"),
    "hook-name": (good("hook-name").replace("def lmarc_backend()", "def lmarc_backends()"), "lmarc_backends"),
    "hook-raises": (good("hook-raises").replace("return Backend()", "raise RuntimeError('bad\\nday')"), "bad day"),
    "hook-none": (good("hook-none").replace("return Backend()", "return None"), "NoneType"),
    "hook-class": (good("hook-class").replace("return Backend()", "return Backend"), "not a Backend"),
    "abstract": (good("abstract").replace("def decompress", "def decode"), "decompress"),
    "compress-sig": (
        good("compress-sig").replace("compress(self, data, params)", "compress(self, data)", 1),
        "compress",
    ),
    "decompress-sig": (
        good("decompress-sig").replace("(self, payload, size, params)", "(self, payload)"),
        "decompress",
    ),
    "bound-sig": (
        good("bound-sig").replace("    def decompress", "    def memory_bound(self, size): ...\n    def decompress"),
        "memory_bound",
    ),
    "defaults": (good("defaults").replace("    def compress", "    defaults = 1\n    def compress"), "defaults"),
    "other-name": (good("something"), "something"),
    "no-name": (good("no-name").replace("name, version", "_, version"), "name"),
    "no-version": (good("no-version").replace("1, Promise", "'1', Promise"), "version"),
    "zero-version": (good("zero-version").replace("1, Promise", "0, Promise"), "version"),
    "no-promise": (good("no-promise").replace("Promise.PORTABLE", "'maybe'"), "promise"),
    "Upper Case": (good("Upper Case"), "Upper Case"),
    "x" * 65: (good("x" * 65), "xxx"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_that_cannot_be_loaded(name: str, place: Place) -> None:
    source, reason = BROKEN[name]
    install(place.plugins, name, source, distribution="lmarc-broken", version="0.7.1")
    done = place.run("pack", "a.txt", "-o", "x.lmarc", "--backend", name, code=13)
    assert len(warned(done)) == 1
    assert "lmarc-broken==0.7.1" in warned(done)[0]
    assert reason in warned(done)[0]
    assert not (place.folder / "x.lmarc").exists()
    listed = place.run("backends")
    assert len(warned(listed)) == 1
    assert [line for line in listed.lines if line.startswith(name) and "cannot run" in line]
    assert {line.split()[0] for line in listed.lines} >= {"store", "zstd", "cm"}


def test_broken_plugins_do_not_touch_the_rest(place: Place) -> None:
    for number, (name, (source, _)) in enumerate(BROKEN.items()):
        install(place.plugins, name, source, distribution=f"lmarc-broken-{number}")
    install(place.plugins, "flip", good("flip"))
    packed = place.run("pack", "a.txt", "-o", "x.lmarc", "--preset", "fast")
    assert warned(packed) == []
    place.run("pack", "a.txt", "-o", "y.lmarc", "--backend", "flip")
    for path in ("x.lmarc", "y.lmarc"):
        done = place.run("unpack", path, "-C", "out", "-f")
        assert warned(done) == []
        assert (place.folder / "out" / "a.txt").read_bytes() == TEXT
    listed = place.run("backends")
    assert len(warned(listed)) == len(BROKEN)
    rows = place.run("backends", "--json").json["backends"]
    assert {row["name"] for row in rows if row["missing"] is None} >= {"store", "zstd", "cm", "flip"}


@pytest.mark.parametrize(
    "body",
    [
        "raise RuntimeError('cannot')",
        "return 'text'",
        "return None",
        "return bytearray(b'x')",
        "return 1 / 0",
    ],
)
def test_a_plugin_that_fails_while_packing(body: str, place: Place) -> None:
    install(place.plugins, "failing", method("failing", compress=body), version="3")
    # Two chunks: one of a kind that shares its chunk with nothing.
    (place.folder / "b.bin").write_bytes(b"\0\1\2\3" * 5000)
    done = place.run("pack", "a.txt", "b.bin", "-o", "x.lmarc", "--backend", "failing", "--json")
    assert len(warned(done)) == 1
    assert "lmarc-test-failing==3" in warned(done)[0]
    assert "failing" not in done.json["chunks"]
    assert sum(done.json["chunks"].values()) == 2
    assert warned(place.run("unpack", "x.lmarc", "-C", "out")) == []
    assert (place.folder / "out" / "a.txt").read_bytes() == TEXT
    assert (place.folder / "out" / "b.bin").read_bytes() == b"\0\1\2\3" * 5000


def test_what_replaces_a_plugin_that_fails_is_the_smallest(place: Place) -> None:
    install(place.plugins, "failing", method("failing", compress="raise RuntimeError('cannot')"))
    (place.folder / "c.bin").write_bytes(random.Random(1).randbytes(700_000) * 2)
    done = place.run("pack", "c.bin", "-o", "x.lmarc", "--backend", "failing", "--json")
    assert done.json["chunks"] == {"zstd": 1}


@pytest.mark.parametrize(
    "body",
    [
        "raise RuntimeError('cannot')",
        "return 'x' * size",
        "return 'x'",
        "return None",
        "return 7",
        "return b'x' * size",
        "return b''",
        "return bytes(size + 1)",
    ],
)
def test_a_plugin_that_fails_while_unpacking(body: str, place: Place) -> None:
    from lmarc.container.header import BackendRef
    from tests.container import build

    install(place.plugins, "failing", method("failing", decompress=body), version="3")
    entries = [build.file(b"known", b"known"), build.file(b"one", b"one"), build.file(b"two", b"two")]
    refs = (build.STORE, BackendRef("failing", 1))
    data = build.build(entries, backends=refs, codecs={b"one": 1, b"two": 1})
    (place.folder / "x.lmarc").write_bytes(data)
    done = place.run("unpack", "x.lmarc", "-C", "out", code=11)
    assert "one: " in done.err and "two: " in done.err
    assert [path.name for path in (place.folder / "out").iterdir()] == ["known"]
    # What comes out wrong may be the data's fault; an exception or another type is the plugin's.
    if "return b" not in body:
        assert len(warned(done)) == 1
        assert "lmarc-test-failing==3" in warned(done)[0]
    place.run("cat", "x.lmarc", "one", code=11)
    place.run("test", "x.lmarc", code=11)


OTHER_METHODS = (
    "missing(self)",
    "decodes(self, version)",
    "prepare(self, params)",
    "memory_bound(self, size, params)",
    "memory_shared(self, params)",
)


@pytest.mark.parametrize("hook", OTHER_METHODS)
def test_a_plugin_whose_other_methods_fail(hook: str, place: Place) -> None:
    source = good("odd").replace(
        "    def compress", f"    def {hook}:\n        raise RuntimeError('odd')\n\n    def compress"
    )
    install(place.plugins, "odd", source)
    place.run("backends")
    place.run("backends", "--json")
    done = place.run("pack", "a.txt", "-o", "x.lmarc", "-b", "odd", code=None)
    assert done.code in (0, 13)
    if done.code == 0:
        place.run("info", "x.lmarc")
        assert place.run("unpack", "x.lmarc", "-C", "out", code=None).code in (0, 13)


@pytest.mark.parametrize("name", ["cm", "zstd", "store"])
def test_a_built_in_cannot_be_replaced(name: str, place: Place) -> None:
    source = method(name, compress="return b'hijacked'") + "\nopen('imported', 'w')\n"
    install(place.plugins, name, source, distribution="aaa-first", version="2")
    done = place.run("pack", "a.txt", "-o", "x.lmarc", "--backend", name)
    assert len(warned(done)) == 1
    assert "aaa-first==2" in warned(done)[0] and name in warned(done)[0]
    assert place.run("cat", "x.lmarc", "a.txt").out == TEXT
    assert not (place.folder / "imported").exists()
    assert [line for line in place.run("backends").lines if line.startswith(name) and " lmarc==" in line]


def test_two_plugins_of_one_name(place: Place) -> None:
    install(place.plugins, "flip", good("flip"), distribution="plugin-a")
    install(place.plugins, "flip", "raise ImportError", distribution="plugin-b")
    done = place.run("pack", "a.txt", "-o", "x.lmarc", "--backend", "flip")
    assert len(warned(done)) == 1
    assert "plugin-b==1.2" in warned(done)[0]
    assert place.run("cat", "x.lmarc", "a.txt").out == TEXT


def test_a_plugin_is_not_imported_unless_needed(place: Place) -> None:
    install(place.plugins, "flip", good("flip") + "\nopen('imported', 'w')\n")
    mark = place.folder / "imported"
    place.run("pack", "a.txt", "-o", "x.lmarc", "-p", "fast")
    place.run("unpack", "x.lmarc", "-C", "out")
    for command in ("list", "test", "info", "diff"):
        place.run(command, "x.lmarc")
    assert not mark.exists()
    place.run("pack", "a.txt", "-o", "y.lmarc", "-b", "flip")
    assert mark.exists()
    mark.unlink()
    place.run("list", "y.lmarc")
    assert not mark.exists()
    place.run("test", "y.lmarc")
    assert mark.exists()


def test_what_is_left_of_an_uninstalled_plugin(place: Place) -> None:
    install(place.plugins, "left", good("left"), metadata=False)
    place.run("pack", "a.txt", "-o", "x.lmarc", "-p", "fast")
    assert place.run("cat", "x.lmarc", "a.txt").out == TEXT
    place.run("backends")


def test_a_plugin_that_saves_nothing_is_not_used(place: Place) -> None:
    install(place.plugins, "grow", method("grow", compress="return bytes(data) + b'more'"))
    done = place.run("pack", "a.txt", "-o", "x.lmarc", "-b", "grow", "--json")
    assert done.json["chunks"] == {"store": 1}
    assert place.run("cat", "x.lmarc", "a.txt").out == TEXT


def test_a_matching_plugin_is_listed_and_refused(place: Place) -> None:
    install(place.plugins, "exact", good("exact").replace("PORTABLE", "MATCHING"))
    done = place.run("pack", "a.txt", "-o", "x.lmarc", "-b", "exact", code=13)
    assert "'exact' promises matching" in done.err
    assert "matching" in place.run("backends").text


def test_what_to_install_is_said_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmarc.backends import registry

    monkeypatch.setattr(registry, "found", dict)
    for name in registry.KNOWN_PLUGINS:
        assert str(registry._load(name)).endswith(f"pip install lmarc-{name}")


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("None", "NoneType"),
        ("Backend()", "version 2"),
        ("type('Old', (Backend,), {'version': '1'})()", "attribute version"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_versions_that_a_plugin_promises_and_has_not(at: str, said: str, place: Place) -> None:
    install(place.plugins, "flip", good("flip"))
    place.run("pack", "a.txt", "-o", "x.lmarc", "--backend", "flip")
    newer = good("flip").replace("1, Promise", "2, Promise")
    newer = newer.replace("    def compress", f"    def at(self, version):\n        return {at}\n\n    def compress")
    other = place.folder / "other"
    other.mkdir()
    install(other, "flip", newer, version="2.0")
    done = run("cat", "x.lmarc", "a.txt", cwd=place.folder, env={"PYTHONPATH": str(other)}, code=13)
    assert "lmarc-test-flip==2.0" in done.err and said in done.err
