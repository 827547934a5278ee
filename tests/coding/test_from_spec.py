"""spec/CM.md is complete and true: a decoder written from it reads what the model wrote."""

from __future__ import annotations

import pytest

from lmarc.coding import memory, model
from tests.coding import from_spec, inputs


@pytest.mark.parametrize("name", inputs.SHORT)
def test_the_spec_decodes_it(name: str) -> None:
    data = inputs.SHORT[name]
    assert from_spec.decode(model.encode(data), len(data)) == data


def test_the_spec_decodes_longer_content() -> None:
    """Long enough for full buckets, sure matches, their misses, and tables above their least sizes."""
    data = inputs.log(2500) + inputs.prose(1500) + inputs.noise(500) + inputs.log(2500)
    assert from_spec.decode(model.encode(data), len(data)) == data


def test_the_spec_has_the_tables() -> None:
    tables = memory.constant_tables()
    assert tables.squash.tolist() == from_spec.SQUASH
    assert tables.stretch.tolist() == from_spec.STRETCH
    assert tables.class_of.tolist() == from_spec.CLASS
    assert tables.next_state.reshape(-1, 2).tolist()[: len(from_spec.NEXT)] == from_spec.NEXT
