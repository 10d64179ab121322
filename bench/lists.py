"""Measure lists and details with a million executions stored: ``python -m bench.lists [--runs N] [--repeat N]``.

Each execution of both databases has ``--chunks`` chunks of log. With ``--plans N`` the plans of the statements of the N
slowest requests, as ratios, are printed as Postgres carries them out on the large database.

Each request is sent to two APIs, one on a database with ``--runs`` runs (more than three executions each), one on a
database with a thousand runs, which fill the same pages. Both are measured in turns; the table shows the lower
quartiles, which other work of the machine changes less than the medians.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from sqlalchemy import Engine, event, text
from tests.support import many_runs, reading
from tests.support.api_fixtures import api_in_process, settings_for
from tests.support.published import Published

from relay_core.store.database import make_database
from relay_core.store.schema.migrate import upgrade
from relay_core.store.transaction import Database
from relay_stack.services.postgres import EmbeddedPostgres

FEW = 1000
TARGET = 1.2
COUNTS = """
SELECT (SELECT count(*) FROM tasks) AS tasks, (SELECT count(*) FROM execution_processes) AS executions,
  (SELECT count(*) FROM log_chunks) AS chunks_of_log
"""
OWNERS = {"ann": ["runs:read"], "dan": ["runs:read"], "root": ["admin"]}
"""Scopes by owner: of most rows, of one run, and of all."""


class Side(NamedTuple):
    """An API, its connections to Postgres, and the headers with which the requests of each owner are sent to it."""

    client: httpx.Client
    engine: Engine
    database: Database
    headers: dict[str, dict[str, str]]


class Row(NamedTuple):
    """One request, its address, and lower quartiles with many and with few executions, in milliseconds."""

    who: str
    what: str
    address: str
    many: float
    few: float


def main() -> None:
    """Fill two databases, measure all requests, print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.lists", description=__doc__)
    parser.add_argument("--runs", type=int, default=272_000, help="runs in the large database")
    parser.add_argument("--repeat", type=int, default=9, help="measurements of each request, at least 2")
    parser.add_argument("--chunks", type=int, default=5, help="chunks of log of each execution")
    parser.add_argument("--plans", type=int, default=0, help="number of requests whose plans are printed")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="relay-bench-"))
    root.chmod(0o755)
    try:
        with ExitStack() as stack:
            few = stack.enter_context(served(root / "few", FEW, options.chunks))
            many = stack.enter_context(served(root / "many", options.runs, options.chunks))
            rows = [row for who in OWNERS for row in measured(who, many, few, options.repeat)]
            rows.sort(key=lambda row: row.few / row.many)
            show(rows)
            for row in rows[: options.plans]:
                show_plans(many, row)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def served(root: Path, runs: int, chunks: int) -> Iterator[Side]:
    """Serve an API on a new database with this number of runs, and of chunks of log for each execution."""
    postgres = EmbeddedPostgres(root, durable=False)
    url = postgres.start()
    try:
        upgrade(url)
        settings = settings_for(url, "redis://127.0.0.1:1/0")
        database = Database(make_database(settings), Published())
        began = time.monotonic()
        many_runs.fill(database, runs, chunks)
        with database.connect() as connection:
            counts = connection.execute(text(COUNTS)).one()._asdict()
        said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
        print(f"{said}; stored in {time.monotonic() - began:.0f} s", file=sys.stderr)
        with api_in_process(database, settings) as api:
            headers = {who: reading.signed_in(database, who, scopes) for who, scopes in OWNERS.items()}
            yield Side(api.client, api.app.state.services.database.engine, database, headers)
        database.dispose()
    finally:
        postgres.stop()


def measured(who: str, many: Side, few: Side, repeat: int) -> Iterator[Row]:
    """Measure all requests of an owner."""
    seen = "ann" if who == "root" else who
    pairs = zip(
        reading.places(many.database, seen).requests(), reading.places(few.database, seen).requests(), strict=True
    )
    for (what, there), (_, here) in pairs:
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeat + 1):  # the first fills the caches
            for side, address, spent in ((many, there, times[0]), (few, here, times[1])):
                spent.append(timed(side, who, address))
        yield Row(who, what, there, *(statistics.quantiles(spent[1:])[0] for spent in times))


def timed(side: Side, who: str, address: str) -> float:
    """Send a request and return the milliseconds until its answer is there."""
    began = time.perf_counter()
    answer = side.client.get(address, headers=side.headers[who])
    spent = (time.perf_counter() - began) * 1000
    if answer.status_code != httpx.codes.OK:
        raise RuntimeError(f"{address}: {answer.status_code} {answer.text[:500]}")
    return spent


def show(rows: Sequence[Row]) -> None:
    """Print all rows, in their order, and how many meet the target."""
    print(f"{'who':<6}{'what':<70}{'many':>11}{'few':>11}{'ratio':>8}")
    for row in rows:
        print(f"{row.who:<6}{row.what:<70}{row.many:>8.1f} ms{row.few:>8.1f} ms{row.many / row.few:>8.2f}")
    met = sum(row.many <= TARGET * row.few for row in rows)
    ratio = statistics.median(row.many / row.few for row in rows)
    print(f"{met} of {len(rows)} requests within {TARGET} x; median of the ratios {ratio:.2f}")


def show_plans(side: Side, row: Row) -> None:
    """Print each query of a request with its plan, as Postgres carries it out."""
    sent: list[tuple[str, object]] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            sent.append((statement, parameters))

    event.listen(side.engine, "before_cursor_execute", record)
    timed(side, row.who, row.address)
    event.remove(side.engine, "before_cursor_execute", record)
    print(f"\n{row.who} {row.what}")
    with side.database.engine.connect() as connection:
        cursor = connection.connection.cursor()
        for statement, parameters in sent:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters)
            print(f"  {' '.join(statement.split())}")
            print("".join(f"    {line}\n" for (line,) in cursor.fetchall()))


if __name__ == "__main__":
    main()
