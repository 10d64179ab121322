"""Compares HEAD of the clones of a workspace with what its executions recorded, and stores what differs.

What counts as recorded follows from the executions themselves: the step group that held the lane last, and each of its
executions, stored HEAD in the transaction that ended it. So no act of Relay needs to be told here.

A comparison counts only if the lane was free, and held by no group since the recorded commits were read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, select, text, update

from relay_core.domain.events import EventKind
from relay_core.domain.git.watched_head import UNRECORDED, Recorded, SeenHead, difference
from relay_core.domain.vocabulary import GitState, RunReason, Status, WorkspaceState
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess, Workspace, WorkspaceRepo
from relay_core.store.workspaces import condition, lane, stop_resume

E, R = ExecutionProcess, WorkspaceRepo
_PLACED = "w.node_id = :node AND w.container_ref IS NOT NULL AND w.deleted_at IS NULL AND w.state <> 'starting'"
_LEFT = "EXISTS (SELECT 1 FROM execution_processes o WHERE o.workspace_id = w.id AND o.leftover_on IS NOT NULL)"
_LOOK = """
    SELECT w.id AS workspace_id, r.repo_id, r.name, r.found_state, r.found_commit, r.found_at, last.group_id,
      CASE WHEN r.accepted_group = last.group_id THEN ARRAY[r.accepted_commit] ELSE recorded.commits END AS commits,
      r.accepted_group = last.group_id OR recorded.complete AS known, recorded.complete
    FROM workspaces w JOIN workspace_repos r ON r.workspace_id = w.id
    JOIN lanes l ON l.workspace_id = w.id AND l.group_id IS NULL
    CROSS JOIN LATERAL (
      SELECT e.group_id, e.lane_position FROM execution_processes e
      WHERE e.workspace_id = w.id AND e.started_at IS NOT NULL AND e.run_reason <> 'dev_server'
      ORDER BY e.lane_position DESC, e.started_at DESC LIMIT 1) AS last
    CROSS JOIN LATERAL (
      SELECT array_agg(s.after_head_commit) AS commits,
        bool_and(s.after_head_commit IS NOT NULL AND s.after_state IN ('recorded', 'recorded_late')) AS complete
      FROM execution_processes e LEFT JOIN execution_process_repo_states s
        ON s.execution_process_id = e.id AND s.repo_id = r.repo_id
      WHERE e.workspace_id = w.id AND e.group_id = last.group_id AND e.started_at IS NOT NULL
        AND e.run_reason <> 'dev_server' AND e.lane_position = last.lane_position) AS recorded
    """
_COMPARABLE = f"{_LOOK} WHERE {_PLACED} AND NOT {_LEFT}"
_SERVED_SINCE = """EXISTS (SELECT 1 FROM execution_processes s
    WHERE s.workspace_id = :workspace AND s.run_reason = 'dev_server' AND s.started_at IS NOT NULL
      AND coalesce(s.completed_at > (SELECT max(e.completed_at) FROM execution_processes e
        WHERE e.workspace_id = :workspace AND e.group_id = looked.group_id AND e.run_reason <> 'dev_server'), true))"""
_COMPLETE = text(
    f"SELECT repo_id FROM ({_LOOK} WHERE w.id = :workspace) AS looked WHERE complete AND NOT {_SERVED_SINCE}"  # noqa: S608
)
_OF_NODE = text(f"{_COMPARABLE} ORDER BY w.id")
_OF_WORKSPACE = text(f"{_COMPARABLE} AND w.id = :workspace")
_OF_EXECUTION = text(f"{_COMPARABLE} AND w.id = (SELECT workspace_id FROM execution_processes WHERE id = :execution)")  # noqa: S608 - of no client


@dataclass(frozen=True)
class WatchedRepo:
    """A clone, and where its HEAD should be."""

    repo_id: UUID
    name: str
    recorded: Recorded
    found: tuple[GitState | None, str | None, bool]
    """The state and commit that an earlier look stored, and whether they wait for an acknowledgement."""

    def is_news(self, seen: SeenHead) -> bool:
        """Return whether a look found anything that is not stored yet."""
        found = difference(self.recorded, seen)
        if found is None:
            return self.found[0] is not None and not (seen.missing and not self.found[2])
        return found is UNRECORDED or self.found != (found, seen.commit, True)


@dataclass(frozen=True)
class Watched:
    """The clones of a workspace whose lane was free, after the step group that held it last."""

    workspace_id: UUID
    group_id: UUID
    repos: Sequence[WatchedRepo]


def of_node(connection: Connection, node_id: str) -> list[Watched]:
    """Return the workspaces of a node that can be compared now: no step holds the lane or may still run."""
    return _watched(connection.execute(_OF_NODE, {"node": node_id}).all())


def of_execution(connection: Connection, node_id: str, execution_id: UUID) -> Watched | None:
    """Return the workspace of an execution, if it is on the node and can be compared now."""
    rows = connection.execute(_OF_EXECUTION, {"node": node_id, "execution": execution_id}).all()
    return next(iter(_watched(rows)), None)


def settle(connection: Connection, node_id: str, before: Watched, heads: Mapping[UUID, SeenHead]) -> bool:
    """Store what a look found, with an event for each clone whose state changed.

    Args:
        connection: one transaction of `Database`; messages of executions that may start again are sent after it.
        node_id: the node that looked.
        before: what was recorded before the look.
        heads: HEAD of each clone, by repo id, read after ``before`` and before this transaction.

    Returns:
        False if a step has held the lane since, so that the look says nothing.
    """
    lane.lock(connection, before.workspace_id)
    values = {"node": node_id, "workspace": before.workspace_id}
    now = next(iter(_watched(connection.execute(_OF_WORKSPACE, values).all())), None)
    if now is None or now.group_id != before.group_id:
        return False
    unchanged = set(before.repos)  # without those of which another worker has stored a later look
    workspace = condition.lock(connection, now.workspace_id)
    for repo in now.repos:
        if repo in unchanged and repo.is_news(seen := heads[repo.repo_id]):
            _store(connection, node_id, now, repo, seen)
    mark(connection, workspace, diverged=is_differing(connection, now.workspace_id))
    return True


def is_differing(connection: Connection, workspace_id: UUID) -> bool:
    """Return whether a clone of a workspace differs and waits for an acknowledgement, or it has several directories."""
    differing = select(R.repo_id).where(R.workspace_id == workspace_id, R.found_at.is_not(None)).exists()
    doubled = select(Workspace.id).where(Workspace.id == workspace_id, Workspace.directory_error.is_not(None)).exists()
    return bool(connection.scalar(select(differing | doubled)))


def mark(connection: Connection, workspace: condition.WorkspaceCondition, *, diverged: bool) -> None:
    """Store whether a workspace waits for an acknowledgement; if it waits no more, its queued steps may start.

    The caller holds the lane.
    """
    if diverged == workspace.diverged:
        return
    at = func.now() if diverged else None
    connection.execute(update(Workspace).where(Workspace.id == workspace.id).values(diverged_at=at))
    if not diverged and workspace.state is WorkspaceState.RUNNING and workspace.requested_state is None:
        stop_resume.send_due_steps(connection, workspace.id)


def last_group(connection: Connection, workspace_id: UUID) -> UUID | None:
    """Return the step group that held the lane last; None if none did."""
    held = select(E.group_id).where(
        E.workspace_id == workspace_id, E.started_at.is_not(None), E.run_reason != RunReason.DEV_SERVER
    )
    return connection.scalar(held.order_by(E.lane_position.desc(), E.started_at.desc()).limit(1))


def recorded_by_last_group(connection: Connection, workspace_id: UUID) -> frozenset[UUID]:
    """Return the repos of which every step of the group that held the lane last recorded where HEAD was.

    What a look has accepted since does not count: it says where HEAD is, and not that the work in the clone is kept.
    None counts as recorded if a dev server ran longer than the group: it may have worked in the clones, and moved them.
    """
    return frozenset(connection.scalars(_COMPLETE, {"workspace": workspace_id}))


def _store(connection: Connection, node_id: str, now: Watched, repo: WatchedRepo, seen: SeenHead) -> None:
    found = difference(repo.recorded, seen)
    values: dict[str, Any] = {"found_state": None, "found_commit": None, "found_from": None, "found_problem": None}
    if found is UNRECORDED:
        values |= {"accepted_group": now.group_id, "accepted_commit": seen.commit}
    if seen.missing:
        values |= {"found_state": GitState.MISSING, "found_problem": seen.problem}
    differs = isinstance(found, GitState)
    if differs:
        values |= {
            "found_state": found,
            "found_commit": seen.commit,
            "found_from": _one_of(repo.recorded),
            "found_problem": seen.problem,
        }
    mine = (R.workspace_id == now.workspace_id) & (R.repo_id == repo.repo_id)
    connection.execute(update(R).where(mine).values(**values, found_at=func.now() if differs else None))
    if not differs and repo.found[0] == values["found_state"]:
        return
    servers = select(E.id).where(
        E.workspace_id == now.workspace_id, E.status == Status.RUNNING, E.run_reason == RunReason.DEV_SERVER
    )
    payload = {
        "repo": repo.name,
        "git_state": values["found_state"] or GitState.CLEAN,
        "head_commit": seen.commit,
        "recorded_commit": _one_of(repo.recorded),
        "problem": seen.problem,
        "dev_servers": [str(one) for one in connection.scalars(servers.order_by(E.created_at))],
        "node_id": node_id,
    }
    events.append(connection, now.workspace_id, EventKind.WORKSPACE_GIT_STATE_CHANGED, payload)


def _one_of(recorded: Recorded) -> str | None:
    return min((commit for commit in recorded.commits if commit is not None), default=None)


def _watched(rows: Sequence[Row[Any]]) -> list[Watched]:
    found: dict[UUID, Watched] = {}
    repos: dict[UUID, list[WatchedRepo]] = {}
    for row in rows:
        mine = repos.setdefault(row.workspace_id, [])
        found.setdefault(row.workspace_id, Watched(row.workspace_id, row.group_id, mine))
        earlier = (GitState(row.found_state) if row.found_state else None, row.found_commit, row.found_at is not None)
        recorded = Recorded(frozenset(row.commits or ()), bool(row.known))
        mine.append(WatchedRepo(row.repo_id, row.name, recorded, earlier))
    return list(found.values())
