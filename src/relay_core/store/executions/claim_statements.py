"""The two requests to Postgres of a claim: one locks and reads what decides about it, the other one writes it.

Both are functions of Postgres, which keeps their plans. Between them the caller decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from relay_core.domain.nodes import Capacity, Load
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.workspaces.condition import WorkspaceCondition

_OF_WORKSPACE = (
    "id",
    "state",
    "requested_state",
    "error_reason",
    "archived",
    "deleted_at",
    "pool",
    "node_id",
    "limits",
    "needs",
    "next_gid",
    "forked_from",
    "diverged_at",
    "directory_error",
)
"""Columns of a `WorkspaceCondition`."""
_LOCK = text(
    "SELECT (f.execution).*, f.in_workspace, f.holder, f.first_position, f.leftover, f.admitted, "  # noqa: S608
    "f.taken_at AS lease_mark, f.promised, f.declares, (f.execution).id IS NOT NULL AS queued, "
    + ", ".join(f"(f.workspace).{name} AS of_workspace_{name}" for name in _OF_WORKSPACE)
    + " FROM lock_for_claim(:execution, :attempt, :owner, :node) AS f"
)
_TAKE = text(
    "SELECT * FROM take_claim(:execution, :owner, :node, :handle, :timeout, :takes_lane, :moves_task, :promised, "
    ":memory, :pids, :payload)"
).bindparams(bindparam("handle", type_=JSONB), bindparam("payload", type_=JSONB))


@dataclass(frozen=True)
class Queued:
    """A queued execution of a workspace with what decides about its claim; the rows of both and the lane are locked."""

    execution: ExecutionRow
    workspace: WorkspaceCondition
    holder: UUID | None
    """The step group that holds the lane; None: it is free."""
    first_position: int | None
    """The first place in the queue of the lane."""
    leftover: UUID | None
    """An ended execution of the workspace whose processes may still run on the node; None: there is none."""
    admitted: bool
    """Whether its run is admitted; also if it has none."""
    promised: bool
    """Whether the node has promised capacity to the workspace already."""
    declares: frozenset[str]
    """Capabilities that the node declares."""


class Locked(NamedTuple):
    """An execution that exists, and the lease of the claimant."""

    in_workspace: UUID | None
    """Its workspace; None: it clones a project."""
    taken_at: datetime | None
    """The mark of the claimant's lease (`leases.Renewal.taken_at`); None: the lease is over."""
    queued: Queued | None
    """None: the attempt is not queued, or it has no workspace. Then nothing but the lane is locked."""


class Taken(NamedTuple):
    """The fence of a claim that was written, and how long the execution was queued."""

    fence: int
    queued_seconds: float


class Full(NamedTuple):
    """The node of a claim for which it has no room; nothing was written."""

    closed: bool
    """Whether an operator told the node to take no new workspaces, or revoked it, and the claim is against that."""
    load: Load
    capacity: Capacity


@dataclass(frozen=True)
class NewClaim:
    """The values of a claim to write."""

    handle: Mapping[str, Any]
    timeout_seconds: float | None
    takes_lane: bool
    """Whether the lane is free, and the step group holds it from now on."""
    moves_task: bool
    payload: Mapping[str, Any]
    """Of the event `execution.started`."""


def lock(connection: Connection, execution_id: UUID, attempt: int, owner: str, node_id: str) -> Locked | None:
    """Lock lane, execution and workspace of a queued execution, in this order; None if there is no such execution."""
    values = {"execution": execution_id, "attempt": attempt, "owner": owner, "node": node_id}
    row = connection.execute(_LOCK, values).mappings().one_or_none()
    if row is None:
        return None
    return Locked(row["in_workspace"], row["lease_mark"], _queued(row) if row["queued"] else None)


def _queued(row: RowMapping) -> Queued:
    workspace: Any = {name: row[f"of_workspace_{name}"] for name in _OF_WORKSPACE}
    return Queued(
        ExecutionRow.from_row(row),
        WorkspaceCondition.from_row(workspace),
        row["holder"],
        row["first_position"],
        row["leftover"],
        row["admitted"],
        row["promised"],
        frozenset(row["declares"] or ()),
    )


def take(connection: Connection, found: Queued, owner: str, node_id: str, new: NewClaim) -> Taken | Full:
    """Write a claim: owner, fence, gid, node, log streams, task, run and the event `execution.started`.

    If the node has not promised capacity to the workspace before, its row is locked from here to the commit, which
    should follow at once: claims of one node wait for each other in this time.

    Args:
        connection: the transaction in which `lock` found the execution.
        found: the execution and its workspace.
        owner: incarnation of the new owner.
        node_id: its node.
        new: the values to write.
    """
    limits = found.workspace.limits
    values = {
        "execution": found.execution.id,
        "owner": owner,
        "node": node_id,
        "handle": dict(new.handle),
        "timeout": new.timeout_seconds,
        "takes_lane": new.takes_lane,
        "moves_task": new.moves_task,
        "promised": found.promised,
        "memory": int(limits.memory_bytes),
        "pids": int(limits.pids),
        "payload": dict(new.payload),
    }
    row = connection.execute(_TAKE, values).one()
    if row.fence is not None:
        return Taken(row.fence, row.queued)
    load = Load(int(row.workspaces), int(row.memory_bytes), int(row.pids))
    return Full(row.draining, load, Capacity(row.max_workspaces, row.max_memory_bytes, row.max_pids))
