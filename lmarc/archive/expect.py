"""How long a predictor will take, measured before it begins."""

from __future__ import annotations

from lmarc.archive.observer import Observer
from lmarc.backends.predicted import PredictorCodec
from lmarc.errors import LimitError

#: Less content than this, in bytes, is not worth measuring for, unless there is a limit.
LEAST = 1 << 18


def expect(
    codec: PredictorCodec,
    steps_at_once: int,
    content: int,
    symbols_per_byte: float,
    most_seconds: float | None,
    observer: Observer,
) -> None:
    """Measure, and tell the observer, how long the model takes for so many bytes of content, so many steps at once.

    Raises LimitError if that is more than `most_seconds`.
    """
    if content < LEAST and most_seconds is None:
        return
    symbols = codec.measure(steps_at_once)
    rate = symbols / max(symbols_per_byte, 1e-9)
    seconds = content / rate
    observer.expecting(symbols, rate, seconds)
    if most_seconds is not None and seconds > most_seconds:
        raise LimitError(
            f"the model does {symbols:.0f} tokens/s here, {rate:.0f} bytes/s: this would take {seconds:.0f} s, "
            f"more than the {most_seconds:.0f} s allowed"
        )
