"""What a learner that starts from nothing adds to the context models, and how fast it is.

    python -m benchmarks.torch_online FILE... [--bytes 2000000] [--set KEY=VALUE]... [--no-decode]

Each file, up to --bytes of it, is one group. Columns: bytes, bytes of the payload of the learner with the context
models, of cm at level 2, the first in percent of the second, bytes per second of packing and unpacking.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from lmarc.archive.predictors import open_for_packing
from lmarc.backends import registry
from lmarc.coding import codec as cm
from lmarc.models.identity import model_file


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--bytes", type=int, default=2_000_000)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-decode", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    settings: dict[str, int | str] = {"mode": "online"}
    settings |= {key: int(value) for key, _, value in (text.partition("=") for text in arguments.set)}
    path = registry.predictor("torch").own_model(settings)
    assert path is not None
    codec = open_for_packing("torch", model_file(path), settings, 1).codec
    print(dict(codec.model.settings))
    print("    bytes    mixed      cm2   %cm2  pack B/s   unp B/s")
    for file in arguments.files:
        data = file.read_bytes()[: arguments.bytes]
        begun = time.monotonic()
        payload = codec.compress(data, {})
        packing = len(data) / (time.monotonic() - begun)
        unpacking = float("inf")
        if not arguments.no_decode:
            begun = time.monotonic()
            if codec.decompress(memoryview(payload), len(data), {}) != data:
                sys.exit(f"{file}: the round trip failed")
            unpacking = len(data) / (time.monotonic() - begun)
        other = len(cm.encode(data, 2))
        shares = f"{100 * len(payload) / other:6.1f}"
        print(f"{len(data):9} {len(payload):8} {other:8} {shares} {packing:9.0f} {unpacking:9.0f}  {file}", flush=True)


if __name__ == "__main__":
    main()
