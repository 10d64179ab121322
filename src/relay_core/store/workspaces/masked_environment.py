"""Environment variables of workspaces whose values are masked in logs."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select

from relay_core.domain.logs.secret_forms import MIN_SECRET_BYTES
from relay_core.store.schema.tables import WorkspaceEnvironment

W = WorkspaceEnvironment
_MASKED = (
    select(W.workspace_id, W.name)
    .where(W.workspace_id.in_(bindparam("workspaces", expanding=True)), W.secret)
    .where(func.octet_length(W.value) >= MIN_SECRET_BYTES)
    .order_by(W.name)
)


def masked_env(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Return the names of the environment variables whose values are masked, by workspace.

    Values shorter than `MIN_SECRET_BYTES` are not masked, even if the client declared them secret.
    """
    found: dict[UUID, list[str]] = {}
    for workspace_id, name in connection.execute(_MASKED, {"workspaces": ids}):
        found.setdefault(workspace_id, []).append(name)
    return found
