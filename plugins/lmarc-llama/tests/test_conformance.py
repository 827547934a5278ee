"""What every predictor has to keep: of a model that has learned something, and of one whose state does not grow."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from fixtures import random_models
from lmarc.testing import PredictorSuite

TRAINED = Path(random_models.__file__).parent / "model" / "lmarc-tiny.gguf"


class TestLlama(PredictorSuite):
    backend = "llama"
    model = TRAINED
    large = 8_000


class TestRecurrent(PredictorSuite):
    backend = "llama"
    model: ClassVar[Path | None] = None
    large = 4_000
    # It lacks most bytes.
    tokenizer_is_whole = False

    @pytest.fixture(autouse=True)
    def _model(self, models: dict[str, Path]) -> None:
        type(self).model = models["rwkv7"]
