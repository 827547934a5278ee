"""What a GGUF model makes of files, with the context models and without, every round trip checked.

    python -m benchmarks.llama_sizes MODEL.gguf FILE... [--lanes 4] [--bytes 1048576] [--threads 1] [--no-decode]

Each file, up to --bytes of it, is one group. Columns: bytes, bytes of the payload of the model with the context models,
of the model alone, of cm at level 2; the first in percent of the other two; tokens per second of packing and unpacking.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lmarc.archive.predictors import open_for_packing
from lmarc.backends.predicted import PredictorCodec
from lmarc.coding import codec as cm
from lmarc.models.identity import model_file


def timed(work: Callable[[], bytes]) -> tuple[bytes, float]:
    """What work returns, and the seconds it took."""
    start = time.monotonic()
    return work(), time.monotonic() - start


def measure(codec: PredictorCodec, alone: PredictorCodec, path: Path, most: int, decode: bool) -> str:
    """The row of one file."""
    data = path.read_bytes()[:most]
    symbols = codec.symbols_in(data)
    payload, packing = timed(lambda: codec.compress(data, {}))
    unpacking = float("inf")
    if decode:
        back, unpacking = timed(lambda: codec.decompress(memoryview(payload), len(data), {}))
        if back != data:
            sys.exit(f"{path}: the round trip failed")
    without, other = len(alone.compress(data, {})), len(cm.encode(data, 2))
    shares = f"{100 * len(payload) / without:6.1f} {100 * len(payload) / other:6.1f}"
    speeds = f"{symbols / packing:8.0f} {symbols / unpacking:8.0f}"
    return f"{len(data):9} {len(payload):8} {without:8} {other:8} {shares} {speeds}  {path}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--lanes", type=int)
    parser.add_argument("--bytes", type=int, default=1 << 20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-decode", action="store_true")
    arguments = parser.parse_args()
    wishes = {} if arguments.lanes is None else {"lanes": arguments.lanes}
    opened = open_for_packing("llama", model_file(arguments.model), wishes, arguments.threads)
    alone = PredictorCodec.beside(opened.codec, mixing=False)
    print(opened.reference.params)
    print("    bytes    mixed    alone      cm2 %alone   %cm2  pack t/s  unp t/s")
    for path in arguments.files:
        print(measure(opened.codec, alone, path, arguments.bytes, not arguments.no_decode), flush=True)


if __name__ == "__main__":
    main()
