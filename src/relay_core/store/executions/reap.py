"""The reaper: ends the executions that run on a node which is offline, each once and under a new fence.

On a node that is revoked it ends those whose worker has ended, as no other worker of the node may take them over.

The presence sweep only lowers the liveness of nodes; the reaper only ends executions. A *queued* execution whose
workspace is on an offline node waits for that node, because no other has the workspace's files; if its workspace is on
no node yet, any node may take it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain.nodes import Bounds, end_of_lost_run
from relay_core.domain.vocabulary import Liveness, RunReason, Status
from relay_core.store.executions import leases
from relay_core.store.executions.finish import Evidence, finish
from relay_core.store.logs import log_store
from relay_core.store.nodes.runtime_nodes import SILENCE, parameters
from relay_core.store.schema.tables import ExecutionProcess, RuntimeNode
from relay_core.store.workspaces import lane

E, N = ExecutionProcess, RuntimeNode
_GONE = f"n.liveness = 'offline' AND {SILENCE} > make_interval(secs => :offline)"
_NOT_REAPED = "(n.reaped_at IS NULL OR n.reaped_at <= n.last_heartbeat_at)"


_TO_REAP = f"({_GONE} OR n.revoked_at IS NOT NULL)"


@dataclass(frozen=True)
class LostExecution:
    """A running execution that the reaper has taken from a node that is lost or revoked, to end it with `fence`."""

    execution_id: UUID
    workspace_id: UUID | None
    """None: it cloned a project without a workspace, and left no process."""
    run_reason: RunReason
    node_id: str
    fence: int


def lost_nodes(connection: Connection, bounds: Bounds) -> list[str]:
    """Return the nodes with work for the reaper.

    They are offline and were not reaped since their last heartbeat, or they are offline or revoked and have running
    executions whose owner has no valid lease.
    """
    rows = connection.execute(
        text(
            f"""
            SELECT n.node_id FROM runtime_nodes n WHERE ({_GONE} AND {_NOT_REAPED}) OR ({_TO_REAP} AND EXISTS (
              SELECT 1 FROM execution_processes e
              WHERE e.node_id = n.node_id AND e.status = 'running' AND NOT EXISTS (
                SELECT 1 FROM incarnations i WHERE i.owner = e.owner AND i.lease_until >= now())))
            ORDER BY n.node_id
            """  # noqa: S608
        ),
        parameters(bounds),
    )
    return [row.node_id for row in rows]


def take_over(
    connection: Connection, node_id: str, by: str, lease_seconds: float, bounds: Bounds
) -> list[LostExecution]:
    """Take the running executions of an offline or revoked node whose owners' leases are over.

    From then on, writes of the node's workers to them are refused. The executions of a valid lease are left alone: the
    worker that renews it is alive, even if the node sends no heartbeats. Two reapers never take the same execution. If
    a reaper takes one and does not end it, it can be taken again once the reaper's lease is over.

    Args:
        connection: one transaction. It locks the node's row, so a heartbeat comes either before it or after it.
        node_id: from `lost_nodes`.
        by: incarnation of the worker that reaps.
        lease_seconds: how long that worker has to end them.
        bounds: how long a node may be silent; checked again here, under the lock. After a start of Postgres the workers
            of a revoked node have as long to renew their leases.
    """
    found = text(
        f"SELECT {_GONE} AS gone, {_NOT_REAPED} AS first FROM runtime_nodes n "  # noqa: S608
        f"WHERE n.node_id = :node AND {_TO_REAP} FOR NO KEY UPDATE"
    )
    state = connection.execute(found, {"node": node_id, **parameters(bounds)}).one_or_none()
    if state is None:
        return []
    if state.gone and state.first:
        node = update(RuntimeNode).where(RuntimeNode.node_id == node_id)
        connection.execute(node.values(epoch=RuntimeNode.epoch + 1, reaped_at=func.now()))
    running = (E.node_id == node_id) & (E.status == Status.RUNNING)
    silent = connection.scalars(select(E.owner).where(running, ~leases.is_held()).distinct()).all()
    grace_seconds = 0 if state.gone else bounds.offline_seconds
    gone = leases.take_from(connection, [owner for owner in silent if owner is not None], grace_seconds=grace_seconds)
    over = select(E.id).where(running, E.owner.in_(gone)).order_by(E.id).with_for_update(skip_locked=True)
    reaper = f"{leases.REAPER}{by}/{uuid4().hex[:8]}"  # a lease of its own, which ends with this reaping
    taken = connection.execute(
        update(E)
        .where(E.id.in_(over.scalar_subquery()))
        .values(owner=reaper, fence=E.fence + 1)
        .returning(E.id, E.workspace_id, E.run_reason, E.fence)
    ).all()
    if taken:
        leases.renew(connection, reaper, node_id, lease_seconds)
    for row in taken:
        log_store.open_streams(connection, row.id, row.fence)
    return [LostExecution(row.id, row.workspace_id, RunReason(row.run_reason), node_id, row.fence) for row in taken]


def end(connection: Connection, lost: LostExecution, log_ends: Mapping[str, log_store.StreamEnd]) -> None:
    """End an execution that `take_over` has taken, as failed or, if a kill was requested, as killed.

    Args:
        connection: one transaction of `Database`; messages of executions that may start now are sent after its commit.
        lost: from `take_over`.
        log_ends: sizes and checksums of the stored log. It is marked as truncated, because the node may have more of
            it.

    Raises:
        Stale: another worker ended the execution or took it over.
    """
    lane.lock_of(
        connection, lost.execution_id
    )  # a kill request waits from now on, or was made before and is seen below
    asked_by = connection.scalar(select(E.kill_requested_by).where(E.id == lost.execution_id))
    lives_revoked = N.revoked_at.is_not(None) & (N.liveness != Liveness.OFFLINE)
    revoked = bool(connection.scalar(select(lives_revoked).where(N.node_id == lost.node_id)))
    transition = end_of_lost_run(lost.node_id, asked_by, revoked=revoked)
    evidence = Evidence(log_ends=log_ends)
    left_on = None if lost.workspace_id is None else lost.node_id
    finish(connection, lost.execution_id, lost.fence, transition, evidence, left_on=left_on)
