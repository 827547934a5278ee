"""Real, if tiny, distributions: a module and a dist-info directory that importlib.metadata finds on the path."""

from __future__ import annotations

from pathlib import Path

HEAD = "from lmarc.backends.contract import CodecBackend, Promise, hookimpl\n"
GOOD = """
class Backend(CodecBackend):
    name, version, promise = {name!r}, 1, Promise.PORTABLE

    def compress(self, data, params):
        return bytes(byte ^ 0x55 for byte in bytes(data))[:-1]

    def decompress(self, payload, size, params):
        assert len(payload) == size - 1
        return bytes(byte ^ 0x55 for byte in payload) + b"\\n"

@hookimpl
def lmarc_backend():
    return Backend()
"""


def good(name: str) -> str:
    """The source of a backend that saves a byte of every chunk that ends in a line feed."""
    return HEAD + GOOD.format(name=name)


def install(
    folder: Path, backend: str, source: str, *, distribution: str = "", version: str = "1.2", metadata: bool = True
) -> Path:
    """Install a distribution with a module and one entry point, named `backend`, into a directory for PYTHONPATH."""
    distribution = distribution or f"lmarc-test-{backend}"
    module = "m_" + "".join(char if char.isalnum() else "_" for char in distribution)
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    if metadata:
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[lmarc]\n{backend} = {module}\n")
    return folder
