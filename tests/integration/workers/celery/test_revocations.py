"""Revokes as Celery hears them, written to a real Postgres: found by task id, once, and through an outage."""

import threading
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.event import listens_for

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Scope, Status
from relay_core.queue.celery_app import make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.executions import claim as claims
from relay_core.store.executions import messages
from relay_core.store.executions.claim import Claimant, NotClaimed
from relay_core.store.executions.kill import TaskExecution, executions_of_tasks
from relay_core.store.nodes import runtime_nodes
from relay_core.store.schema import migrate
from relay_core.store.schema.tables import Event, ExecutionProcess
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.celery.revocations import Revocations
from relay_workers.ownership.live_executions import ExecutionControl, LiveExecutions
from tests.support.waiting import eventually

EXECUTOR = ExecutorChoice("shell", "true")
E = ExecutionProcess


def submit(database: Database) -> TaskExecution:
    run = RunInput((RepoInput("https://example.org/a.git"),), "do it", EXECUTOR, Limits())
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, "node-1", pool="default", client_version="0", capabilities={})
        submitted = submit_run(connection, run, Principal("someone", frozenset({Scope.WRITE})), Settings())
        [message] = messages.messages_of(connection, [submitted.execution_id])
        [found] = executions_of_tasks(connection, [UUID(message.task_id), uuid4()])
    assert found.execution_id == submitted.execution_id
    return found


def claim(database: Database, execution_id: UUID, attempt: int = 1):
    with database.begin() as connection:
        return claims.claim(connection, execution_id, attempt, Claimant("w1@node-1", "node-1", "default", 30))


def row(database: Database, execution_id: UUID):
    with database.connect() as connection:
        return connection.execute(select(E.status, E.reason, E.kill_requested_by).where(E.id == execution_id)).one()


@pytest.fixture
def worker(database: Database, redis_url: str):
    """Makes the part of a worker that hears revokes; each has runs of its own."""
    app = make_app(Settings(redis_url=redis_url))

    def make(database: Database = database, live: LiveExecutions | None = None) -> Revocations:
        revocations = Revocations(
            Database(database.engine, CeleryDispatcher(app, database.engine)), live or LiveExecutions()
        )
        revocations.start()
        return revocations

    yield make
    app.close()


def test_many_workers_hear_of_one_that_waits(database: Database, worker):
    one = submit(database)
    for hearing in [worker() for _ in range(8)]:
        assert hearing.revoke([str(one.task_id)], terminate=False) == []
    eventually(lambda: row(database, one.execution_id).status == Status.KILLED)
    assert row(database, one.execution_id).reason == "user"
    later = claim(database, one.execution_id)
    assert isinstance(later, NotClaimed)
    assert later.ended.target is Status.KILLED
    assert claim(database, one.execution_id, attempt=2).ended is None, "of another attempt nothing is said"
    with database.connect() as connection:
        kinds = connection.scalars(select(Event.kind).where(Event.operation_id == one.execution_id)).all()
    assert kinds.count("execution.killed") == 1


def test_what_runs_is_marked_and_only_when_it_is_to_be_terminated(database: Database, worker):
    one, other = submit(database), submit(database)
    claimed = claim(database, one.execution_id)
    live = LiveExecutions()
    control = ExecutionControl(one.execution_id, claimed.fence, claimed.task_id)
    with live.holding(control):
        hearing = worker(live=live)
        hearing.revoke([str(one.task_id), str(other.task_id)], terminate=False)
        eventually(lambda: row(database, other.execution_id).status == Status.KILLED)
        assert row(database, one.execution_id).kill_requested_by is None
        assert not control.kill.is_set()
        assert hearing.revoke([str(one.task_id)], terminate=True) == [str(one.task_id)]
        assert control.kill.is_set()
    eventually(lambda: row(database, one.execution_id).kill_requested_by is not None)
    assert row(database, one.execution_id).status == Status.RUNNING, "its owner writes the end"


def test_a_run_claimed_while_the_revoke_was_written_is_reached_too(database: Database, worker):
    one = submit(database)
    claimed = claim(database, one.execution_id)
    control = ExecutionControl(one.execution_id, claimed.fence, claimed.task_id)
    live = LiveExecutions()
    with database.begin() as connection:  # holds the revoke up, as a slow claim does
        connection.execute(select(E).where(E.id == one.execution_id).with_for_update())
        assert worker(live=live).revoke([str(one.task_id)], terminate=True) == []
        with live.holding(control):
            connection.rollback()
            assert control.kill.wait(10)


def test_a_revoke_outlasts_an_outage_of_the_database(database: Database, worker, database_url: str):
    one = submit(database)
    url = make_url(database_url)
    own = Database(make_database(Settings(database_url=database_url), application="w1"), database.publisher)
    admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    database.dispose()
    with admin.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false'))
        refused = threading.Event()
        listens_for(own.engine, "handle_error")(lambda _: refused.set())
        worker(own).revoke([str(one.task_id)], terminate=True)
        assert refused.wait(10)
        connection.execute(text(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true'))
    eventually(lambda: row(database, one.execution_id).status == Status.KILLED)
    own.dispose()
    admin.dispose()


def test_rows_from_before_the_column_are_found(database: Database, database_url: str):
    one = submit(database)
    with database.begin() as connection:
        command.downgrade(migrate._config(connection), "0003")
    migrate.upgrade(database_url)
    with database.connect() as connection:
        assert executions_of_tasks(connection, [one.task_id]) == [one]
