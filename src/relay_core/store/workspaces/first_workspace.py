"""The first workspace of a project: asked for together with the project, made when the project is ready.

It is made by the transaction that makes the project ready, so once, whichever worker that is. What was asked for is
checked before, and stored with the project until then.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, null, select, update
from sqlalchemy.exc import IntegrityError

from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.errors import InvalidInput, RelayError
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import FirstState, Scope
from relay_core.settings import Settings
from relay_core.store import events
from relay_core.store.projects import state
from relay_core.store.schema.tables import Project
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import planned_run
from relay_core.store.workspaces.run_input import RunInput
from relay_core.store.workspaces.submit import complete_run, insert_run, terms_of

P = Project
_IMPOSSIBLE = (RelayError, LookupError, TypeError, ValueError, IntegrityError)
"""Errors that keep the first workspace from being made, and not the project from being ready.

All but the first ones are of a plan that an earlier version of Relay has stored.
"""


def plan(
    connection: Connection,
    project_id: UUID,
    run: RunInput[Mapping[str, Any]],
    principal: Principal,
    settings: Settings,
    deployment: Profiles,
) -> None:
    """Check the run of a project's first workspace and store it until the project is ready.

    Args:
        connection: the transaction that inserts the project, before its clone is queued.
        project_id: the new project.
        run: its task is a new one; its executor holds the fields of the request.
        principal: owner of the new rows.
        settings: settings of the server.
        deployment: agent profiles of the server.

    Raises:
        InvalidInput: `not_for_first_workspace`: it names secrets or images; or as `submit.start_run`.
    """
    if run.secrets or run.image_ids:
        field = "secrets" if run.secrets else "image_ids"
        message = "the project is new, so it has none; give values in env, or start the attempt when it is ready"
        raise InvalidInput(message, code="not_for_first_workspace", field=f"first_workspace.{field}")
    complete = complete_run(connection, replace(run, project_id=project_id), principal, settings, deployment)
    terms = terms_of(connection, complete, principal, settings)
    values = {"first_plan": planned_run.to_json(complete, terms), "first_state": FirstState.WAITING}
    connection.execute(update(P).where(P.id == project_id).values(values))


def settle(connection: Connection, project_id: UUID) -> None:
    """Write the state that a project has now (`state.settle`); if that makes it ready, make its first workspace."""
    state.settle(connection, project_id)


@state.when_ready
def make(connection: Connection, project_id: UUID) -> None:
    """Make the first workspace of a project that has just become ready, if one was asked for and is not made yet.

    If that is impossible, nothing of it is made, and the project says why.
    """
    found = select(P.first_plan, P.created_by).where(P.id == project_id, P.first_state == FirstState.WAITING)
    row = connection.execute(found.with_for_update(key_share=True)).one_or_none()
    if row is None:
        return
    principal = Principal(row.created_by, frozenset({Scope.WRITE}))
    values: dict[str, Any] = {"first_plan": null()}
    payload: dict[str, Any] = {"project_id": str(project_id)}
    try:
        with connection.begin_nested():
            run, terms = planned_run.from_json(row.first_plan)
            made = insert_run(connection, replace(run, project_id=project_id), principal, project_id, terms)
    except _IMPOSSIBLE as error:
        of_ours = isinstance(error, RelayError)  # the text of another one may have values of the environment
        why = str(error) if of_ours else f"what was asked for cannot be carried out ({type(error).__name__})"
        values |= {"first_state": FirstState.FAILED, "first_error": why}
        kind, payload = EventKind.PROJECT_FIRST_WORKSPACE_FAILED, payload | {"error_reason": why}
    else:
        values |= {"first_state": FirstState.MADE, "first_workspace_id": made.workspace_id}
        told = {"first_workspace_id": str(made.workspace_id), "task_id": str(made.task_id)}
        kind, payload = EventKind.PROJECT_FIRST_WORKSPACE_MADE, payload | told
    connection.execute(update(P).where(P.id == project_id).values(values))
    events.append_to_project(connection, project_id, kind, payload)
