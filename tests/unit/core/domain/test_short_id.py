"""The beginning of an id as a range of ids."""

from uuid import UUID

import pytest

from relay_core.domain.short_id import id_range

WHOLE = UUID("0b8f8f4e-5c1d-4c8e-9f0a-2b7d6e1f3a4c")


@pytest.mark.parametrize("text", ["0b8f", "0B8F", "0b8f8f4e", "0b8f8f4e-5c", "0b8f8f4e5c1d4c8e", str(WHOLE), WHOLE.hex])
def test_an_id_is_in_the_range_of_its_beginnings(text: str):
    found = id_range(text)
    assert found is not None
    assert found.first <= WHOLE <= found.last
    assert found.is_whole == (len(text) >= 32)


@pytest.mark.parametrize(
    "text", ["", "0b8", "----", "0b8g", "shop", "0b8f " * 2, "0b8f\n", "0" * 33, f"{{{WHOLE}}}", "0b8f8f4e/"]
)
def test_what_begins_no_id_has_no_range(text: str):
    assert id_range(text) is None


def test_the_range_ends_before_the_next_beginning():
    here, there = id_range("00ff"), id_range("0100")
    assert here is not None
    assert there is not None
    assert here.last.int + 1 == there.first.int
