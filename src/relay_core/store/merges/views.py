"""Merges as the API shows them to one principal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from relay_core.domain.errors import NotFound
from relay_core.domain.vocabulary import MergeStatus, Status
from relay_core.store.schema.tables import ExecutionProcess, Merge, Task, Workspace, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.views.access import of_owner
from relay_core.store.views.lookup import Among, resolve_among
from relay_core.store.views.paging import Page, PageRequest, cut, paged

E, M = ExecutionProcess, Merge
View = dict[str, Any]
"""Fields of `relay_api.schemas.merges.MergeOut`."""
_OWN = (
    "id workspace_id repo_id execution_id kind method target_branch_name message source_commit target_commit "
    "merge_commit merged_at conflicts created_by created_at updated_at"
)
_PR = ("number", "url", "status", "checked_at", "problem")


@dataclass(frozen=True)
class MergeFilter:
    """Conditions on the merges of a list; None sets no condition."""

    status: MergeStatus | None = None
    workspace_id: UUID | None = None
    project_id: UUID | None = None


def listed(connection: Connection, principal: Principal, conditions: MergeFilter, page: PageRequest) -> Page:
    """Return a page of merges, newest first. Those of deleted workspaces are included, as a record of what happened."""
    statement = _views(principal)
    if conditions.status is not None:
        statement = statement.where(status_column() == conditions.status)
    if conditions.workspace_id is not None:
        statement = statement.where(M.workspace_id == conditions.workspace_id)
    if conditions.project_id is not None:
        statement = statement.where(Task.project_id == conditions.project_id)
    ordered = paged(statement, M.created_at, M.id, page, newest_first=True)
    return cut([_view(row) for row in connection.execute(ordered).mappings()], page)


def of_workspaces(connection: Connection, principal: Principal, ids: Sequence[UUID], most: int) -> list[View]:
    """Return the newest merges of some workspaces."""
    newest = _views(principal).where(M.workspace_id.in_(ids)).order_by(M.created_at.desc(), M.id.desc()).limit(most)
    return [_view(row) for row in connection.execute(newest).mappings()] if ids else []


def get(connection: Connection, merge_id: UUID, principal: Principal) -> View:
    """Return one merge.

    Raises:
        NotFound: there is no such merge, or its workspace belongs to another owner.
    """
    row = connection.execute(_views(principal).where(M.id == merge_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no merge {merge_id}")
    return _view(row)


def resolve(connection: Connection, text: str, principal: Principal, field: str) -> UUID:
    """Return the id of the merge that a whole id, or the first digits of one, stands for.

    Args:
        connection: any transaction.
        text: the id, or its first digits (`MIN_DIGITS` or more).
        principal: the client; only merges of its own workspaces count, unless it is an admin.
        field: path of the text in the request, for errors.

    Raises:
        InvalidInput: the text cannot be an id.
        Ambiguous: several merges have ids that begin so; the error lists them.
        NotFound: no merge has such an id.
    """
    among = Among("merge", _views(principal), M.id, M.created_at, "message")
    return resolve_among(connection, text, among, field)


def status_column() -> ColumnElement[str]:
    """Return the status of the merge `M` of a query that joins its execution `E` (`domain.merging.status_of`)."""
    return case(
        (M.pr_status.is_not(None), M.pr_status),
        (M.merged_at.is_not(None), MergeStatus.MERGED.value),
        (E.status.in_([Status.QUEUED, Status.RUNNING]), MergeStatus.PENDING.value),
        else_=MergeStatus.FAILED.value,
    )


def _views(principal: Principal) -> Select[Any]:
    columns: list[Any] = [getattr(M, name) for name in _OWN.split()]
    columns += [getattr(M, f"pr_{name}") for name in _PR]
    columns += [status_column().label("status"), E.run_id, E.error_reason, Task.project_id, Workspace.task_id]
    columns += [func.coalesce(WorkspaceRepo.name, "").label("repo")]
    statement = (
        select(*columns)
        .join(Workspace, Workspace.id == M.workspace_id)
        .join(Task, Task.id == Workspace.task_id)
        .outerjoin(E, E.id == M.execution_id)
        .outerjoin(WorkspaceRepo, (WorkspaceRepo.workspace_id == M.workspace_id) & (WorkspaceRepo.repo_id == M.repo_id))
    )
    return of_owner(statement, principal)


def _view(row: Any) -> View:
    view = dict(row)
    asked = {name: view.pop(f"pr_{name}") for name in _PR}
    pr_info = None
    if asked["number"] is not None:
        told = {"merged_at": view["merged_at"], "merge_commit_sha": view["merge_commit"]}
        pr_info = {**asked, **told}
    if view["status"] != MergeStatus.FAILED:
        view["error_reason"] = None
    return {**view, "pr_info": pr_info}
