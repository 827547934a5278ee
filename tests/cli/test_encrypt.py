"""Encrypted archives: whoever has the key reads them, nobody else learns more than their size."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pyrage
import pytest

import lmarc
from tests.cli.program import run

SECRET = {"letters/to nobody.txt": b"nobody is to read this\n" * 50, "noise": random.Random(1).randbytes(200_000)}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """The working directory, with what is secret in `s`."""
    for name, data in SECRET.items():
        path = tmp_path / "s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with chdir(tmp_path):
        yield tmp_path


def identity(name: str) -> str:
    """A new identity in a file of that name; its recipient."""
    made = pyrage.x25519.Identity.generate()
    Path(name).write_text(f"# created: today\n# public key: {made.to_public()}\n{made}\n")
    return str(made.to_public())


def assert_unpacked(folder: str) -> None:
    for name, data in SECRET.items():
        assert (Path(folder) / "s" / name).read_bytes() == data


PASSPHRASE = {"LMARC_PASSPHRASE": "correct horse"}


def test_passphrase(here: Path) -> None:
    run("pack", "s", "--encrypt", env=PASSPHRASE)
    data = Path("s.lmarc").read_bytes()
    assert data.startswith(b"age-encryption.org/v1\n") and b"letters" not in data
    run("unpack", "s.lmarc", "-C", "out", env=PASSPHRASE)
    assert_unpacked("out")
    Path("key").write_text("correct horse\n")
    assert b"letters" in run("list", "s.lmarc", "--key", "key").out
    for env in (None, {"LMARC_PASSPHRASE": "wrong horse"}):
        refused = run("unpack", "s.lmarc", "-C", "no", env=env, code=12)
        assert len(refused.err.splitlines()) == 1 and not Path("no").exists()
    assert "nobody is there" in run("pack", "s", "-f", "--encrypt", code=2).err


def test_recipients(here: Path) -> None:
    first, second = identity("one"), identity("two")
    identity("three")
    run("pack", "s", "-r", first, "-r", second)
    for key in ("one", "two"):
        run("unpack", "s.lmarc", "-C", f"out {key}", "--key", "three", "--key", key)
        assert_unpacked(f"out {key}")
    for options in ((), ("--key", "three")):
        run("list", "s.lmarc", *options, code=12)
    # By a pipe, and for whoever has age alone.
    packed = run("pack", "s", "-r", first, "-o", "-").out
    assert (
        run("list", "-1", "-", "--key", "one", stdin=packed).lines == run("list", "-1", "s.lmarc", "--key", "two").lines
    )
    plain = pyrage.decrypt(packed, [pyrage.x25519.Identity.from_str(Path("one").read_text().splitlines()[-1])])
    Path("plain.lmarc").write_bytes(plain)
    run("test", "plain.lmarc")


def test_ssh_keys(here: Path) -> None:
    made = subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id"], check=False)
    if made.returncode:
        pytest.skip("no ssh-keygen here")
    run("pack", "s", "-r", Path("id.pub").read_text().strip())
    run("unpack", "s.lmarc", "-C", "out", "--key", "id")
    assert run("cat", "s.lmarc", "s/noise", "--key", "id").out == SECRET["noise"]
    for command in ("test", "info", "diff"):
        run(command, "s.lmarc", "--key", "id")
    assert_unpacked("out")


def test_changed_bytes_are_noticed(here: Path) -> None:
    run("pack", "s", "-r", identity("one"))
    whole = Path("s.lmarc").read_bytes()
    rng = random.Random(2)
    for at in [*(rng.randrange(len(whole)) for _ in range(12)), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        Path("x.lmarc").write_bytes(damaged)
        assert run("test", "x.lmarc", "--key", "one", code=None).code in (10, 11, 12)
    for cut in (10, 200, len(whole) // 2, len(whole) - 1):
        Path("x.lmarc").write_bytes(whole[:cut])
        assert run("test", "x.lmarc", "--key", "one", code=None).code in (10, 11, 12)


def test_what_does_not_go_together(here: Path) -> None:
    recipient = identity("one")
    for options in (["--encrypt", "-r", recipient], ["-r", "age1nobody"], ["-r", recipient, "--recovery", "5"]):
        run("pack", "s", *options, env=PASSPHRASE, code=2)
        assert not Path("s.lmarc").exists()
    run("pack", "s", "-r", recipient, "--resume", code=2)
    Path("junk").write_bytes(b"two\nlines\n")
    run("pack", "s", "-r", recipient)
    run("list", "s.lmarc", "--key", "junk", code=2)
    before = Path("s.lmarc").read_bytes()
    for command in (["add", "s.lmarc", "s"], ["rm", "s.lmarc", "s"], ["compact", "s.lmarc"]):
        assert "encrypted" in run(*command, code=2).err
    assert Path("s.lmarc").read_bytes() == before


def test_nothing_plain_is_left(here: Path) -> None:
    run("pack", "s", "-r", identity("one"))
    run("list", "s.lmarc", "--key", "one")
    assert sorted(os.listdir()) == ["one", "s", "s.lmarc"]
    assert b"nobody" not in Path("s.lmarc").read_bytes()


def test_from_python(here: Path) -> None:
    recipient = identity("one")
    lmarc.pack("s", "s.lmarc", lock=lmarc.Lock([recipient]))
    keys = lmarc.Keys([Path("one").read_bytes()])
    with lmarc.open("s.lmarc", keys=keys) as archive:
        assert archive.read("s/noise") == SECRET["noise"]
    with open("s.lmarc", "rb") as file, lmarc.open(file, keys=keys) as archive:
        assert archive.damage == []
    with pytest.raises(lmarc.WrongKeyError):
        lmarc.open("s.lmarc")


def test_without_the_library(here: Path) -> None:
    run("pack", "s", "-r", identity("one"))
    program = "import sys; sys.modules['pyrage'] = None\nfrom lmarc.cli.main import main\nmain()"
    command = (sys.executable, "-c", program)
    assert "lmarc[encrypt]" in run("list", "s.lmarc", "--key", "one", command=command, code=13).err
    assert "lmarc[encrypt]" in run("pack", "s", "-f", "--encrypt", env=PASSPHRASE, command=command, code=13).err


def test_what_is_no_text(here: Path) -> None:
    Path("key").write_bytes(b"p\xff\n")
    Path("s.lmarc").write_bytes(pyrage.passphrase.encrypt(b"x", "p"))
    odd = {"LMARC_PASSPHRASE": os.fsdecode(b"p\xff")}
    assert "UTF-8" in run("pack", "s", "-f", "--encrypt", env=odd, code=2).err
    assert "UTF-8" in run("list", "s.lmarc", "--key", "key", code=2).err
    run("pack", "s", "-f", "-r", b"age1\xff", code=2)


def test_from_memory(here: Path) -> None:
    data = pyrage.passphrase.encrypt(lmarc.compress(b"content"), "pass")
    with lmarc.open(io.BytesIO(data), keys=lmarc.Keys(passphrase="pass")) as archive:
        assert archive.read("data") == b"content"
