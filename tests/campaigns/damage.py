"""Every single-bit flip and every truncation of three small archives: by zstd, by cm, and by a language model."""

from __future__ import annotations

import os
from pathlib import Path

from lmarc.archive.presets import Preset
from lmarc.backends import registry
from lmarc.models import find
from tests.campaigns.campaign import Campaign, Tally
from tests.campaigns.common import Change, Subject, flip, judge_all, make_tree, shares, truncate

_MODEL = Path(__file__).resolve().parents[2] / "fixtures" / "model" / "lmarc-tiny.gguf"
_CHECKPOINTS = {"zstd": 9 << 10, "cm": 900, "llama": 200}


def make(kind: str, folder: Path, seed: int) -> Subject:
    """One archive of 20 kB by store and zstd, and smaller ones by store and what takes longer to decode."""
    root = folder / kind
    if kind == "zstd":
        make_tree(root, seed, noise=16_600, text=8_000)
        preset = Preset("zstd", 3 << 10, {"level": 3})
    elif kind == "cm":
        make_tree(root, seed, noise=1_000, text=400, files=2)
        preset = Preset("cm", 600)
    else:
        make_tree(root, seed, noise=24, text=240, files=2, with_sparse=False)
        preset = _with_model()
    return Subject.make(kind, root, preset, _CHECKPOINTS[kind])


def _with_model() -> Preset:
    """The trained model of the fixtures. Readers find it through the environment, which processes inherit."""
    os.environ["LMARC_MODEL_PATH"] = str(_MODEL.parent)
    return Preset("llama", 100, {}, find.resolve(str(_MODEL)), is_alone=True)


def kinds() -> list[str]:
    """What there is here: a language model if llama.cpp is installed."""
    return ["zstd", "cm", *(["llama"] if "llama" in registry.found() else [])]


class _Damage(Campaign):
    """Cases are numbered through all archives."""

    change: Change

    def prepare(self, folder: Path) -> int:
        """Make the archives."""
        self.subjects = [make(kind, folder, self.seed) for kind in kinds()]
        return sum(map(self.cases_of, self.subjects))

    def cases_of(self, subject: Subject) -> int:
        """How many changes an archive takes."""
        raise NotImplementedError

    def run(self, numbers: range) -> Tally:
        """Judge these changes."""
        tally = Tally()
        for subject, inside in shares(self.subjects, self.cases_of, numbers):
            tally.add(judge_all(subject, type(self).change, inside))
            tally.counts[f"of {subject.name}, {len(subject.data)} bytes"] += len(inside)
        return tally


class Flips(_Damage):
    """Every bit."""

    name = "flips"
    what = "every single-bit flip of three small archives"
    part = 500
    change = flip

    def cases_of(self, subject: Subject) -> int:
        """One for each bit."""
        return 8 * len(subject.data)


class Truncations(_Damage):
    """Every length."""

    name = "truncations"
    what = "every truncation of the same archives"
    part = 250
    change = truncate

    def cases_of(self, subject: Subject) -> int:
        """One for each length but the whole."""
        return len(subject.data)
