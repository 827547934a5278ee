"""All checks of an installed backend, one after the other, and what came of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lmarc.backends import registry
from lmarc.backends.contract import PredictorBackend
from lmarc.errors import UsageError
from lmarc.testing.codec_suite import CodecSuite
from lmarc.testing.predictor_suite import PredictorSuite
from lmarc.testing.suite import HangError, Suite


@dataclass(frozen=True)
class Outcome:
    """What came of a check: `failure` is "" where it passed, None where it was not tried, as it was to be left out or
    another had hung."""

    name: str
    about: str
    seconds: float
    failure: str | None
    is_excepted: bool = False


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
        """Whether all passed that were not to be left out."""
        return all(outcome.failure == "" or outcome.is_excepted for outcome in self.outcomes)


def certify(
    name: str,
    *,
    model: str | os.PathLike[str] | None = None,
    params: Mapping[str, Any] | None = None,
    large: int | None = None,
    patience: float | None = None,
    excepted: Collection[str] = (),
    told: Callable[[Outcome], object] = lambda outcome: None,
) -> Certificate:
    """Run the suite for the backend's kind, but the checks `excepted`.

    Raises BackendMissingError if it is not there or cannot be loaded, UsageError for a check that there is none of.
    """
    is_predictor = isinstance(registry.able(name), PredictorBackend)
    facts: dict[str, Any] = {"backend": name, "params": dict(params or {})}
    facts |= {"model": model} if is_predictor else {}
    facts |= {key: value for key, value in (("large", large), ("patience", patience)) if value is not None}
    parent: type[Suite] = PredictorSuite if is_predictor else CodecSuite
    suite: type[Suite] = type("Certified", (parent,), facts)
    certificate = Certificate(name, registry.found()[name].label, "predictor" if is_predictor else "codec")
    unknown = [check for check in excepted if f"test_{check}" not in suite.checks()]
    if unknown:
        raise UsageError(f"there is no check {', '.join(unknown)}")
    has_hung = False
    for check, about in suite.checks().items():
        start = time.monotonic()
        failure: str | None = ""
        is_excepted = check.removeprefix("test_") in excepted
        if has_hung or is_excepted:
            failure = None
        else:
            try:
                getattr(suite(), check)()
            except AssertionError as error:
                failure, has_hung = " ".join(str(error).split()), isinstance(error, HangError)
        seconds = time.monotonic() - start
        certificate.outcomes.append(Outcome(check.removeprefix("test_"), about, seconds, failure, is_excepted))
        told(certificate.outcomes[-1])
    certificate.figures = suite.figures
    return certificate
