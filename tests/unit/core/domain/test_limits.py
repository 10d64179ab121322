"""Limits of a request against a server's maxima."""

import pytest

from relay_core.domain.errors import InvalidInput
from relay_core.domain.limits import Limits

MAXIMA = {"memory_bytes": 1 << 30, "timeout_seconds": 100}


def test_defaults_are_cut_to_a_small_servers_maxima():
    limits = Limits.from_request({}, MAXIMA)
    assert (limits.memory_bytes, limits.timeout_seconds) == (1 << 30, 100)
    assert limits.cpus == Limits().cpus


def test_what_is_asked_for_wins():
    assert Limits.from_request({"timeout_seconds": 7, "no_output_seconds": 0}, MAXIMA).timeout_seconds == 7


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"memory": 1}, "is not a limit"),
        ({"timeout_seconds": 101}, "between 1 and 100"),
        ({"timeout_seconds": True}, "must be a number"),
        ({"cpus": "two"}, "must be a number"),
        ({"memory_bytes": 5}, "between 16777216 and"),
        ({"pids": 3}, "at least 16"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wanted, says):
    with pytest.raises(InvalidInput, match=says) as refused:
        Limits.from_request(wanted, MAXIMA)
    assert refused.value.field == f"limits.{next(iter(wanted))}"
