"""The clean-up of a project's archive: the archived workspaces in which nothing happens are deleted."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from sqlalchemy import Connection, Select, func, select

from relay_core.domain.vocabulary import ACTIVE
from relay_core.store.projects import projects
from relay_core.store.schema.tables import ExecutionProcess, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces import lane
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.generation import check_project_generation

E, W = ExecutionProcess, Workspace
AT_ONCE = 50
"""Most workspaces of one transaction."""


def archived(connection: Connection, project_id: UUID, unchanged_seconds: float) -> Sequence[UUID]:
    """Return the archived workspaces of a project that are not pinned and in which nothing runs or waits.

    Args:
        connection: any transaction.
        project_id: the project.
        unchanged_seconds: only those that have not changed for so long.
    """
    return connection.scalars(_archived(project_id, unchanged_seconds)).all()


def clean_up(
    database: Database, project_id: UUID, generation: str, unchanged_seconds: float, principal: Principal
) -> list[UUID]:
    """Delete these workspaces, as `DELETE /v1/workspaces/{id}` does, and return their ids.

    Args:
        database: where it is done, in several short transactions.
        project_id: the project.
        generation: of the preview that the client has read; without one nothing is deleted.
        unchanged_seconds: as in `archived`.
        principal: the client.

    Raises:
        NotFound: there is no such project, it is deleted, or it belongs to another owner.
        Conflict: `stale_generation`.
    """

    def choose(connection: Connection) -> list[UUID]:
        projects.get(connection, project_id, principal)
        check_project_generation(connection, project_id, generation)
        return list(archived(connection, project_id, unchanged_seconds))

    def delete(some: Sequence[UUID], connection: Connection) -> list[UUID]:
        for workspace_id in some:
            lane.lock(connection, workspace_id)
        still = _archived(project_id, unchanged_seconds).where(W.id.in_(some))
        ids = list(connection.scalars(still))
        delete_workspaces(connection, ids, principal.owner)
        return ids

    deleted: list[UUID] = []
    chosen = database.transact(choose)
    while chosen:
        some, chosen = chosen[:AT_ONCE], chosen[AT_ONCE:]
        deleted += database.transact(partial(delete, some))
    return deleted


def _archived(project_id: UUID, unchanged_seconds: float) -> Select[UUID]:
    busy = select(E.id).where(E.workspace_id == W.id, E.status.in_(ACTIVE)).exists()
    of_project = select(W.id).join(Task, Task.id == W.task_id).where(Task.project_id == project_id)
    quiet = W.updated_at <= func.now() - func.make_interval(0, 0, 0, 0, 0, 0, unchanged_seconds)
    return of_project.where(W.archived, ~W.pinned, W.deleted_at.is_(None), ~busy, quiet).order_by(W.id)
