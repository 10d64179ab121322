"""Rules between settings."""

import pytest
from pydantic import ValidationError

from relay_core.settings import Settings, wrong_settings


@pytest.mark.parametrize(("floor", "pressure"), [(0, 0), (1 << 20, 1 << 20), (2 << 30, 1 << 30), (8 << 30, 1 << 30)])
def test_the_pressure_follows_a_low_floor(floor: int, pressure: int):
    assert Settings(node_min_free_bytes=floor).node_pressure_bytes == pressure


def test_a_pressure_above_the_floor_is_refused_by_name():
    with pytest.raises(ValidationError, match=r"must be at most RELAY_NODE_MIN_FREE_BYTES \(5\)"):
        Settings(node_min_free_bytes=5, node_pressure_bytes=6)


def test_a_setting_that_follows_from_a_wrong_one_is_not_named():
    with pytest.raises(ValidationError) as caught:
        Settings(node_min_free_bytes="much")
    assert wrong_settings(caught.value).startswith("RELAY_NODE_MIN_FREE_BYTES: ")
    assert "RELAY_NODE_PRESSURE_BYTES" not in wrong_settings(caught.value)
