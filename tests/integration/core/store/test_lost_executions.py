"""The end of executions whose node is lost, on a real Postgres; time is moved by writing old timestamps."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale
from relay_core.store.executions import leases, messages, owned, reap
from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed
from relay_core.store.executions.kill import request_kill
from relay_core.store.executions.leftovers import leftovers
from relay_core.store.logs.log_store import Append
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace
from tests.support.log_fixtures import append_one
from tests.support.presence_acts import BOUNDS, beat, expire_leases, node, silent, sweep, sweep_and_reap, terminal
from tests.support.store_acts import OTHER, WORKER, claim, column, finish, ids_of, submit, task_status


@pytest.mark.proves("T003-13")
def test_one_that_breaks_does_not_keep_the_others_from_their_turn(context, at_work):
    """T003-13: node-0's run cannot be ended (the database itself refuses); node-1's is."""
    beat(at_work, "node-0")
    first, second = submit(at_work), submit(at_work)
    by = Claimant("w1@node-0", "node-0", "default", 30)
    claim(at_work, first.execution_id, by)
    claim(at_work, second.execution_id)
    with at_work.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$"
            )
        )
        when = f"NEW.id = '{first.execution_id}' AND NEW.status = 'failed'"
        connection.execute(
            text(
                f"CREATE TRIGGER refuse BEFORE UPDATE ON execution_processes FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()"
            )
        )
    for lost in ("node-0", "node-1"):
        silent(at_work, lost, 61)
    sweep_and_reap(context)
    assert [node(at_work, one)["liveness"] for one in ("node-0", "node-1")] == ["offline", "offline"]
    assert column(at_work, first.execution_id, "status") == "running"
    assert column(at_work, second.execution_id, "reason") == "node_lost"


@pytest.mark.proves("T003-28")
def test_an_offline_nodes_run_ends_once_as_lost_with_its_log_closed_as_cut(context, at_work):
    """T003-28."""
    submitted = submit(at_work)
    finish(at_work, claim(at_work, submitted.execution_id))
    setup = next(one for one in ids_of(at_work, submitted.workspace_id) if column(at_work, one, "status") == "queued")
    claimed = claim(at_work, setup)
    append_one(context.logs, Append(setup, claimed.fence, "stdout", 0, b"half a lo"))
    silent(at_work, "node-1", 61)
    for _ in range(3):
        sweep_and_reap(context)
    assert (column(at_work, setup, "status"), column(at_work, setup, "reason")) == ("failed", "node_lost")
    assert terminal(at_work, setup) == ["execution.failed"]
    out = context.logs.sizes(setup)["stdout"]
    assert (out.bytes, out.truncated, out.closed) == (9, True, True)
    assert task_status(at_work, submitted) == "inreview"
    with at_work.connect() as connection:
        assert connection.scalar(text("SELECT group_id FROM lanes")) is None
    assert node(at_work)["epoch"] == 2


@pytest.mark.proves("T003-28")
def test_a_run_whose_end_was_asked_for_ends_as_killed(context, at_work):
    """T003-28."""
    claimed = claim(at_work, submit(at_work).execution_id)
    with at_work.begin() as connection:
        request_kill(connection, claimed.execution_id, "ann")
    silent(at_work, "node-1", 61)
    sweep_and_reap(context)
    assert column(at_work, claimed.execution_id, "status") == "killed"
    assert column(at_work, claimed.execution_id, "reason") == "user"
    assert "ann" in column(at_work, claimed.execution_id, "error_reason")


@pytest.mark.proves("T003-28")
def test_sweepers_that_race_end_a_run_once(context, at_work):
    """T003-28: and the node's epoch grows by one."""
    runs = [claim(at_work, submit(at_work).execution_id) for _ in range(4)]
    silent(at_work, "node-1", 61)
    sweep(at_work)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: sweep_and_reap(context), range(12)))
    for run in runs:
        assert terminal(at_work, run.execution_id) == ["execution.failed"]
        assert column(at_work, run.execution_id, "fence") == 2
    assert node(at_work)["epoch"] == 2


