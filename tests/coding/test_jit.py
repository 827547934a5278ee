"""Machine code that numba keeps on disk must be that of the sources as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_HELPER = """
from constants import VALUE
from lmarc.coding.jit import kernel

@kernel
def value() -> int:
    return VALUE
"""
_TOP = """
import sys
from helper import value
from lmarc.coding.jit import entry

def build(stamp):
    @entry
    def run() -> int:
        return value() if stamp >= 0 else 0
    return run

print(build(int(sys.argv[1]))())
"""


def test_old_machine_code_of_helpers_stays_out_of_new_entries(tmp_path: Path) -> None:
    """A helper's file is the same, what it imports is not: numba's own check would not notice."""
    (tmp_path / "helper.py").write_text(_HELPER)
    (tmp_path / "top.py").write_text(_TOP)
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "NUMBA_DISABLE_JIT": "0",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])]), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    for value in (1, 2):
        (tmp_path / "constants.py").write_text(f"VALUE = {value}\n")
        command = [sys.executable, str(tmp_path / "top.py"), str(value)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == f"{value}\n"
    assert list((tmp_path / "cache").rglob("top.*.nbi")), "nothing was kept"
    assert not list((tmp_path / "cache").rglob("helper.*")), "a helper was kept"
