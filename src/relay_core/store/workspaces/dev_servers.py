"""Dev servers of a workspace: at most one per repo, outside the lane."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, select

from relay_core.domain.errors import Conflict
from relay_core.domain.step import DevServerStep
from relay_core.domain.vocabulary import ACTIVE, RunReason
from relay_core.store.executions.execution_row import ExecutionRow
from relay_core.store.executions.kill import kill
from relay_core.store.schema.tables import ExecutionProcess

E = ExecutionProcess
_LIVE = (
    select(E)
    .where(E.workspace_id.in_(bindparam("workspaces", expanding=True)))
    .where(E.run_reason == RunReason.DEV_SERVER, E.status.in_(ACTIVE))
    .order_by(E.created_at.desc(), E.id)
)


def kill_dev_servers(connection: Connection, workspace_id: UUID, by: str) -> list[UUID]:
    """Request a kill of all queued and running dev servers of a workspace.

    Returns:
        Their ids, the latest first.
    """
    ids = [server.id for server in live_dev_servers(connection, [workspace_id])]
    kill(connection, ids, by)
    return ids


def live_dev_servers(connection: Connection, workspace_ids: Sequence[UUID]) -> list[ExecutionRow]:
    """Return the queued and running dev servers of some workspaces, the latest first."""
    rows = connection.execute(_LIVE, {"workspaces": workspace_ids}).mappings()
    return [ExecutionRow.from_row(row) for row in rows]


def refuse_second_server(connection: Connection, workspace_id: UUID, step: DevServerStep) -> None:
    """Raise an error if the step's repo has a queued or running dev server already.

    A dev server for which a kill was requested does not count.

    Raises:
        Conflict: `dev_server_running`.
    """
    for live in live_dev_servers(connection, [workspace_id]):
        if live.action.step.repo == step.repo and live.kill_requested_at is None:
            message = f"the dev server of {step.repo!r} is already {live.status}: execution {live.id}"
            raise Conflict(message, code="dev_server_running")
