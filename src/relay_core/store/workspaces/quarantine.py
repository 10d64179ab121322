"""The files of deleted workspaces, as their nodes keep them for a while: what the node reads and writes.

The order of each step is such that a worker which dies in between leaves a state that the next one goes on from: the
files are moved out of sight before the row says that they are kept; the row says that they go before the first one is
removed, also if they are not kept at all; they are moved back before the row says that the workspace is there again.

What a look has found may be old by the time of the act, as several workers of a node look: each act reads it again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, text, update

from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import PurgeReason, QuarantineState, Reason, WorkspaceState
from relay_core.store import events, operations
from relay_core.store.projects import secrets
from relay_core.store.schema.tables import Event, Project, Task, Workspace
from relay_core.store.workspaces import lane, preparation
from relay_core.store.workspaces.removal import end_deletion, end_purge, note_removal

W = Workspace
NEVER_PREPARED = "its preparation had failed before it was deleted; retry prepares it again"
MOST_AT_ONCE = 100
"""Most workspaces of one look; the next look finds the others.

Those that come back are first, and otherwise the order is random: acts that fail each time hold up no others.
"""
_BUSY = "EXISTS (SELECT 1 FROM execution_processes e WHERE e.workspace_id = w.id AND e.status IN ('queued', 'running'))"
_IS_DUE = f"""
    SELECT w.id, w.quarantine, w.container_id FROM workspaces w
    WHERE w.node_id = :node AND w.quarantine IS NOT NULL
      AND (w.quarantine <> 'kept' OR w.purge_why IS NOT NULL OR w.kept_until <= now()) AND NOT {_BUSY}
    """  # noqa: S608 - nothing of a client's
_DUE = text(f"{_IS_DUE} ORDER BY (w.quarantine = 'restoring') DESC, random() LIMIT :most")
_ONE_DUE = text(f"{_IS_DUE} AND w.id = :workspace").bindparams(bindparam("workspace", type_=W.id.type))
_OLDEST = text(
    "SELECT w.id FROM workspaces w WHERE w.node_id = :node AND w.quarantine = 'kept' ORDER BY w.deleted_at LIMIT 1"
)
_NOT_KEPT: dict[str, Any] = {"quarantine": None, "quarantined_at": None, "kept_until": None, "purge_why": None}


@dataclass(frozen=True)
class Due:
    """A deleted workspace with whose files its node has to do something."""

    workspace_id: UUID
    state: QuarantineState
    container_id: str | None


@dataclass(frozen=True)
class Leaving:
    """A deleted workspace that is to leave its node."""

    purge: bool
    """Whether nothing of it is to be kept."""
    container_id: str | None
    """Its container."""


def leaving(connection: Connection, node_id: str, workspace_id: UUID) -> Leaving | None:
    """Return how a deleted workspace is to leave its node; None if it is not to leave it now, or not any more."""
    found = select(W.purge_why, W.container_id).where(*_leaves(node_id, workspace_id))
    row = connection.execute(found).one_or_none()
    return None if row is None else Leaving(row.purge_why is not None, row.container_id)


def _leaves(node_id: str, workspace_id: UUID) -> tuple[ColumnElement[bool], ...]:
    here = (W.id == workspace_id, W.node_id == node_id, W.container_ref.is_not(None))
    return (*here, W.deleted_at.is_not(None), W.quarantine.is_(None))


def begin_removal(connection: Connection, workspace_id: UUID, node_id: str) -> bool:
    """Record that the files of a deleted workspace are removed without being kept, before the first one is.

    Returns:
        Whether they are to be removed; False if a client has asked for them meanwhile.
    """
    lane.lock(connection, workspace_id)
    going = update(W).where(*_leaves(node_id, workspace_id))
    why = func.coalesce(W.purge_why, PurgeReason.PERIOD.value)
    return connection.execute(going.values(purge_why=why)).rowcount == 1


def left(
    connection: Connection, workspace_id: UUID, node_id: str, place: Path | None, keep_seconds: float = 0.0
) -> None:
    """Record that a deleted workspace is out of sight, which ends its deletion.

    Nothing is recorded if a client has asked for its restoration meanwhile.

    Args:
        connection: one transaction.
        workspace_id: the workspace.
        node_id: its node.
        place: the directory in which the node keeps its files; None: it has removed them.
        keep_seconds: for how long it keeps them.
    """
    lane.lock(connection, workspace_id)
    mine = update(W).where(W.id == workspace_id, W.deleted_at.is_not(None), W.quarantine.is_(None))
    values: dict[str, Any] = {"container_ref": None, "container_id": None, "work_dir": None, "purge_why": None}
    if place is not None:
        until = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, keep_seconds)
        values = {"container_ref": str(place), "work_dir": str(place / "repos"), "quarantine": QuarantineState.KEPT}
        values |= {"quarantined_at": func.now(), "kept_until": until}
    row = connection.execute(mine.values(**values, updated_at=func.now()).returning(W.kept_until)).one_or_none()
    if row is None:
        return
    preparation.set_state(connection, workspace_id, WorkspaceState.STOPPED)
    if place is None:
        secrets.forget_given(connection, workspace_id)
    note_removal(connection, workspace_id, node_id, row.kept_until)


def due(connection: Connection, node_id: str) -> list[Due]:
    """Return the workspaces whose files the node has to bring back or to remove now."""
    rows = connection.execute(_DUE, {"node": node_id, "most": MOST_AT_ONCE})
    return [Due(row.id, QuarantineState(row.quarantine), row.container_id) for row in rows]


def still_due(connection: Connection, node_id: str, workspace_id: UUID) -> Due | None:
    """Return what the node has to do now with the files of a workspace; None: nothing, or not any more."""
    row = connection.execute(_ONE_DUE, {"node": node_id, "workspace": workspace_id}).one_or_none()
    return None if row is None else Due(row.id, QuarantineState(row.quarantine), row.container_id)


def oldest(connection: Connection, node_id: str) -> UUID | None:
    """Return the workspace that was deleted first, of those whose files the node keeps; None if there is none."""
    found: UUID | None = connection.scalar(_OLDEST, {"node": node_id})
    return found


def begin_purge(connection: Connection, workspace_id: UUID, why: PurgeReason) -> bool:
    """Record that the kept files of a workspace are being removed, before the first one is: they cannot be restored.

    Returns:
        Whether they are to be removed; False if a client has asked for them meanwhile, or if their period is not over.
    """
    lane.lock(connection, workspace_id)
    kept = update(W).where(W.id == workspace_id, W.quarantine == QuarantineState.KEPT)
    if why is PurgeReason.PERIOD:  # it may have come back and have been deleted again since it was found
        kept = kept.where(or_(W.kept_until <= func.now(), W.purge_why.is_not(None)))
    values = {"quarantine": QuarantineState.PURGING, "purge_why": func.coalesce(W.purge_why, why.value)}
    connection.execute(kept.values(values))
    going = select(W.id).where(W.id == workspace_id, W.quarantine == QuarantineState.PURGING)
    return connection.scalar(going) is not None


def purged(connection: Connection, workspace_id: UUID, node_id: str) -> None:
    """Record that nothing of a deleted workspace is left on its node, with an event; nothing if it is recorded."""
    lane.lock(connection, workspace_id)
    going = (W.id == workspace_id) & (W.quarantine == QuarantineState.PURGING)
    why = connection.scalar(select(W.purge_why).where(going))
    if why is None:
        return
    gone = {**_NOT_KEPT, "container_ref": None, "container_id": None, "work_dir": None}
    connection.execute(update(W).where(going).values(**gone, updated_at=func.now()))
    secrets.forget_given(connection, workspace_id)
    if end_purge(connection, workspace_id, node_id, PurgeReason(why)):
        return
    subject, payload = operations.of_workspace(workspace_id), {"node_id": node_id, "why": why}  # no client asked for it
    operations.record(connection, OperationKind.WORKSPACE_PURGE, subject, EventKind.WORKSPACE_PURGED, payload)


def restored(connection: Connection, workspace_id: UUID, node_id: str, place: Path | None) -> None:
    """Record that the files of a workspace are back: it is not deleted any more, and neither is its task.

    It is stopped, and its next step, or a client, starts it with a new container. If its project was deleted since the
    request, the workspace stays deleted, and its node puts it into quarantine again, or removes it if that was asked
    for.

    Args:
        connection: one transaction.
        workspace_id: the workspace.
        node_id: its node.
        place: its directory; None: nothing was left of it, so it stays deleted, and its deletion is over.
    """
    lane.lock(connection, workspace_id)
    asked = (W.id == workspace_id) & (W.quarantine == QuarantineState.RESTORING)
    found = select(W.task_id, W.container_id, W.purge_why, Task.project_id).join(Task, Task.id == W.task_id)
    row = connection.execute(found.where(asked)).one_or_none()
    if row is None:
        return
    values = dict(_NOT_KEPT)
    values |= {"container_ref": None if place is None else str(place)}
    values |= {"work_dir": None if place is None else str(place / "repos")}
    project = select(Project.id).where(Project.id == row.project_id, Project.deleted_at.is_(None))
    values["purge_why"] = None if place is None else row.purge_why  # that of the project may have been asked for since
    kept = place is not None and row.purge_why is None
    comes_back = kept and connection.scalar(project.with_for_update(read=True)) is not None
    if comes_back:
        values |= {"deleted_at": None, "requested_state": None, "idle_stopped": True, "remake_container": True}
        _restore_task(connection, workspace_id, row.task_id, row.project_id)
    connection.execute(update(W).where(asked).values(**values, updated_at=func.now()))
    _end(connection, workspace_id, node_id, comes_back=comes_back)
    if place is None:  # its node sees the row no more, so nothing else would end the deletion
        secrets.forget_given(connection, workspace_id)
        end_deletion(connection, workspace_id, node_id)
    if comes_back and row.container_id is None:
        preparation.set_state(connection, workspace_id, WorkspaceState.FAILED, NEVER_PREPARED)
    elif comes_back:
        preparation.set_state(connection, workspace_id, WorkspaceState.STOPPED)


def _restore_task(connection: Connection, workspace_id: UUID, task_id: UUID, project_id: UUID) -> None:
    deleted = update(Task).where(Task.id == task_id, Task.deleted_at.is_not(None))
    title = connection.scalar(deleted.values(deleted_at=None, updated_at=func.now()).returning(Task.title))
    if title is None:
        return
    asked = (Event.workspace_id == workspace_id) & (Event.kind == EventKind.WORKSPACE_RESTORE_REQUESTED)
    newest = select(Event.payload["by"].astext).where(asked).order_by(Event.id.desc()).limit(1)
    payload = {"task_id": str(task_id), "title": title, "by": connection.scalar(newest)}
    events.append_to_project(connection, project_id, EventKind.TASK_RESTORED, payload)


def _end(connection: Connection, workspace_id: UUID, node_id: str, *, comes_back: bool) -> None:
    """End the operation of the restoration, and that of a deletion which was not over yet.

    The operation may be over: `nodes.gone` has ended it while the node was away. Then the outcome is one of its own.
    """
    subject = operations.of_workspace(workspace_id)
    kind = EventKind.WORKSPACE_RESTORED if comes_back else EventKind.WORKSPACE_NOT_RESTORED
    payload = {"node_id": node_id} | ({} if comes_back else {"reason": Reason.WORKSPACE_GONE})
    asked = operations.open_of(connection, [OperationKind.WORKSPACE_RESTORE], subject)
    if asked is None:
        operations.record(connection, OperationKind.WORKSPACE_RESTORE, subject, kind, payload)
    else:
        operations.append(connection, asked, kind, payload, terminal=True)
    deletion = operations.open_of(connection, [OperationKind.WORKSPACE_DELETE], subject)
    if comes_back and deletion is not None:
        why = {"why": "the workspace was restored"}
        operations.append(connection, deletion, EventKind.WORKSPACE_REQUEST_DROPPED, why, terminal=True)
