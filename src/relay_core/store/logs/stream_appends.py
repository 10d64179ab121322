"""The rows of `log_streams` in a transaction of appends: locked in one order, then given their new sizes."""

from datetime import date
from typing import Any
from uuid import UUID

from relay_core.domain.logs.append import BatchDecision, StreamState


def lock_streams(cursor: Any, execution_ids: set[UUID]) -> tuple[dict[UUID, StreamState], dict[UUID, date]]:
    """Lock the rows of some logs; return their states, and the weeks whose partitions have their bytes."""
    cursor.execute(
        "SELECT execution_id::text, stream, fence, bytes, closed, week FROM log_streams "
        "WHERE execution_id = ANY(%s::uuid[]) ORDER BY execution_id, stream FOR UPDATE",
        ([str(one) for one in execution_ids],),
    )
    state: dict[UUID, StreamState] = {}
    weeks: dict[UUID, date] = {}
    for execution_id, stream, fence, size, closed, week in cursor.fetchall():
        here = state.setdefault(UUID(execution_id), StreamState(fence, closed, {}))
        here.sizes[stream] = size
        weeks[UUID(execution_id)] = week
    return state, weeks


def store_sizes(cursor: Any, decision: BatchDecision) -> None:
    """Store the sizes of the streams after a batch of appends."""
    rows = [(str(one), stream, size) for one, sizes in decision.sizes.items() for stream, size in sizes.items()]
    ids, streams, sizes = zip(*rows, strict=True)
    cursor.execute(
        "UPDATE log_streams s SET bytes = v.bytes "
        "FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS v(execution_id, stream, bytes) "
        "WHERE s.execution_id = v.execution_id AND s.stream = v.stream AND s.bytes <> v.bytes",
        (list(ids), list(streams), list(sizes)),
    )
