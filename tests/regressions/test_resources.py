"""Few descriptors, interrupts, and members that are larger than anyone wants to hold."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3

import lmarc
from lmarc.archive.decode import ChunkDecoder
from lmarc.container.header import BackendRef, Header
from lmarc.container.index import Chunk
from lmarc.container.writer import ContainerWriter
from tests.cli.program import COMMAND, TIMEOUT, environment, run
from tests.container import build
from tests.regressions.streams import chunked, hole, opened, temporaries
from tests.trees import KIB, MIB, prose

# --- descriptors -------------------------------------------------------------------------------------------

_FEW = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import lmarc
with lmarc.open(sys.argv[1]) as archive:
    failed = archive.test(jobs=2)
    result = archive.extractall(sys.argv[2], jobs=2)
    print(json.dumps([len(failed), result.members]))
"""


def test_many_copies_of_a_file_of_several_chunks_need_few_descriptors(scratch: Path) -> None:
    content = random.Random(1).randbytes(100 * KIB)
    copies = {b"%03d/copy" % number: content for number in range(301)}
    # Behind them one that begins in the chunk in which they end.
    data = chunked({b"first": b"first", **copies, b"last": b"last"}, 32 * KIB)
    (scratch / "x").write_bytes(data)
    line = [sys.executable, "-c", _FEW, scratch / "x", scratch / "out"]
    done = subprocess.run(line, env=environment(), capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == [0, 303]
    for path in copies:
        assert (scratch / "out" / path.decode()).read_bytes() == content
    assert (scratch / "out" / "last").read_bytes() == b"last"
    assert temporaries(scratch) == []


def test_copies_that_cannot_be_written_are_not_decoded_for_each(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode = ChunkDecoder.decode
    content = bytes(16 * MIB)
    names = [b"d/%03d" % number + b"n" * 300 for number in range(300)]
    out = io.BytesIO()
    container = ContainerWriter(out, Header("test", (BackendRef("zstd", 1),)))
    for _ in range(2):
        container.add_chunk(0, len(content), build.check(content), zstandard.compress(content))
    member = build.file(b"", 2 * content)[0]
    for name in (*names, b"d/x"):
        container.add_member(member._replace(path=name))
    container.close()
    assert len(out.getvalue()) < 10_000
    with lmarc.open(out) as archive:
        decoded: list[Chunk] = []
        monkeypatch.setattr(ChunkDecoder, "decode", lambda self, chunk: decoded.append(chunk) or decode(self, chunk))
        result = archive.extractall(scratch, check=False, jobs=1, max_size=1 << 40)
    assert set(result.failed) == set(names)
    assert (scratch / "d/x").read_bytes() == 2 * content
    assert len(decoded) == 2


# --- interrupts --------------------------------------------------------------------------------------------


@pytest.fixture
def big(scratch: Path) -> Iterator[tuple[Path, dict[bytes, bytes]]]:
    """An archive that takes a while to unpack, and what its files hold."""
    rng = random.Random(2)
    contents = {b"small/%02d/%04d" % (number % 40, number): rng.randbytes(300) for number in range(2000)}
    contents |= {b"large/%d" % number: rng.randbytes(2 * MIB) for number in range(6)}
    contents[b"copy"] = contents[b"large/5"]
    links = [build.symlink(b"links/s%d" % number, b"nowhere") for number in range(300)]
    links += [build.hardlink(b"links/h%d" % number, b"copy") for number in range(300)]
    folders = [build.directory(path) for path in (b"small", b"small/00", b"small/39", b"large", b"links")]
    (scratch / "x").write_bytes(chunked(contents, MIB, (*links, *folders)))
    yield scratch, contents


def unpack(folder: Path, out: str, wait: float | None, number: signal.Signals) -> tuple[int, str, float]:
    """Unpack and, after so many seconds of writing, send a signal: exit code, what was said, and seconds of writing."""
    line = [*COMMAND, "unpack", "x", "-C", out]
    with subprocess.Popen(line, cwd=folder, env=environment(), stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + TIMEOUT
            while not (folder / out).exists():
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.002)
            began = time.monotonic()
            if wait is not None:
                time.sleep(wait)
                process.send_signal(number)
            said = process.communicate(timeout=TIMEOUT)[1].decode()
        finally:
            process.kill()
    return process.returncode, said, time.monotonic() - began


def test_an_interrupted_unpack_leaves_nothing_incomplete(big: tuple[Path, dict[bytes, bytes]]) -> None:
    folder, contents = big
    code, _, took = unpack(folder, "out", None, signal.SIGINT)
    assert code == 0
    rng, interrupted = random.Random(3), []
    for attempt in range(8):
        out = f"out{attempt}"
        number = signal.SIGTERM if attempt == 7 else signal.SIGINT
        code, said, _ = unpack(folder, out, rng.uniform(0, took), number)
        assert "Traceback" not in said
        assert temporaries(folder / out) == []
        assert code in (0, 130)
        if code == 130:
            interrupted.append(out)
            assert "--resume" in said
            assert len(said.splitlines()) == 1
            for path in (folder / out).rglob("[0-9]*"):
                name = str(path.relative_to(folder / out)).encode()
                assert path.is_dir() or path.read_bytes() == contents[name]
    assert interrupted
    done = run("unpack", "x", "-C", interrupted[-1], "--skip-existing", cwd=folder)
    assert "interrupted" not in done.err
    for name, content in contents.items():
        assert (folder / interrupted[-1] / name.decode()).read_bytes() == content
    assert len([*(folder / interrupted[-1] / "links").iterdir()]) == 600
    # The directories that the interrupted run has made are not left as it made them.
    for name in ("small", "small/00", "small/39", "large", "links"):
        assert (folder / interrupted[-1] / name).stat().st_mode & 0o7777 == 0o755


_CALLS = ("open", "link", "symlink", "rename", "unlink", "pwrite", "ftruncate", "fchmod", "utime", "close", "mkdir")
_LONG = b"long" * 500
_SOME = chunked(
    {b"short": b"short", b"d/long": _LONG, b"d/copy": _LONG, b"none": b""},
    1000,
    (build.hardlink(b"d/h", b"d/long"), build.symlink(b"d/l", b"long"), build.directory(b"d"), hole(b"hole", 5000)),
)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", _CALLS)
def test_an_interrupt_after_any_call(name: str, force: bool, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal does that arrives while that call is made: Python raises when it returns, in the main thread."""
    call = getattr(os, name)
    archive = lmarc.open(io.BytesIO(_SOME))
    for last in range(100):
        calls = 0

        def interrupted(*args: object, last: int = last, **options: object) -> object:
            nonlocal calls
            result = call(*args, **options)
            if threading.current_thread() is threading.main_thread():
                calls += 1
                if calls == last + 1:
                    raise KeyboardInterrupt
            return result

        out = scratch / str(last)
        with monkeypatch.context() as patch:
            patch.setattr(os, name, interrupted)
            try:
                archive.extractall(out, jobs=1, force=force)
            except KeyboardInterrupt:
                is_done = False
            else:
                is_done = True
        assert temporaries(out) == [], f"interrupted after call {last} of os.{name}"
        if is_done:
            return
    raise AssertionError("never done")


# --- sizes -------------------------------------------------------------------------------------------------


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decodes a chunk fails."""

    def decode(*_: object) -> bytes:
        raise AssertionError("a chunk was decoded")

    monkeypatch.setattr(ChunkDecoder, "decode", decode)


def test_read_up_to_a_size() -> None:
    archive = opened(build.file(b"f", b"12345"), build.hardlink(b"h", b"f"), build.file(b"none"))
    for name in ("f", "h"):
        assert archive.read(name, max_size=5) == archive.read(name, max_size=10**9) == b"12345"
    assert archive.read("none", max_size=0) == b""
    assert archive.read("f", max_size=None) == b"12345"


@pytest.mark.usefixtures("no_decoding")
def test_read_beyond_a_size() -> None:
    archive = opened(build.file(b"f", b"12345"), build.hardlink(b"h", b"f"), hole(b"hole", 2**62))
    for name in ("f", "h", "hole"):
        for limit in (4, 0):
            with pytest.raises(lmarc.LimitError) as caught:
                archive.read(name, max_size=limit)
            assert caught.value.exit_code == 17
            assert name in str(caught.value)


def test_decompress_up_to_a_size() -> None:
    data = lmarc.compress(b"12345", preset="fast")
    assert lmarc.decompress(data, max_size=5) == b"12345"
    assert lmarc.decompress(data, max_size=2**40) == b"12345"


@pytest.mark.usefixtures("no_decoding")
def test_decompress_beyond_a_size() -> None:
    data = lmarc.compress(b"12345", preset="fast")
    for limit in (4, 0):
        with pytest.raises(lmarc.LimitError):
            lmarc.decompress(data, max_size=limit)
    # Unless told otherwise it stops somewhere.
    for size in (2**31 + 1, 2**62):
        with pytest.raises(lmarc.LimitError) as caught:
            lmarc.decompress(build.build([hole(b"data", size)]))
        assert caught.value.exit_code == 17


def test_json_of_members_that_are_too_large(tmp_path: Path) -> None:
    entries = [build.file(b"small", b"small"), hole(b"hole", 2**28 + 1), hole(b"huge", 2**62)]
    (tmp_path / "x").write_bytes(build.build(entries))
    for name in ("hole", "huge"):
        done = run("cat", "--json", "x", "small", name, cwd=tmp_path, code=17)
        assert name in done.err
        assert done.out == b""
    rows = run("cat", "--json", "x", "small", cwd=tmp_path).json["members"]
    assert [row["path"] for row in rows] == ["small"]


# --- holes -------------------------------------------------------------------------------------------------


def test_a_file_of_very_many_runs() -> None:
    runs = 32_768
    stored = prose(1, runs)
    content = bytearray(2 * runs)
    content[1::2] = stored
    sparse = (1,) * (2 * runs)
    member = build.file(b"f", stored)[0]._replace(size=2 * runs, sparse=sparse, hash=blake3(stored).digest())
    with lmarc.open(io.BytesIO(build.build([(member, stored)]))) as archive:
        assert archive.read("f") == content
        began = time.process_time()
        for _ in range(3):
            with archive.open("f") as file:
                assert file.read() == content
        rng = random.Random(4)
        with archive.open("f") as file:
            for _ in range(300):
                at, size = rng.randrange(2 * runs), rng.randrange(300)
                file.seek(at)
                assert file.read(size) == content[at : at + size]
        assert time.process_time() - began < 5
