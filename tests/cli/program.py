"""Runs the program as people do, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT = 120
COMMAND = (sys.executable, "-m", "lmarc")
_UNWANTED = ("SOURCE_DATE_EPOCH", "NO_COLOR", "FORCE_COLOR", "PYTHONWARNINGS", "NUMBA_DISABLE_JIT", "COLUMNS", "TERM")
_UNWANTED += ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PYTHONIOENCODING", "PYTHONDEVMODE", "PYTHONOPTIMIZE")


@dataclass(frozen=True)
class Result:
    """What came of one run."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        """Standard output as lines."""
        return self.text.splitlines()

    @property
    def json(self) -> Any:
        """Standard output as the JSON document it is."""
        return json.loads(self.out)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a run, without what would change what is tested."""
    env = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    return {**env, "LC_ALL": "C.UTF-8", **(extra or {})}


def run(
    *args: str | bytes | Path,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    code: int | None = 0,
    command: Sequence[str] = COMMAND,
) -> Result:
    """Run lmarc and assert its exit code (None: any), and that no traceback shows."""
    done = subprocess.run(
        [*command, *args],
        cwd=cwd,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        env=environment(env),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    result = Result(done.returncode, done.stdout, done.stderr.decode(errors="surrogateescape"))
    assert "Traceback" not in result.err, result.err
    assert code is None or result.code == code, f"exit code {result.code}\n{result.err}\n{result.out[-2000:]!r}"
    return result


def names(archive: Path, *args: str | bytes) -> list[bytes]:
    """Member names of an archive, in order."""
    return run("list", "--null", archive, *args).out.split(b"\0")[:-1]
