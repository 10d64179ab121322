"""The facts on which an admission is decided, read with a fixed number of queries."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import UUID as PG_UUID

from relay_core.domain.admission import LimitKind, Limits, NodePlaces, Situation, WaitingRun
from relay_core.domain.vocabulary import Priority

MOST_OF_A_GROUP = 100
"""Most waiting runs of one group that are read at once, the oldest ones.

A group is the runs with the same pool, node, needs, project, owner and priority: what holds back one of them holds back
all younger ones. With a wider group, 100 runs that cannot start would hold back others that can.
"""
MANY = 1000
"""Above so many waiting runs, not each one is looked at to find the groups.

Triggers keep the group of a waiting run in the index when its workspace gets a node or loses it.
"""
EACH = "*"
"""Name of the limit for each project, owner or pool that has none of its own."""

_COLUMNS = "run_id, project_id, owner, pool, node_id, needs, priority"
_OF_RUNS = f"""
    SELECT {_COLUMNS}, min(created_at) AS since FROM waiting_executions WHERE run_id = ANY(:also) GROUP BY {_COLUMNS}
    """  # noqa: S608 - nothing of a client's
_AMONG_ALL = text(
    f"""
    SELECT {_COLUMNS}, extract(epoch FROM now() - since)::float8 AS waited FROM (
      SELECT {_COLUMNS}, min(created_at) AS since, row_number() OVER (
        PARTITION BY pool, node_id, needs, project_id, owner, priority ORDER BY min(created_at), run_id) AS place
      FROM waiting_executions GROUP BY {_COLUMNS}) AS w
    WHERE w.place <= :most OR w.run_id = ANY(:also)
    """  # noqa: S608 - nothing of a client's
)
_BY_INDEX = text(
    f"""
    SELECT {_COLUMNS}, extract(epoch FROM now() - since)::float8 AS waited FROM (
      SELECT {_COLUMNS}, since FROM oldest_waiting_runs(:most) UNION {_OF_RUNS}) AS w
    """  # noqa: S608 - nothing of a client's
)
_IDS = bindparam("also", type_=ARRAY(PG_UUID(as_uuid=True)))
_ANY_MORE = text(
    "SELECT EXISTS (SELECT 1 FROM runs WHERE admitted_at IS NULL AND status <> 'completed' OFFSET :many LIMIT 1)"
)
_NODES = text(
    """
    SELECT n.node_id, n.pool, n.declares, node_places(n.max_workspaces, n.capabilities) AS places,
      n.liveness = 'offline' AS gone,
      NOT n.draining AND coalesce(s.takes_new AND s.pool = n.pool, false)
        AND n.reported_health NOT IN ('disk_pressure', 'disk_unavailable', 'engine_unavailable', 'impaired')
        AS takes_new,
      n.revoked_at IS NOT NULL OR NOT coalesce(s.starts, false) AS revoked
    FROM runtime_nodes n LEFT JOIN node_slots s ON s.node_id = n.node_id ORDER BY n.node_id
    """
)
_AT_WORK = text(
    """
    SELECT r.project_id, r.owner, w.pool, w.node_id, count(*) AS runs
    FROM runs r JOIN workspaces w ON w.id = r.workspace_id
    WHERE r.admitted_at IS NOT NULL AND r.status <> 'completed' GROUP BY 1, 2, 3, 4
    """
)
_LIMITS = text("SELECT kind, name, max_runs FROM run_limits")
_TURNS = text(
    "SELECT t.project_id, t.owner, extract(epoch FROM t.served_at)::float8 AS at FROM admission_turns t "
    "WHERE t.project_id = ANY(:projects)"
)


def waiting(connection: Connection, also: Sequence[UUID] = ()) -> list[WaitingRun]:
    """Return the runs that wait for their admission and for nothing else.

    Args:
        connection: any transaction.
        also: runs that are returned even if their group (`MOST_OF_A_GROUP`) has too many older ones.
    """
    few = not connection.scalar(_ANY_MORE, {"many": MANY})
    statement = (_AMONG_ALL if few else _BY_INDEX).bindparams(_IDS)
    rows = connection.execute(statement, {"most": MOST_OF_A_GROUP, "also": list(also)})
    return [
        WaitingRun(
            row.run_id,
            row.project_id,
            row.owner,
            row.pool,
            list(Priority)[row.priority],
            row.waited,
            frozenset(row.needs),
            row.node_id,
        )
        for row in rows
    ]


def situation(connection: Connection, runs: list[WaitingRun]) -> Situation:
    """Return nodes, counts and limits, and the turns of the projects of the waiting runs."""
    counts: dict[tuple[LimitKind, str], int] = {}
    unplaced: dict[str, int] = {}
    taken: dict[str, int] = {}
    for row in connection.execute(_AT_WORK):
        where, name = (unplaced, row.pool) if row.node_id is None else (taken, row.node_id)
        where[name] = where.get(name, 0) + row.runs
        for key in (
            (LimitKind.PROJECT, str(row.project_id)),
            (LimitKind.OWNER, row.owner),
            (LimitKind.POOL, row.pool),
        ):
            counts[key] = counts.get(key, 0) + row.runs
    found = connection.execute(_NODES).all()
    return Situation(
        nodes=[
            NodePlaces(
                row.node_id,
                row.pool,
                row.places,
                taken.get(row.node_id, 0),
                frozenset(row.declares),
                row.takes_new,
                row.revoked,
            )
            for row in found
            if not row.gone
        ],
        known_pools=frozenset(row.pool for row in found),
        unplaced=unplaced,
        counts=counts,
        limits=_limits(connection),
        turns=_turns(connection, {run.project_id for run in runs}),
    )


def _limits(connection: Connection) -> Limits:
    own: dict[tuple[LimitKind, str], int] = {}
    default: dict[LimitKind, int] = {}
    for row in connection.execute(_LIMITS):
        if row.name == EACH:
            default[LimitKind(row.kind)] = row.max_runs
        else:
            own[LimitKind(row.kind), row.name] = row.max_runs
    return Limits(own, default)


def _turns(connection: Connection, projects: set[UUID]) -> Mapping[tuple[UUID, str], float]:
    values: dict[str, Any] = {"projects": list(projects)}
    return {(row.project_id, row.owner): row.at for row in connection.execute(_TURNS, values)}
