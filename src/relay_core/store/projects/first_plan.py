"""The end of the plan of a first workspace whose project is deleted (`workspaces.first_workspace`)."""

from uuid import UUID

from sqlalchemy import Connection, null, update

from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import FirstState
from relay_core.store import events
from relay_core.store.schema.tables import Project

P = Project
DELETED = "the project was deleted before it was ready; start an attempt at a task"


def drop(connection: Connection, project_id: UUID) -> None:
    """Forget the plan of a project that is being deleted, which may have secrets in its environment, with an event.

    The caller has locked the project.
    """
    waiting = update(P).where(P.id == project_id, P.first_state == FirstState.WAITING)
    failed = {"first_plan": null(), "first_state": FirstState.FAILED, "first_error": DELETED}
    if connection.scalar(waiting.values(failed).returning(P.id)) is not None:
        payload = {"project_id": str(project_id), "error_reason": DELETED}
        events.append_to_project(connection, project_id, EventKind.PROJECT_FIRST_WORKSPACE_FAILED, payload)
