"""The plugin as it is installed: found by name, coding real archives."""

from __future__ import annotations

import io
import os

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmarc
from lmarc.backends import registry
from lmarc.errors import DamagedError


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=5000))
def test_payload_round_trips(data: bytes) -> None:
    codec = registry.codec("brotli")
    assert codec.decompress(memoryview(codec.compress(data, {})), len(data), {}) == data


def test_archive_names_and_needs_the_backend() -> None:
    data = b"brotli knows the web. " * 200
    archive = lmarc.compress(data, backend="brotli")
    with lmarc.open(io.BytesIO(archive)) as opened:
        assert [ref.name for ref in opened.header.backends] == ["brotli"]
        assert opened.read("data") == data


def test_incompressible_data_is_stored() -> None:
    data = os.urandom(10_000)
    with lmarc.open(io.BytesIO(lmarc.compress(data, backend="brotli"))) as opened:
        assert [ref.name for ref in opened.header.backends] == ["store"]


@pytest.mark.parametrize("size", [1, 999, 1001, 50_000_000])
def test_stream_of_another_length_is_refused(size: int) -> None:
    payload = brotli.compress(bytes(1000))
    with pytest.raises(DamagedError):
        registry.codec("brotli").decompress(memoryview(payload), size, {})


def test_bomb_is_stopped() -> None:
    payload = brotli.compress(bytes(200_000_000))
    with pytest.raises(DamagedError):
        registry.codec("brotli").decompress(memoryview(payload), 1000, {})


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_truncated_stream_is_refused(cut: int) -> None:
    payload = brotli.compress(os.urandom(1000))
    with pytest.raises((DamagedError, brotli.error)):
        registry.codec("brotli").decompress(memoryview(payload[:cut]), 1000, {})
