"""Runs lmarc's command lines, each in a fork of one process that has imported all: far faster than as many starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DRIVER = """
import json, os, sys, tempfile
import lmarc.cli.main, lmarc.cli.render, lmarc.cli.session, lmarc.archive.read, lmarc.archive.jobs
for arguments in json.load(sys.stdin):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.argv = ["lmarc", *arguments]
            lmarc.cli.main.main()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [os.pread(file.fileno(), 1 << 24, 0).decode() for file in (out, err)]
        print(json.dumps([status, *texts]), flush=True)
"""


class Result(NamedTuple):
    code: int
    out: str
    err: str


def run_lmarc(lines: Sequence[Sequence[str]]) -> list[Result]:
    """What `lmarc` with each of these lists of arguments makes, in order."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DRIVER],
        input=json.dumps(lines),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=300,
        check=True,
    )
    return [Result(*json.loads(line)) for line in done.stdout.splitlines()]
