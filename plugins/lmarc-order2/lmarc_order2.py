"""The smallest predictor: how often each byte has followed the two before it, in its lane."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lmarc.backends.contract import PredictorBackend, PredictorModel, Promise, Session, hookimpl
from lmarc.backends.logits import logarithms
from lmarc.backends.settings import refuse_unknown


class Lanes(Session):
    def __init__(self, lanes: int) -> None:
        self.counts: list[dict[int, npt.NDArray[np.uint8]]] = [{} for _ in range(lanes)]
        self.before = [0] * lanes  # the last two bytes of each lane

    def advance(self, symbols: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        scores = np.zeros((*symbols.shape, 256), dtype=np.float32)
        for (lane, step), byte in np.ndenumerate(symbols):
            counts = self.counts[lane].setdefault(self.before[lane], np.zeros(256, dtype=np.uint8))
            counts[byte] += 1
            counts //= 2 if counts[byte] == 255 else 1
            self.before[lane] = (self.before[lane] << 8 | int(byte)) & 0xFFFF
            known = self.counts[lane].get(self.before[lane])
            if known is not None:
                scores[lane, step] = logarithms(4096)[known.astype(np.int32) * 16 + 1]
        return scores


class Order2Model(PredictorModel):
    vocabulary = tuple(bytes([byte]) for byte in range(256))
    settings: Mapping[str, Any] = MappingProxyType({})
    lanes, steps = 1, 64

    def tokenize(self, text: bytes) -> npt.NDArray[np.int32]:
        return np.frombuffer(text, dtype=np.uint8).astype(np.int32)

    def session(self, lanes: int) -> Session:
        return Lanes(lanes)


class Order2(PredictorBackend):
    name, version, promise, needs_model = "order2", 1, Promise.PORTABLE, False

    def open(self, path: str, params: Mapping[str, Any], threads: int) -> PredictorModel:
        refuse_unknown(self.name, params, ())
        return Order2Model()


@hookimpl
def lmarc_backend() -> Order2:
    return Order2()
