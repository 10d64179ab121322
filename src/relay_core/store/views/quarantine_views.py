"""Deleted workspaces whose files their nodes still keep, as the API shows them to one principal."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select

from relay_core.domain.errors import NotFound
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views.access import of_owner
from relay_core.store.views.paging import Page, PageRequest, cut, paged

W = Workspace
View = dict[str, Any]
"""Fields of `relay_api.schemas.quarantine.QuarantinedOut`."""
_OWN = "id task_id name branch node_id quarantine quarantined_at kept_until created_by created_at deleted_at"


@dataclass(frozen=True)
class QuarantineFilter:
    """Conditions on the deleted workspaces of a list; None sets no condition."""

    project_id: UUID | None = None


def listed(connection: Connection, principal: Principal, conditions: QuarantineFilter, page: PageRequest) -> Page:
    """Return a page of the deleted workspaces whose files are in quarantine, newest first."""
    statement = _views(principal).where(W.quarantine.is_not(None))
    if conditions.project_id is not None:
        statement = statement.where(Task.project_id == conditions.project_id)
    ordered = paged(statement, W.created_at, W.id, page, newest_first=True)
    return cut([dict(row) for row in connection.execute(ordered).mappings()], page)


def deleted(connection: Connection, workspace_id: UUID, principal: Principal) -> View:
    """Return one deleted workspace; `quarantine` is None while its node has not put it away, and once it is gone.

    Raises:
        NotFound: there is no such workspace, it is not deleted, or it belongs to another owner.
    """
    found = _views(principal).where(W.id == workspace_id, W.deleted_at.is_not(None))
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no deleted workspace {workspace_id}")
    return dict(row)


def _views(principal: Principal) -> Select[Any]:
    columns: list[Any] = [getattr(W, name) for name in _OWN.split()]
    columns += [Task.title, Task.project_id, Project.name.label("project")]
    statement = select(*columns).join(Task, Task.id == W.task_id).join(Project, Project.id == Task.project_id)
    return of_owner(statement, principal)
