"""Campaigns from the command line: ``python -m tests.campaigns NAME``; without a name, what there is.

Interrupted, the same command goes on; finished, it prints a line of figures, and ends with 1 if there were faults. What
has been done is kept in .campaigns/ as long as neither lmarc nor the campaigns change.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from blake3 import blake3

import lmarc
from tests.campaigns import catalogue
from tests.campaigns.campaign import Campaign, Tally

_STATE = Path(".campaigns")
_FAULTS_KEPT = 200
_current: Campaign


def _begin(campaign: Campaign) -> None:
    global _current
    _current = campaign


def _run(first: int, last: int) -> tuple[int, Tally]:
    return first, _current.run(range(first, last))


class State:
    """Which parts are done, in a file that is replaced after each."""

    def __init__(self, path: Path, label: str, fresh: bool) -> None:
        self._path, self._label = path, label
        self.done: set[int] = set()
        self.tally, self.seconds = Tally(), 0.0
        if not fresh and path.exists():
            kept = json.loads(path.read_text())
            if kept["label"] == label:
                self.done, self.tally = set(kept["done"]), Tally.from_json(kept["tally"])
                self.seconds = kept["seconds"]

    def note(self, first: int, tally: Tally, seconds: float) -> None:
        """A part is done."""
        self.done.add(first)
        self.tally.add(tally)
        del self.tally.faults[_FAULTS_KEPT:]
        kept = {"label": self._label, "done": sorted(self.done), "tally": self.tally.to_json(), "seconds": seconds}
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(kept))
        beside.replace(self._path)


def _sources() -> str:
    """A digest of lmarc and of the campaigns: figures of one code are not continued with another."""
    digest = blake3()
    for root in (Path(lmarc.__file__).parent, Path(__file__).parent):
        for path in sorted([*root.rglob("*.py"), *root.rglob("*.c")]):
            digest.update(path.read_bytes())
    return digest.hexdigest(16)


def run(campaign: Campaign, cases: int | None, processes: int, fresh: bool) -> State:
    """Run what is left of a campaign; `cases` limits it to the first so many."""
    _STATE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lmarc-campaign-") as folder:
        total = campaign.prepare(Path(folder))
        total = total if cases is None else min(cases, total)
        label = f"{campaign.seed} {total} {campaign.part} {_sources()}"
        state = State(_STATE / f"{campaign.name}.json", label, fresh)
        parts = [first for first in range(0, total, campaign.part) if first not in state.done]
        began, before = time.monotonic(), state.seconds
        # Spawned: threads of numba or of a model do not survive a fork.
        with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (campaign,)) as pool:
            running: set[Future[tuple[int, Tally]]] = set()
            try:
                while parts or running:
                    while parts and len(running) < processes:
                        first = parts.pop(0)
                        running.add(pool.submit(_run, first, min(first + campaign.part, total)))
                    finished, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        state.seconds = before + time.monotonic() - began
                        state.note(*future.result(), state.seconds)
                        _progress(state, total)
            except KeyboardInterrupt:
                pool.shutdown(cancel_futures=True)
                sys.exit(f"\ninterrupted after {state.tally.cases} cases: the same command goes on")
    return state


def _progress(state: State, total: int) -> None:
    if sys.stderr.isatty():
        done = state.tally.cases
        left = state.seconds / max(done, 1) * (total - done)
        print(
            f"\r{done} of {total}, {len(state.tally.faults)} faults, {left:.0f} s left \x1b[K", end="", file=sys.stderr
        )


def main(arguments: Iterable[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, help="only the first so many")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--fresh", action="store_true", help="forget what an interrupted run has done")
    options = parser.parse_args(None if arguments is None else list(arguments))
    known = catalogue.campaigns()
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"no campaign {', '.join(unknown)}: there are {', '.join(known)}")
    if not options.names:
        for name, kind in known.items():
            print(f"{name:24}{kind.what}")
        return 0
    faults = 0
    for name in options.names:
        campaign = known[name](options.seed)
        state = run(
            campaign, options.cases, min(options.processes, campaign.processes or options.processes), options.fresh
        )
        print(f"{name}: {state.tally}; {state.seconds:.0f} s", flush=True)
        for fault in state.tally.faults:
            print(f"  {fault}", file=sys.stderr)
        faults += len(state.tally.faults)
    return 1 if faults else 0
