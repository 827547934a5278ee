"""Whether what a predictor coded here decodes in another process."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tempfile

from blake3 import blake3

from lmarc._version import __version__
from lmarc.archive.predictors import OpenPredictor
from lmarc.container.frames import CHECK_SIZE
from lmarc.container.header import Header
from lmarc.container.index import Member, Owner
from lmarc.container.writer import ContainerWriter

_NAME = b"group"


def decodes_elsewhere(predictor: OpenPredictor, data: bytes, payload: bytes) -> bool:
    """Whether a fresh process that opens the model anew decodes a group's payload to its content."""
    with tempfile.NamedTemporaryFile(prefix="lmarc-", suffix=".lmarc") as file:
        file.write(_archive_of(predictor, data, payload))
        file.flush()
        command = [sys.executable, "-m", "lmarc", "test", "--quiet", "--jobs", str(predictor.threads)]
        command += ["--model", predictor.model.path] if predictor.model_row is not None else []
        command.append(file.name)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=os.environ, check=False)
    return done.returncode == 0


def _archive_of(predictor: OpenPredictor, data: bytes, payload: bytes) -> bytes:
    """An archive of that one group."""
    sink = io.BytesIO()
    options = {"models": [predictor.model_row]} if predictor.model_row is not None else {}
    writer = ContainerWriter(sink, Header(__version__, (predictor.reference,), options))
    writer.add_chunk(0, len(data), blake3(data).digest(CHECK_SIZE), payload)
    owner = Owner(0, 0, b"", b"")
    writer.add_member(Member(_NAME, stat.S_IFREG | 0o644, 0, owner, len(data), 0, hash=blake3(data).digest()))
    writer.close()
    return sink.getvalue()
