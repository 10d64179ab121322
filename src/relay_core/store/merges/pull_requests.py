"""Writes about pull requests: of the worker that opens one, and of the sweep that asks for their status."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, or_, select, update

from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import MergeStatus, TaskStatus
from relay_core.store import events
from relay_core.store.events import Place
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.merges import views
from relay_core.store.schema.tables import (
    ExecutionProcessRepoState,
    Merge,
    Project,
    ProjectSecret,
    Task,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import lane

M = Merge
MOST = 50
"""Most pull requests that one sweep asks about."""


@dataclass(frozen=True)
class Told:
    """A pull request as its host told it; the fields are those of the columns `pr_…`."""

    number: int
    url: str
    status: str
    merged_at: datetime | None
    merge_commit: str | None


@dataclass(frozen=True)
class Due:
    """A pull request whose status is to be asked for."""

    merge_id: UUID
    project_id: UUID
    url: str
    """Of the remote."""
    number: int
    token_secret: str | None


def secret_of(connection: Connection, merge_id: UUID) -> str | None:
    """Return the name of the secret that the request of a merge named; None if it named none."""
    return connection.scalar(select(M.pr_token_secret).where(M.id == merge_id))


def token(connection: Connection, project_id: UUID, name: str) -> bytes | None:
    """Return the encrypted value of a secret of a project; None if there is none of that name."""
    secret = ProjectSecret
    found = select(secret.ciphertext).where(secret.project_id == project_id, secret.name == name)
    return connection.scalar(found)


def opened(connection: Connection, claimed: Claimed, merge_id: UUID, told: Told) -> None:
    """Store the pull request that the execution has opened, or found open, with an event.

    Raises:
        Stale: the execution has ended, or another worker owns it.
    """
    owned.store_handle(connection, claimed.execution_id, claimed.fence, claimed.handle)
    values = {"pr_number": told.number, "pr_url": told.url, "pr_status": told.status, "pr_problem": None}
    connection.execute(update(M).where(M.id == merge_id).values(**values, pr_checked_at=func.clock_timestamp()))
    payload = {"merge_id": str(merge_id), "url": told.url}
    place = Place(claimed.workspace_id, None)
    events.append_to_execution(connection, claimed.execution_id, place, EventKind.MERGE_OPENED, payload)


def due(connection: Connection, older_than_seconds: float, may_ask: Callable[[Due], bool]) -> list[Due]:
    """Return pull requests to ask about: open ones that were not asked about for a while, and those asked for.

    Those that were not asked about for the longest time come first, at most `MOST`. Those of deleted projects, whose
    tokens are gone, are left out.

    Args:
        connection: any transaction.
        older_than_seconds: the while.
        may_ask: whether a pull request can be asked about now; the others take no place of the `MOST`.
    """
    old = M.pr_checked_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 0, older_than_seconds)
    statement = (
        select(M.id, Task.project_id, WorkspaceRepo.url, M.pr_number, M.pr_token_secret)
        .join(Workspace, Workspace.id == M.workspace_id)
        .join(Task, Task.id == Workspace.task_id)
        .join(Project, Project.id == Task.project_id)
        .join(WorkspaceRepo, (WorkspaceRepo.workspace_id == M.workspace_id) & (WorkspaceRepo.repo_id == M.repo_id))
        .where(M.pr_number.is_not(None), Project.deleted_at.is_(None))
        .where(or_(M.pr_checked_at.is_(None), (M.pr_status == MergeStatus.OPEN) & old))
        .order_by(M.pr_checked_at.nulls_first(), M.id)
        .execution_options(yield_per=10 * MOST)
    )
    with connection.execute(statement) as rows:
        each = (Due(row.id, row.project_id, row.url, row.pr_number, row.pr_token_secret) for row in rows)
        return list(islice(filter(may_ask, each), MOST))


def ask_soon(connection: Connection, merge_id: UUID, principal: Principal) -> dict[str, Any]:
    """Let the next sweep ask the host of a pull request for its status; return the merge.

    Nothing changes for a direct merge, for one without a pull request, and for one that is merged.

    Raises:
        NotFound: there is no such merge, or its workspace belongs to another owner.
    """
    views.get(connection, merge_id, principal)
    not_merged = (M.id == merge_id, M.pr_number.is_not(None), M.pr_status != MergeStatus.MERGED)
    connection.execute(update(M).where(*not_merged).values(pr_checked_at=None))
    return views.get(connection, merge_id, principal)


def failed(connection: Connection, merge_id: UUID, problem: str) -> None:
    """Store why the host of a pull request could not be asked."""
    values = {"pr_problem": problem, "pr_checked_at": func.clock_timestamp()}
    connection.execute(update(M).where(M.id == merge_id).values(**values))


def told(connection: Connection, merge_id: UUID, found: Told) -> bool:
    """Store the status of a pull request. If it is merged now, the task becomes `done`, with an event.

    Returns:
        Whether the status has changed.
    """
    values = {"pr_problem": None, "pr_checked_at": func.clock_timestamp()}
    connection.execute(update(M).where(M.id == merge_id).values(**values))
    changes = update(M).where(M.id == merge_id, M.pr_status.not_in([found.status, MergeStatus.MERGED]))
    new: dict[str, Any] = {"pr_status": found.status}
    if found.status == MergeStatus.MERGED:
        new |= {"merge_commit": found.merge_commit, "merged_at": found.merged_at or func.now()}
    columns = (M.workspace_id, M.repo_id, M.execution_id, M.target_branch_name)
    row = connection.execute(changes.values(**new).returning(*columns)).one_or_none()
    if row is not None and found.status == MergeStatus.MERGED:
        _merged(connection, merge_id, found, row)
    return row is not None


def _merged(connection: Connection, merge_id: UUID, found: Told, row: Any) -> None:
    state = ExecutionProcessRepoState
    mine = (state.execution_process_id == row.execution_id, state.repo_id == row.repo_id)
    connection.execute(update(state).where(*mine).values(merge_commit=found.merge_commit))
    named = select(WorkspaceRepo.name).where(
        WorkspaceRepo.workspace_id == row.workspace_id, WorkspaceRepo.repo_id == row.repo_id
    )
    payload = {
        "merge_id": str(merge_id),
        "repo": connection.scalar(named),
        "target_branch": row.target_branch_name,
        "merge_commit": found.merge_commit,
    }
    lane.set_task_status(connection, row.workspace_id, TaskStatus.DONE)
    events.append(connection, row.workspace_id, EventKind.MERGE_MERGED, payload)
