"""The hostile tree is what it says, and snapshots notice every kind of change."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import trees
from tests.trees import Entry, diff_snapshots, make_hostile_tree, make_many_files, remove_tree, snapshot

Snapshot = dict[bytes, Entry]
IS_ROOT = os.geteuid() == 0


def look(root: Path) -> Snapshot:
    return snapshot(root, special=True, full_mode=True, holes=True, owners=True, with_root=True)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("hostile") / "tree"
    make_hostile_tree(root)
    yield root
    remove_tree(root)


@pytest.fixture(scope="module")
def found(hostile: Path) -> Snapshot:
    return look(hostile)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A little tree to change."""
    root = tmp_path / "small"
    (root / "dir").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "dir" / "inner").write_bytes(b"inner")
    (root / "link").symlink_to("file")
    (root / "one").write_bytes(b"two names")
    os.link(root / "one", root / "dir" / "two")
    with (root / "sparse").open("wb") as file:
        file.truncate(trees.MIB)
    yield root
    remove_tree(root)


def test_the_same_tree_each_time(hostile: Path, found: Snapshot, tmp_path: Path) -> None:
    make_hostile_tree(tmp_path / "again")
    try:
        assert diff_snapshots(found, look(tmp_path / "again")) == []
        assert look(hostile) == found  # looking changes nothing
    finally:
        remove_tree(tmp_path / "again")


def test_kinds(found: Snapshot) -> None:
    kinds = {entry.kind for entry in found.values()}
    assert {"file", "directory", "symlink", "fifo"} <= kinds
    assert "socket" in kinds or sys.platform != "linux"


def test_special_files_are_left_out_unless_asked_for(hostile: Path, found: Snapshot) -> None:
    plain = snapshot(hostile)
    assert found.keys() - plain.keys() == {b".", b"special/fifo", b"special/socket"}
    assert all(entry.blocks is None and entry.owner is None for entry in plain.values())


def test_sizes_and_contents(found: Snapshot) -> None:
    assert (found[b"sizes/empty"].size, found[b"sizes/one"].size) == (0, 1)
    for size in trees.BOUNDARY_SIZES:
        assert found[b"sizes/%d" % size].size == size
    assert len({found[b"sizes/%d" % size].digest for size in trees.BOUNDARY_SIZES}) == len(trees.BOUNDARY_SIZES)
    assert found[b"contents/large"].digest == found[b"contents/copies/large"].digest
    assert found[b"contents/large"].size == 3 * trees.MIB
    assert found[b"contents/small"].digest != found[b"contents/small, one bit off"].digest


def test_depth_and_length(found: Snapshot) -> None:
    assert max(len(path) for path in found) == trees.LONG_PATH_BYTES
    deep = [path for path in found if path.startswith(b"dirs/deep") and found[path].kind == "directory"]
    assert len(deep) == trees.DEEP_LEVELS
    inner = [path for path in found if path.startswith(b"dirs/empty/")]
    assert found[b"dirs/empty"].kind == "directory"
    assert inner == []


@pytest.mark.skipif(sys.platform != "linux", reason="other filesystems refuse some names")
def test_names(found: Snapshot) -> None:
    names = {path.rpartition(b"/")[2] for path in found if path.startswith(b"names/")}
    assert names >= set(trees.ODD_NAMES)
    assert len(set(trees.ODD_NAMES)) == len(trees.ODD_NAMES)
    assert sum(len(name) == 255 for name in trees.ODD_NAMES) == 3
    texts = [name.decode() for name in trees.ODD_NAMES if name.isascii() or b"sum" in name]
    assert len({unicodedata.normalize("NFC", text) for text in texts}) == len(texts) - 1
    assert len({text.lower() for text in texts}) == len(texts) - 2


def test_symlinks(found: Snapshot, hostile: Path) -> None:
    assert found[b"symlinks/itself"].target == b"itself"
    assert found[b"symlinks/not utf-8"].target == b"caf\xe9/\xff\x80"
    lengths = {len(entry.target) for entry in found.values() if entry.kind == "symlink"}
    assert 1000 in lengths
    assert 4000 in lengths or sys.platform != "linux"
    with pytest.raises(OSError, match="symbolic links"):
        (hostile / "symlinks" / "loop a").stat()
    assert not (hostile / "symlinks" / "dangling").exists()


