"""The stored state of each run is that of its executions after any acts, one after the other and beside each other."""

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError
from relay_core.domain.execution import Transition
from relay_core.domain.run import state_of
from relay_core.domain.vocabulary import Reason, RunReason, Scope, Status, WorkspaceState
from relay_core.settings import Settings
from relay_core.store.executions import claim as claims
from relay_core.store.executions import finish as ends
from relay_core.store.executions import reap
from relay_core.store.executions.kill import kill
from relay_core.store.executions.retry import retry_execution, retry_workspace
from relay_core.store.runs import change, state
from relay_core.store.runs.rerun import rerun
from relay_core.store.schema.tables import ExecutionProcess, Run, Session, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.follow_up import add_follow_up
from relay_core.store.workspaces.step_request import StepRequest
from relay_core.store.workspaces.submit import RepoInput
from tests.support.presence_acts import BOUNDS, expire_leases
from tests.support.store_acts import WORKER, claim, finish, submit

E = ExecutionProcess
ME = Principal("someone", frozenset({Scope.WRITE}))
ENDS: Sequence[Transition] = (
    *[machine.completed(0)] * 6,
    machine.failed(Reason.EXIT_CODE, "exit 7", 7),
    machine.failed(Reason.TIMEOUT, "late"),
    machine.failed(Reason.CONTAINER_MISSING, "gone"),
)
REPOS = [
    RepoInput(f"https://example.org/{name}.git", setup_script="s", cleanup_script="c", parallel_setup_script=True)
    for name in "ab"
]


def problems(db: Database) -> list[Any]:
    """The runs whose stored state is not that of their executions."""
    found = []
    with db.connect() as connection:
        for row in connection.execute(select(Run)).mappings():
            wanted = vars(state_of(state.members(connection, row["id"])))
            stored = {**row, "deciding": row["deciding_execution_id"]}
            if {name: stored[name] for name in wanted} != wanted:
                found.append((wanted, dict(row)))
        found += state.inconsistent(connection, 20)
    return found


class Acts:
    """Random acts of clients and workers. An act that the present state does not allow is refused, as for a client."""

    def __init__(self, db: Database, seed: int) -> None:
        self._db = db
        self._dice = random.Random(seed)
        self._weighted: Sequence[Callable[[Connection], object]] = (
            *[self.claim] * 8,
            *[self.finish] * 8,
            *[self.retry] * 2,
            *[self.add] * 2,
            self.kill,
            self.cancel,
            self.rerun,
            self.follow_up,
            self.stop,
            self.resume,
            self.settle,
            self.lose_node,
            self.repair,
            self.delete,
        )

    def one(self) -> str:
        """Carry out one act, and return its name."""
        act = self._dice.choice(self._weighted)
        try:
            self._db.transact(act)
        except RelayError as error:
            return f"{act.__name__} refused: {error}"
        return act.__name__

    def _any(self, connection: Connection, statement: Any) -> Any:
        rows = connection.scalars(statement).all()
        return self._dice.choice(rows) if rows else None

    def _execution(self, connection: Connection, *status: Status) -> UUID | None:
        return self._any(connection, select(E.id).where(E.status.in_(status)).order_by(E.created_at, E.id))

    def _workspace(self, connection: Connection) -> UUID:
        return self._any(connection, select(Workspace.id).order_by(Workspace.created_at, Workspace.id))

    def claim(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.QUEUED):
            claims.claim(connection, found, 1, WORKER)

    def finish(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.RUNNING):
            row = connection.execute(select(E.fence, E.workspace_id, E.run_reason).where(E.id == found)).one()
            end = self._dice.choice(ENDS)
            if row.run_reason == RunReason.CLONE and end.target is Status.COMPLETED:
                ready = update(Workspace).where(Workspace.id == row.workspace_id, Workspace.state == "starting")
                ends.finish(connection, found, row.fence, end)
                connection.execute(ready.values(state=WorkspaceState.RUNNING, container_id="c"))
            else:
                ends.finish(connection, found, row.fence, end)

    def kill(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.QUEUED, Status.RUNNING):
            kill(connection, [found], "someone")

    def retry(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.FAILED, Status.KILLED):
            retry_execution(connection, found, "someone", run_agent_again=True)

    def cancel(self, connection: Connection) -> None:
        change.cancel(connection, self._any(connection, select(Run.id).order_by(Run.created_at, Run.id)), "someone")

    def rerun(self, connection: Connection) -> None:
        old = self._any(connection, select(Run.id).order_by(Run.created_at, Run.id))
        rerun(connection, old, self._dice.choice(("start", "failed_step")), ME, Settings())

    def add(self, connection: Connection) -> None:
        reason = self._dice.choice(("setup_script", "coding_agent", "dev_server", "archive_script"))
        request = StepRequest(RunReason(reason), repo="a", script="s")
        if reason == "coding_agent":
            request = StepRequest(RunReason(reason), prompt="more")
        add_step(connection, self._workspace(connection), request, ME, {})

    def follow_up(self, connection: Connection) -> None:
        connection.execute(update(Session).values(executor="claude-code"))
        add_follow_up(connection, self._any(connection, select(Session.id).order_by(Session.id)), "and now?", ME)

    def stop(self, connection: Connection) -> None:
        stop_resume.request_stop(connection, self._workspace(connection), "someone")

    def resume(self, connection: Connection) -> None:
        stop_resume.request_resume(connection, self._workspace(connection), "someone")

    def settle(self, connection: Connection) -> None:
        for request in stop_resume.due_requests(connection, "node-1"):
            stop_resume.settle(connection, request)

    def lose_node(self, connection: Connection) -> None:
        connection.execute(
            text(
                "UPDATE runtime_nodes SET liveness = 'offline', last_heartbeat_at = now() - interval '120 seconds' "
                "WHERE node_id = 'node-1'"
            )
        )
        connection.execute(text("UPDATE presence_sweeps SET resumed_at = now() - interval '1 hour'"))
        expire_leases(connection)
        for lost in reap.take_over(connection, "node-1", "w2", 30, BOUNDS):
            reap.end(connection, lost, {})
        connection.execute(update(E).where(E.leftover_on.is_not(None)).values(leftover_on=None))
        connection.execute(text("UPDATE runtime_nodes SET liveness = 'online', last_heartbeat_at = now()"))

    def repair(self, connection: Connection) -> None:
        workspace_id = self._workspace(connection)
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(state=WorkspaceState.FAILED))
        retry_workspace(connection, workspace_id, "someone")

    def delete(self, connection: Connection) -> None:
        if self._dice.random() < 0.3:
            delete_workspaces(connection, [self._workspace(connection)], "someone")


