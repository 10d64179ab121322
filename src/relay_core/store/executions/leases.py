"""Leases: a running execution belongs to its owner while the lease of that incarnation of a worker is valid.

An incarnation has one lease, `incarnations.lease_until` on the clock of Postgres, however many executions it owns. An
execution whose owner's lease is over, or has no row, may be taken by another worker. A taking marks the row of the
incarnation from which it takes (`taken_at`), so a renewal has to look at the executions only if that mark has changed.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, ScalarSelect, TextClause, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from relay_core.domain.vocabulary import Status
from relay_core.store.executions.notices import notify
from relay_core.store.schema.tables import ExecutionProcess, Incarnation

E = ExecutionProcess

REAPER = "reaper:"
"""Beginning of the owners under which a worker ends the executions of an offline node."""
FORGET_HOURS = 24
"""Hours after the end of a lease at which the row of an incarnation that owns nothing any more is removed."""
FORGOTTEN_AT_ONCE = 1000

OWNERS = bindparam("owners", type_=ARRAY(TEXT))
STARTED = "greatest(pg_postmaster_start_time(), pg_last_xact_replay_timestamp())"
"""SQL expression: when Postgres started or, if it was a standby before, got the last commit of the server before it."""
_RENEW = text("SELECT taken_at, killed, swept FROM renew_lease(:owner, :seconds, :turn)")
_RENEW_ALONE = text(
    "SELECT taken_at, killed, swept, set_config('synchronous_commit', 'off', true) "
    "FROM renew_lease(:owner, :seconds, :turn)"
)
_INSERT = text(
    """
    INSERT INTO incarnations (owner, node_id, lease_until, taken_at)
    VALUES (:owner, :node, now() + make_interval(secs => :seconds), clock_timestamp())
    ON CONFLICT (owner) DO NOTHING
    """
)
_TAKE = text(
    f"""
    INSERT INTO incarnations AS i (owner, lease_until, taken_at)
    SELECT o, to_timestamp(0), clock_timestamp() FROM unnest(:owners) AS o ORDER BY o
    ON CONFLICT (owner) DO UPDATE SET taken_at = clock_timestamp()
    WHERE :dead OR (i.lease_until < now() AND {STARTED} + make_interval(secs => :grace) < now())
    RETURNING owner
    """  # noqa: S608 - nothing of a client's
).bindparams(OWNERS)
_FORGET = text(
    """
    DELETE FROM incarnations WHERE owner IN (
      SELECT i.owner FROM incarnations i
      WHERE i.lease_until < now() - make_interval(hours => :hours) AND NOT EXISTS (
        SELECT 1 FROM execution_processes e WHERE e.owner = i.owner AND e.status = 'running')
      LIMIT :most)
    """
)


@dataclass(frozen=True)
class Renewal:
    """The answer to a renewal: facts that an incarnation has to know."""

    taken_at: datetime
    """When an execution was last taken from the incarnation; before the first time, when its row was made.

    If it has changed, some of its executions may have another owner now: `still_owned` tells which.
    """
    killed: frozenset[UUID]
    """Executions of the incarnation that run although a kill was requested."""
    swept: frozenset[str]
    """Sweeps of which a worker took the turn less than `turn_seconds` ago."""


def renew_alone(
    connection: Connection, owner: str, node_id: str, seconds: float, *, turn_seconds: float = 0.0
) -> Renewal:
    """Renew the lease of an incarnation as `renew` does, with a commit that does not wait for the disk.

    If Postgres crashes, the renewals of the last moment may be lost: then the lease looks older than it is, never
    newer. An adopter takes nothing because of it: after a start of Postgres no lease counts as over before the length
    of a lease has passed (`take_from`), and by then each lost renewal is over as well, or was followed by another. The
    reaper does not wait so long, but it acts only on a node that has sent no heartbeat for a minute.

    Args:
        connection: for single statements, or a transaction that does nothing but this, as all that it writes can be
            lost.
        owner: the incarnation.
        node_id: its node.
        seconds: length of the lease from now, on the clock of Postgres.
        turn_seconds: age up to which the turn of a sweep counts as taken (`sweep_turns`).
    """
    return _renew(connection, _RENEW_ALONE, owner, node_id, seconds, turn_seconds)


def renew(connection: Connection, owner: str, node_id: str, seconds: float, *, turn_seconds: float = 0.0) -> Renewal:
    """Renew the lease of an incarnation; this writes one row, and makes it if it is missing.

    The statement is a function in Postgres, which keeps its plan: planning took longer than the rest of a renewal.

    Args:
        connection: any transaction; its commit waits for the disk.
        owner: the incarnation.
        node_id: its node.
        seconds: length of the lease from now, on the clock of Postgres.
        turn_seconds: age up to which the turn of a sweep counts as taken (`sweep_turns`).
    """
    return _renew(connection, _RENEW, owner, node_id, seconds, turn_seconds)


def _renew(
    connection: Connection, statement: TextClause, owner: str, node_id: str, seconds: float, turn_seconds: float
) -> Renewal:
    values = {"owner": owner, "seconds": float(seconds), "turn": float(turn_seconds)}
    row = connection.execute(statement, values).one_or_none()
    if row is None:
        connection.execute(_INSERT, {"owner": owner, "node": node_id, "seconds": seconds})
        row = connection.execute(statement, values).one()
    return Renewal(row.taken_at, frozenset(row.killed), frozenset(row.swept))


def still_owned(connection: Connection, owner: str, ids: Collection[UUID]) -> dict[UUID, int]:
    """Return those of the executions that run and belong to an incarnation, with their fences."""
    mine = select(E.id, E.fence).where(E.id.in_(ids), E.owner == owner, E.status == Status.RUNNING)
    return {row.id: row.fence for row in connection.execute(mine)}


def valid_mark(owner: str) -> ScalarSelect[datetime]:
    """Return the SQL expression for `taken_at` of an incarnation; null if its lease is over or it has no row."""
    return (
        select(Incarnation.taken_at)
        .where(Incarnation.owner == owner, Incarnation.lease_until >= func.now())
        .scalar_subquery()
    )


def is_held() -> ColumnElement[bool]:
    """Return the SQL condition that the lease of an execution's owner is valid."""
    return select(Incarnation.owner).where(Incarnation.owner == E.owner, Incarnation.lease_until >= func.now()).exists()


def take_from(connection: Connection, owners: Collection[str], *, grace_seconds: float, dead: bool = False) -> set[str]:
    """Return the incarnations of which executions may be taken, and mark them.

    Until the end of the transaction, the renewal of such an incarnation waits; then it learns that it has lost
    executions. An incarnation whose renewal comes first is not returned.

    Args:
        connection: one transaction, in which executions of the returned incarnations get another owner.
        owners: incarnations that may have lost their lease.
        grace_seconds: time after a start of Postgres in which no lease counts as over, so that it can be renewed.
        dead: whether the incarnations are known to be dead, so that their leases do not matter.
    """
    if not owners:
        return set()
    values = {"owners": list(owners), "grace": grace_seconds, "dead": dead}
    taken = set(connection.execute(_TAKE, values).scalars())
    notify(connection, taken)
    return taken


def forget_old(connection: Connection) -> int:
    """Remove rows of incarnations whose lease ended long ago and that own no running execution; return how many."""
    return connection.execute(_FORGET, {"hours": FORGET_HOURS, "most": FORGOTTEN_AT_ONCE}).rowcount
