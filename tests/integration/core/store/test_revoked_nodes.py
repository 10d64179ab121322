"""Revoked nodes: they start nothing and take nothing over, on a real Postgres."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from sqlalchemy import text

from relay_core.domain.errors import Conflict
from relay_core.domain.nodes import Bounds
from relay_core.domain.vocabulary import NodeHealth
from relay_core.store.admission import admit
from relay_core.store.executions import claim as claims
from relay_core.store.executions import messages
from relay_core.store.executions.adopt import adopt
from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed
from relay_core.store.nodes import placement, revocation, runtime_nodes
from relay_core.store.projects import clones, projects
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.transaction import Database
from relay_core.store.views import execution_views
from relay_core.store.workspaces.submit import SubmittedRun
from relay_workers.execution.step_log import stored_ends
from relay_workers.maintenance.reaper import Reaper
from tests.support.presence_acts import beat, expire_leases, node, sweep_and_reap
from tests.support.store_acts import ME, OTHER, WORKER, claim, column, finish, ids_of, submit
from tests.support.waiting import eventually

SECOND = Claimant("w2@node-1", "node-1", "default", 30)


def revoke(db: Database, node_id: str = "node-1") -> None:
    with db.begin() as connection:
        revocation.revoke(connection, node_id, "root")


def restore(db: Database, node_id: str = "node-1") -> None:
    with db.begin() as connection:
        revocation.restore(connection, node_id, "root")


def because(db: Database, execution_id) -> dict:
    with db.connect() as connection:
        return execution_views.execution(connection, execution_id, ME)["waits_for"]


def startable(db: Database) -> list:
    with db.connect() as connection:
        return messages.startable(connection, -1)


def reap(context, bounds: Bounds) -> None:
    log_ends = partial(stored_ends, context.logs)
    Reaper(context.database, context.claimant.owner, bounds, log_ends, context.live_logs).sweep()


def next_of(db: Database, submitted: SubmittedRun):
    return next(one for one in ids_of(db, submitted.workspace_id) if column(db, one, "status") == "queued")


def waits_for_a_lock(db: Database) -> bool:
    waiting = text(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%revoked_at%')"
    )
    with db.connect() as connection:
        return connection.scalar(waiting)


def test_a_new_workspace_goes_to_another_node(db):
    revoke(db)
    submitted = submit(db)
    assert claim(db, submitted.execution_id).why == "the node has no room: it is revoked"
    with db.connect() as connection:
        assert placement.why_closed(connection, "node-1") == "it is revoked"
    assert isinstance(claim(db, submitted.execution_id, OTHER), Claimed)


def test_a_chain_goes_on_only_after_the_restoration(db):
    """The running step ends as usual; the next one, for which the node keeps its promise, is not claimed."""
    submitted = submit(db)
    running = claim(db, submitted.execution_id)
    revoke(db)
    finish(db, running)
    assert column(db, submitted.execution_id, "status") == "completed"
    after = next_of(db, submitted)
    refused = claim(db, after)
    assert (refused.why, refused.waits.queue) == ("the node has no room: it is revoked", "node.node-1")
    assert column(db, after, "fence") == 0
    wait = because(db, after)
    assert (wait["kind"], wait["message"]) == ("node", "its node node-1 is revoked")
    assert after not in startable(db)
    restore(db)
    assert after in startable(db)
    assert because(db, after) is None
    assert isinstance(claim(db, after), Claimed)


def test_a_run_that_waits_for_a_revoked_node_gives_its_place_back_and_is_admitted_again(db):
    submitted = submit(db)
    finish(db, claim(db, submitted.execution_id))
    revoke(db)
    with db.begin() as connection:
        admit.sweep(connection)
    after = next_of(db, submitted)
    assert claim(db, after).why == "its run is not admitted yet"
    assert because(db, after)["message"] == "its node node-1 is revoked"
    db.publisher.take()
    restore(db)
    assert [message.execution_id for message in db.publisher.take()] == [after]
    assert isinstance(claim(db, after), Claimed)


def test_a_revocation_waits_for_a_claim_before_it(db):
    """The claim of a further step, for which capacity is promised already, is the one with the weakest lock."""
    submitted = submit(db)
    finish(db, claim(db, submitted.execution_id))
    after = next_of(db, submitted)
    with ThreadPoolExecutor(1) as pool:
        with db.begin() as connection:
            claimed = claims.claim(connection, after, 1, WORKER)
            done = pool.submit(revoke, db)
            eventually(lambda: waits_for_a_lock(db))
            assert not done.done()
        done.result(10)
    assert isinstance(claimed, Claimed)
    assert node(db)["revoked_at"] is not None


def test_what_a_dead_worker_ran_is_not_taken_over_but_ends_as_lost(context, at_work):
    claimed = claim(at_work, submit(at_work).execution_id)
    revoke(at_work)
    with at_work.begin() as connection:
        refused = adopt(connection, claimed.execution_id, 1, SECOND, lambda _: True)
    assert refused == NotClaimed("the node takes nothing over: it is revoked")
    sweep_and_reap(context)
    assert column(at_work, claimed.execution_id, "status") == "running", "its worker may live"
    with at_work.begin() as connection:
        expire_leases(connection)
    beat(at_work)
    reap(context, Bounds(0.01, 0.02, 1e8))
    assert column(at_work, claimed.execution_id, "status") == "running", "Postgres has just started"
    reap(context, Bounds(0.01, 0.02, 0.03))
    assert column(at_work, claimed.execution_id, "reason") == "node_lost"
    assert "node node-1 is revoked, and its worker ended" in column(at_work, claimed.execution_id, "error_reason")
    assert column(at_work, claimed.execution_id, "leftover_on") == "node-1", "its processes may still run"
    assert (node(at_work)["epoch"], node(at_work)["liveness"]) == (1, "online"), "the node was not lost"


def test_what_a_worker_let_go_itself_it_takes_again(at_work):
    """Its lease is valid, so the reaper would never end it."""
    claimed = claim(at_work, submit(at_work).execution_id)
    revoke(at_work)
    with at_work.begin() as connection:
        assert isinstance(adopt(connection, claimed.execution_id, 1, WORKER, lambda _: True), Claimed)


def test_only_a_restoration_ends_a_revocation(db):
    revoke(db)
    beat(db)
    with db.begin() as connection, pytest.raises(Conflict, match="relay revoke node-1 --undo") as refused:
        runtime_nodes.set_draining(connection, "node-1", draining=False)
    assert refused.value.code == "node_revoked"
    with db.begin() as connection:
        runtime_nodes.set_draining(connection, "node-1", draining=True)
    assert node(db)["revoked_at"] is not None
    restore(db)
    assert (node(db)["revoked_at"], node(db)["draining"]) == (None, False)


def test_a_clone_of_a_project_goes_to_another_node(db):
    with db.begin() as connection:
        project = projects.create(
            connection, ProjectInput("shop", repos=[ProjectRepoInput("https://example.org/a.git")]), ME
        )
        clone = clones.start_clone(connection, project, "default", "ann")
    revoke(db)
    assert claim(db, clone).why == "the node takes no clone: it is revoked"
    assert isinstance(claim(db, clone, OTHER), Claimed)


def test_a_heartbeat_learns_what_an_operator_told_its_node(db: Database):
    """A drained node that is well reports `draining`; a problem of its own is reported first."""
    told = lambda **more: (beat(db, **more), node(db)["reported_health"])  # noqa: E731
    assert told() == (None, "ok")
    with db.begin() as connection:
        runtime_nodes.set_draining(connection, "node-1", draining=True)
    assert told() == ("draining", "draining")
    assert told(health=NodeHealth.DISK_PRESSURE, capabilities={}) == ("draining", "disk_pressure")
    revoke(db)
    assert told() == ("revoked", "draining")
    restore(db)
    assert told(capabilities={}) == (None, "ok")
