"""Checks for codec backends."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from blake3 import blake3

from lmarc.backends.contract import CodecBackend, Promise
from lmarc.testing.contents import CONTENTS, PROSE, large
from lmarc.testing.suite import Suite, check, speeds

_DIGEST = """
import sys
from blake3 import blake3
from lmarc.testing.codec_suite import CodecSuite
suite = type("Suite", (CodecSuite,), {"backend": sys.argv[1], "params": eval(sys.argv[2], {})})()
sys.stdout.write(suite.digest())
"""
_DAMAGES = 200


class CodecSuite(Suite):
    """For a backend that turns bytes into a payload and back."""

    def digest(self) -> str:
        """A hash of the payloads of all contents."""
        codec = self.loaded(CodecBackend)
        hasher = blake3()
        for data in CONTENTS.values():
            hasher.update(bytes(codec.compress(data, self.params) if data else b""))
        return hasher.hexdigest()

    @check
    def test_registration(self) -> None:
        """It is registered, can run here, and declares a name, a version and a promise."""
        codec = self.loaded(CodecBackend)
        self.expect(
            codec.promise is Promise.PORTABLE, "a codec must promise PORTABLE: nothing would check an environment"
        )
        self.expect_versions(codec)
        self.found(version=codec.version, promise=codec.promise)

    @check
    def test_contents_come_back(self) -> None:
        """Every content comes back from a payload, whatever holds its bytes."""
        codec = self.loaded(CodecBackend)
        codec.prepare(self.params)
        for name, data in CONTENTS.items():
            for given in (data, bytearray(data), memoryview(data)) if data else ():
                payload = codec.compress(given, self.params)
                self.expect(type(payload) is bytes, f"compress() returned {type(payload).__name__}, not bytes")
                back = codec.decompress(memoryview(payload), len(data), self.params)
                self.expect(type(back) is bytes, f"decompress() returned {type(back).__name__}, not bytes")
                self.expect(back == data, f"{name!r} came back as something else")

    @check
    def test_large_content(self) -> None:
        """So does a large one; what it becomes and how fast is told."""
        codec, data = self.loaded(CodecBackend), large(self.large)
        start = time.monotonic()
        payload = codec.compress(data, self.params)
        middle = time.monotonic()
        back = codec.decompress(memoryview(payload), len(data), self.params)
        end = time.monotonic()
        self.expect(back == data, f"{len(data)} bytes came back as something else")
        self.found(
            large_content=f"{len(data)} bytes, of which {len(payload)} were made",
            speed=speeds(len(data), start, middle, end),
        )

    @check
    def test_again_and_elsewhere(self) -> None:
        """The same content gives the same payload, again and in another process."""
        first = self.digest()
        self.expect(self.digest() == first, "the same contents gave other payloads the second time")
        command = [sys.executable, "-c", _DIGEST, self.backend, repr(dict(self.params))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.expect(done.returncode == 0, f"it failed in another process: {done.stderr.strip()[-300:]}")
        self.expect(done.stdout == first, "the same contents gave other payloads in another process")

    @check
    def test_many_threads(self) -> None:
        """Several threads code and decode at once, and do not meet."""
        codec = self.loaded(CodecBackend)

        def round_trip(number: int) -> bool:
            data = PROSE[number % 50 :] * (1 + number % 7)
            return bool(codec.decompress(memoryview(codec.compress(data, self.params)), len(data), self.params) == data)

        with ThreadPoolExecutor(4) as pool:
            self.expect(all(pool.map(round_trip, range(64))), "threads that coded at once got something else back")

    @check
    def test_damaged_payloads(self) -> None:
        """A payload that is not one gives an exception or bytes of the size asked for, and never crashes."""
        codec, data = self.loaded(CodecBackend), PROSE * 2
        payload = codec.compress(data, self.params)
        for number in range(_DAMAGES):
            broken = bytearray(payload)
            broken[number * 7919 % len(broken)] ^= 1 << number % 8
            shorter = payload[: number * len(payload) // _DAMAGES]
            for given in (bytes(broken), shorter):
                try:
                    back = codec.decompress(memoryview(given), len(data), self.params)
                except Exception:
                    continue
                self.expect(len(back) == len(data), f"a damaged payload gave {len(back)} bytes, not {len(data)}")
        for size in (1, len(data) - 1, len(data) + 1):
            try:
                back = codec.decompress(memoryview(payload), size, self.params)
            except Exception:
                continue
            self.expect(
                len(back) == size, f"decompress() of {size} bytes gave {len(back)}: it must raise, or give that many"
            )

    @check
    def test_memory_bound(self) -> None:
        """What it says it takes is a number, and no less for larger chunks."""
        codec = self.loaded(CodecBackend)
        bounds = [codec.memory_bound(1 << shift, self.params) for shift in range(0, 25, 6)]
        self.expect(
            all(type(bound) is int and bound >= 0 for bound in bounds) and bounds == sorted(bounds),
            f"memory_bound() gave {bounds} for ever larger sizes: it must give integers that do not fall",
        )
        shared = codec.memory_shared(self.params)
        self.expect(0 <= shared <= bounds[0], f"memory_shared() gave {shared}, which is not a part of {bounds[0]}")

    @check
    def test_archive(self) -> None:
        """Archives made with it come back, and name it."""
        import io

        import lmarc

        data = large(min(self.large, 100_000))
        archive = lmarc.compress(data, backend=self.backend)
        with lmarc.open(io.BytesIO(archive)) as opened:
            self.expect(opened.read("data") == data, "an archive gave back something else")
            names = {opened.header.backends[chunk.codec].name for chunk in opened.chunks}
        smaller = len(self.loaded(CodecBackend).compress(data, self.params)) < len(data)
        self.expect(
            self.backend in names or not smaller, f"what it makes smaller was coded by {', '.join(sorted(names))}"
        )
        self.found(archive="coded by " + ", ".join(sorted(names)))
