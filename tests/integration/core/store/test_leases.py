"""Leases of incarnations on a real Postgres: renewals, takings and their order; time is moved by old timestamps."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from alembic import command
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS
from sqlalchemy import Connection, event, select, text, update

from relay_core.store.executions import leases, notices, overdue
from relay_core.store.executions.adopt import adopt, held_executions, orphans
from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed
from relay_core.store.executions.kill import request_kill
from relay_core.store.nodes import runtime_nodes
from relay_core.store.nodes.sweep_turns import take_turn
from relay_core.store.outage import is_away
from relay_core.store.schema.migrate import _config, upgrade
from relay_core.store.schema.tables import ExecutionProcess, Incarnation
from relay_core.store.transaction import Database
from tests.support.presence_acts import expire_leases
from tests.support.store_acts import OTHER, WORKER, claim, column, finish, submit

BEFORE = "0018"
"""The revision before that of the leases."""
ADOPTER = Claimant("w2@node-1#2", "node-1", "default", 30)


def _renew(db: Database, by: Claimant = WORKER) -> leases.Renewal:
    with db.begin() as connection:
        return leases.renew(connection, by.owner, by.node_id, by.lease_seconds, turn_seconds=4)


def _adopt(db: Database, execution_id: UUID, *, dead: bool = False) -> Claimed | NotClaimed:
    with db.begin() as connection:
        return adopt(connection, execution_id, 1, ADOPTER, lambda _: dead)


def _leases(db: Database) -> dict[str, datetime]:
    with db.connect() as connection:
        return {row.owner: row.lease_until for row in connection.execute(select(Incarnation))}


@pytest.fixture
def old_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' server started less than a lease ago: without this, no lease would count as over yet."""
    take = leases._TAKE.text.replace("make_interval(secs => :grace)", "make_interval(secs => 0 * :grace)")
    monkeypatch.setattr(leases, "_TAKE", text(take).bindparams(leases.OWNERS))


def test_a_renewal_writes_one_row_however_many_executions_its_worker_has(db: Database) -> None:
    for _ in range(5):
        claim(db, submit(db).execution_id)
    with db.connect() as connection:
        before = connection.execute(text("SELECT id, xmin::text FROM execution_processes ORDER BY id")).all()
    first, second = _renew(db), _renew(db)
    assert first.taken_at == second.taken_at
    with db.connect() as connection:
        assert connection.execute(text("SELECT id, xmin::text FROM execution_processes ORDER BY id")).all() == before
        assert connection.scalar(text("SELECT count(*) FROM incarnations")) == 1


def test_a_renewal_tells_of_kills_of_its_own_executions_only(db: Database) -> None:
    mine = claim(db, submit(db).execution_id)
    others = claim(db, submit(db).execution_id, ADOPTER)
    with db.begin() as connection:
        for one in (mine, others):
            request_kill(connection, one.execution_id, "ann")
    assert _renew(db).killed == {mine.execution_id}
    assert _renew(db, ADOPTER).killed == {others.execution_id}


def test_a_claim_renews_a_lease_that_is_over_so_that_it_is_no_orphan(db: Database) -> None:
    claim(db, submit(db).execution_id)
    with db.begin() as connection:
        expire_leases(connection)
    claimed = claim(db, submit(db).execution_id)
    assert claimed.taken_at is not None
    with db.connect() as connection:
        assert not any(held.expired for held in held_executions(connection, WORKER))
        assert overdue.expired_leases(connection, 10) == []


def test_an_execution_of_a_valid_lease_is_not_taken_and_leaves_no_mark(db: Database) -> None:
    claimed = claim(db, submit(db).execution_id)
    assert isinstance(_adopt(db, claimed.execution_id), NotClaimed)
    assert _renew(db).taken_at == claimed.taken_at


@pytest.mark.usefixtures("old_postgres")
def test_a_worker_that_slept_past_its_lease_learns_what_it_lost(db: Database) -> None:
    lost, kept = (claim(db, submit(db).execution_id) for _ in range(2))
    with db.begin() as connection:
        expire_leases(connection)
        assert set(overdue.expired_leases(connection, 10)) == {lost.execution_id, kept.execution_id}
    taken = _adopt(db, lost.execution_id)
    assert isinstance(taken, Claimed)
    assert taken.fence == lost.fence + 1
    assert _renew(db).taken_at != lost.taken_at, "so the worker asks what it still owns"
    with db.begin() as connection:
        owned = leases.still_owned(connection, WORKER.owner, [lost.execution_id, kept.execution_id])
    assert owned == {kept.execution_id: kept.fence}
    assert isinstance(_adopt(db, kept.execution_id), NotClaimed), "the renewal covers what was not taken"


