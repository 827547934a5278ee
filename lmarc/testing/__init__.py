"""The conformance kit: what authors of backends run. See docs/plugins.md.

from lmarc.testing import PredictorSuite

class TestMine(PredictorSuite):
    backend = "mine"
"""

from lmarc.testing.codec_suite import CodecSuite
from lmarc.testing.predictor_suite import PredictorSuite
from lmarc.testing.suite import CheckError

__all__ = ["CheckError", "CodecSuite", "PredictorSuite"]
