"""Sessions: one agent thread inside a workspace, its executor fixed."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, select

from relay_core.postgres.tables import Session


def latest_executor(connection: Connection, workspace_id: UUID) -> dict[str, Any]:
    """Executor of the workspace's latest session; every workspace has one."""
    newest = select(Session.executor_config).where(Session.workspace_id == workspace_id)
    config = connection.execute(newest.order_by(Session.created_at.desc()).limit(1)).scalar_one()
    return dict(config or {})


def open_session(connection: Connection, workspace_id: UUID, executor: Mapping[str, Any]) -> UUID:
    """A new session, from now on the workspace's latest."""
    session_id = uuid4()
    values = {"workspace_id": workspace_id, "executor": executor["name"], "executor_config": dict(executor)}
    connection.execute(insert(Session).values(id=session_id, created_at=func.clock_timestamp(), **values))
    return session_id
