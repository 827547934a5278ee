"""What this machine has, for backends that must fit into it."""

from __future__ import annotations

import os


def memory() -> int:
    """Bytes of memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