@pytest.mark.parametrize("seed", range(3))
def test_after_each_of_many_acts_every_run_says_what_its_executions_say(db: Database, seed: int) -> None:
    for _ in range(2):
        submit(db, *REPOS)
    acts = Acts(db, seed)
    done = []
    for _ in range(100):
        done.append(acts.one())
        assert problems(db) == [], done
    assert sum("refused" not in name for name in done) > 30, done


def test_acts_beside_each_other_leave_every_run_as_its_executions_are(db: Database) -> None:
    for _ in range(3):
        submit(db, *REPOS)

    def work(seed: int) -> None:
        acts = Acts(db, seed)
        for _ in range(20):
            acts.one()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert problems(db) == []


def at_once(*works: Callable[[], object]) -> None:
    """Carry out all works at the same moment, as far as threads can."""
    start = threading.Barrier(len(works))

    def begin(work: Callable[[], object]) -> object:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(begin, work) for work in works]:
            done.result()


def run_row(db: Database, run_id: UUID) -> Any:
    with db.connect() as connection:
        return connection.execute(select(Run).where(Run.id == run_id)).mappings().one()


@pytest.fixture
def group(db: Database) -> tuple[Any, list[Any]]:
    """A run whose two setup scripts run at the same time."""
    submitted = submit(db, *REPOS)
    due = finish(db, claim(db, submitted.execution_id))
    return submitted, [claim(db, message.execution_id) for message in due]


def test_two_ends_of_one_group_at_once_end_the_run_once(db: Database, group: tuple[Any, list[Any]]) -> None:
    submitted, members = group
    late = machine.failed(Reason.TIMEOUT, "late")
    at_once(*(lambda one=one: finish(db, one, late) for one in members))
    row = run_row(db, submitted.run_id)
    assert (row["status"], row["conclusion"]) == ("completed", "timed_out")
    assert problems(db) == []


def test_the_run_goes_on_until_the_last_of_a_group_has_ended(db: Database, group: tuple[Any, list[Any]]) -> None:
    submitted, (first, second) = group
    finish(db, first, machine.failed(Reason.EXIT_CODE, "exit 7", 7))
    assert run_row(db, submitted.run_id)["status"] == "running"
    finish(db, second)
    row = run_row(db, submitted.run_id)
    assert (row["conclusion"], row["deciding_execution_id"]) == ("failure", first.execution_id)


def test_a_cancel_beside_the_end_of_a_step_leaves_nothing_of_the_run_behind(db: Database) -> None:
    for _ in range(5):
        submitted = submit(db)
        clone = claim(db, submitted.execution_id)

        def cancel(run_id: UUID = submitted.run_id) -> object:
            return db.transact(lambda connection: change.cancel(connection, run_id, "someone"))

        at_once(cancel, lambda one=clone: finish(db, one))
        row = run_row(db, submitted.run_id)
        assert (row["status"], row["conclusion"]) == ("completed", "cancelled")
    assert problems(db) == []


def test_a_queued_run_that_is_killed_while_another_holds_the_lane_is_cancelled(db: Database) -> None:
    submitted = submit(db)
    claim(db, submitted.execution_id)
    with db.begin() as connection:
        added = add_step(connection, submitted.workspace_id, StepRequest(RunReason.SETUP_SCRIPT), ME, {})
        run_id = connection.scalar(select(E.run_id).where(E.id == added))
    with db.begin() as connection:
        kill(connection, [added], "someone")
    assert run_id is not None
    assert run_row(db, run_id)["conclusion"] == "cancelled"
    assert run_row(db, submitted.run_id)["status"] == "running"


def test_of_two_retries_at_once_one_opens_the_run_again(db: Database) -> None:
    submitted = submit(db, RepoInput("https://example.org/a.git"))
    agent = claim(db, finish(db, claim(db, submitted.execution_id))[0].execution_id)
    finish(db, agent, machine.failed(Reason.EXIT_CODE, "exit 7", 7))
    refused = []

    def retry() -> None:
        try:
            db.transact(
                lambda connection: retry_execution(connection, agent.execution_id, "someone", run_agent_again=True)
            )
        except RelayError as error:
            refused.append(error)

    with db.begin() as connection:
        connection.execute(update(Workspace).values(state=WorkspaceState.RUNNING))
    at_once(retry, retry)
    assert [error.code for error in refused] == ["already_retried"]
    assert run_row(db, submitted.run_id)["status"] == "running"
    assert problems(db) == []


def test_a_deleted_workspace_leaves_its_runs_cancelled(db: Database) -> None:
    submitted = submit(db)
    with db.begin() as connection:
        delete_workspaces(connection, [submitted.workspace_id], "someone")
    assert run_row(db, submitted.run_id)["conclusion"] == "cancelled"
