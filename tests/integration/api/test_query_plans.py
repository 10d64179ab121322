"""No list, filter or detail reads more rows when more are stored, except those of the answer.

All requests of `tests.support.reading` are sent to an API; each statement that they send to Postgres is explained, with
the rows that it really reads. The test has few rows for a short time, with which Postgres would rightly read whole
tables; so it is told to do that only where no index helps.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from relay_api.page import router as page
from relay_core.domain.expiry import Hours
from relay_core.store.merges import pull_requests
from relay_core.store.transaction import Database
from relay_core.store.workspaces import expiry, git_watch
from relay_stack.services.postgres import EmbeddedPostgres
from tests.support import many_runs, reading
from tests.support.api_fixtures import Api, api_in_process, settings_for
from tests.support.published import Published

RUNS = 4000
"""Enough for the owner of most of them to have more workspaces than a scan may visit."""
MOST_ROWS = 2000
"""Most rows that a scan may visit: a search for a text begins with the titles of the newest thousand runs."""
READ_ALL = {"/v1/runs?q={{"}
"""A text of one or two characters is looked for in all titles, until the page is full (docs/limits.md)."""
GROWING = {*many_runs.COPIED, "conversation_entries", "log_chunks", "workspace_environment", "given_secrets"}
WHO = {"ann": ["runs:read"], "dan": ["runs:read"], "root": ["admin"]}
"""Scopes by owner: of most rows, of one run, and of all."""
PAGE_OF_OTHERS = re.compile(r"/stream$|/bundle$|\.patch$|/raw$|/static/|/sign-in|/logs/|^/docs|/entries$|^/executions/")
"""Paths of streams and files, which begin with the same queries as a list or detail, and those without a run."""
OF_A_FILE = {"limit", "markers", "follow", "stream", "format", "repo", "offset", "view"}
"""Query parameters that choose a part or a form of one answer."""


@dataclass
class Recorder:
    """The statements that an engine sends to Postgres."""

    sent: list[tuple[str, Any]] = field(default_factory=list)

    def __call__(self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            self.sent.append((statement, parameters))


@pytest.fixture(scope="module")
def api(postgres_server: EmbeddedPostgres, redis_url: str) -> Iterator[Api]:
    """An API on a database with many rows."""
    template = make_url(postgres_server.url)
    admin = create_engine(template.set(database="postgres"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f'CREATE DATABASE "test_query_plans" TEMPLATE "{template.database}"'))
    url = template.set(database="test_query_plans").render_as_string(hide_password=False)
    database = Database(create_engine(url), Published())
    many_runs.fill(database, RUNS)
    with api_in_process(database, settings_for(url, redis_url)) as served:
        yield served
    database.dispose()
    with admin.connect() as connection:
        connection.execute(text('DROP DATABASE "test_query_plans" WITH (FORCE)'))


@pytest.mark.parametrize("who", WHO)
def test_no_request_reads_more_rows_than_its_answer_needs(api: Api, who: str):
    headers = reading.signed_in(api.database, who, WHO[who])
    record, engine = Recorder(), api.app.state.services.database.engine
    event.listen(engine, "before_cursor_execute", record)
    problems: set[str] = set()
    explained_before: set[str] = set()
    for name, address in reading.places(api.database, "dan" if who == "dan" else "ann").requests():
        record.sent.clear()
        answer = api.client.get(address, headers=headers)
        assert answer.status_code == 200, (name, answer.text)
        assert record.sent, name
        with api.database.engine.connect() as connection:
            for statement, parameters in new(record.sent, explained_before):
                problems |= {f"{name}: {problem}" for problem in explained(connection, statement, parameters)}
    event.remove(engine, "before_cursor_execute", record)
    problems = {problem for problem in problems if problem.split(": ", 1)[0] not in READ_ALL}
    assert not problems, "\n".join(sorted(problems))


def test_a_look_before_a_claim_reads_the_last_step_of_a_long_history_only(api: Api):
    database, record = api.database, Recorder()
    with database.begin() as connection:
        agents = "SELECT id FROM execution_processes WHERE started_at IS NOT NULL AND run_reason = 'coding_agent'"
        id_ = connection.scalar(text(f"{agents} LIMIT 1"))
        connection.execute(text(_LONG_HISTORY), {"id": id_, "more": RUNS})
    event.listen(database.engine, "before_cursor_execute", record)
    with database.connect() as connection:
        assert git_watch.of_execution(connection, "node-1", id_) is not None
    event.remove(database.engine, "before_cursor_execute", record)
    [(statement, parameters)] = record.sent
    with database.engine.connect() as connection:
        assert not list(explained(connection, statement, parameters))


_LONG_HISTORY = """
    WITH idle AS (
      UPDATE workspaces w SET container_ref = '/there', state = 'running', node_id = 'node-1' FROM execution_processes e
      WHERE e.id = :id AND w.id = e.workspace_id RETURNING w.id),
    free AS (UPDATE lanes l SET group_id = NULL FROM idle WHERE l.workspace_id = idle.id)
    INSERT INTO execution_processes (id, task_id, group_id, session_id, workspace_id, run_id, run_reason,
      executor_action, status, created_by, started_at, completed_at)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), e.session_id, e.workspace_id, e.run_id, e.run_reason,
      e.executor_action, 'completed', e.created_by, e.started_at, e.completed_at
    FROM execution_processes e, generate_series(1, :more) WHERE e.id = :id
    """


def new(sent: list[tuple[str, Any]], known: set[str]) -> Iterator[tuple[str, Any]]:
    """The statements that are not known yet with the same parameters; from then on they are."""
    for statement, parameters in list(sent):
        key = f"{statement} {parameters}"
        if key not in known:
            known.add(key)
            yield statement, parameters


def test_a_sweep_of_pull_requests_reads_the_due_ones_by_an_index(api: Api):
    record, engine = Recorder(), api.database.engine
    event.listen(engine, "before_cursor_execute", record)
    with engine.connect() as connection:
        assert pull_requests.due(connection, 60, lambda _: True) == []
        event.remove(engine, "before_cursor_execute", record)
        [(statement, parameters)] = record.sent
        cursor = connection.connection.cursor()
        cursor.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
        cursor.execute(f"EXPLAIN {statement}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "merges_due" in plan


def explained(connection: Any, statement: str, parameters: Any) -> Iterator[str]:
    """Yield the faults of the plan of a statement, as Postgres carries it out."""
    cursor = connection.connection.cursor()
    cursor.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    yield from found_in(cursor.fetchone()[0][0]["Plan"], " ".join(statement.split()))


def found_in(node: dict[str, Any], statement: str) -> Iterator[str]:
    table = node.get("Relation Name")
    removed = sum(rows for name, rows in node.items() if name.startswith("Rows Removed by"))
    visited = (node["Actual Rows"] + removed) * node["Actual Loops"]
    if node["Node Type"] == "Seq Scan" and table in GROWING and visited > 0:
        yield f"Seq Scan of {table} in: {statement}"
    elif visited > MOST_ROWS and (table or "Index Name" in node):
        yield f"{node['Node Type']} of {table or node['Index Name']} visits {visited:.0f} rows in: {statement}"
    for part in node.get("Plans", ()):
        yield from found_in(part, statement)


def test_each_list_and_detail_with_each_of_its_filters_is_among_the_requests(api: Api):
    served: dict[str, set[str]] = {}
    for path, acts in api.app.openapi()["paths"].items():
        if "get" in acts:
            given = [one for one in acts["get"].get("parameters", []) if one["in"] == "query"]
            served[path] = {one["name"] for one in given} - OF_A_FILE
    for part in page.PARTS:
        served |= {route.path: set() for route in part.routes if "GET" in route.methods}
    missing = {path for path in served if not PAGE_OF_OTHERS.search(path)} - {
        *reading.REQUESTS,
        *reading.NO_ROWS_OF_RUNS,
    }
    assert not missing
    asked = {path: {name for query in queries for name in query} for path, queries in reading.REQUESTS.items()}
    unasked = {path: names - asked[path] for path, names in served.items() if path in asked}
    assert not {path: names for path, names in unasked.items() if names}


def plan_of(connection: Any, record: Recorder, node: str | None, hours: Hours) -> list[dict[str, Any]]:
    """The parts of the plan of the last statement of a look for idle workspaces, which finds none."""
    record.sent.clear()
    assert expiry.due(connection, hours, node) == []
    statement, parameters = record.sent[-1]
    cursor = connection.connection.cursor()
    cursor.execute("SET LOCAL enable_seqscan = off")
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
    parts = [cursor.fetchone()[0][0]["Plan"]]
    for part in parts:
        parts += part.get("Plans", ())
    return parts


def test_a_look_for_idle_workspaces_reads_those_that_may_be_due(api: Api):
    """A node reads its own archived ones; steps are read of workspaces only whose own hours may be over."""
    record, engine = Recorder(), api.database.engine
    event.listen(engine, "before_cursor_execute", record)
    with engine.connect() as connection, connection.begin() as change:
        old = "archived = true, container_ref = '/there', updated_at = now() - interval '400 hours'"
        connection.execute(text(f"UPDATE workspaces SET {old}, state = 'stopped', node_id = NULL"))
        connection.execute(text("ANALYZE workspaces"))
        record.sent.clear()
        assert expiry.due(connection, Hours(stop=1, archive=1), "node-1") == []
        assert not [one for one, _ in record.sent if "FROM workspaces" in one], "no hours of deletions: nothing to read"
        parts = plan_of(connection, record, "node-1", Hours(delete=300))
        read = [one for one in parts if one.get("Relation Name") == "workspaces"]
        assert [(one["Index Name"], one["Actual Rows"]) for one in read] == [("workspaces_expiring_there", 0)]
        parts = plan_of(connection, record, None, Hours(stop=1))
        steps = [one for one in parts if one.get("Relation Name") == "execution_processes"]
        assert steps
        assert [one["Actual Loops"] for one in steps] == [0] * len(steps), "a stopped one is not stopped"
        change.rollback()
    event.remove(engine, "before_cursor_execute", record)
