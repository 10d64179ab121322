"""Workspaces in which nothing happens: finds those that are due for an act, and does it (`domain.expiry` decides)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, bindparam, select, text, update

from relay_core.domain.errors import NotFound
from relay_core.domain.events import EventKind
from relay_core.domain.expiry import ExpiryAct, ExpiryFacts, Hours, Planned, decide, planned, terms_of
from relay_core.domain.vocabulary import Scope, WorkspaceState
from relay_core.settings import Settings
from relay_core.store import events
from relay_core.store.schema.tables import Project, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views.access import require_workspace
from relay_core.store.workspaces import blockers, by_hand, idle, lane, stop_resume
from relay_core.store.workspaces.blockers import BLOCKED, Note
from relay_core.store.workspaces.delete import delete_workspaces

MOST_AT_ONCE = 100
"""Most workspaces of one call; the next call finds the others."""
RETRY_HOURS = 6
"""Hours after which it is tried again to keep the work of a workspace that could not be kept."""
_BY = Principal(idle.BY, frozenset({Scope.ADMIN}))
_NAMES = {act: f"RELAY_WORKSPACE_IDLE_{act.upper()}_HOURS" for act in ExpiryAct}
_FACTS = f"""
    SELECT w.id, w.state, w.requested_state, w.archived, w.pinned, w.diverged_at, w.event_seq, w.node_id,
      w.container_ref, h.stop, h.archive, h.delete, i.seconds, {BLOCKED} AS blocked,
      CASE WHEN w.expiry_tried_at >= now() - make_interval(secs => i.seconds) THEN w.expiry_problem END
        AS expiry_problem
    FROM workspaces w JOIN tasks t ON t.id = w.task_id JOIN projects p ON p.id = t.project_id
    CROSS JOIN LATERAL (SELECT p.idle_stop_hours AS stop, p.idle_archive_hours AS archive,
      p.idle_delete_hours AS delete) AS h
    CROSS JOIN LATERAL (SELECT extract(epoch FROM now() - greatest(w.updated_at, (
      SELECT max(e.completed_at) FROM execution_processes e WHERE e.workspace_id = w.id)))::float8 AS seconds) AS i
    WHERE w.deleted_at IS NULL
    """  # noqa: S608 - nothing of a client's
_TERM = "nullif(coalesce(h.{0}, CAST(:{0} AS float8)), 0) * 3600"


def _is_due(act: ExpiryAct) -> str:
    """Return the SQL condition that the hours of an act are over; executions are read only if they may be."""
    term = _TERM.format(act)
    return f"(coalesce(w.updated_at <= now() - make_interval(secs => {term}), false) AND i.seconds >= {term})"


_STOP, _ARCHIVE, _DELETE = (_is_due(act) for act in ExpiryAct)
_WITH_FILES = "w.archived AND w.container_ref IS NOT NULL"
_QUIET = f"""
    {_FACTS} AND NOT w.pinned AND w.requested_state IS NULL AND w.state <> 'starting'
      AND w.updated_at < now() - make_interval(secs => :least)
    """
_OF_FLEET = text(
    f"""
    {_QUIET} AND CASE
      WHEN w.diverged_at IS NULL AND {_WITH_FILES} AND {_DELETE} THEN false
      WHEN (w.state = 'running' AND {_STOP})
        OR (w.diverged_at IS NULL AND CASE WHEN w.archived THEN {_DELETE} ELSE {_ARCHIVE} END) THEN NOT {BLOCKED}
      ELSE false END
    ORDER BY w.updated_at LIMIT :most
    """
)
_OF_NODE = text(
    f"""
    {_QUIET} AND {_WITH_FILES} AND w.node_id = :node AND w.diverged_at IS NULL AND CASE
      WHEN {_DELETE} THEN NOT {BLOCKED} AND NOT coalesce(
        w.expiry_tried_at >= greatest(now() - make_interval(secs => i.seconds), now() - interval '{RETRY_HOURS} hours'),
        false)
      ELSE false END
    ORDER BY w.updated_at LIMIT :most
    """
)
_ONE = text(f"{_FACTS} AND w.id = :workspace").bindparams(bindparam("workspace", type_=Workspace.id.type))


@dataclass(frozen=True)
class Due:
    """A workspace that is due for an act."""

    workspace_id: UUID
    planned: Planned
    idle_seconds: float
    generation: int
    """Number of its newest event: another number says that something has happened in it since."""
    on_node: bool
    """Whether a node has files of it."""


@dataclass(frozen=True)
class Expiry:
    """The act that a workspace expects if nothing happens in it."""

    idle_seconds: float
    planned: Planned | None
    setting: str | None
    """Name of the setting or of the project's field from which the hours are; None: no act comes."""
    pinned: bool
    blockers: Sequence[Note]


def hours_of(settings: Settings) -> Hours:
    """Return the hours of the server."""
    return Hours(
        settings.workspace_idle_stop_hours,
        settings.workspace_idle_archive_hours,
        settings.workspace_idle_delete_hours,
    )


def due(connection: Connection, server: Hours, node_id: str | None = None) -> list[Due]:
    """Return workspaces that are due for an act, those idle for longest first, at most `MOST_AT_ONCE`.

    Args:
        connection: any transaction.
        server: the hours of the server.
        node_id: only those that are to be deleted and whose files this node has; None: all others.
    """
    least = _least(connection, server, ExpiryAct if node_id is None else [ExpiryAct.DELETE])
    if least is None:
        return []
    values = {"least": least * 3600, "node": node_id, "most": MOST_AT_ONCE, **vars(server)}
    rows = connection.execute(_OF_FLEET if node_id is None else _OF_NODE, values).mappings()
    return [found for row in rows if (found := _due(row, server)) is not None]