@pytest.mark.usefixtures("old_postgres")
def test_a_renewal_and_a_taking_at_once_come_one_after_the_other(db: Database) -> None:
    """The renewal waits for the taking, and then tells of it, although the lease was only just over."""
    claimed = claim(db, submit(db).execution_id)
    with db.begin() as connection:
        expire_leases(connection)
    with ThreadPoolExecutor(1) as pool, db.begin() as connection:
        assert isinstance(adopt(connection, claimed.execution_id, 1, ADOPTER, lambda _: False), Claimed)
        renewing = pool.submit(_renew, db)
        with db.connect() as watching:
            while not watching.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                watching.rollback()
        connection.commit()
        assert renewing.result(10).taken_at != claimed.taken_at


def test_a_dead_workers_execution_is_taken_within_its_lease(db: Database) -> None:
    claimed = claim(db, submit(db).execution_id)
    assert isinstance(_adopt(db, claimed.execution_id, dead=True), Claimed)
    with db.connect() as connection:
        why = connection.scalar(text("SELECT payload->>'why' FROM events WHERE kind = 'execution.adopted'"))
    assert why == "worker died"
    assert _renew(db).taken_at != claimed.taken_at, "and should it live, it learns of it"


def test_kills_and_takings_are_told_at_once_to_the_owner_only(db: Database) -> None:
    mine, others = claim(db, submit(db).execution_id), claim(db, submit(db).execution_id, OTHER)
    killed = claim(db, submit(db).execution_id)
    told = threading.Semaphore(0)
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(notices.listen, db.engine, WORKER.owner, told.release)
        assert told.acquire(timeout=10), "once it listens"
        with db.begin() as connection:
            request_kill(connection, others.execution_id, "ann")
            request_kill(connection, killed.execution_id, "ann")
        assert told.acquire(timeout=10)
        assert isinstance(_adopt(db, mine.execution_id, dead=True), Claimed)
        assert told.acquire(timeout=10)
        assert not told.acquire(blocking=False), "the kill of another worker's execution is not told"
        with db.begin() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()"
                )
            )
        lost = listening.exception(10)
    assert lost is not None
    assert is_away(lost)


def test_two_workers_that_adopt_at_once_get_one_execution_between_them(db: Database) -> None:
    claimed = claim(db, submit(db).execution_id)
    others = [Claimant(f"w{number}@node-1#x", "node-1", "default", 30) for number in range(2, 8)]

    def take(by: Claimant) -> Any:
        with db.begin() as connection:
            return adopt(connection, claimed.execution_id, 1, by, lambda owner: owner == WORKER.owner)

    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(take, others))
    assert sum(isinstance(one, Claimed) for one in taken) == 1
    assert column(db, claimed.execution_id, "fence") == claimed.fence + 1


@pytest.mark.usefixtures("old_postgres")
def test_an_owner_without_a_row_has_no_lease(db: Database) -> None:
    """Also after its row was removed: the mark is new, so the worker asks for what it owns when it wakes up."""
    claimed = claim(db, submit(db).execution_id)
    with db.begin() as connection:
        connection.execute(text("DELETE FROM incarnations"))
        assert overdue.expired_leases(connection, 10) == [claimed.execution_id]
        found = held_executions(connection, ADOPTER)
    assert orphans(found, lambda _: True)
    assert isinstance(_adopt(db, claimed.execution_id), Claimed)
    assert _renew(db).taken_at != claimed.taken_at


def test_rows_of_incarnations_are_removed_once_they_own_nothing_and_are_long_over(db: Database) -> None:
    claim(db, submit(db).execution_id)
    for owner in ("w1@node-1#old", "w1@node-1#new"):
        _renew(db, Claimant(owner, "node-1", "default", 30))
    with db.begin() as connection:
        old = update(Incarnation).where(Incarnation.owner.in_([WORKER.owner, "w1@node-1#old"]))
        connection.execute(old.values(lease_until=text("now() - interval '25 hours'")))
        assert leases.forget_old(connection) == 1
    assert set(_leases(db)) == {WORKER.owner, "w1@node-1#new"}


