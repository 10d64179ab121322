"""Clones of projects: executions with a project, and without workspace and session.

They fetch every repository of the project into the mirrors of one node.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, select, update

from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.message import task_id
from relay_core.domain.operations import OperationKind
from relay_core.domain.step import CloneStep
from relay_core.domain.vocabulary import ACTIVE, CloneState, Reason, Status
from relay_core.store import events, operations
from relay_core.store.executions.action_json import action_to_json
from relay_core.store.executions.locks import lock_executions
from relay_core.store.projects import clone_turns, state
from relay_core.store.schema.tables import Event, ExecutionProcess, Mirror, Project, ProjectRepo, Repo
from relay_core.store.transaction import send_after_commit

E = ExecutionProcess
FIRST_ATTEMPT = 1
MOST_REPEATS = 3
"""Most times that the loss of a node makes another one repeat a clone."""


@dataclass(frozen=True)
class ProjectRow:
    """A project as the worker that clones it needs it.

    Attributes:
        remotes: URLs of its repositories, without credentials.
    """

    id: UUID
    name: str
    remotes: tuple[str, ...]


def start_clone(connection: Connection, project_id: UUID, pool: str, by: str, *, retry_of: UUID | None = None) -> UUID:
    """Queue a clone of a project, which is an operation of the project.

    Its message is sent after the commit, or when its turn comes (`clone_turns`).

    Args:
        connection: one transaction of `Database`.
        project_id: a project that is not deleted.
        pool: pool whose nodes may take it.
        by: owner of the execution.
        retry_of: the clone that this one repeats.

    Returns:
        Id of the execution.

    Raises:
        Conflict: `project_cloning`: a clone of the project is queued or running.
    """
    locked = select(Project.created_by).where(Project.id == project_id).with_for_update(key_share=True)
    owner = connection.execute(locked).scalar_one()
    busy = connection.scalar(select(E.id).where(E.project_id == project_id, E.status.in_(ACTIVE)).limit(1))
    if busy is not None:
        raise Conflict(f"execution {busy} clones the project already", code="project_cloning")
    execution_id = uuid4()
    operation = operations.begin(connection, OperationKind.PROJECT_CLONE, operations.of_project(project_id, owner))
    if operation is not None:
        asked = {"execution_id": str(execution_id), "by": by}
        operations.append(connection, operation, EventKind.PROJECT_CLONE_STARTED, asked)
    step = CloneStep()
    connection.execute(
        insert(E).values(
            id=execution_id,
            project_id=project_id,
            pool=pool,
            run_reason=step.run_reason,
            executor_action=action_to_json(Action(step)),
            created_by=by,
            attempt=FIRST_ATTEMPT,
            task_id=UUID(task_id(execution_id, FIRST_ATTEMPT)),
            created_at=func.clock_timestamp(),
            retry_of=retry_of,
        )
    )
    payload = {"run_reason": step.run_reason, "repo": None}
    events.append_to_project(connection, project_id, EventKind.EXECUTION_QUEUED, payload, operation_id=execution_id)
    state.settle(connection, project_id)
    send_after_commit(connection, [one for one in clone_turns.due(connection, by, pool) if one == execution_id])
    return execution_id


def ended(connection: Connection, project_id: UUID, execution_id: UUID, transition: Transition) -> None:
    """Write what the end of a clone of a project means for the project, and let the owner's next clone start.

    If its node was lost, another node repeats it, up to `MOST_REPEATS` times.

    Args:
        connection: the transaction of `Database` that ends the clone, after its row was written.
        project_id: the project.
        execution_id: the clone.
        transition: its end.
    """
    project = connection.execute(select(Project.created_by, Project.deleted_at).where(Project.id == project_id)).one()
    row = connection.execute(select(E.node_id, E.pool, E.created_by).where(E.id == execution_id)).one()
    subject = operations.of_project(project_id, project.created_by)
    operation = operations.open_of(connection, [OperationKind.PROJECT_CLONE], subject)
    end: dict[str, Any] = {"execution_id": str(execution_id), "node_id": row.node_id}
    if transition.target is Status.COMPLETED:
        state.settle(connection, project_id)
        _append(connection, operation, EventKind.PROJECT_CLONED, end, terminal=True)
        send_after_commit(connection, clone_turns.due(connection, row.created_by, row.pool))
        return
    error = transition.error_reason or f"the clone ended as {transition.target}"
    unfinished = (Mirror.project_id == project_id) & (Mirror.node_id == row.node_id)
    unfinished &= Mirror.state == CloneState.CLONING
    connection.execute(update(Mirror).where(unfinished).values(state=CloneState.FAILED, error=error))
    lost = transition.reason == Reason.NODE_LOST and project.deleted_at is None
    if lost and operation is not None and _repeats(connection, operation) < MOST_REPEATS:
        new = start_clone(connection, project_id, row.pool, row.created_by, retry_of=execution_id)
        payload = {"execution_id": str(new), "node_id": row.node_id}
        _append(connection, operation, EventKind.PROJECT_CLONE_REPEATED, payload)
        return
    state.settle(connection, project_id, error)
    end |= {"reason": transition.reason, "error_reason": transition.error_reason}
    _append(connection, operation, EventKind.PROJECT_CLONE_FAILED, end, terminal=True)
    send_after_commit(connection, clone_turns.due(connection, row.created_by, row.pool))


def _append(
    connection: Connection, operation: UUID | None, kind: EventKind, payload: dict[str, Any], *, terminal: bool = False
) -> None:
    """Add an event of the operation; a clone that began before clones were operations has none."""
    if operation is not None:
        operations.append(connection, operation, kind, payload, terminal=terminal)


def _repeats(connection: Connection, operation: UUID) -> int:
    repeated = (Event.operation_id == operation) & (Event.kind == EventKind.PROJECT_CLONE_REPEATED)
    return connection.scalar(select(func.count()).select_from(Event).where(repeated)) or 0


def lock_active(connection: Connection, project_id: UUID) -> None:
    """Lock the clones of a project that are queued or running."""
    lock_executions(connection, select(E.id).where(E.project_id == project_id, E.status.in_(ACTIVE)))


def active(connection: Connection, project_id: UUID) -> list[UUID]:
    """Return the clones of a project that are queued or running."""
    statement = select(E.id).where(E.project_id == project_id, E.status.in_(ACTIVE))
    return list(connection.scalars(statement.order_by(E.id)))


def load(connection: Connection, project_id: UUID) -> ProjectRow:
    """Return a project with its repositories."""
    name = connection.execute(select(Project.name).where(Project.id == project_id)).scalar_one()
    remotes = select(Repo.path).join(ProjectRepo, ProjectRepo.repo_id == Repo.id)
    ordered = remotes.where(ProjectRepo.project_id == project_id).order_by(Repo.name, Repo.id)
    return ProjectRow(project_id, name, tuple(connection.scalars(ordered)))


def why_gone(connection: Connection, project_id: UUID) -> str | None:
    """Return why a clone of a project may not start any more; None if it may."""
    deleted = connection.scalar(select(Project.deleted_at).where(Project.id == project_id))
    return None if deleted is None else "the project was deleted before its clone could start"