@pytest.mark.proves("T003-29")
def test_a_returning_workers_writes_are_refused(context, at_work):
    """T003-29: its end, its fields and its log bytes; what was decided stays."""
    claimed = claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 61)
    sweep_and_reap(context)
    beat(at_work)
    with at_work.begin() as connection:
        assert leases.still_owned(connection, WORKER.owner, [claimed.execution_id]) == {}
    with pytest.raises(Stale):
        finish(at_work, claimed, machine.completed(0))
    with pytest.raises(Stale), at_work.begin() as connection:
        owned.update_owned(connection, claimed.execution_id, claimed.fence, handle={})
    with pytest.raises(Stale):
        append_one(context.logs, Append(claimed.execution_id, claimed.fence, "stdout", 0, b"late"))
    assert column(at_work, claimed.execution_id, "reason") == "node_lost"
    seen = node(at_work)
    assert (seen["liveness"], seen["epoch"]) == ("online", 2)
    silent(at_work, "node-1", 61)
    sweep_and_reap(context)
    assert node(at_work)["epoch"] == 3, "each absence is an epoch"


def test_a_worker_is_refused_from_the_moment_its_run_is_taken(at_work):
    """Also before the reaper has written the end: and a second reaper takes nothing meanwhile."""
    claimed = claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 61)
    sweep(at_work)
    with at_work.begin() as connection:
        (lost,) = reap.take_over(connection, "node-1", "w", 60, BOUNDS)
    with pytest.raises(Stale):
        finish(at_work, claimed)
    with at_work.begin() as connection:
        assert reap.take_over(connection, "node-1", "w", 60, BOUNDS) == []
    with at_work.begin() as connection:
        expire_leases(connection)
        assert reap.lost_nodes(connection, BOUNDS) == ["node-1"], "a reaper that died is followed by another"
        (again,) = reap.take_over(connection, "node-1", "w", 60, BOUNDS)
    with pytest.raises(Stale), at_work.begin() as connection:
        reap.end(connection, lost, {})
    with at_work.begin() as connection:
        reap.end(connection, again, {})
    assert terminal(at_work, claimed.execution_id) == ["execution.failed"]


def test_a_live_lease_keeps_a_run_whatever_became_of_the_heartbeat(context, at_work):
    claimed = claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 61)
    with at_work.begin() as connection:
        leases.renew(connection, WORKER.owner, WORKER.node_id, 30)
    sweep_and_reap(context)
    assert node(at_work)["liveness"] == "offline"
    assert column(at_work, claimed.execution_id, "status") == "running"
    finish(at_work, claimed)


def test_a_degraded_node_loses_nothing(context, at_work):
    claimed = claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 59)
    sweep_and_reap(context)
    assert node(at_work)["liveness"] == "degraded"
    assert column(at_work, claimed.execution_id, "status") == "running"


@pytest.mark.proves("T003-30", "T003-31")
def test_a_lost_agent_is_not_run_again(context, at_work):
    """T003-30, T003-31: not by copies of its message either; the failure is visible, nothing follows."""
    submitted = submit(at_work)
    for _ in range(2):
        queued = next(i for i in ids_of(at_work, submitted.workspace_id) if column(at_work, i, "status") == "queued")
        finish(at_work, claim(at_work, queued))
    agent = next(i for i in ids_of(at_work, submitted.workspace_id) if column(at_work, i, "status") == "queued")
    assert column(at_work, agent, "run_reason") == "coding_agent"
    claims = [claim(at_work, agent) for _ in range(5)]
    assert sum(isinstance(one, Claimed) for one in claims) == 1
    at_work.publisher.take()
    silent(at_work, "node-1", 61)
    sweep_and_reap(context)
    assert all(isinstance(claim(at_work, agent, by), NotClaimed) for by in (WORKER, OTHER))
    assert ids_of(at_work, submitted.workspace_id)[-1] == agent
    assert column(at_work, agent, "reason") == "node_lost"
    assert context.database.publisher.take() == []


