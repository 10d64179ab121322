"""JSON values that Postgres cannot store."""

import json

import pytest

from relay_core.domain.json_values import fault_of

BAD = ["NaN", "-Infinity", "1e999", r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', r'{"\ud800": 1}']


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_stored_is_found_at_any_depth(text: str):
    value = json.loads(f'{{"a": [1, {{"b": [null, {text}]}}]}}')
    assert fault_of(value) is not None


@pytest.mark.parametrize("text", [r'"\\u0000"', r'"\ud83d\ude00"', "1e308", "true", r'{"\u00e9\n": [0.5, "", {}]}'])
def test_what_looks_like_it_can_be_stored(text: str):
    assert fault_of(json.loads(f"[{text}]")) is None
