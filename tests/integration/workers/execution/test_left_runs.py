"""A run that its worker left because Postgres was away is taken up again by that worker, long before its lease ends."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason, Scope
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimant, Claimed
from relay_core.store.nodes import runtime_nodes
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.celery.detached_tasks import DetachedTasks
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.end_writer import EndPublisher, EndWriter
from relay_workers.execution.outcome import Outcome
from relay_workers.execution.runner import EndReport, Runner, Step
from relay_workers.maintenance import adoption
from relay_workers.maintenance.adoption import Adoption
from relay_workers.maintenance.clocks import orphan_finder
from relay_workers.metrics import Metrics
from relay_workers.ownership.claims import Claims
from relay_workers.ownership.live_executions import ExecutionControl, LiveExecutions, OwnershipLost
from relay_workers.ownership.node_identity import identify
from tests.support.waiting import eventually


class Dispatcher:
    def __init__(self) -> None:
        self.dispatched: list[UUID] = []

    def dispatch(self, messages: Any) -> None:
        self.dispatched += [one.execution_id for one in messages]


@pytest.fixture
def context(database: Database, redis_url: str, tmp_path: Path) -> Iterator[Any]:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, node_min_free_bytes=0)
    identity = identify(settings)
    live_logs = LiveLogPublisher(settings)
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, identity.node_id, pool="default", client_version="0", capabilities={})
    yield SimpleNamespace(
        settings=settings,
        claimant=Claimant(identity.owner, identity.node_id, "default", 30),
        database=database,
        dispatcher=Dispatcher(),
        live=LiveExecutions(),
        live_logs=live_logs,
        metrics=Metrics(),
        admission=SimpleNamespace(room_made=lambda: None, why_disk_full=lambda: None),
    )
    live_logs.close()


def _runner(context: Any, step: Step) -> Runner:
    """One whose clones do what a test says; an end needs no evidence."""
    claims = Claims(context.settings, context.database, context.claimant, context.live, context.admission)
    publisher = EndPublisher(context.live_logs, context.metrics, context.admission)
    unused: Any = None
    ends = EndWriter(context.database, context.claimant.node_id, unused, publisher)
    return Runner(claims, {RunReason.CLONE: step}, unused, ends, context.live, context.metrics)


def _queued(database: Database) -> UUID:
    run = RunInput((RepoInput("https://example.org/a.git"),), "go", ExecutorChoice("shell", "true"), Limits())
    with database.begin() as connection:
        principal = Principal("someone", frozenset({Scope.WRITE}))
        return submit_run(connection, run, principal, Settings()).execution_id


def _row(database: Database, execution_id: UUID) -> Any:
    with database.connect() as connection:
        return connection.execute(
            text("SELECT status, fence FROM execution_processes WHERE id = :id"), {"id": execution_id}
        ).one()


def adoption_of(context: WorkerContext, adopt: Any) -> Adoption:
    return Adoption(orphan_finder(context), context.live, context.dispatcher, context.metrics, adopt)


def test_a_worker_takes_up_again_what_it_left_when_postgres_is_back(
    context: WorkerContext, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fences: list[int] = []

    def step(claimed: Claimed, _control: ExecutionControl) -> Outcome:
        fences.append(claimed.fence)
        if len(fences) == 1:
            raise OperationalError("SELECT 1", {}, psycopg2.OperationalError("the server closed the connection"))
        return Outcome(machine.completed(0), gone=True)

    execution_id = _queued(database)
    carries_out = _runner(context, step)
    with pytest.raises(OwnershipLost):
        carries_out.run(execution_id, 1)
    assert (_row(database, execution_id).status, fences) == ("running", [1])
    monkeypatch.setattr(adoption, "MESSAGE_SECONDS", 0.0)
    adoption_of(context, DetachedTasks(carries_out.run).adopt).sweep()
    eventually(lambda: _row(database, execution_id).status == "completed")
    assert fences == [1, 2], "under a new fence: what the first try may still write is refused"
    assert context.dispatcher.dispatched[0] == execution_id
    with database.connect() as connection:
        why = connection.scalar(text("SELECT payload->>'why' FROM events WHERE kind = 'execution.adopted'"))
    assert why == "let go"


def test_what_a_thread_is_at_is_not_left(
    context: WorkerContext, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From before the claim on: neither a sweep nor a copy of the message takes it a second time."""
    begun, go_on = threading.Event(), threading.Event()
    tries: list[int] = []

    class Slow:
        """Redis is slow between the claim and the step."""

        def report_started(self, _seconds: float) -> None:
            begun.set()
            go_on.wait(20)

        def report_end(self, _report: EndReport) -> None:
            """Nothing reads it."""

    def step(claimed: Claimed, _control: ExecutionControl) -> Outcome:
        tries.append(claimed.fence)
        return Outcome(machine.completed(0), gone=True)

    monkeypatch.setattr(adoption, "MESSAGE_SECONDS", 0.0)
    execution_id = _queued(database)
    carries_out = _runner(context, step)
    thread = threading.Thread(target=carries_out.run, args=(execution_id, 1, Slow()))
    thread.start()
    assert begun.wait(20)
    taken: list[UUID] = []
    adoption_of(context, lambda one, _attempt: taken.append(one)).sweep()
    with pytest.raises(OwnershipLost):
        carries_out.run(execution_id, 1)
    go_on.set()
    thread.join(20)
    assert (taken, tries, _row(database, execution_id)) == ([], [1], ("completed", 1))


def test_a_worker_that_goes_away_leaves_nothing_to_itself() -> None:
    live, one = LiveExecutions(), UUID(int=1)
    assert live.is_left(one)
    with live.at_work(one):
        assert not live.is_left(one)
        assert live.is_left(one, but=1)
    live.let_all_go()
    assert not live.is_left(one)
