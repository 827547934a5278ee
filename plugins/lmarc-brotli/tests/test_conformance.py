"""What every codec has to keep."""

from lmarc.testing import CodecSuite


class TestBrotli(CodecSuite):
    backend = "brotli"
