"""Floors of pools: the lowest protocol version of nodes that may start steps there."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.attachment import VersionMalformed, is_below
from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind, SubjectKind
from relay_core.store import operations
from relay_core.store.operations import Subject
from relay_core.store.schema.tables import NodePool
from relay_core.store.transaction import admit_next

P = NodePool


@dataclass(frozen=True)
class Floor:
    """The floor of a pool."""

    pool: str
    min_protocol_version: str | None
    """None: there is none."""


def floors(connection: Connection) -> list[Floor]:
    """Return the pools that have, or had, a floor, by name."""
    rows = connection.execute(select(P.pool, P.min_protocol_version).order_by(P.pool))
    return [Floor(row.pool, row.min_protocol_version) for row in rows]


def set_floor(connection: Connection, pool: str, version: str | None, by: str) -> Floor:
    """Raise the floor of a pool, or remove it. Steps that run go on; nodes below the floor start nothing more.

    Args:
        connection: one transaction of `Database`.
        pool: the pool.
        version: MAJOR.MINOR; None: no floor.
        by: who asks; told by the event.

    Raises:
        Conflict: `version.floor_lowered`: the pool has a higher one. A floor only rises; remove it first.
    """
    connection.execute(insert(P).values(pool=pool).on_conflict_do_nothing())
    before = connection.scalar(select(P.min_protocol_version).where(P.pool == pool).with_for_update())
    if before == version:
        return Floor(pool, version)
    if version is not None and _is_lower(version, before):
        message = f"the floor of the pool {pool} is {before}, and a floor only rises: remove it first"
        raise Conflict(message, code="version.floor_lowered")
    values = {"min_protocol_version": version, "updated_at": func.now()}
    connection.execute(update(P).where(P.pool == pool).values(values))
    payload = {"pool": pool, "version": version, "by": by}
    subject = Subject(SubjectKind.POOL, pool)
    operations.record(connection, OperationKind.POOL_FLOOR, subject, EventKind.POOL_FLOOR_CHANGED, payload)
    if version is None:
        admit_next(connection)
    return Floor(pool, version)


def _is_lower(version: str, before: str | None) -> bool:
    """Return whether a floor is lower than the one before; one that is no version can be replaced by any."""
    try:
        return is_below(version, before)
    except VersionMalformed:
        return False
