"""Which clones of projects may start: a bounded number of each owner and pool at once, the oldest first.

A clone of a project is no run, so limits on runs do not count it. Without a bound of its own, an owner who creates many
projects would fill the pool's queue before the runs of others.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from relay_core.domain.admission import LimitKind, Wait, WaitKind

MOST_AT_ONCE = 4
"""Most clones of projects of one owner that a pool carries out at once."""

_RANKED = """
    SELECT id, created_by, pool, status, published_at, row_number() OVER (
      PARTITION BY created_by, pool ORDER BY status = 'running' DESC, created_at, id) AS place
    FROM execution_processes WHERE project_id IS NOT NULL AND status IN ('queued', 'running')
"""
MAY_START = f"SELECT id FROM ({_RANKED}) AS ranked WHERE place <= {MOST_AT_ONCE}"  # noqa: S608 - nothing of a client's
"""Query for the clones of projects that run or may start."""
_DUE = text(
    f"SELECT id FROM ({_RANKED}) AS ranked WHERE place <= {MOST_AT_ONCE} "  # noqa: S608 - nothing of a client's
    "AND created_by = :owner AND pool = :pool AND status = 'queued' AND published_at IS NULL ORDER BY place"
)
_WAITING = text(
    f"SELECT id, created_by, pool FROM ({_RANKED}) AS ranked "  # noqa: S608 - nothing of a client's
    f"WHERE place > {MOST_AT_ONCE} AND id = ANY(:ids)"
).bindparams(bindparam("ids", type_=ARRAY(PG_UUID(as_uuid=True))))
_RUNNING = text(
    "SELECT count(*) FROM execution_processes "
    "WHERE project_id IS NOT NULL AND status = 'running' AND created_by = :owner AND pool = :pool"
)
_NOT_SENT = text("UPDATE execution_processes SET published_at = NULL WHERE id = :id")
_LOCK = text("SELECT pg_advisory_xact_lock(7310028, hashtext(:owner || '/' || :pool))")


def due(connection: Connection, owner: str, pool: str) -> list[UUID]:
    """Return the clones of an owner that may start in a pool and of which no message is known to be sent.

    The turns of this owner and pool stay locked until the end of the transaction, so that no two transactions give the
    same place away. The caller has locked the project before.
    """
    connection.execute(_LOCK, {"owner": owner, "pool": pool})
    return list(connection.scalars(_DUE, {"owner": owner, "pool": pool}))


def may_begin(connection: Connection, execution_id: UUID, owner: str, pool: str) -> bool:
    """Return whether a clone may begin, because fewer than `MOST_AT_ONCE` of its owner run in its pool.

    The turns of this owner and pool stay locked until the end of the transaction, which writes the claim. A clone that
    may not begin counts as not sent, so the end of another one sends its message.
    """
    connection.execute(_LOCK, {"owner": owner, "pool": pool})
    if (connection.scalar(_RUNNING, {"owner": owner, "pool": pool}) or 0) < MOST_AT_ONCE:
        return True
    connection.execute(_NOT_SENT, {"id": execution_id})
    return False


def waits(connection: Connection, execution_ids: Sequence[UUID]) -> Mapping[UUID, Wait]:
    """Return why clones of projects wait for other ones, by execution; none for what may start."""
    if not execution_ids:
        return {}
    message = "{owner} has {most} clones of projects at work in pool {pool}, the most at once"
    return {
        row.id: Wait(
            WaitKind.LIMIT,
            message.format(owner=row.created_by, most=MOST_AT_ONCE, pool=row.pool),
            LimitKind.OWNER,
            row.created_by,
            MOST_AT_ONCE,
        )
        for row in connection.execute(_WAITING, {"ids": list(execution_ids)})
    }
