"""Presence of nodes, on a real Postgres; time is moved by writing old timestamps."""

from datetime import date, datetime, time

import pytest
from sqlalchemy import event, select, text, update

from relay_core.domain.nodes import Capacity
from relay_core.domain.vocabulary import NodeHealth
from relay_core.store.executions import reap
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode
from tests.support.presence_acts import BOUNDS, beat, node, silent, sweep
from tests.support.store_acts import claim, column, submit


@pytest.mark.proves("T003-08")
@pytest.mark.parametrize(("seconds", "found"), [(30.0, "online"), (30.001, "degraded"), (60.0, "degraded")])
@pytest.mark.proves("T003-08")
def test_the_thresholds_are_exact(at_work, seconds, found):
    """T003-08: exactly 30 s is online, just over it degraded; `now()` stands still within a transaction."""
    with at_work.begin() as connection:
        ago = text(f"now() - interval '{seconds} seconds'")
        connection.execute(update(RuntimeNode).where(RuntimeNode.node_id == "node-1").values(last_heartbeat_at=ago))
        runtime_nodes.sweep(connection, BOUNDS)
    assert node(at_work)["liveness"] == found
    assert node(at_work, "node-2")["liveness"] == "online"


@pytest.mark.proves("T003-09")
def test_a_straight_jump_is_one_transition(at_work):
    """T003-09."""
    silent(at_work, "node-1", 61)
    assert sweep(at_work) == [("node-1", "online", "offline")]


@pytest.mark.proves("T003-12")
def test_a_second_sweep_changes_nothing_and_writes_nothing(at_work):
    """T003-12: not even the same value again."""
    silent(at_work, "node-1", 45)
    assert sweep(at_work) == [("node-1", "online", "degraded")]
    version = text("SELECT xmin::text FROM runtime_nodes WHERE node_id = 'node-1'")
    with at_work.connect() as connection:
        before = connection.scalar(version)
    assert sweep(at_work) == []
    with at_work.connect() as connection:
        assert connection.scalar(version) == before


@pytest.mark.proves("T003-10", "T003-11")
@pytest.mark.parametrize(("seconds", "was"), [(45, "degraded"), (100, "offline")])
@pytest.mark.proves("T003-10", "T003-11")
def test_a_heartbeat_brings_a_node_back(at_work, seconds, was):
    """T003-10, T003-11."""
    silent(at_work, "node-1", seconds)
    sweep(at_work)
    assert node(at_work)["liveness"] == was
    beat(at_work)
    assert node(at_work)["liveness"] == "online"
    assert sweep(at_work) == []


def test_a_worker_that_only_comes_up_does_not_bring_its_node_back(at_work):
    """One that dies at every start must not keep a node alive for which nobody works."""
    silent(at_work, "node-1", 100)
    sweep(at_work)
    with at_work.begin() as connection:
        runtime_nodes.register(connection, "node-1", "default", Capacity(1, 2))
        runtime_nodes.register(connection, "node-9", "default", Capacity(None, None))
    assert node(at_work)["liveness"] == "offline"
    assert node(at_work, "node-9")["liveness"] == "online"


def test_health_is_the_nodes_word_and_liveness_is_ours(at_work):
    beat(at_work, health=NodeHealth.DISK_PRESSURE, capabilities={"cpus": 4})
    silent(at_work, "node-1", 61)
    sweep(at_work)
    seen = node(at_work)
    assert (seen["liveness"], seen["reported_health"]) == ("offline", "disk_pressure")
    assert seen["age_seconds"] >= 61
    beat(at_work)
    assert node(at_work)["capabilities"] == {"cpus": 4}, "a beat that says nothing of them keeps them"


@pytest.mark.proves("T003-15")
def test_only_the_databases_clock_is_asked(at_work):
    """T003-15: no time of the worker's own goes into a heartbeat, a sweep or a reap."""
    given = []

    def note(_connection, _cursor, statement, parameters, *_rest):
        values = parameters.values() if isinstance(parameters, dict) else parameters
        given.extend((statement, value) for value in values if isinstance(value, datetime | date | time))

    event.listen(at_work.engine, "before_cursor_execute", note)
    claim(at_work, submit(at_work).execution_id)
    beat(at_work)
    silent(at_work, "node-1", 61)
    sweep(at_work)
    with at_work.begin() as connection:
        assert reap.lost_nodes(connection, BOUNDS) == ["node-1"]
        assert reap.take_over(connection, "node-1", "w", 60, BOUNDS)
    assert given == []


@pytest.mark.proves("T003-27")
def test_the_sweep_writes_presence_only(at_work):
    """T003-27: no event, and no record of a run changes."""
    claimed = claim(at_work, submit(at_work).execution_id)
    with at_work.connect() as connection:
        before = connection.execute(select(ExecutionProcess)).mappings().all()
        told = connection.scalar(text("SELECT count(*) FROM events"))
    silent_node_only = update(RuntimeNode).where(RuntimeNode.node_id == "node-1")
    with at_work.begin() as connection:
        connection.execute(silent_node_only.values(last_heartbeat_at=text("now() - interval '61 seconds'")))
    assert sweep(at_work) == [("node-1", "online", "offline")]
    with at_work.connect() as connection:
        assert connection.execute(select(ExecutionProcess)).mappings().all() == before
        assert connection.scalar(text("SELECT count(*) FROM events")) == told
    assert column(at_work, claimed.execution_id, "status") == "running"


def test_a_short_pause_of_the_sweep_is_no_outage(at_work):
    silent(at_work, "node-1", 61)
    with at_work.begin() as connection:
        connection.execute(text("UPDATE presence_sweeps SET swept_at = now() - interval '14 seconds'"))
    assert sweep(at_work) == [("node-1", "online", "offline")]
