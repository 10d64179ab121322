"""Makes partitions ahead of their time, and drops them.

A partition is made as a table of its own and then attached, and dropped with a short wait for its locks, so that no
insert waits long. Rows for which no partition was made in time are in the default partition (`…_rest`) until one is.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select, text, update

from relay_core.domain.retention import Cause, Partition
from relay_core.store.schema.tables import PartitionMark

M = PartitionMark
WEEK = timedelta(days=7)
WEEKS_AHEAD = 4
"""Partitions are made for the present week and so many later ones."""
LOCK_SECONDS = 2
"""Seconds that a change of partitions waits for its locks; statements that come later wait behind it."""
_TODAY = text("SELECT (now() AT TIME ZONE 'UTC')::date")
_SIZE = text("SELECT pg_total_relation_size(CAST(:name AS regclass))")


class Table(NamedTuple):
    """A partitioned table."""

    name: str
    key: str
    """The column by whose days it is partitioned."""
    indexes: Sequence[str]
    """Statements that make the unique keys and indexes of a partition {0}; those of a parent would span no others."""


LOG_CHUNKS = Table(
    "log_chunks",
    "week",
    (
        "ALTER TABLE {0} ADD PRIMARY KEY (execution_id, stream, start_offset)",
        "CREATE UNIQUE INDEX {0}_all ON {0} (execution_id, all_offset)",
    ),
)


def today(connection: Connection) -> date:
    """Return the present day by Postgres' clock, in UTC."""
    found: date = connection.execute(_TODAY).scalar_one()
    return found


def present_week(connection: Connection) -> date:
    """Return the Monday of the present week: the week of logs that are written from now on."""
    day = today(connection)
    return day - timedelta(days=day.weekday())


def live(connection: Connection, table: Table) -> list[Partition]:
    """Return the partitions that a table has, with their sizes; the default partition is not among them."""
    rows = connection.execute(
        select(M.name, M.starts, M.ends, func.pg_total_relation_size(func.to_regclass(M.name)).label("size"))
        .where(M.parent == table.name, M.removed_at.is_(None))
        .order_by(M.starts)
    )
    return [Partition(row.name, row.starts, row.ends, row.size or 0) for row in rows]


def missing(connection: Connection, table: Table) -> list[date]:
    """Return the first days of weeks for which a partition is to be made: near ones, and those of stray rows."""
    monday = present_week(connection)
    strays = text(f"SELECT DISTINCT date_trunc('week', {table.key})::date FROM {table.name}_rest LIMIT 100")  # noqa: S608 - names of ours
    wanted = {monday + ahead * WEEK for ahead in range(WEEKS_AHEAD + 1)} | set(connection.scalars(strays))
    there = connection.execute(select(M.starts, M.ends).where(M.parent == table.name)).all()
    return sorted(week for week in wanted if not any(row.starts <= week < row.ends for row in there))


def make(connection: Connection, table: Table, week: date) -> None:
    """Make the partition of a week; rows of that week in the default partition move to it.

    Args:
        connection: a transaction of its own.
        table: the table.
        week: a Monday for which there is no partition (`missing`).
    """
    name, ends = f"{table.name}_{week:%Y_%m_%d}", week + WEEK
    rest, span = f"{table.name}_rest", f"{table.key} >= '{week}' AND {table.key} < '{ends}'"
    _wait_briefly(connection)
    shape = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE"
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table.name} {shape})"))
    for statement in table.indexes:
        connection.execute(text(statement.format(name)))
    # The attachment needs this lock as well, and no row of the week may come between the question and it.
    connection.execute(text(f"LOCK TABLE {rest} IN ACCESS EXCLUSIVE MODE"))
    if connection.scalar(text(f"SELECT EXISTS (SELECT 1 FROM {rest} WHERE {span})")):  # noqa: S608 - names of ours
        moved = f"WITH moved AS (DELETE FROM {rest} WHERE {span} RETURNING *)"  # noqa: S608 - names of ours
        connection.execute(text(f"{moved} INSERT INTO {name} SELECT * FROM moved"))  # noqa: S608 - names of ours
    bounds = f"FOR VALUES FROM ('{week}') TO ('{ends}')"
    connection.execute(text(f"ALTER TABLE {table.name} ATTACH PARTITION {name} {bounds}"))
    connection.execute(insert(M).values(name=name, parent=table.name, starts=week, ends=ends))


def lock(connection: Connection, table: Table) -> None:
    """Keep all others from a table until the transaction ends; the wait for it is short."""
    _wait_briefly(connection)
    connection.execute(text(f"LOCK TABLE ONLY {table.name} IN ACCESS EXCLUSIVE MODE"))


def drop(connection: Connection, partition: Partition, cause: Cause) -> bool:
    """Drop a partition, and leave its mark; return whether it was still there.

    Args:
        connection: a transaction of its own.
        partition: from `live`.
        cause: why it is dropped.
    """
    marked = update(M).where(M.name == partition.name, M.removed_at.is_(None))
    size = connection.execute(_SIZE, {"name": partition.name}).scalar_one()
    values = {"removed_at": func.now(), "cause": cause, "size_bytes": size}
    if connection.execute(marked.values(**values)).rowcount == 0:
        return False
    _wait_briefly(connection)
    connection.execute(text(f"DROP TABLE {partition.name}"))
    return True


def look_again(connection: Connection, sweep: str, earlier_seconds: float) -> None:
    """Let the next turn of a sweep come so much earlier."""
    earlier = text("UPDATE sweep_turns SET taken_at = taken_at - make_interval(secs => :s) WHERE sweep = :sweep")
    connection.execute(earlier, {"s": earlier_seconds, "sweep": sweep})


def _wait_briefly(connection: Connection) -> None:
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
