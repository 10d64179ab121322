"""Numbers with units."""

import pytest

from relay_core.domain.quantities import quantity


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("memory_bytes", "2g", 2 << 30),
        ("memory_bytes", "512MiB", 512 << 20),
        ("timeout_seconds", "10m", 600),
        ("timeout_seconds", "1.5h", 5400),
        ("cpus", "1.5", 1.5),
        ("pids", "64", 64),
    ],
)
def test_a_number_with_a_unit(name: str, text: str, value: float):
    assert quantity(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"), [("cpus", "2g"), ("pids", ""), ("memory_bytes", "1e400"), ("pids", "9" * 99)]
)
def test_what_is_no_number_is_an_error(name: str, text: str):
    with pytest.raises(ValueError, match=f"is no number for {name}"):
        quantity(name, text)
