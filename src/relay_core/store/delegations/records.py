"""Ends delegations, and tells of them as events. The caller holds the lock of the project (`scopes.lock`)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, select, update

from relay_core.domain.child_sight import ReclaimReason
from relay_core.domain.events import EventKind
from relay_core.domain.scope import LIVE, DelegationState
from relay_core.store import events
from relay_core.store.delegations import scopes
from relay_core.store.schema.tables import ScopeDelegation, Workspace

D = ScopeDelegation
CONTROL, AGENT = "control", "agent"
"""Whether the agent of the workspace is told of an event with its next prompt, or only people and programs are."""


def tell(
    connection: Connection,
    workspace_id: UUID,
    kind: EventKind,
    row: RowMapping,
    more: Mapping[str, Any] | None = None,
    visibility: str = CONTROL,
) -> None:
    """Append an event about a delegation to a workspace."""
    names = scopes.repo_names(connection, row["parent_workspace_id"])
    payload = {
        "delegation_id": str(row["id"]),
        "name": row["name"],
        "parent_workspace_id": str(row["parent_workspace_id"]),
        "child_workspace_id": str(row["child_workspace_id"]),
        "rules": rules_shown(row["rules"], names),
        "epoch": row["epoch"],
        "visibility": visibility,
    }
    events.append(connection, workspace_id, kind, {**payload, **(more or {})})


def rules_shown(stored: Any, names: Mapping[UUID, str]) -> list[dict[str, Any]]:
    """Return stored rules as answers show them; an empty list for a record that cannot be read."""
    if not isinstance(stored, list):
        return []
    shown = []
    for one in stored:
        if not isinstance(one, Mapping) or not all(isinstance(one.get(key), str) for key in ("repo_id", "path")):
            return []
        name = next((name for repo_id, name in names.items() if str(repo_id) == one["repo_id"]), one["repo_id"])
        shown.append({"repo": name, "path": one["path"], "permission": one.get("permission", "write")})
    return shown


def release(connection: Connection, row: RowMapping, by: str) -> RowMapping:
    """End a live delegation on request; those of its child belong to its parent from now on."""
    changed, inherited = _end(connection, row, DelegationState.RELEASED, None)
    tell(
        connection,
        row["parent_workspace_id"],
        EventKind.DELEGATION_RELEASED,
        changed,
        {"by": by, "inherited": inherited},
    )
    return changed


def reclaim(connection: Connection, row: RowMapping, reason: ReclaimReason) -> None:
    """Take a live delegation back, whether or not its workspace exists; nothing happens if it has ended."""
    changed, inherited = _end(connection, row, DelegationState.RECLAIMED, reason)
    if changed is row:
        return
    more = {"reclaim_reason": reason.value, "inherited": inherited}
    tell(connection, row["parent_workspace_id"], EventKind.DELEGATION_RECLAIMED, changed, more, AGENT)


def exists(connection: Connection, workspace_id: UUID) -> bool:
    """Return whether a workspace has a row, deleted or not."""
    return connection.scalar(select(Workspace.id).where(Workspace.id == workspace_id)) is not None


def _end(
    connection: Connection, row: RowMapping, state: DelegationState, reason: ReclaimReason | None
) -> tuple[RowMapping, list[str]]:
    values = {
        "state": state,
        "reclaim_reason": reason,
        "epoch": D.epoch + 1,
        "ended_at": func.now(),
        "unverified": None,
    }
    ended = update(D).where(D.id == row["id"], D.state.in_(LIVE)).values(values).returning(*D.__table__.columns)
    changed = connection.execute(ended).mappings().one_or_none()
    if changed is None:
        return row, []
    inherit = update(D).where(D.parent_workspace_id == row["child_workspace_id"], D.state.in_(LIVE))
    moved = connection.scalars(inherit.values(parent_workspace_id=row["parent_workspace_id"]).returning(D.id))
    return changed, sorted(str(one) for one in moved)
