"""How many threads to use."""

from __future__ import annotations

import os


def default_jobs() -> int:
    """The processors this process may use."""
    return max(len(os.sched_getaffinity(0)), 1) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
