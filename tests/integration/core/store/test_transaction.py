"""Messages and revokes that a transaction collects are sent after its commit, once, and only then."""

import pytest
from psycopg2.errors import DeadlockDetected
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from relay_core.domain.limits import Limits
from relay_core.settings import Settings
from relay_core.store import transaction
from relay_core.store.executions.kill import kill
from relay_core.store.transaction import Database, NotCollectedError
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.submit import RepoInput, RunInput, SubmittedRun, submit_run
from tests.support.store_acts import EXECUTOR, ME, claim, submit


def submit_one(connection: Connection) -> SubmittedRun:
    run = RunInput([RepoInput("https://example.org/a.git")], "do it", EXECUTOR, Limits())
    return submit_run(connection, run, ME, Settings())


def test_a_commit_sends_what_was_collected(db: Database):
    with db.begin() as connection:
        submitted = submit_one(connection)
        assert db.publisher.messages == [], "not before the commit"
    assert [message.execution_id for message in db.publisher.take()] == [submitted.execution_id]
    assert isinstance(db.transact(submit_one), SubmittedRun)
    assert len(db.publisher.take()) == 1


def test_a_rollback_sends_nothing(db: Database):
    with pytest.raises(ZeroDivisionError):
        db.transact(lambda connection: 1 / len([submit_one(connection)][1:]))
    with db.begin():
        pass  # the connection comes back from the pool with nothing left over
    assert db.publisher.messages == []


def test_a_commit_that_fails_sends_nothing(db: Database):
    with pytest.raises(OperationalError):
        _submit_over_a_connection_that_is_cut(db)
    assert db.publisher.messages == []


def _submit_over_a_connection_that_is_cut(db: Database) -> None:
    with db.begin() as connection:
        submit_one(connection)
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        with db.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})


def test_a_repeated_transaction_sends_once(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transaction, "PAUSE_SECONDS", 0)
    submitted: list[SubmittedRun] = []

    def work(connection: Connection) -> None:
        submitted.append(submit_one(connection))
        if len(submitted) == 1:
            connection.exec_driver_sql(
                "DO $$ BEGIN RAISE EXCEPTION 'another transaction' USING ERRCODE = 'deadlock_detected'; END $$"
            )

    db.transact(work)
    assert len(submitted) == 2
    assert [message.execution_id for message in db.publisher.messages] == [submitted[1].execution_id]


def test_the_last_try_of_a_repeated_transaction_raises_and_sends_nothing(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transaction, "PAUSE_SECONDS", 0)

    def work(connection: Connection) -> None:
        submit_one(connection)
        connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'deadlock_detected'; END $$")

    with pytest.raises(OperationalError) as error:
        db.transact(work)
    assert isinstance(error.value.orig, DeadlockDetected)
    assert db.publisher.messages == []


def test_a_kill_of_a_running_execution_revokes_its_task_after_the_commit(db: Database):
    claimed = claim(db, submit(db).execution_id)
    with db.begin() as connection:
        kill(connection, [claimed.execution_id], "ann")
        assert db.publisher.task_ids == []
    assert db.publisher.task_ids == [claimed.task_id]


def test_an_execution_that_ended_within_the_transaction_gets_no_message(db: Database):
    with db.begin() as connection:
        submitted = submit_one(connection)
        delete_workspaces(connection, [submitted.workspace_id], "ann")
    assert db.publisher.messages == []


def test_a_use_case_refuses_a_connection_that_collects_nothing(db: Database):
    with pytest.raises(NotCollectedError, match="Database"), db.engine.begin() as connection:
        submit_one(connection)
