"""Runs submitted, claimed and ended through the store, as API and workers do; nothing is executed."""

from uuid import UUID

from sqlalchemy import select

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason, Scope
from relay_core.settings import Settings
from relay_core.store.executions import claim as claims
from relay_core.store.executions import finish as ends
from relay_core.store.executions.claim import Claimant, Claimed
from relay_core.store.schema.tables import ExecutionProcess, Task
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, SubmittedRun, submit_run

ME = Principal("someone", frozenset({Scope.WRITE}))
WORKER = Claimant("w1@node-1", "node-1", "default", 30)
OTHER = Claimant("w1@node-2", "node-2", "default", 30)
EXECUTOR = ExecutorChoice("shell", "true")


def submit(db: Database, *repos: RepoInput, **more) -> SubmittedRun:
    repos = repos or (RepoInput("https://example.org/a.git", setup_script="s", cleanup_script="c"),)
    run = RunInput(repos, "do it", EXECUTOR, Limits(), **more)
    with db.begin() as connection:
        return submit_run(connection, run, ME, Settings())


def claim(db: Database, execution_id: UUID, by: Claimant = WORKER, attempt: int = 1):
    with db.begin() as connection:
        return claims.claim(connection, execution_id, attempt, by)


def finish(db: Database, claimed: Claimed, transition=None):
    """End an execution; the messages that were sent after the commit."""
    db.publisher.take()
    with db.begin() as connection:
        ends.finish(connection, claimed.execution_id, claimed.fence, transition or machine.completed(0))
    return db.publisher.take()


def column(db: Database, execution_id: UUID, name: str):
    with db.connect() as connection:
        return connection.scalar(select(getattr(ExecutionProcess, name)).where(ExecutionProcess.id == execution_id))


def task_status(db: Database, submitted: SubmittedRun) -> str:
    with db.connect() as connection:
        return connection.scalar(select(Task.status).where(Task.id == submitted.task_id))


def run_to_end(db: Database, messages) -> list[tuple[RunReason, UUID]]:
    """Carry out every execution whose message was sent, in order; return run reasons and ids in that order."""
    ran = []
    due = list(messages)
    while due:
        message = due.pop(0)
        claimed = claim(db, message.execution_id)
        assert isinstance(claimed, Claimed)
        ran.append((claimed.run_reason, claimed.execution_id))
        due += finish(db, claimed)
    return ran


def ids_of(db, workspace_id):
    with db.connect() as connection:
        statement = select(ExecutionProcess.id).where(ExecutionProcess.workspace_id == workspace_id)
        return list(connection.scalars(statement.order_by(ExecutionProcess.created_at, ExecutionProcess.id)))
