"""The way back of a deleted project, and the end without one."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Select, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import PurgeReason, QuarantineState
from relay_core.store import operations
from relay_core.store.projects import projects
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces import lane
from relay_core.store.workspaces.generation import check_project_generation
from relay_core.store.workspaces.restore import begin_restore

W = Workspace


def restore(connection: Connection, project_id: UUID, principal: Principal) -> list[UUID]:
    """Take back the deletion of a project, and ask nodes for the workspaces that were deleted with it.

    Its secrets were removed with it, and stay so.

    Args:
        connection: one transaction.
        project_id: the project.
        principal: the client.

    Returns:
        The workspaces that come back.

    Raises:
        NotFound: there is no such project, or it belongs to another owner.
        Conflict: `not_deleted`; `project_name_taken`: the owner has another project of its name by now, or one for the
            runs of the same repository.
    """
    row = _of(connection, project_id, principal)
    if row.deleted_at is None:
        raise Conflict("the project is not deleted, so there is nothing to restore", code="not_deleted")
    with_it = _kept(project_id).where(W.deleted_at >= row.deleted_at)
    ids = list(connection.scalars(with_it.order_by(W.id)))
    for workspace_id in ids:
        lane.lock(connection, workspace_id)
    ids = list(connection.scalars(with_it.order_by(W.id)))  # under the locks
    back = update(Project).where(Project.id == project_id).values(deleted_at=None, updated_at=func.now())
    try:
        with connection.begin_nested():
            connection.execute(back)
    except IntegrityError as error:
        message = "you have another project of its name, or for runs of its repository, by now; rename that one"
        raise Conflict(message, code="project_name_taken") from error
    for workspace_id in ids:
        begin_restore(connection, workspace_id, principal)
    payload = {"name": row.name, "by": principal.owner, "workspaces": len(ids)}
    subject = operations.of_project(project_id, row.created_by)
    operations.record(connection, OperationKind.PROJECT_RESTORE, subject, EventKind.PROJECT_RESTORED, payload)
    return ids


def purge(database: Database, project_id: UUID, generation: str, principal: Principal) -> int:
    """Delete a project, if it is not deleted yet, and let nodes remove all of its kept files for good.

    Args:
        database: where it is done, in several short transactions, as a deletion.
        project_id: the project.
        generation: of the preview that the client has read; without one nothing is removed for good.
        principal: the client.

    Returns:
        How many running executions were asked to end.

    Raises:
        NotFound: there is no such project, or it belongs to another owner.
        Conflict: `stale_generation`.
    """

    def is_deleted(connection: Connection) -> bool:
        row = _of(connection, project_id, principal)
        check_project_generation(connection, project_id, generation)
        return row.deleted_at is not None

    killed = 0
    if not database.transact(is_deleted):
        killed = projects.delete(database, project_id, principal, generation)
    while database.transact(lambda connection: _purge_some(connection, project_id)):
        pass
    return killed


def _purge_some(connection: Connection, project_id: UUID) -> bool:
    """Mark some deleted workspaces of a project for their removal; return False if none was left."""
    some = connection.scalars(_kept(project_id).order_by(W.id).limit(projects.WORKSPACES_AT_ONCE)).all()
    for workspace_id in some:
        lane.lock(connection, workspace_id)
    still = _kept(project_id).where(W.id.in_(some))
    marked = update(W).where(W.id.in_(still))
    connection.execute(marked.values(purge_why=PurgeReason.REQUEST))
    return bool(some)


def kept_ids(connection: Connection, project_id: UUID) -> Sequence[UUID]:
    """Return the deleted workspaces of a project whose files can still be restored."""
    return connection.scalars(_kept(project_id)).all()


def _kept(project_id: UUID) -> Select[UUID]:
    of_project = select(W.id).join(Task, Task.id == W.task_id).where(Task.project_id == project_id)
    deleted = of_project.where(W.deleted_at.is_not(None), W.container_ref.is_not(None), W.purge_why.is_(None))
    return deleted.where(or_(W.quarantine.is_(None), W.quarantine == QuarantineState.KEPT))


def _of(connection: Connection, project_id: UUID, principal: Principal) -> Row[*tuple[Any, ...]]:
    found = select(Project.name, Project.created_by, Project.deleted_at).where(Project.id == project_id)
    if principal.only is not None:
        found = found.where(Project.created_by == principal.only)
    row = connection.execute(found.with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise NotFound(f"there is no project {project_id}")
    return row
