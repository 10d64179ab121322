"""Work trees that were stored before Relay deleted a workspace in which nothing happened any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.events import EventKind
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, KeptState, WorkspaceRepo
from relay_core.store.workspaces.bundles import NoBundle, RepoBundle
from relay_core.store.workspaces.diffs import unpacked

E, K = ExecutionProcess, KeptState
State = ExecutionProcessRepoState


@dataclass(frozen=True)
class NewKept:
    """The work tree of one clone, as a node has recorded it."""

    repo_id: UUID
    name: str
    columns: Mapping[str, Any]
    """Columns of `KeptState` by name."""


@dataclass(frozen=True)
class Kept:
    """The work tree of one clone, as it was kept."""

    repo_id: UUID
    name: str
    base_commit: str | None
    head_commit: str | None
    branch: str | None
    dirty: bool | None
    pinned_commit: str
    stat: Mapping[str, Any] | None
    bundle_bytes: int | None
    """Size of the git bundle of `pinned_commit`; None: the state is the base commit."""
    kept_at: datetime


def store(connection: Connection, workspace_id: UUID, node_id: str, kept: Sequence[NewKept]) -> None:
    """Store work trees, with one event for all of them; what was stored of a clone before is replaced."""
    for one in kept:
        values = {**one.columns, "kept_at": func.now()}
        row = insert(K).values(workspace_id=workspace_id, repo_id=one.repo_id, **values)
        connection.execute(row.on_conflict_do_update(index_elements=["workspace_id", "repo_id"], set_=values))
    told = [{"repo": one.name, "commit": one.columns["pinned_commit"], "dirty": one.columns["dirty"]} for one in kept]
    events.append(connection, workspace_id, EventKind.WORKSPACE_WORK_KEPT, {"node_id": node_id, "repos": told})


def of_workspace(connection: Connection, workspace_id: UUID) -> list[Kept]:
    """Return the work trees that were kept of a workspace, in the order of its repositories."""
    columns: list[Any] = [K.repo_id, WorkspaceRepo.name, WorkspaceRepo.base_commit, K.head_commit, K.branch, K.dirty]
    columns += [K.pinned_commit, K.stat, func.octet_length(K.bundle).label("own_bytes"), K.kept_at]
    rows = connection.execute(_joined(columns, workspace_id).order_by(WorkspaceRepo.position)).mappings()
    return [
        Kept(
            **{name: row[name] for name in Kept.__dataclass_fields__ if name != "bundle_bytes"},
            bundle_bytes=row["own_bytes"] or _of_execution(connection, workspace_id, row, func.octet_length),
        )
        for row in rows
    ]


def patch(connection: Connection, workspace_id: UUID) -> list[tuple[str, bytes]]:
    """Return the patch of each kept work tree from the commit where the branch started, by name of the repository."""
    found = _joined([WorkspaceRepo.name, K.patch], workspace_id).order_by(WorkspaceRepo.position)
    return [(row.name, unpacked(row.patch)) for row in connection.execute(found)]


def bundle(connection: Connection, workspace_id: UUID, repo: str | None) -> RepoBundle:
    """Return the bundle of the kept work tree of one repository; its prerequisite is the workspace's base commit.

    Raises:
        NoBundle: nothing of the repository is kept, it was not changed, or several are kept and none is named.
    """
    found = _joined([WorkspaceRepo.name, K.repo_id, K.pinned_commit, K.bundle], workspace_id)
    if repo is not None:
        found = found.where(WorkspaceRepo.name == repo)
    rows = connection.execute(found).mappings().all()
    if len(rows) != 1:
        why = "several repositories are kept; name one" if rows else "nothing is kept of it"
        raise NoBundle(f"there is no bundle: {why}")
    content = rows[0]["bundle"] or _of_execution(connection, workspace_id, rows[0], None)
    if content is None:
        raise NoBundle(f"there is no bundle of {rows[0]['name']}: its state is the base commit")
    return RepoBundle(rows[0]["name"], bytes(content))


def _joined(columns: Sequence[Any], workspace_id: UUID) -> Any:
    same = (WorkspaceRepo.workspace_id == K.workspace_id) & (WorkspaceRepo.repo_id == K.repo_id)
    return select(*columns).join(WorkspaceRepo, same).where(K.workspace_id == workspace_id)


def _of_execution(connection: Connection, workspace_id: UUID, row: Any, of: Any) -> Any:
    """Return the bundle of the same commit that an execution's recorded state has, or a function of it; None: none."""
    statement = select(State.bundle if of is None else of(State.bundle)).join(E, E.id == State.execution_process_id)
    same = (State.repo_id == row["repo_id"], State.pinned_commit == row["pinned_commit"], State.bundle.is_not(None))
    return connection.scalar(statement.where(E.workspace_id == workspace_id, *same).limit(1))
