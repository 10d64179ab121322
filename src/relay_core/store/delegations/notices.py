"""Tells the agent of a workspace, at the beginning of its next prompt, which leases were taken back."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select, update

from relay_core.domain.events import EventKind
from relay_core.domain.scope import DelegationState
from relay_core.domain.vocabulary import Status
from relay_core.store import events
from relay_core.store.delegations import records, scopes
from relay_core.store.schema.tables import ExecutionProcess, ScopeDelegation

D, E = ScopeDelegation, ExecutionProcess
_WHY: Mapping[str, str] = {
    "child_missing": "its workspace is gone",
    "container_missing": "the container of its workspace is gone",
    "child_stopped": "its workspace is stopped",
    "node_offline": "the node of its workspace is offline",
    "reservation_expired": "it was not started in time",
}


def take(connection: Connection, workspace_id: UUID, execution_id: UUID, fence: int) -> list[str]:
    """Return the notices for the prompt of a turn, oldest first, and store that this turn tells of them.

    Called again for the same turn, it returns the same ones.

    Args:
        connection: one transaction.
        workspace_id: the workspace of the turn.
        execution_id: the turn.
        fence: the fence of its owner; nothing is stored for an owner that has lost it.
    """
    mine = select(E.id).where(E.id == execution_id, E.fence == fence, E.status == Status.RUNNING).exists()
    pending = (D.parent_workspace_id == workspace_id) & (D.state == DelegationState.RECLAIMED)
    taken = update(D).where(pending, D.noticed_in.is_(None), mine).values(noticed_in=execution_id).returning(D.id)
    new = set(connection.scalars(taken))
    told = connection.execute(
        select(*D.__table__.columns).where(D.noticed_in == execution_id).order_by(D.ended_at, D.id)
    )
    names = scopes.repo_names(connection, workspace_id)
    found = [(row, _text(row, names)) for row in told.mappings()]
    for row, message in found:
        if row["id"] in new:
            payload: dict[str, Any] = {"delegation_id": str(row["id"]), "message": message}
            events.append(
                connection, workspace_id, EventKind.DELEGATION_NOTICE_GIVEN, payload, operation_id=execution_id
            )
    return [message for _, message in found]


def _text(row: RowMapping, names: Mapping[UUID, str]) -> str:
    rules = records.rules_shown(row["rules"], names)
    paths = ", ".join(f"repos/{rule['repo']}/{rule['path']}" for rule in rules if rule["permission"] == "write")
    return (
        f"Notice of Relay: subtask {row['name']!r} (workspace {row['child_workspace_id']}) no longer holds "
        f"{paths or 'anything'}, because {_WHY[row['reclaim_reason']]}. You may write there again; what it has "
        "committed is still on its own branch."
    )
