"""What every predictor has to keep, in all three modes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from fixtures import random_models
from lmarc.testing import PredictorSuite

TINY = Path(random_models.__file__).parent / "model"


class TestExact(PredictorSuite):
    backend = "torch"
    model = TINY
    large = 3_000


class TestFloat(PredictorSuite):
    backend = "torch"
    model = TINY
    params: ClassVar[dict[str, int | str]] = {"mode": "float", "lanes": 4}
    large = 1_500


class TestOnline(PredictorSuite):
    backend = "torch"
    params: ClassVar[dict[str, int | str]] = {"mode": "online", "lanes": 2, "width": 32}
    large = 6_000
    lanes_learn_together = True
