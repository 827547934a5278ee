"""How many threads to use, and a thread for what must be done before theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lmarc.archive.observer import Observer


def default_jobs() -> int:
    """The processors this process may use."""
    return max(len(os.sched_getaffinity(0)), 1) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(work: Callable[[], None], observer: Observer) -> None:
    """Do what makes backends ready, in a thread of its own: this one can be interrupted while a model is compiled."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="lmarc-prepare")
    observer.preparing()
    try:
        pool.submit(work).result()
    finally:
        pool.shutdown(wait=False)
        observer.prepared()
