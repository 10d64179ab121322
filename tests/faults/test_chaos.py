"""Twenty random kills: the short form of `python -m bench.chaos`."""

import pytest
from bench.chaos import Chaos

from tests.faults.conftest import Stack

KILLS = 20


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_random_kills_lose_nothing_and_double_nothing(stack: Stack):
    report = Chaos(stack, seed=20).run(KILLS, at_once=4)
    print(report)
    assert report.clean, str(report)
    assert sum(report.kills.values()) == KILLS
