"""The generation of a workspace: an opaque text that changes with everything that happens in the workspace.

It is the cursor of the workspace's newest event, as each act, start and end there is an event in the transaction that
does it. A person who has read a state or a preview gives its generation back with the act; if it is another one now,
the act is refused.
"""

import hashlib
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.errors import Conflict
from relay_core.store.schema.tables import Project, Task, Workspace


def generation(connection: Connection, workspace_id: UUID) -> str:
    """Return the generation of a workspace."""
    return str(connection.scalar(select(Workspace.event_seq).where(Workspace.id == workspace_id)))


def check_generation(connection: Connection, workspace_id: UUID, given: str | None) -> None:
    """Raise an error unless the given generation, if there is one, is that of the workspace. The caller holds the lane.

    Raises:
        Conflict: `stale_generation`.
    """
    if given is not None and given != generation(connection, workspace_id):
        message = "something has happened in the workspace since then; read it again, then decide"
        raise Conflict(message, code="stale_generation")


def project_generation(connection: Connection, project_id: UUID) -> str:
    """Return the generation of a project: it changes with everything that happens in it or in its workspaces."""
    of_project = select(Workspace.id, Workspace.event_seq).join(Task, Task.id == Workspace.task_id)
    rows = connection.execute(of_project.where(Task.project_id == project_id).order_by(Workspace.id)).all()
    changed = connection.scalar(select(Project.updated_at).where(Project.id == project_id))
    return hashlib.sha256(repr((changed, [tuple(row) for row in rows])).encode()).hexdigest()[:16]


def check_project_generation(connection: Connection, project_id: UUID, given: str | None) -> None:
    """Raise an error unless the given generation, if there is one, is that of the project.

    Raises:
        Conflict: `stale_generation`.
    """
    if given is not None and given != project_generation(connection, project_id):
        message = "something has happened in the project since then; read it again, then decide"
        raise Conflict(message, code="stale_generation")
