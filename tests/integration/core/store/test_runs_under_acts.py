"""The stored state of each run is that of its executions after any acts, one after the other and beside each other."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError
from relay_core.domain.run import state_of
from relay_core.domain.vocabulary import Reason, RunReason, WorkspaceState
from relay_core.store.executions.kill import kill
from relay_core.store.executions.retry import retry_execution
from relay_core.store.runs import change, state
from relay_core.store.schema.tables import ExecutionProcess, Run, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.step_request import StepRequest
from relay_core.store.workspaces.submit import RepoInput
from tests.support.random_acts import REPOS, Acts
from tests.support.store_acts import ME, claim, finish, submit

E = ExecutionProcess


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