def test_what_is_queued_for_a_lost_node_waits_and_what_is_not_placed_goes_elsewhere(context, at_work):
    submitted, unplaced = submit(at_work), submit(at_work)
    due = finish(at_work, claim(at_work, submitted.execution_id))
    silent(at_work, "node-1", 61)
    sweep_and_reap(context)
    with at_work.begin() as connection:
        connection.execute(
            update(ExecutionProcess).values(created_at=text("now() - interval '1 hour'"), published_at=None)
        )
        dispatched = [
            message.execution_id for queue in messages.undispatched(connection, 15) for message in queue.messages
        ]
    assert dispatched == [unplaced.execution_id], "nobody would take its messages away"
    assert column(at_work, due[0].execution_id, "status") == "queued"
    assert isinstance(claim(at_work, unplaced.execution_id, OTHER), Claimed)
    beat(at_work)
    with at_work.begin() as connection:
        assert [
            message.execution_id for queue in messages.undispatched(connection, 15) for message in queue.messages
        ] == [due[0].execution_id]


def test_a_clone_that_was_lost_fails_its_workspace(context, at_work):
    submitted = submit(at_work)
    claim(at_work, submitted.execution_id)
    silent(at_work, "node-1", 61)
    sweep_and_reap(context)
    with at_work.connect() as connection:
        assert connection.scalar(select(Workspace.state)) == "failed"
        kinds = connection.scalars(select(Event.kind).order_by(Event.id)).all()
    assert kinds.count("execution.failed") == 1
    with at_work.connect() as connection:
        (left,) = leftovers(connection, "node-1")
    assert left.execution_id == submitted.execution_id


@pytest.mark.proves("T003-32")
def test_nobody_is_lost_for_an_outage_of_ours(context, at_work):
    """T003-32: Postgres or all sweepers were away for 90 s; every node gets its time to say that it lives."""
    claimed = claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 90)
    with at_work.begin() as connection:
        connection.execute(text("UPDATE presence_sweeps SET swept_at = now() - interval '90 seconds'"))
    sweep_and_reap(context)
    sweep_and_reap(context)
    assert node(at_work)["liveness"] == "online"
    for since, found in ((15 + 30, "online"), (15 + 31, "degraded"), (15 + 59, "degraded"), (15 + 61, "offline")):
        with at_work.begin() as connection:
            connection.execute(text(f"UPDATE presence_sweeps SET resumed_at = now() - interval '{since} seconds'"))
            runtime_nodes.sweep(connection, BOUNDS)
        assert node(at_work)["liveness"] == found, f"{since} s after the outage"
        assert column(at_work, claimed.execution_id, "status") == "running"
    sweep_and_reap(context)
    assert column(at_work, claimed.execution_id, "reason") == "node_lost", "it never came back"


def test_a_node_found_offline_before_an_outage_is_not_reaped_right_after_it(context, at_work):
    claimed = claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 61)
    sweep(at_work)
    with at_work.begin() as connection:
        connection.execute(text("UPDATE presence_sweeps SET swept_at = now() - interval '1 hour'"))
    sweep_and_reap(context)
    assert node(at_work)["liveness"] == "offline"
    assert column(at_work, claimed.execution_id, "status") == "running"


def test_a_heartbeat_in_the_middle_of_a_reap_comes_before_or_after(at_work):
    """The node's row is locked while its runs are taken: no run is taken from a node that has just said it lives."""
    claim(at_work, submit(at_work).execution_id)
    silent(at_work, "node-1", 61)
    sweep(at_work)
    with at_work.engine.connect() as beating, beating.begin():
        runtime_nodes.heartbeat(beating, "node-1", pool="default", client_version="1")
        with ThreadPoolExecutor(1) as pool:

            def take():
                with at_work.begin() as connection:
                    return reap.take_over(connection, "node-1", "w", 60, BOUNDS)

            reaping = pool.submit(take)
            waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            with at_work.connect() as watching:
                while not watching.scalar(waits):
                    watching.rollback()
            beating.commit()
            assert reaping.result(10) == []
