"""What a campaign is: cases by number, each the same in every run, tried in parts by several processes."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

_FAULTS_SHOWN = 20


@dataclass
class Tally:
    """What a campaign has seen: `counts` are added up over parts, of `peaks` the highest stands."""

    cases: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def peak(self, what: str, value: float) -> None:
        """Note a value, of which the highest is of interest."""
        self.peaks[what] = max(self.peaks.get(what, value), value)

    def add(self, other: Tally) -> None:
        """Add another part's."""
        self.cases += other.cases
        self.counts += other.counts
        self.faults += other.faults
        for what, value in other.peaks.items():
            self.peak(what, value)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"cases": self.cases, "counts": dict(self.counts), "peaks": self.peaks, "faults": self.faults}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Tally:
        """The inverse of to_json."""
        return cls(value["cases"], Counter(value["counts"]), value["peaks"], value["faults"])

    def __str__(self) -> str:
        counts = [f"{what}: {count}" for what, count in sorted(self.counts.items())]
        peaks = [f"{what} at most {value:.4g}" for what, value in sorted(self.peaks.items())]
        return "; ".join([f"{self.cases} cases", *counts, *peaks, f"{len(self.faults)} faults"])


class Campaign(ABC):
    """A promise, tried many times. Instances are made by prepare() in one process and handed to the others."""

    #: What it is called on the command line, and what it tries, in one line.
    name: ClassVar[str]
    what: ClassVar[str]
    #: Cases in the full run, and in one part: what is lost when a run is interrupted. None: prepare() says so.
    cases: ClassVar[int | None] = None
    part: ClassVar[int] = 100
    #: Processes that share the cases at most; None: as many as there are processors.
    processes: ClassVar[int | None] = None

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def rng(self, number: int) -> random.Random:
        """What a case draws from."""
        return random.Random(f"{self.name} {self.seed} {number}")

    @abstractmethod
    def prepare(self, folder: Path) -> int:
        """Make what all cases need, in an empty folder that stays until the end; return how many cases there are.

        The same for the same seed. What it leaves in the instance is pickled for the other processes.
        """

    @abstractmethod
    def run(self, numbers: range) -> Tally:
        """Try these cases, in this process."""


def expect_none(tally: Tally) -> None:
    """Fail if there are faults. For the short versions in the test suite."""
    shown = "\n".join(tally.faults[:_FAULTS_SHOWN])
    assert not tally.faults, f"{tally}\n{shown}"
