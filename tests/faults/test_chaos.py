"""Each kind of fault once under load: the short form of `python -m bench.chaos`."""

import pytest
from bench.chaos import FAULTS, Chaos, made_world
from bench.chaos.evidence import evidence
from sqlalchemy import text

QUIET_SECONDS = 120


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_each_kind_of_fault_loses_nothing_and_doubles_nothing():
    with made_world() as world:
        report = Chaos(world, seed=20, at_once=3, quiet_seconds=QUIET_SECONDS).run(len(FAULTS))
        with world.api.database.connect() as connection:
            ended = connection.scalar(text("SELECT id FROM workspaces ORDER BY created_at LIMIT 1"))
        told = evidence(world, str(ended))
    print(report)
    assert report.clean, str(report)
    assert set(report.faults) == set(FAULTS)
    assert all(f"{name}: " in told for name in ("workspace", "executions", "runs", "nodes")), "of a run without an end"
    assert "event=ended" in told, "in a worker's log"
    assert report.log_bytes > 0
    assert report.executions > report.jobs.total()
