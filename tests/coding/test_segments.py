"""What the encoder finds in the content, and the branch filter."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmarc.coding import branches, codec, segments
from lmarc.coding.contexts import BINARY, RASTER, SAMPLES, TEXT
from lmarc.coding.segments import MOST_SEGMENTS, Segment, find, is_possible
from tests.coding import inputs


def first(sample: object, segment: Segment) -> int:
    """A trial in which the plainest kind wins."""
    return 0


def found(data: bytes) -> list[Segment]:
    out = find(np.frombuffer(data, np.uint8), first)
    assert sum(segment.length for segment in out) == len(data)
    assert len(out) <= MOST_SEGMENTS
    assert all(map(is_possible, out))
    return out


def test_text_is_one_segment() -> None:
    assert found(inputs.prose(30_000) + inputs.log(30_000) + inputs.chinese(9_000)) == [Segment(69_000, TEXT)]


def test_bitmaps_and_waves_say_what_they_are() -> None:
    data = inputs.prose(20_000) + inputs.bitmap(70, 50) + inputs.prose(20_000) + inputs.wave(9_000)
    kinds = [(s.kind, s.stride, s.row) for s in found(data)]
    assert (RASTER, 3, 212) in kinds
    assert (SAMPLES, 4, 8) in kinds


def test_code_is_found() -> None:
    assert found(inputs.calls(60_000)) == [Segment(60_000, BINARY, branches=True)]


def test_the_trial_decides_what_records_are() -> None:
    def rasters(sample: object, segment: Segment) -> int:
        return -segment.kind

    assert {s.kind for s in find(np.frombuffer(inputs.records(60_000), np.uint8), rasters)} == {SAMPLES}


def test_the_end_of_a_run_is_as_the_rest() -> None:
    """Pieces too short to be tried keep what was found before them."""
    data = np.frombuffer(inputs.records((256 << 10) + 20_000), np.uint8)
    (segment,) = find(data, lambda sample, segment: -segment.kind)
    assert segment.kind == SAMPLES


def test_of_short_runs_the_majority_decides() -> None:
    noise = bytes(range(256))
    mostly_binary = (inputs.prose(4 << 10) + noise * 112) * 20
    mostly_text = (inputs.prose(28 << 10) + noise * 16) * 20
    assert [segment.kind for segment in found(mostly_binary)] == [BINARY]
    assert [segment.kind for segment in found(mostly_text)] == [TEXT]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_smallest_bitmaps_come_back(width: int) -> None:
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + 400 * width, 0, 0, 54, 40, width, 100, 1, 32, 0, 0, 0, 0, 0, 0)
    data = head + inputs.noise(400 * width)
    assert codec.decode(codec.encode(data, 2), len(data), 2) == data


def test_many_false_starts_cost_little_time() -> None:
    start = time.process_time()
    found(b"BM" * 300_000 + b"RIFF" * 100_000)
    assert time.process_time() - start < 20


def test_many_small_bitmaps_fit_the_head() -> None:
    found(inputs.bitmap(5, 5) * 2_000)


def test_many_changes_fit_the_head() -> None:
    found((inputs.prose(9_000) + inputs.noise(9_000)) * 300)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"BM", b"RIFF", bytes(5000), b"text " * 900]))))
def test_any_content_has_possible_segments(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    if data:
        found(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"\xe8", b"\xe9", b"\0", b"\xff", b"\x01\x02", b"\xe8\xe8\xe8"])).map(b"".join))
def test_the_branch_filter_can_be_undone(code: bytes) -> None:
    array = np.frombuffer(code, np.uint8).copy()
    branches.make_absolute(array)
    branches.make_relative(array)
    assert array.tobytes() == code


def test_calls_of_one_function_look_alike() -> None:
    code = bytearray(200)
    for at in (10, 50, 90):
        code[at : at + 5] = b"\xe8" + struct.pack("<i", 150 - at)
    array = np.frombuffer(bytes(code), np.uint8).copy()
    branches.make_absolute(array)
    assert {array[at : at + 5].tobytes() for at in (10, 50, 90)} == {b"\xe8" + struct.pack("<i", 150)}


def test_limits_are_those_the_decoder_keeps() -> None:
    assert not is_possible(Segment(1, RASTER, 4, 4))
    assert not is_possible(Segment(1, SAMPLES, 3, 8))
    assert not is_possible(Segment(1, SAMPLES, 4, 5))
    assert is_possible(Segment(1, SAMPLES, 4, 6))
    assert segments.MOST_ROW < 1 << 16


def layouts(data: bytes) -> list[tuple[int, int, int]]:
    return [(start, end, segment.kind) for start, end, segment in segments._known_layouts(data)]


def test_layouts_are_believed_only_where_they_fit() -> None:
    bitmap, wave = inputs.bitmap(9, 12), inputs.wave(300)
    assert layouts(b"BM" + bitmap) == [(56, 2 + len(bitmap), RASTER)]
    assert layouts(wave) == [(44, len(wave), SAMPLES)]
    for cut in (2, 53, len(bitmap) - 1):
        assert layouts(bitmap[:cut]) == []
    for at, value in ((14, 39), (26, 2), (28, 16), (30, 1), (20, 64), (10, 53), (22, 0)):
        assert layouts(bitmap[:at] + bytes([value]) + bitmap[at + 1 :]) == []
    assert layouts(wave[:43]) == []
    for at, value in ((8, 0), (20, 2), (22, 0), (22, 9), (34, 24), (36, 0), (40, 0)):
        broken = wave[:at] + bytes([value]) + wave[at + 1 :]
        assert layouts(broken if at != 40 else wave[:40] + bytes(4) + wave[44:]) == []


def test_a_layout_within_another_is_none() -> None:
    wave = inputs.wave(2000)
    within = wave[:100] + inputs.bitmap(9, 12) + wave[100 + len(inputs.bitmap(9, 12)) :]
    assert layouts(within) == [(44, len(wave), SAMPLES)]


def test_distances_cost_the_same_in_pure_python() -> None:
    sample = np.frombuffer(inputs.records(2000), np.uint8)
    compiled, plain = np.zeros(70, np.int64), np.zeros(70, np.int64)
    segments._lag_costs(sample, segments._log_table(), compiled)
    getattr(segments._lag_costs, "py_func", segments._lag_costs)(sample, segments._log_table(), plain)
    assert np.array_equal(compiled, plain)
    assert int(np.argmin(plain[1:])) + 1 in (20, 40, 60)
