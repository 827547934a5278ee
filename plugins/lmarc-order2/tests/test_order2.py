"""The plugin as it is installed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import log2
from pathlib import Path

from lmarc.testing import PredictorSuite
from lmarc.testing.predictor_suite import PredictorCodec
from tests.cli import program

SAMPLE = Path(program.__file__).parents[2] / "fixtures" / "sample" / "text"


class TestOrder2(PredictorSuite):
    backend = "order2"
    large = 60_000


def order2_entropy(data: bytes) -> float:
    """Bytes that coding costs by what has followed each pair of bytes, known beforehand; what it takes to say that is
    not counted."""
    pairs = Counter(pairwise(data))
    triples = Counter(zip(data, data[1:], data[2:], strict=False))
    return -sum(count * log2(count / pairs[a, b]) for (a, b, _), count in triples.items()) / 8


def test_far_below_its_own_entropy(tmp_path: Path) -> None:
    """Of texts of a size at which an entropy of order 2 means something."""
    data = b"".join(path.read_bytes() for path in sorted(SAMPLE.rglob("*")) if path.is_file())
    (tmp_path / "text").write_bytes(data)
    facts = program.run("pack", "text", "--backend", "order2", "--json", cwd=tmp_path).json
    assert facts is not None
    assert (tmp_path / "text.lmarc").stat().st_size < order2_entropy(data)
    assert program.run("cat", "text.lmarc", "text", cwd=tmp_path).out == data


def test_mixed_it_costs_less_than_alone(tmp_path: Path) -> None:
    data = b"".join(path.read_bytes() for path in sorted(SAMPLE.rglob("*.txt")))
    suite = TestOrder2()
    with suite.opened() as codec, suite.opened(mixing=False) as alone:
        assert isinstance(codec, PredictorCodec)
        assert len(codec.compress(data, {})) < 0.7 * len(alone.compress(data, {}))
