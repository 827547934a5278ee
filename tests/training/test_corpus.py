"""The training text: its order, what is left out of it, and whether the overlap check finds what it should."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest
import zstandard

from training.corpus import MAX_BYTES, Document, documents, read_excluded
from training.fetch import Package, downloaded, fetch, read_packages
from training.markers import marked
from training.overlap import WINDOW, exclusions, overlaps, write_excluded


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _pack(folder: Path, domain: str, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    tar = _tar({f"{domain}/{name}": data for name, data in files.items()})
    (folder / f"{domain}.tar.zst").write_bytes(zstandard.compress(tar))


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _names(train: Path, packages: Path | None = None, excluded: Path | None = None) -> list[str]:
    return [document.path for document in documents(train, packages, excluded)]


def _words(seed: int, count: int) -> bytes:
    rng = random.Random(seed)
    words = ("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(count))
    return " ".join(words).encode()


def test_order_does_not_depend_on_the_order_of_the_files(tmp_path: Path) -> None:
    files = {"b/2": b"two", "a/1": b"one", "b/10": b"ten"}
    _pack(tmp_path / "one", "code", files)
    _pack(tmp_path / "other", "code", dict(reversed(files.items())))
    _pack(tmp_path / "one", "logs", {"z": b"zed"})
    _pack(tmp_path / "other", "logs", {"z": b"zed"})
    assert list(documents(tmp_path / "one", None, None)) == list(documents(tmp_path / "other", None, None))
    assert _names(tmp_path / "one") == ["code/a/1", "code/b/10", "code/b/2", "logs/z"]


def test_packages_are_sorted_in(tmp_path: Path) -> None:
    _pack(tmp_path / "train", "code", {"a": b"1", "c": b"2"})
    _write(tmp_path / "packages", {"code/b@1/x.py": b"3", "mail_wiki/m@1/y": b"4"})
    expected = ["code/a", "code/b@1/x.py", "code/c", "mail_wiki/m@1/y"]
    assert _names(tmp_path / "train", tmp_path / "packages") == expected


def test_binary_empty_and_repeated_files_are_left_out(tmp_path: Path) -> None:
    _pack(tmp_path, "code", {"a": b"same", "b": b"same", "c": b"", "d": b"nul\0", "e": b"other"})
    _pack(tmp_path, "logs", {"a": b"same"})
    assert _names(tmp_path) == ["code/a", "code/e"]


def test_long_files_are_cut(tmp_path: Path) -> None:
    _pack(tmp_path, "code", {"long": b"x" * (MAX_BYTES + 1)})
    assert [len(document.data) for document in documents(tmp_path, None, None)] == [MAX_BYTES]


def test_a_file_of_another_domain_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "code.tar.zst").write_bytes(zstandard.compress(_tar({"logs/a": b"1"})))
    with pytest.raises(ValueError, match="not below code"):
        _names(tmp_path)


def test_excluded_documents_and_their_copies_are_left_out(tmp_path: Path) -> None:
    _pack(tmp_path / "train", "code", {"a": b"1", "copy": b"1", "b": b"2"})
    write_excluded({"code/a": "measured with"}, tmp_path / "excluded.txt")
    assert read_excluded(tmp_path / "excluded.txt") == {"code/a": "measured with"}
    assert _names(tmp_path / "train", None, tmp_path / "excluded.txt") == ["code/b"]


def test_overlap_is_found_where_there_is_one(tmp_path: Path) -> None:
    quoted = _words(1, 60)
    _write(tmp_path, {"dev/text": _words(2, 300) + quoted + _words(3, 300), "dev/other": _words(4, 300)})
    document = Document("code", "quoting", _words(5, 100) + quoted + _words(6, 100))
    [found] = overlaps([document], [tmp_path / "dev"])
    assert found.windows == len(document.data) - WINDOW + 1 - _pairs(document.data)
    assert found.windows_found == len(quoted) - WINDOW + 1 - _pairs(quoted)
    assert 50 <= found.grams_found <= 53
    assert found.where == "text"
    assert list(exclusions([found], [])) == ["code/quoting"]


def _pairs(data: bytes) -> int:
    return sum(data[i] == data[i - 1] for i in range(WINDOW - 1, len(data)))


def test_no_overlap_is_found_where_there_is_none(tmp_path: Path) -> None:
    _write(tmp_path, {"dev/text": _words(1, 300)})
    [found] = overlaps([Document("code", "own", _words(2, 300))], [tmp_path / "dev"])
    assert (found.windows_found, found.grams_found, found.where) == (0, 0, "-")
    assert not exclusions([found], [])


def test_windows_do_not_cross_from_one_file_to_the_next(tmp_path: Path) -> None:
    text = _words(1, 12)[:70]
    _write(tmp_path, {"dev/a": text[:35], "dev/b": text[35:]})
    [found] = overlaps([Document("code", "whole", text)], [tmp_path / "dev"])
    assert found.windows_found == 0


def test_a_run_of_one_byte_is_no_overlap(tmp_path: Path) -> None:
    _write(tmp_path, {"dev/rules": b"-" * 500})
    [found] = overlaps([Document("code", "rules", _words(1, 10) + b"-" * 500 + _words(2, 10))], [tmp_path / "dev"])
    assert found.windows_found == 0


def test_case_does_not_hide_the_same_words(tmp_path: Path) -> None:
    _write(tmp_path, {"dev/text": _words(1, 40)})
    [found] = overlaps([Document("code", "loud", _words(1, 40).upper())], [tmp_path / "dev"])
    assert (found.windows_found, found.grams_found) == (0, 33)


def test_short_texts_have_no_windows(tmp_path: Path) -> None:
    _write(tmp_path, {"dev/text": _words(1, 40), "dev/short": b"a"})
    [found] = overlaps([Document("code", "short", b"few words")], [tmp_path / "dev"])
    assert (found.windows, found.grams) == (0, 0)


def test_well_known_texts_are_marked() -> None:
    play = b"All the world's\n  a stage, and ... Under the  greenwood tree"
    assert [mark.excluded for mark in marked(Document("prose_en", "a-play", play))] == [True]
    assert [mark.excluded for mark in marked(Document("prose_en", "an-essay", play[:30]))] == [False]
    assert [mark.title for mark in marked(Document("prose_en", "x/alice29.txt", b"-"))] == ["alice29"]
    assert not marked(Document("structured", "Dickenson.json", b"Under the greenwood"))


def _package(folder: Path, files: dict[str, bytes], limit_kb: int, take: str) -> Package:
    packed = _tar(files)
    (folder / "p-1.tar").write_bytes(packed)
    digest = hashlib.sha256(packed).hexdigest()
    return Package("pypi", "@x/p", "1", "p-1.tar", digest, "MIT", "code", str(limit_kb), take)


def test_fetch_takes_the_wanted_texts_up_to_the_limit(tmp_path: Path) -> None:
    files = {f"p/{i}.py": _words(i, 100) for i in range(9)} | {"p/no.txt": b"no", "p/nul.py": b"\0", "p/gpl.py": b"no"}
    package = _package(tmp_path, files, 2, "p/*.py !*/gpl.py")
    size = fetch([package], tmp_path / "target", tmp_path)
    taken = sorted((tmp_path / "target/code/@x+p@1/p").iterdir())
    assert 0 < size == sum(path.stat().st_size for path in taken) <= 2000
    assert all(path.read_bytes() == files[f"p/{path.name}"] and path.name[0].isdigit() for path in taken)
    assert fetch([package], tmp_path / "target", tmp_path) == size


def test_fetch_takes_strings_out_of_json(tmp_path: Path) -> None:
    text = "x" * 300
    files = {"p/d.json": b'{"ja": {"/a": {"html": "%s", "slug": "a"}}, "de": {}}' % text.encode()}
    fetch([_package(tmp_path, files, 1, "p/d.json#ja")], tmp_path / "target", tmp_path)
    assert (tmp_path / "target/code/@x+p@1/p/d.json/ja/a.txt").read_text() == text


def test_fetch_refuses_a_file_with_another_hash(tmp_path: Path) -> None:
    package = _package(tmp_path, {"p/a.py": b"1"}, 1, "*")
    (tmp_path / "p-1.tar").write_bytes(b"something else")
    with pytest.raises(ValueError, match="SHA-256"):
        downloaded(package, tmp_path)


def test_pinned_packages_are_well_formed() -> None:
    for package in read_packages():
        assert len(package.sha256) == 64
        assert int(package.limit_kb) > 0
        assert package.take
        assert "GPL" not in package.licence
