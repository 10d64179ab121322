"""Ending the runs of nodes that are offline: once, under a new fence, as honestly as can be.

The presence sweep concludes and writes nothing of runs; this concludes nothing and ends them. What is *queued* for such
a node waits for it, because only it has the workspace's files; what is not placed yet goes to any node as ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain.message import QueueMessage
from relay_core.domain.nodes import Bounds, end_of_lost_run
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.executions import lifecycle
from relay_core.store.executions.lifecycle import Evidence
from relay_core.store.logs import log_store
from relay_core.store.nodes.registry import SILENCE, parameters
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode
from relay_core.store.workspaces import lane, stop_resume

E = ExecutionProcess
_GONE = f"n.liveness = 'offline' AND {SILENCE} > make_interval(secs => :offline)"
_NOT_REAPED = "(n.reaped_at IS NULL OR n.reaped_at <= n.last_heartbeat_at)"


@dataclass(frozen=True)
class Lost:
    """A run taken from a node that is offline, to be ended with this fence."""

    execution_id: UUID
    workspace_id: UUID
    run_reason: RunReason
    node_id: str
    fence: int


def lost_nodes(connection: Connection, bounds: Bounds) -> list[str]:
    """Nodes that are offline and whose absence has consequences that are not drawn yet."""
    rows = connection.execute(
        text(
            f"""
            SELECT n.node_id FROM runtime_nodes n WHERE {_GONE} AND ({_NOT_REAPED} OR EXISTS (
              SELECT 1 FROM execution_processes e
              WHERE e.node_id = n.node_id AND e.status = 'running' AND e.lease_until < now()))
            ORDER BY n.node_id
            """  # noqa: S608
        ),
        parameters(bounds),
    )
    return [row.node_id for row in rows]


def take_over(connection: Connection, node_id: str, by: str, lease_seconds: float, bounds: Bounds) -> list[Lost]:
    """Take the runs of an offline node whose leases have ended; its own workers' writes are refused from now on.

    A live lease keeps a run: whoever renews it lives, whatever became of the node's heartbeat. Two reapers take
    nothing twice; what one took and did not end, the next takes when that lease is over.

    Args:
        connection: one transaction; the node's row stays locked in it, so a heartbeat comes before or after.
        node_id: from `lost_nodes`.
        by: the worker that does it.
        lease_seconds: how long it has to end them.
        bounds: the silence is judged again under the lock.
    """
    found = text(f"SELECT {_NOT_REAPED} FROM runtime_nodes n WHERE n.node_id = :node AND {_GONE} FOR NO KEY UPDATE")  # noqa: S608
    first_time = connection.scalar(found, {"node": node_id, **parameters(bounds)})
    if first_time is None:
        return []
    if first_time:
        node = update(RuntimeNode).where(RuntimeNode.node_id == node_id)
        connection.execute(node.values(epoch=RuntimeNode.epoch + 1, reaped_at=func.now()))
    over = (
        select(E.id)
        .where(E.node_id == node_id, E.status == Status.RUNNING, E.lease_until < func.now())
        .order_by(E.id)
        .with_for_update(skip_locked=True)
    )
    taken = connection.execute(
        update(E)
        .where(E.id.in_(over.scalar_subquery()))
        .values(
            owner=f"reaper:{by}",
            fence=E.fence + 1,
            lease_until=func.now() + text(f"interval '{float(lease_seconds)} seconds'"),
        )
        .returning(E.id, E.workspace_id, E.run_reason, E.fence)
    ).all()
    for row in taken:
        log_store.open_streams(connection, row.id, row.fence)
    return [Lost(row.id, row.workspace_id, RunReason(row.run_reason), node_id, row.fence) for row in taken]


def end(connection: Connection, lost: Lost, log_ends: Mapping[str, log_store.StreamEnd]) -> list[QueueMessage]:
    """End a run that was taken over, like any step that failed: one transaction, one terminal event.

    Args:
        connection: one transaction.
        lost: from `take_over`.
        log_ends: of what is stored; marked as truncated, because what else it wrote is not known.

    Raises:
        Stale: somebody else ended it or took it over.
    """
    lane.lock(connection, lost.workspace_id)  # a kill that comes now waits, or is seen
    asked_by = connection.scalar(select(E.kill_requested_by).where(E.id == lost.execution_id))
    transition = end_of_lost_run(lost.node_id, asked_by)
    evidence = Evidence(log_ends=log_ends)
    return lifecycle.finish(
        connection, lost.execution_id, lost.fence, transition, evidence, left_on=lost.node_id
    ).messages


@dataclass(frozen=True)
class Leftover:
    """A run that was ended while its processes could not be, and whose node may still have them."""

    execution_id: UUID
    attempt: int
    workspace_id: UUID
    container_id: str | None
    gid: int | None
    as_root: bool
    """Its processes may have changed their gid."""
    elsewhere: bool
    """The workspace is another node's now: it was never prepared here, and nothing of it is needed."""


def leftovers(connection: Connection, node_id: str) -> list[Leftover]:
    """What a node has to end now that it is back."""
    rows = connection.execute(
        text(
            "SELECT e.id, e.attempt, e.workspace_id, w.container_id, (e.handle->>'gid')::bigint, "
            "coalesce(w.uid = 0, false) OR coalesce((e.executor_action->'step'->>'as_root')::boolean, false), "
            "w.node_id IS DISTINCT FROM :node "
            "FROM execution_processes e JOIN workspaces w ON w.id = e.workspace_id WHERE e.leftover_on = :node"
        ),
        {"node": node_id},
    )
    return [Leftover(*row) for row in rows]


def forget_leftover(connection: Connection, one: Leftover) -> list[QueueMessage]:
    """Its processes are gone, so its workspace may go on.

    Returns:
        Doorbells of what may start now.
    """
    lane.lock(connection, one.workspace_id)
    connection.execute(update(E).where(E.id == one.execution_id).values(leftover_on=None))
    return [] if one.elsewhere else stop_resume.due_steps(connection, one.workspace_id)
