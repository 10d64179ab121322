"""The directories of workspaces that a node has, compared with the rows: what the sweep of anchors reads and writes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, delete, insert, select, update

from relay_core.domain.directories import DirectoryFinding
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.domain.vocabulary import Status, WorkspaceState
from relay_core.store import events, operations
from relay_core.store.operations import Subject
from relay_core.store.schema.tables import ExecutionProcess, NodeDirectory, Workspace, WorkspaceRepo
from relay_core.store.views.paging import Page, PageRequest, cut, paged
from relay_core.store.workspaces import condition, git_watch, lane, preparation, stop_resume

E, D, W, R = ExecutionProcess, NodeDirectory, Workspace, WorkspaceRepo
_BY = "relay: its directory was moved"
_OF_ANCHOR = ("branch", "uid", "pool", "resolved_image", "image_digest", "limits", "auto_commit", "name", "created_by")
_OF_REPO = ("name", "url", "target_branch", "ref", "working_dir", "base_commit", "mirror_path")


@dataclass(frozen=True)
class Registered:
    """A workspace whose row says that the node has a directory of it."""

    id: UUID
    place: str
    live: bool
    """Whether it is not deleted."""
    prepared: bool
    error: str | None
    """The stored error that the node has several directories of it."""


@dataclass(frozen=True)
class Unused:
    """A directory of the node that no step may use."""

    workspace_id: UUID
    finding: DirectoryFinding
    anchor: Mapping[str, Any]


def registered(connection: Connection, node_id: str, ids: Collection[UUID]) -> dict[UUID, Registered]:
    """Return those of the workspaces that have a directory on the node, by id."""
    columns = (W.id, W.container_ref, W.deleted_at, W.state, W.directory_error)
    mine = select(*columns).where(W.node_id == node_id, W.id.in_(ids), W.container_ref.is_not(None))
    return {
        row.id: Registered(
            row.id,
            row.container_ref or "",
            row.deleted_at is None,
            row.state != WorkspaceState.STARTING,
            row.directory_error,
        )
        for row in connection.execute(mine)
    }


def facts(connection: Connection, node_id: str, workspace_id: UUID) -> dict[str, Any]:
    """Return what the anchor of a workspace says: enough to make its row again, and no secret."""
    row = connection.execute(select(W.__table__).where(W.id == workspace_id)).mappings().one()
    repos = select(*(getattr(R, name) for name in _OF_REPO)).where(R.workspace_id == workspace_id)
    found = {name: row[name] for name in _OF_ANCHOR}
    found["repos"] = [dict(repo) for repo in connection.execute(repos.order_by(R.position)).mappings()]
    return {"version": 1, "workspace_id": str(workspace_id), "node_id": node_id, **found}


def moved(connection: Connection, workspace_id: UUID, node_id: str, place: str) -> bool:
    """Record that the directory of a workspace is in another place, with an event, unless a step runs in it.

    Its container has the former place, so it is made anew: at once if the workspace was running, else when it resumes.

    Returns:
        False if a step runs; the next look tries again.
    """
    lane.lock(connection, workspace_id)
    running = select(E.id).where(E.workspace_id == workspace_id, E.status == Status.RUNNING).limit(1)
    if connection.scalar(running) is not None:
        return False
    row = connection.execute(select(W.__table__).where(W.id == workspace_id).with_for_update()).mappings().one()
    if row["deleted_at"] is not None or row["container_ref"] in {None, place}:
        return True
    values = {"container_ref": place, "work_dir": f"{place}/repos"}
    prepared = row["state"] in {WorkspaceState.RUNNING, WorkspaceState.STOPPED}
    mine = update(W).where(W.id == workspace_id)
    connection.execute(mine.values(**values, remake_container=prepared or row["remake_container"]))
    payload = {"node_id": node_id, "from": row["container_ref"], "place": place}
    events.append(connection, workspace_id, EventKind.WORKSPACE_MOVED, payload)
    if row["state"] == WorkspaceState.RUNNING:
        preparation.set_state(connection, workspace_id, WorkspaceState.STOPPED)
        if row["requested_state"] is None:
            stop_resume.request_resume(connection, workspace_id, _BY, also_archived=True)
    return True


def duplicated(connection: Connection, workspace_id: UUID, node_id: str, places: Sequence[str]) -> None:
    """Record that a node has several directories of a workspace, with an event: nothing starts in it any more."""
    lane.lock(connection, workspace_id)
    found = condition.lock(connection, workspace_id)
    error = (
        f"node {node_id} has several directories of the workspace ({', '.join(places)}), and Relay does not know which "
        "is the right one; an operator has to remove all but one of them"
    )
    if found.deleted or found.directory_error == error:
        return
    connection.execute(update(W).where(W.id == workspace_id).values(directory_error=error))
    payload = {"node_id": node_id, "places": list(places)}
    events.append(connection, workspace_id, EventKind.WORKSPACE_DUPLICATED, payload)
    git_watch.mark(connection, found, diverged=True)


def not_duplicated(connection: Connection, workspace_id: UUID, node_id: str) -> None:
    """Record that there is one directory of a workspace again; its queued steps may start."""
    lane.lock(connection, workspace_id)
    found = condition.lock(connection, workspace_id)
    if found.directory_error is None:
        return
    connection.execute(update(W).where(W.id == workspace_id).values(directory_error=None))
    events.append(connection, workspace_id, EventKind.WORKSPACE_NOT_DUPLICATED, {"node_id": node_id})
    git_watch.mark(connection, found, diverged=git_watch.is_differing(connection, workspace_id))


def settle(connection: Connection, node_id: str, unused: Mapping[str, Unused]) -> None:
    """Store which directories of a node are not used, by path; what is new or has ended is an event."""
    rows = connection.execute(select(D.__table__).where(D.node_id == node_id).with_for_update()).all()
    stored = {row.name: row for row in rows}
    for path, row in stored.items():
        now = unused.get(path)
        if now is None or (now.workspace_id, now.finding) != (row.workspace_id, row.finding):
            connection.execute(delete(D).where(D.id == row.id))
            _tell(connection, node_id, path, None)
    for path, found in unused.items():
        before = stored.get(path)
        if before is None or (found.workspace_id, found.finding) != (before.workspace_id, before.finding):
            values = {"node_id": node_id, "name": path, "workspace_id": found.workspace_id}
            values |= {"finding": found.finding, "anchor": dict(found.anchor)}
            connection.execute(insert(D).values(id=uuid4(), **values))
            _tell(connection, node_id, path, found)


def listed(connection: Connection, page: PageRequest) -> Page:
    """Return a page of the directories that nodes do not use, newest first."""
    columns: list[Any] = [D.id, D.node_id, D.name.label("path"), D.workspace_id, D.finding]
    columns.append(D.found_at.label("created_at"))
    ordered = paged(select(*columns), D.found_at, D.id, page, newest_first=True)
    return cut([dict(row) for row in connection.execute(ordered).mappings()], page)


def _tell(connection: Connection, node_id: str, path: str, found: Unused | None) -> None:
    subject = Subject(SubjectKind.DIRECTORY, f"{node_id}{path}")
    payload: dict[str, Any] = {"node_id": node_id, "place": path}
    if found is not None:
        payload |= {"finding": found.finding, "found_id": str(found.workspace_id)}
        operation_id = operations.begin(connection, OperationKind.DIRECTORY, subject)
        if operation_id is not None:
            operations.append(connection, operation_id, EventKind.DIRECTORY_FOUND, payload)
        return
    open_one = operations.open_of(connection, [OperationKind.DIRECTORY], subject)
    if open_one is not None:
        operations.append(connection, open_one, EventKind.DIRECTORY_SETTLED, payload, terminal=True)