def test_hardlinks(found: Snapshot) -> None:
    pair = (b"hardlinks/pair 1", b"hardlinks/pair 2")
    assert found[pair[0]].links == found[pair[1]].links == pair
    assert len(found[b"hardlinks/a/three"].links) == 3
    assert found[b"hardlinks/empty 1"].links == (b"hardlinks/empty 1", b"hardlinks/empty 2")
    assert found[b"hardlinks/copy of pair, not linked"].links == ()


def test_sparse(found: Snapshot) -> None:
    sparse = {path: entry for path, entry in found.items() if path.startswith(b"sparse/")}
    assert sum(entry.size >= trees.SPARSE_SIZE for entry in sparse.values()) == 6
    if found[b"sparse/all hole"].blocks != 0:
        pytest.skip("no holes on this filesystem")
    for entry in sparse.values():
        if entry.size >= trees.SPARSE_SIZE:
            assert entry.blocks is not None
            assert entry.blocks * 512 < 256 * trees.KIB


def test_modes(found: Snapshot) -> None:
    for mode in trees.FILE_MODES:
        assert found[b"modes/file %04o" % mode].mode == mode
    assert found[b"modes/dir 0555"].mode == 0o555
    assert found[b"modes/dir 1777"].mode == 0o1777
    assert found[b"modes/dir 0555/dir 0555/file"].mode == 0o444
    assert (b"modes/file 0000" in found) == IS_ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="other filesystems keep coarser times")
def test_times(found: Snapshot) -> None:
    for name, when in trees.MTIMES_NS.items():
        for kind in (b"file", b"dir", b"link"):
            assert found[b"times/" + kind + b" " + name].mtime_ns == when
    # No time is left to the clock.
    latest = max(trees.MTIMES_NS.values())
    usual = [e.mtime_ns for p, e in found.items() if e.mtime_ns is not None and not p.startswith(b"times/")]
    assert all(trees._BASE_NS < when < trees._BASE_NS + 400 * 61 * trees.SECOND for when in usual)
    assert latest == found[b"times/dir year-2200"].mtime_ns


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_owners(found: Snapshot) -> None:
    for kind in (b"file", b"dir", b"link"):
        assert found[b"owners/12345 54321 " + kind].owner == (12345, 54321)
    assert found[b"owners/12345 54321 file"].mode == 0o4711


