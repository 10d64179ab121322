"""The way back of a deleted project, and the end without one. Both take its workspaces a few at a time."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Row, Select, func, null, or_, select, update
from sqlalchemy.exc import IntegrityError

from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import ACTIVE, CloneState, QuarantineState, RunReason, Status
from relay_core.store import operations
from relay_core.store.projects import clones, projects, state
from relay_core.store.schema.tables import ExecutionProcess, Project, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces import lane
from relay_core.store.workspaces import purge as purges
from relay_core.store.workspaces.generation import check_project_generation
from relay_core.store.workspaces.restore import begin_restore

E, P, W = ExecutionProcess, Project, Workspace
NOT_CLONED = "its clone was ended by the deletion of the project; clone it again: POST /v1/projects/{id}/clone"


def restore(database: Database, project_id: UUID, principal: Principal) -> list[UUID]:
    """Take back the deletion of a project, and ask nodes for the workspaces that were deleted with it.

    Its secrets and stored files were removed with it, and stay so. If this is interrupted, call it again to continue.

    Args:
        database: where it is done, in several short transactions, as a deletion.
        project_id: the project.
        principal: the client.

    Returns:
        The workspaces that come back.

    Raises:
        NotFound: there is no such project, or it belongs to another owner.
        Conflict: `not_deleted`; `project_name_taken`: the owner has another project of its name by now, or one for the
            runs of the same repository.
    """
    database.transact(lambda connection: _begin(connection, project_id, principal))
    ids: list[UUID] = []
    while (some := database.transact(lambda connection: _ask_for_some(connection, project_id, principal))) is not None:
        ids += some
    database.transact(lambda connection: _end(connection, project_id))
    return ids


def _begin(connection: Connection, project_id: UUID, principal: Principal) -> None:
    """Let a project be there again, and store whose deletion is to be taken back: that of the same time."""
    clones.lock_active(connection, project_id)  # the end of a clone locks the clone before the project, too
    row = _of(connection, project_id, principal)
    if row.deleted_at is None and row.restoring_from is not None:  # it was interrupted
        return
    if row.deleted_at is None:
        raise Conflict("the project is not deleted, so there is nothing to restore", code="not_deleted")
    back = update(P).where(P.id == project_id).values(deleted_at=None, updated_at=func.now())
    back = back.values(restoring_from=func.coalesce(P.restoring_from, P.deleted_at), restoring_until=func.now())
    try:
        with connection.begin_nested():
            connection.execute(back)
    except IntegrityError as error:
        message = "you have another project of its name, or for runs of its repository, by now; rename that one"
        raise Conflict(message, code="project_name_taken") from error
    count = connection.scalar(select(func.count()).select_from(_deleted_with(project_id).subquery()))
    payload = {"name": row.name, "by": principal.owner, "workspaces": count}
    subject = operations.of_project(project_id, row.created_by)
    operations.record(connection, OperationKind.PROJECT_RESTORE, subject, EventKind.PROJECT_RESTORED, payload)
    unfinished = row.state == CloneState.CLONING and connection.scalar(select(_clone_ended(project_id)))
    state.settle(connection, project_id, NOT_CLONED.format(id=project_id) if unfinished else None)


def _clone_ended(project_id: UUID) -> ColumnElement[bool]:
    """Return whether a clone of a project, or of a run in it, has ended without success."""
    of_project = select(W.id).join(Task, Task.id == W.task_id).where(Task.project_id == project_id)
    clones_there = select(E.id).where(or_(E.project_id == project_id, E.workspace_id.in_(of_project)))
    ended = clones_there.where(E.run_reason == RunReason.CLONE, E.status.in_((Status.FAILED, Status.KILLED)))
    return ended.exists()


def _ask_for_some(connection: Connection, project_id: UUID, principal: Principal) -> list[UUID] | None:
    """Ask for some of the workspaces that come back; None: none are left, or the project is deleted again."""
    some = _deleted_with(project_id).order_by(W.id).limit(projects.WORKSPACES_AT_ONCE)
    chosen = connection.scalars(some).all()
    for workspace_id in chosen:
        lane.lock(connection, workspace_id)  # the end of a step locks the lane before the project, too
    live = select(P.id).where(P.id == project_id, P.deleted_at.is_(None)).with_for_update(read=True)
    if not chosen or connection.scalar(live) is None:
        return None
    ids = list(connection.scalars(_deleted_with(project_id).where(W.id.in_(chosen)).order_by(W.id)))
    for workspace_id in ids:
        begin_restore(connection, workspace_id, principal)
    return ids


def _end(connection: Connection, project_id: UUID) -> None:
    over = update(P).where(P.id == project_id, P.deleted_at.is_(None))
    connection.execute(over.values(restoring_from=null(), restoring_until=null()))


def _deleted_with(project_id: UUID) -> Select[UUID]:
    """Return the workspaces that were deleted with a project which is being restored, and are not asked for yet."""
    of_project = select(W.id).join(Task, Task.id == W.task_id).join(P, P.id == Task.project_id)
    with_it = of_project.where(P.id == project_id, W.deleted_at >= P.restoring_from, W.deleted_at < P.restoring_until)
    kept = with_it.where(W.container_ref.is_not(None), W.purge_why.is_(None))
    return kept.where(or_(W.quarantine.is_(None), W.quarantine == QuarantineState.KEPT))


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

    if database.transact(is_deleted):
        killed = projects.delete_rest(database, project_id, principal)  # its deletion may have been interrupted
    else:
        killed = projects.delete(database, project_id, principal, generation)
    while database.transact(partial(_purge_some, project_id=project_id, principal=principal)):
        pass
    return killed or 0


def _purge_some(connection: Connection, project_id: UUID, principal: Principal) -> bool:
    """Mark some deleted workspaces of a project for their removal; return False if none was left.

    It is also False if the project is restored meanwhile.
    """
    some = connection.scalars(_unpurged(project_id).order_by(W.id).limit(projects.WORKSPACES_AT_ONCE)).all()
    for workspace_id in some:
        lane.lock(connection, workspace_id)
    if not some or not projects.hold_deleted(connection, project_id, principal):
        return False
    for workspace_id in connection.scalars(_unpurged(project_id).where(W.id.in_(some)).order_by(W.id)).all():
        purges.begin(connection, workspace_id, principal.owner)
    return True


def unpurged_ids(connection: Connection, project_id: UUID) -> Sequence[UUID]:
    """Return the deleted workspaces of a project of which a node has files, or may soon have, that are to be kept."""
    return connection.scalars(_unpurged(project_id)).all()


def _unpurged(project_id: UUID) -> Select[UUID]:
    of_project = select(W.id).join(Task, Task.id == W.task_id).where(Task.project_id == project_id)
    at_work = select(E.id).where(E.workspace_id == W.id, E.status.in_(ACTIVE)).exists()  # its clone may write them
    return of_project.where(
        W.deleted_at.is_not(None), W.purge_why.is_(None), or_(W.container_ref.is_not(None), at_work)
    )


def _of(connection: Connection, project_id: UUID, principal: Principal) -> Row[*tuple[Any, ...]]:
    found = select(P.name, P.created_by, P.deleted_at, P.restoring_from, P.state).where(P.id == project_id)
    if principal.only is not None:
        found = found.where(Project.created_by == principal.only)
    row = connection.execute(found.with_for_update(key_share=True)).one_or_none()
    if row is None:
        raise NotFound(f"there is no project {project_id}")
    return row
