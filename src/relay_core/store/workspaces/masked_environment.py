"""Environment variables of workspaces whose values are masked in logs."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, func, select

from relay_core.domain.logs.secret_forms import MIN_SECRET_BYTES
from relay_core.store.schema.tables import WorkspaceEnvironment


def masked_env(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Return the names of the environment variables whose values are masked, by workspace.

    Values shorter than `MIN_SECRET_BYTES` are not masked, even if the client declared them secret.
    """
    e = WorkspaceEnvironment
    statement = select(e.workspace_id, e.name).where(
        e.workspace_id.in_(ids), e.secret, func.octet_length(e.value) >= MIN_SECRET_BYTES
    )
    found: dict[UUID, list[str]] = {}
    for workspace_id, name in connection.execute(statement.order_by(e.name)):
        found.setdefault(workspace_id, []).append(name)
    return found
