"""How far the fetches of running clones have come, by their newest events."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects.postgresql import distinct_on

from relay_core.domain.events import EventKind
from relay_core.domain.git.fetch_progress import FetchPhase, FetchProgress, clause
from relay_core.store.schema.tables import Event

_NEWEST = (
    select(Event.operation_id, Event.payload)
    .ext(distinct_on(Event.operation_id))
    .where(Event.operation_id.in_(bindparam("executions", expanding=True)))
    .where(Event.kind == EventKind.EXECUTION_PROGRESS)
    .order_by(Event.operation_id, Event.sequence.desc())
)


def progress_of(connection: Connection, execution_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return the fields of `relay_api.schemas.executions.ProgressOut` by execution; none for one without progress."""
    if not execution_ids:
        return {}
    rows = connection.execute(_NEWEST, {"executions": execution_ids})
    return {row.operation_id: _shown(row.payload) for row in rows}


def _shown(payload: dict[str, Any]) -> dict[str, Any]:
    state = FetchProgress(FetchPhase(payload["phase"]), payload["objects"], payload["total"], payload["bytes"])
    return {**payload, "percent": state.percent, "message": clause(state)}
