"""The stored state of runs equals the one that their executions have, whatever happens to them and at once."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from alembic import command
from sqlalchemy import func, select, update

from relay_core.domain import execution as machine
from relay_core.domain.run import state_of
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.store.executions.kill import kill
from relay_core.store.executions.retry import retry_execution, retry_workspace
from relay_core.store.runs import state
from relay_core.store.schema.migrate import _config, upgrade
from relay_core.store.schema.tables import ExecutionProcess, Run, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.step_request import StepRequest
from relay_core.store.workspaces.submit import RepoInput
from tests.support.store_acts import ME, claim, finish, run_to_end, submit

E = ExecutionProcess
FAILED = machine.failed(Reason.EXIT_CODE, "exit 7", 7)
ONE = RepoInput("https://example.org/a.git")


def check_all(db: Database) -> None:
    """Compare every stored state with the one that follows from the executions."""
    with db.connect() as connection:
        for row in connection.execute(select(Run)).mappings():
            wanted = vars(state_of(state.members(connection, row["id"])))
            stored = {**row, "deciding": row["deciding_execution_id"]}
            assert {name: stored[name] for name in wanted} == wanted, row


def add(db: Database, workspace_id: UUID, reason: str, **fields: Any) -> UUID:
    with db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(state="running"))
        return add_step(connection, workspace_id, StepRequest(RunReason(reason), **fields), ME, {})


def retry(db: Database, execution_id: UUID) -> UUID:
    with db.begin() as connection:
        return retry_execution(connection, execution_id, "someone", run_agent_again=True)


def runs(db: Database) -> Mapping[frozenset[UUID], tuple[Any, ...]]:
    """Everything about each run but its id and what concerns its admission, by its executions."""
    found = {}
    with db.connect() as connection:
        for row in connection.execute(select(Run)).mappings():
            members = frozenset(connection.scalars(select(E.id).where(E.run_id == row["id"])))
            found[members] = tuple(
                value
                for name, value in row.items()
                if name not in {"id", "created_at", "admitted_at", "admission_group"}
            )
    return found


def some_history(db: Database) -> None:
    """Runs that succeeded, failed, were retried in part and as a whole, killed in the queue, and still go on."""
    done = submit(db, title="done")
    run_to_end(db, db.publisher.take())
    add(db, done.workspace_id, "dev_server", script="serve")
    add(db, done.workspace_id, "archive_script", script="keep")
    repos = [RepoInput(f"https://example.org/{n}.git", setup_script="s", parallel_setup_script=True) for n in "ab"]
    group = submit(db, *repos)
    due = finish(db, claim(db, group.execution_id))
    first, second = (claim(db, message.execution_id) for message in due)
    finish(db, first, FAILED)
    finish(db, second)
    retry(db, first.execution_id)
    run_to_end(db, db.publisher.take())
    failed = submit(db, ONE, title="twice")
    agent = claim(db, finish(db, claim(db, failed.execution_id))[0].execution_id)
    finish(db, agent, machine.failed(Reason.TIMEOUT, "late"))
    with db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == failed.workspace_id).values(state="running"))
    again = retry(db, agent.execution_id)
    finish(db, claim(db, again), machine.failed(Reason.NODE_LOST, "gone"))
    retry(db, again)
    queued = add(db, failed.workspace_id, "coding_agent", prompt="\n  Look  \nat it")
    with db.begin() as connection:
        kill(connection, [queued], "someone")
    lost = submit(db, ONE, title="lost")
    finish(db, claim(db, lost.execution_id), machine.failed(Reason.CONTAINER_MISSING, "gone"))
    with db.begin() as connection:
        retry_workspace(connection, lost.workspace_id, "someone")
    gone = submit(db, ONE)
    run_to_end(db, db.publisher.take())
    with db.begin() as connection:
        connection.execute(update(Workspace).where(Workspace.id == gone.workspace_id).values(state="failed"))
        retry_workspace(connection, gone.workspace_id, "someone")
    going = submit(db, ONE)
    claim(db, going.execution_id)
    submit(db, ONE)


def test_the_migration_gives_every_old_chain_the_run_that_it_would_have_today(db: Database, database_url: str) -> None:
    some_history(db)
    check_all(db)
    before = runs(db)
    with db.begin() as connection:
        command.downgrade(_config(connection), "0011")
    upgrade(database_url)
    check_all(db)
    after = runs(db)
    assert after == before


def test_an_inconsistent_run_is_found_for_the_doctor(db: Database) -> None:
    some_history(db)
    with db.begin() as connection:
        assert state.inconsistent(connection, 20) == []
        early = select(E.run_id).where(E.status == "running").scalar_subquery()
        ended = {"status": "completed", "conclusion": "success", "completed_at": func.now()}
        broken = connection.scalars(update(Run).where(Run.id == early).values(**ended).returning(Run.id)).all()
        assert state.inconsistent(connection, 20) == list(broken)
