"""Retention of logs: which partitions of their bytes are dropped now."""

from collections.abc import Sequence
from datetime import date

from sqlalchemy import Connection, text

from relay_core.domain.retention import Cause, Kept, Limits, Partition, old, to_drop
from relay_core.store.retention import partitions
from relay_core.store.retention.partitions import LOG_CHUNKS

_NEEDED = text(
    """
    SELECT DISTINCT s.week FROM execution_processes e JOIN log_streams s ON s.execution_id = e.id AND s.stream = 'all'
    WHERE e.status IN ('queued', 'running')
    UNION
    SELECT DISTINCT s.week FROM workspaces w JOIN execution_processes e ON e.workspace_id = w.id
      JOIN log_streams s ON s.execution_id = e.id AND s.stream = 'all'
    WHERE w.pinned AND w.deleted_at IS NULL
    """
)
_YOUNG = text(
    """
    SELECT DISTINCT s.week FROM execution_processes e JOIN log_streams s ON s.execution_id = e.id AND s.stream = 'all'
    WHERE e.started_at >= date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    """
)
_RECENT = text(
    """
    SELECT DISTINCT s.week FROM execution_processes e JOIN log_streams s ON s.execution_id = e.id AND s.stream = 'all'
    WHERE s.week < CAST(:before AS date) AND e.completed_at > now() - make_interval(secs => :seconds)
    """
)
_GATHER = text(
    """
    UPDATE log_chunks c SET week = s.week FROM log_streams s, partition_marks m
    WHERE c.week >= :starts AND c.week < :ends AND s.execution_id = c.execution_id AND s.stream = 'all'
      AND s.week < :starts AND m.starts <= s.week AND m.ends > s.week
      AND m.parent = 'log_chunks' AND m.removed_at IS NULL
    """
)


def due(connection: Connection, limits: Limits) -> list[tuple[Partition, Cause]]:
    """Return the partitions of logs to drop now, oldest first."""
    if limits.days is None and limits.size_bytes is None:
        return []
    found, today = partitions.live(connection, LOG_CHUNKS), partitions.today(connection)
    return to_drop(found, today, limits, _kept(connection, found, today, limits))


def gather(connection: Connection, partition: Partition) -> None:
    """Move rows of logs of earlier weeks out of a partition that is to be dropped, to those weeks.

    A worker of an older version names no week when it stores rows: they are in the week in which it did so.
    """
    connection.execute(_GATHER, {"starts": partition.starts, "ends": partition.ends})


def drop(connection: Connection, partition: Partition, cause: Cause) -> bool:
    """Drop a partition of logs, unless one of its logs is needed by now; return whether it was dropped.

    Args:
        connection: a transaction of its own.
        partition: from `due`, which may have been asked some time ago.
        cause: why it is dropped.
    """
    partitions.lock(connection, LOG_CHUNKS)
    if any(partition.starts <= week < partition.ends for week in connection.scalars(_NEEDED)):
        return False
    return partitions.drop(connection, partition, cause)


def _kept(connection: Connection, found: Sequence[Partition], today: date, limits: Limits) -> Kept:
    needed = frozenset(connection.scalars(_NEEDED)) | frozenset(connection.scalars(_YOUNG))
    aged = [] if limits.days is None else old(found, today, limits.days)
    if limits.days is None or not aged:
        return Kept(needed)
    # Logs from before an upgrade share one early week, so the week of the log is compared, not the execution's start.
    values = {"before": max(one.ends for one in aged), "seconds": limits.days * 86400}
    return Kept(needed, frozenset(connection.scalars(_RECENT, values)))
