"""Runs lmarc without the rights of root, who can read everything and so never meets a file that cannot be read."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import trees
from tests.cli.program import COMMAND

_NOBODY = 65_534
# What is imported is imported before the rights go: the interpreter may stand where others cannot look.
_SCRIPT = f"""
import os, sys
import lmarc.cli.main, lmarc.cli.progress, lmarc.packing, lmarc.reading, lmarc.archive.compare
import pathspec, zstandard
from lmarc.backends import registry
for name in ("store", "zstd"):
    registry.codec(name)
os.setgroups([])
os.setgid({_NOBODY})
os.setuid({_NOBODY})
lmarc.cli.main.main()
"""

COMMAND_AS_NOBODY = (sys.executable, "-c", _SCRIPT) if os.geteuid() == 0 else COMMAND


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A directory that anyone may write in, all directories above it open."""
    folder = Path(tempfile.mkdtemp(prefix="lmarc-nobody-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        trees.remove_tree(folder)
