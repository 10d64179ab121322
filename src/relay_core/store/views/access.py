"""Access checks: an admin sees all workspaces, any other principal those that it created."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, func, select

from relay_core.domain.errors import NotFound
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.schema.tables import ExecutionProcess, Project, Run, Workspace
from relay_core.store.tokens import Principal

E = ExecutionProcess
# Built once: building these statements costs more than carrying them out.
_EXECUTION = select(E).where(E.id == bindparam("execution"))
_OWN_EXECUTION = (
    _EXECUTION.outerjoin(Workspace, Workspace.id == E.workspace_id)
    .outerjoin(Project, Project.id == E.project_id)
    .where(func.coalesce(Workspace.created_by, Project.created_by) == bindparam("owner"))
)


def require_workspace(
    connection: Connection, workspace_id: UUID, principal: Principal, *, deleted_too: bool = False
) -> None:
    """Raise an error unless the principal may see the workspace.

    Raises:
        NotFound: there is no such workspace, it belongs to another owner, or it is deleted (unless ``deleted_too``).
    """
    statement = of_owner(select(Workspace.id), principal).where(Workspace.id == workspace_id)
    if not deleted_too:
        statement = statement.where(Workspace.deleted_at.is_(None))
    if connection.execute(statement).one_or_none() is None:
        raise NotFound(f"there is no workspace {workspace_id}")


def require_execution(connection: Connection, execution_id: UUID, principal: Principal) -> ExecutionRow:
    """Return an execution that the principal may see.

    It may belong to a deleted workspace: executions stay readable as the record of what happened.

    Raises:
        NotFound: there is no such execution, or it belongs to another owner.
    """
    if principal.only is None:
        found = connection.execute(_EXECUTION, {"execution": execution_id})
    else:
        found = connection.execute(_OWN_EXECUTION, {"execution": execution_id, "owner": principal.only})
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no execution {execution_id}")
    return ExecutionRow.from_row(row)


def require_run(connection: Connection, run_id: UUID, principal: Principal) -> UUID:
    """Return the id of the workspace of a run that the principal may see.

    The workspace may be deleted: runs stay readable as the record of what happened.

    Raises:
        NotFound: there is no such run, or it belongs to another owner.
    """
    statement = select(Run.workspace_id).join(Workspace, Workspace.id == Run.workspace_id).where(Run.id == run_id)
    workspace_id: UUID | None = connection.scalar(of_owner(statement, principal))
    if workspace_id is None:
        raise NotFound(f"there is no run {run_id}")
    return workspace_id


def executions_of(principal: Principal) -> Sequence[Select[Any]]:
    """Return statements that together select the executions that the principal may see, each of them once.

    For an owner there are two, of its workspaces and of its projects, so that Postgres can begin with the owner.
    """
    if principal.only is None:
        return [select(E)]
    of_workspaces = of_owner(select(E).join(Workspace, Workspace.id == E.workspace_id), principal)
    of_projects = select(E).join(Project, Project.id == E.project_id).where(Project.created_by == principal.only)
    return [of_workspaces, of_projects.where(E.project_id.is_not(None))]


def of_owner(statement: Select[Any], principal: Principal) -> Select[Any]:
    """Limit a statement to the workspaces that the principal may see.

    Args:
        statement: a query that selects from `Workspace`.
        principal: the client.
    """
    return statement if principal.only is None else statement.where(Workspace.created_by == principal.only)