def edit(path: Path, change: Callable[[], object]) -> None:
    """Make a change below `path`'s directory that leaves the times as they were."""
    kept = {p: os.lstat(p).st_mtime_ns for p in (path, path.parent) if os.path.lexists(p)}
    change()
    for p, when in kept.items():
        if os.path.lexists(p):
            os.utime(p, ns=(when, when), follow_symlinks=False)


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def unlink_copy(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fill(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


CHANGES: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "nothing": ("file", lambda _: None, []),
    "content": ("file", lambda p: p.write_bytes(b"CONTENT"), ["file: content differs (7 bytes"]),
    "size": ("file", lambda p: p.write_bytes(b"content!"), ["file: size 7 -> 8"]),
    "mode": ("file", lambda p: p.chmod(0o600), ["file: mode 0644 -> 0600"]),
    "mode of a directory": ("dir", lambda p: p.chmod(0o1777), ["dir: mode 0755 -> 1777"]),
    "target": ("link", lambda p: relink(p, "one"), ["link: target file -> one"]),
    "missing": ("dir/inner", lambda p: p.unlink(), ["missing: dir/inner (file)"]),
    "extra": ("dir/\x1b\udcff", lambda p: p.mkdir(), ["extra: dir/\\x1b\\xff (directory)"]),
    "kind": ("file", replace_by_directory, ["file: kind file -> directory"]),
    "hard link to copy": (
        "one",
        unlink_copy,
        ["dir/two: hard links ['dir/two', 'one'] -> []", "one: hard links ['dir/two', 'one'] -> []"],
    ),
    "copies to hard link": (
        "extra",
        lambda p: os.link(p.parent / "file", p),
        ["extra: extra (file)", "file: hard links [] -> ['extra', 'file']"],
    ),
    "hole filled": ("sparse", fill, ["sparse: holes filled: 0 -> "]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_change_is_noticed(small: Path, what: str) -> None:
    name, change, expected = CHANGES[what]
    for path in small.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    before = snapshot(small, holes=True)
    if what == "hole filled" and before[b"sparse"].blocks != 0:
        pytest.skip("no holes on this filesystem")
    edit(small / name, lambda: change(small / name))
    lines = diff_snapshots(before, snapshot(small, holes=True))
    assert len(lines) == len(expected), lines
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


@pytest.mark.parametrize("name", ["file", "dir", "link"])
def test_one_nanosecond_is_noticed(small: Path, name: str) -> None:
    when = 1_500_000_000_123_456_789
    os.utime(small / name, ns=(when, when), follow_symlinks=False)
    before = snapshot(small)
    os.utime(small / name, ns=(when, when - 1), follow_symlinks=False)
    after = snapshot(small)
    if before[name.encode()].mtime_ns != when:
        pytest.skip("no nanoseconds on this filesystem")
    assert diff_snapshots(before, after) == [f"{name}: mtime {when} -> {when - 1} ns"]


def test_fewer_blocks_are_no_difference(small: Path) -> None:
    edit(small / "sparse", lambda: fill(small / "sparse"))
    before = snapshot(small, holes=True)

    def punch() -> None:
        os.truncate(small / "sparse", 0)
        os.truncate(small / "sparse", trees.MIB)

    edit(small / "sparse", punch)
    assert diff_snapshots(before, snapshot(small, holes=True)) == []


def test_set_id_bits_only_when_asked_for(small: Path) -> None:
    plain, full = snapshot(small), snapshot(small, full_mode=True)
    (small / "file").chmod(0o4644)
    assert diff_snapshots(plain, snapshot(small)) == []
    (small / "file").chmod(0o4755)
    assert any("4755" in line for line in diff_snapshots(full, snapshot(small, full_mode=True)))


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_owner_only_when_asked_for(small: Path) -> None:
    plain, owners = snapshot(small), snapshot(small, owners=True)
    os.chown(small / "file", 12345, 54321)
    assert diff_snapshots(plain, snapshot(small)) == []
    assert diff_snapshots(owners, snapshot(small, owners=True)) == ["file: owner (0, 0) -> (12345, 54321)"]


def test_the_root_itself_only_when_asked_for(small: Path) -> None:
    plain, rooted = snapshot(small), snapshot(small, with_root=True)
    small.chmod(0o700)
    assert diff_snapshots(plain, snapshot(small)) == []
    assert [line.partition(" ")[0] for line in diff_snapshots(rooted, snapshot(small, with_root=True))] == [".:"]


def test_show_is_printable() -> None:
    for name in [*trees.ODD_NAMES, b"d/" * 2000]:
        assert trees.show(name).isprintable()
        assert len(trees.show(name)) < 140


def test_many_files(tmp_path: Path) -> None:
    for root in (tmp_path / "a", tmp_path / "b"):
        make_many_files(root, 450, seed=5)
    a = snapshot(tmp_path / "a")
    assert diff_snapshots(a, snapshot(tmp_path / "b")) == []
    files = [entry for entry in a.values() if entry.kind == "file"]
    assert len(files) == len({entry.digest for entry in files}) == 450
    assert all(16 <= entry.size <= 400 for entry in files)
    assert sum(entry.kind == "directory" for entry in a.values()) == 1 + 3


def test_remove_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"stays")
    tree = tmp_path / "tree"
    (tree / "closed").mkdir(parents=True)
    (tree / "closed" / "link").symlink_to(outside)
    (tree / "closed").chmod(0)
    (tmp_path / "link to tree").symlink_to(outside)
    remove_tree(tmp_path / "link to tree")
    remove_tree(tree)
    remove_tree(tree)  # nothing there is fine
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (outside / "file").read_bytes() == b"stays"


def test_long_steps(tmp_path: Path) -> None:
    """Paths far beyond PATH_MAX can be opened, seen and removed."""
    make = trees._Maker(tmp_path / "tree")
    path = b""
    for index in range(60):
        path = path + b"/" + b"x" * (200 + index % 3) if path else b"top"
        make.dir(path)
    make.file(path + b"/file", b"deep")
    make.finish()
    assert len(path) > 10_000
    found = snapshot(tmp_path / "tree")
    assert found[path + b"/file"].size == 4
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_as_a_script(tmp_path: Path) -> None:
    script = [sys.executable, trees.__file__, str(tmp_path / "tree")]
    subprocess.run([*script, "--many", "3"], check=True)
    assert sum(stat.S_ISREG(p.stat().st_mode) for p in (tmp_path / "tree").rglob("*")) == 3
    subprocess.run([*script, "--remove"], check=True)
    assert not (tmp_path / "tree").exists()


def test_prose_has_the_size_asked_for() -> None:
    rng = random.Random(0)
    for size in [0, 1, 2, 3, 4096, *(rng.randrange(100_000) for _ in range(20))]:
        assert len(trees.prose(size, size)) == size