def still_due(connection: Connection, found: Due, server: Hours) -> Due | None:
    """Lock the lane of a workspace, and return it with its present facts if it is due for the same act; else None."""
    lane.lock(connection, found.workspace_id)
    return _now(connection, found, server)


def untouched(connection: Connection, found: Due, server: Hours, *, locked: bool = True) -> Due | None:
    """Return as `still_due` does, but None if anything at all has happened in the workspace since it was found.

    Without `locked` the lane is not locked, so that something may happen at any time after.
    """
    now = (still_due if locked else _now)(connection, found, server)
    return now if now is not None and now.generation == found.generation else None


def _now(connection: Connection, found: Due, server: Hours) -> Due | None:
    row = connection.execute(_ONE, {"workspace": found.workspace_id}).mappings().one_or_none()
    now = None if row is None else _due(row, server)
    return now if now is not None and now.planned.act is found.planned.act else None


def carry_out(connection: Connection, found: Due, server: Hours) -> bool:
    """Do the act that a workspace is due for, with an event that tells its cause.

    A deletion is done only if no node has files of the workspace: `delete` does the others.

    Args:
        connection: one transaction of `Database`.
        found: from `due`; checked again under the lock of the lane.
        server: as there.

    Returns:
        Whether it was still due, so that the act was done.
    """
    now = still_due(connection, found, server)
    if now is None or (now.planned.act is ExpiryAct.DELETE and now.on_node):
        return False
    _tell(connection, now)
    if now.planned.act is ExpiryAct.STOP:
        stop_resume.request_stop(connection, now.workspace_id, idle.BY)
        mine = update(Workspace).where(Workspace.id == now.workspace_id)
        connection.execute(mine.values(idle_stopped=True))
    elif now.planned.act is ExpiryAct.ARCHIVE:
        by_hand.change(connection, now.workspace_id, {"archived": True}, _BY)
    else:
        delete_workspaces(connection, [now.workspace_id], idle.BY)
    return True


def delete(connection: Connection, found: Due) -> None:
    """Delete a workspace whose work is kept; the caller has it from `untouched`, in the same transaction."""
    _tell(connection, found)
    delete_workspaces(connection, [found.workspace_id], idle.BY)


def hold(connection: Connection, workspace_id: UUID, repo: str, problem: str) -> None:
    """Note that the work of a clone cannot be kept, so that the workspace is not deleted; it is tried again later.

    The note counts until something happens in the workspace. An event tells of it unless the last attempt found the
    same and nothing has happened since. Nothing is noted of a workspace that was deleted meanwhile.
    """
    lane.lock(connection, workspace_id)
    before = connection.execute(_ONE, {"workspace": workspace_id}).mappings().one_or_none()
    if before is None:
        return
    told = f"{repo}: {problem}"
    noted = text("UPDATE workspaces SET expiry_problem = :told, expiry_tried_at = now() WHERE id = :workspace")
    connection.execute(noted.bindparams(bindparam("workspace", workspace_id, Workspace.id.type)), {"told": told})
    if told != before["expiry_problem"]:
        payload = {"repo": repo, "problem": problem}
        events.append(connection, workspace_id, EventKind.WORKSPACE_EXPIRY_HELD, payload)


def of_workspace(connection: Connection, workspace_id: UUID, server: Hours, principal: Principal) -> Expiry:
    """Return what happens to a workspace if nothing happens in it.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
    """
    require_workspace(connection, workspace_id, principal)
    row = connection.execute(_ONE, {"workspace": workspace_id}).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no workspace {workspace_id}")
    found = planned(_facts(row), terms_of(server, _of_project(row)))
    notes = blockers.of_workspaces(connection, [workspace_id])
    if row["expiry_problem"] is not None:
        notes.append(Note("work_not_kept", f"its work could not be kept: {row['expiry_problem']}"))
    if row["diverged_at"] is not None:
        notes.append(Note("workspace_diverged", "a clone has commits that no execution recorded: acknowledge them"))
    return Expiry(row["seconds"], found, None if found is None else _setting(found), row["pinned"], notes)


def _least(connection: Connection, server: Hours, acts: Iterable[ExpiryAct]) -> float | None:
    """Return the fewest hours after which one of some acts is due in any project; None: they are never due."""
    given = [getattr(server, act) for act in acts]
    for act in acts:
        column = getattr(Project, f"idle_{act}_hours")
        given.append(connection.scalar(select(column).where(column > 0).order_by(column).limit(1)))
    return min((hours for hours in given if hours), default=None)


def _due(row: RowMapping, server: Hours) -> Due | None:
    found = decide(_facts(row), terms_of(server, _of_project(row)))
    if found is None:
        return None
    return Due(row["id"], found, row["seconds"], row["event_seq"], row["container_ref"] is not None)


def _facts(row: RowMapping) -> ExpiryFacts:
    return ExpiryFacts(
        state=WorkspaceState(row["state"]),
        changing=row["requested_state"] is not None,
        archived=row["archived"],
        pinned=row["pinned"],
        diverged=row["diverged_at"] is not None,
        blocked=row["blocked"],
        idle_seconds=row["seconds"],
    )


def _of_project(row: RowMapping) -> Hours:
    return Hours(row["stop"], row["archive"], row["delete"])


def _setting(found: Planned) -> str:
    return f"idle_{found.act}_hours" if found.term.of_project else _NAMES[found.act]


def _tell(connection: Connection, found: Due) -> None:
    payload: dict[str, Any] = {
        "act": found.planned.act,
        "idle_seconds": round(found.idle_seconds),
        "hours": found.planned.term.hours,
        "setting": _setting(found.planned),
        "of_project": found.planned.term.of_project,
    }
    events.append(connection, found.workspace_id, EventKind.WORKSPACE_EXPIRED, payload)
