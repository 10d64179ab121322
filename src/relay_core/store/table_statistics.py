"""Statistics of Postgres about its tables: rows written, rows that are dead, and sizes. Only measurements use them."""

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True)
class TableStatistics:
    """The counters of one table since they were last reset."""

    inserted: int
    updated: int
    updated_in_page: int
    """Updates that wrote the new version into the row's page and left the indexes alone (HOT)."""
    dead: int
    """Versions of rows that were replaced or deleted and still take space; an old snapshot may need them."""
    bytes: int
    """Size with its indexes."""


def table_statistics(connection: Connection) -> dict[str, TableStatistics]:
    """Return the statistics of all tables by name. Postgres reports them up to a second late."""
    rows = connection.execute(
        text(
            "SELECT relname, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_dead_tup, pg_total_relation_size(relid) "
            "FROM pg_stat_user_tables"
        )
    )
    return {row.relname: TableStatistics(*map(int, row[1:])) for row in rows}


def analyze(connection: Connection) -> None:
    """Make Postgres look at the contents of all tables now, as it plans queries by what it has seen of them."""
    connection.execute(text("ANALYZE"))
