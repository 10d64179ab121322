"""The reasons why queued executions wait, for any number of them with a fixed number of queries."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.orm import aliased

from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store.nodes import placement
from relay_core.store.schema.tables import ExecutionProcess, Lane

E = ExecutionProcess
View = dict[str, Any]


def queues_of(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, View]:
    """Return what queued executions wait for, by id.

    `ahead` is the number of queued steps before it in the lane, `waits_for` are the running executions that hold the
    lane. Only if there are neither, `waits` says why no node can start it.
    """
    if not execution_ids:
        return {}
    ahead = _ahead(connection, execution_ids)
    holders = _holders(connection, execution_ids)
    first = [one for one in execution_ids if not ahead.get(one) and not holders.get(one)]
    why = placement.why_each_waits(connection, first)
    return {
        one: {"ahead": ahead.get(one, 0), "waits_for": holders.get(one, []), "waits": why.get(one)}
        for one in execution_ids
    }


def _ahead(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, int]:
    before = aliased(E)
    statement = (
        select(E.id, func.count().label("ahead"))
        .join(before, (before.workspace_id == E.workspace_id) & (before.lane_position < E.lane_position))
        .where(E.id.in_(execution_ids), E.run_reason != RunReason.DEV_SERVER)
        .where(before.status == Status.QUEUED, before.run_reason != RunReason.DEV_SERVER)
        .group_by(E.id)
    )
    return {row.id: row.ahead for row in connection.execute(statement)}


def _holders(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, list[UUID]]:
    holder = aliased(E)
    statement = (
        select(E.id, holder.id)
        .join(Lane, (Lane.workspace_id == E.workspace_id) & (Lane.group_id != E.group_id))
        .join(holder, (holder.workspace_id == Lane.workspace_id) & (holder.group_id == Lane.group_id))
        .where(E.id.in_(execution_ids), E.run_reason != RunReason.DEV_SERVER, holder.status == Status.RUNNING)
        .order_by(holder.created_at, holder.id)
    )
    found: dict[UUID, list[UUID]] = {}
    for execution_id, holder_id in connection.execute(statement):
        found.setdefault(execution_id, []).append(holder_id)
    return found
