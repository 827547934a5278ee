"""All checks of an installed backend, one after the other, and what came of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmarc.backends import registry
from lmarc.backends.contract import PredictorBackend
from lmarc.testing.codec_suite import CodecSuite
from lmarc.testing.predictor_suite import PredictorSuite
from lmarc.testing.suite import HangError, Suite


@dataclass(frozen=True)
class Outcome:
    """What came of a check: `failure` is "" where it passed, None where it was not tried since another had hung."""

    name: str
    about: str
    seconds: float
    failure: str | None


@dataclass
class Certificate:
    """What came of all of them."""

    backend: str
    plugin: str
    kind: str
    outcomes: list[Outcome] = field(default_factory=list)
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether all passed."""
        return all(outcome.failure == "" for outcome in self.outcomes)


def certify(
    name: str,
    *,
    model: str | os.PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    large: int | None = None,
    patience: float | None = None,
    told: Callable[[Outcome], object] = lambda outcome: None,
) -> Certificate:
    """Run the suite for the backend's kind. Raises BackendMissingError if it is not there or cannot be loaded."""
    is_predictor = isinstance(registry.able(name), PredictorBackend)
    facts: dict[str, Any] = {"backend": name, "params": dict(params or {})}
    facts |= {"model": model} if is_predictor else {}
    facts |= {key: value for key, value in (("large", large), ("patience", patience)) if value is not None}
    parent: type[Suite] = PredictorSuite if is_predictor else CodecSuite
    suite: type[Suite] = type("Certified", (parent,), facts)
    certificate = Certificate(name, registry.found()[name].label, "predictor" if is_predictor else "codec")
    has_hung = False
    for check, about in suite.checks().items():
        start = time.monotonic()
        failure: str | None = ""
        if has_hung:
            failure = None
        else:
            try:
                getattr(suite(), check)()
            except AssertionError as error:
                failure, has_hung = " ".join(str(error).split()), isinstance(error, HangError)
        certificate.outcomes.append(Outcome(check.removeprefix("test_"), about, time.monotonic() - start, failure))
        told(certificate.outcomes[-1])
    certificate.figures = suite.figures
    return certificate
