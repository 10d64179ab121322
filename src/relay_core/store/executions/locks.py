"""Locks on executions. All transactions take locks in one order: lane, execution, workspace, node."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select

from relay_core.store.schema.tables import ExecutionProcess


def lock_executions(connection: Connection, ids: Select[Any]) -> list[UUID]:
    """Lock the executions that ``ids`` selects, in the order of their ids, and return the ids.

    The fixed order prevents a deadlock between transactions that lock several executions.
    """
    return list(connection.scalars(ids.order_by(ExecutionProcess.id).with_for_update(key_share=True)))
