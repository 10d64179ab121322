"""Each kind of fault once under load: the short form of `python -m bench.chaos`."""

import pytest
from bench.chaos import FAULTS, Chaos, made_world

QUIET_SECONDS = 120


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_each_kind_of_fault_loses_nothing_and_doubles_nothing():
    with made_world() as world:
        report = Chaos(world, seed=20, at_once=3, quiet_seconds=QUIET_SECONDS).run(len(FAULTS))
    print(report)
    assert report.clean, str(report)
    assert set(report.faults) == set(FAULTS)
    assert report.log_bytes > 0
    assert report.executions > report.jobs.total()