def test_a_turn_is_taken_once_in_a_period_and_a_renewal_tells_of_it(db: Database) -> None:
    def take(_: int) -> bool:
        with db.begin() as connection:
            return take_turn(connection, "sweeps", 4)

    assert _renew(db).swept == set()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(32))) == 1
    assert _renew(db).swept == {"sweeps"}
    with db.begin() as connection:
        connection.execute(text("UPDATE sweep_turns SET taken_at = now() - interval '5 seconds'"))
    assert _renew(db).swept == set()
    assert take(0)


def test_what_runs_during_the_upgrade_keeps_its_owner_and_lease(db: Database, database_url: str) -> None:
    """Down and up again with live rows: the owner's lease goes with them, a row without one is an orphan."""
    live, orphan = claim(db, submit(db).execution_id), claim(db, submit(db).execution_id, ADOPTER)
    submit(db)
    until = _leases(db)[WORKER.owner]
    with db.begin() as connection:
        connection.execute(text("DELETE FROM incarnations WHERE owner = :owner"), {"owner": ADOPTER.owner})
    with db.begin() as connection:
        command.downgrade(_config(connection), BEFORE)
        rows = connection.execute(text("SELECT id, lease_until FROM execution_processes WHERE status = 'running'"))
        old = {row.id: row.lease_until for row in rows}
    assert old[live.execution_id] == until
    assert old[orphan.execution_id] <= datetime.now(UTC)
    upgrade(database_url)
    assert _leases(db)[WORKER.owner] == until
    with db.connect() as connection:
        assert overdue.expired_leases(connection, 10) == [orphan.execution_id]
        owners = connection.scalars(select(ExecutionProcess.owner).where(ExecutionProcess.status == "running"))
        assert set(owners) == {WORKER.owner, ADOPTER.owner}
    assert isinstance(_adopt(db, live.execution_id), NotClaimed)
    assert isinstance(_adopt(db, live.execution_id, dead=True), Claimed)
    assert isinstance(_adopt(db, orphan.execution_id, dead=True), Claimed)


@pytest.fixture
def flushing(db: Database) -> list[str]:
    """The values of `synchronous_commit` at the commits of transactions, on a server that flushes by default."""
    event.listen(db.engine, "begin", lambda connection: connection.exec_driver_sql("SET LOCAL synchronous_commit = on"))
    found: list[str] = []

    def look(connection: Connection) -> None:
        found.append(connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())

    event.listen(db.engine, "commit", look)
    return found


def test_only_renewals_and_heartbeats_commit_without_waiting_for_the_disk(db: Database, flushing: list[str]) -> None:
    submitted, other = submit(db), submit(db)
    with db.begin() as connection:
        leases.renew_alone(connection, WORKER.owner, WORKER.node_id, 30)
    with db.begin() as connection:
        leases.renew_alone(connection, WORKER.owner, WORKER.node_id, 30)
    with db.begin() as connection:
        runtime_nodes.heartbeat(connection, WORKER.node_id, pool="default", client_version="1")
    assert flushing == ["on", "on", "off", "off", "off"]
    flushing.clear()
    claimed = claim(db, submitted.execution_id)
    with db.begin() as connection:
        expire_leases(connection)
    assert isinstance(claim(db, other.execution_id), Claimed), "this one renews the lease, too"
    assert isinstance(_adopt(db, claimed.execution_id, dead=True), Claimed)
    with db.begin() as connection:
        claimed = adopt(connection, claimed.execution_id, 1, WORKER, lambda _: True)
    assert isinstance(claimed, Claimed)
    finish(db, claimed)
    assert flushing == ["on"] * 6


def test_a_renewal_and_a_heartbeat_leave_no_transaction_open(db: Database) -> None:
    with db.single_statements() as connection:
        for _ in range(2):
            leases.renew_alone(connection, WORKER.owner, WORKER.node_id, 30)
            runtime_nodes.heartbeat(connection, WORKER.node_id, pool="default", client_version="1")
            assert _status(connection) == TRANSACTION_STATUS_IDLE, "each statement is committed with its own request"
    assert WORKER.owner in _leases(db)
    with db.begin() as connection:
        leases.renew(connection, WORKER.owner, WORKER.node_id, 30)
        assert _status(connection) == TRANSACTION_STATUS_INTRANS, "the pool gives the next user a transaction again"


def _status(connection: Connection) -> int:
    return connection.connection.dbapi_connection.info.transaction_status
