"""Leftovers: executions that have ended in Postgres while their processes may still run on a node.

This happens when a node or its container engine does not answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text, update

from relay_core.domain.events import EventKind
from relay_core.domain.execution import evidence_state
from relay_core.domain.vocabulary import EvidenceState
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState
from relay_core.store.workspaces import lane, stop_resume


@dataclass(frozen=True)
class Leftover:
    """An ended execution whose node may still have processes of it."""

    execution_id: UUID
    attempt: int
    workspace_id: UUID
    container_id: str | None
    fence: int | None
    """The fence under which its process was started; None if none was prepared."""
    run_reason: str
    elsewhere: bool
    """Whether the workspace is not placed on this node any more.

    It was then never prepared here, so the node needs none of its files.
    """


def leftovers(connection: Connection, node_id: str) -> list[Leftover]:
    """Return the executions whose processes a node has to kill.

    The node asks for them once it, or its container engine, works again.
    """
    rows = connection.execute(
        text(
            "SELECT e.id, e.attempt, e.workspace_id, w.container_id, (e.handle->>'fence')::bigint, e.run_reason, "
            "w.node_id IS DISTINCT FROM :node "
            "FROM execution_processes e JOIN workspaces w ON w.id = e.workspace_id WHERE e.leftover_on = :node"
        ),
        {"node": node_id},
    )
    return [Leftover(*row) for row in rows]


def forget_leftover(
    connection: Connection, leftover: Leftover, node_id: str, states: Mapping[UUID, Mapping[str, Any]]
) -> None:
    """Record that a node has killed the processes of a leftover; do nothing if that is recorded already.

    Messages of executions in the workspace that may start now are sent after the commit.

    Args:
        connection: one transaction of `Database`.
        leftover: from `leftovers`.
        node_id: the node that killed the processes.
        states: columns of the git state after the step by repo id; stored where the end of the execution had none.
    """
    lane.lock(connection, leftover.workspace_id)
    execution = update(ExecutionProcess).where(
        ExecutionProcess.id == leftover.execution_id, ExecutionProcess.leftover_on == node_id
    )
    if connection.execute(execution.values(leftover_on=None)).rowcount == 0:
        return
    if not leftover.elsewhere:
        stop_resume.send_due_steps(connection, leftover.workspace_id)
    payload = {"execution_id": str(leftover.execution_id), "node_id": node_id}
    events.append(connection, leftover.workspace_id, EventKind.WORKSPACE_LEFTOVERS_ENDED, payload)
    if late := _record_late(connection, leftover.execution_id, states):
        repos = [str(repo_id) for repo_id in late]
        recorded = {**payload, "repos": repos}
        events.append(connection, leftover.workspace_id, EventKind.WORKSPACE_EVIDENCE_RECORDED, recorded)


def _record_late(connection: Connection, execution_id: UUID, states: Mapping[UUID, Mapping[str, Any]]) -> list[UUID]:
    """Store the git states that were unavailable at the end of an execution; return the ids of their repos."""
    state = ExecutionProcessRepoState
    late = []
    for repo_id, fields in states.items():
        if evidence_state(fields.get("after_head_commit"), fields.get("problem")) is not EvidenceState.RECORDED:
            continue
        row = update(state).where(
            state.execution_process_id == execution_id,
            state.repo_id == repo_id,
            state.after_state == EvidenceState.UNAVAILABLE,
        )
        if connection.execute(row.values(after_state=EvidenceState.RECORDED_LATE, **fields)).rowcount:
            late.append(repo_id)
    return late
