"""One answer of the API is of one moment: what it shows of several tables belongs together (T002-03)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, text
from sqlalchemy.exc import InternalError

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import FINAL, Reason
from relay_core.store.schema.tables import Project
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@contextmanager
def after_query(number: int, act: Callable[[], None]) -> Iterator[list[str]]:
    """Call `act` once, after the `number`-th query of a request; yield the queries so far, without those of `act`."""
    queries: list[str] = []
    acting = False

    def count(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        nonlocal acting
        if acting or not statement.lstrip().startswith(("SELECT", "WITH")):
            return
        queries.append(statement)
        if len(queries) == number:
            acting = True
            act()
            acting = False

    event.listen(Engine, "after_cursor_execute", count)
    try:
        yield queries
    finally:
        event.remove(Engine, "after_cursor_execute", count)


def fail_clone(api: Api, run: dict[str, Any]) -> Callable[[], None]:
    """The end of a run's clone, in one transaction: status, after-heads, state of the run and of the workspace."""
    worker = Worker(api.database)
    claimed = worker.claim(run["execution_id"])
    with api.database.connect() as connection:
        of = {"id": run["workspace_id"]}
        repo_id = connection.scalar(text("SELECT repo_id FROM workspace_repos WHERE workspace_id = :id"), of)
    end = machine.failed(Reason.CLONE_FAILED, "no such branch")
    return lambda: worker.finish(claimed, end, repo_states={repo_id: {"after_head_commit": "a" * 40}})


def of_an_execution(run: dict[str, Any]) -> str:
    return f"/v1/executions/{run['execution_id']}"


def execution_is_whole(answer: dict[str, Any]) -> bool:
    return any(state["after_head_commit"] for state in answer["repo_states"]) == (answer["status"] in FINAL)


def of_a_list(run: dict[str, Any]) -> str:
    return f"/v1/workspaces/{run['workspace_id']}/executions"


def list_is_whole(answer: dict[str, Any]) -> bool:
    return all(execution_is_whole(item) for item in answer["items"])


def of_a_run(run: dict[str, Any]) -> str:
    return f"/v1/runs/{run['run_id']}"


def run_is_whole(answer: dict[str, Any]) -> bool:
    return (answer["status"] == "completed") == (answer["failed_step"] is not None) == (answer["current_step"] is None)


@pytest.mark.proves("T002-03")
@pytest.mark.parametrize(
    ("path", "is_whole"),
    [(of_an_execution, execution_is_whole), (of_a_list, list_is_whole), (of_a_run, run_is_whole)],
)
def test_an_end_between_any_two_queries_of_an_answer_is_shown_whole_or_not_at_all(
    api: Api, path: Callable[[dict[str, Any]], str], is_whole: Callable[[dict[str, Any]], bool]
) -> None:
    number = seen = 1
    while number <= seen:
        run = api.run()
        with after_query(number, fail_clone(api, run)) as queries:
            answer = api.get(path(run))
        assert answer.status_code == 200, answer.text
        assert is_whole(answer.json()), f"the execution ended after query {number}: {queries[number - 1]}"
        number, seen = number + 1, len(queries)
    assert number > 2, "several queries"


def test_all_that_one_connection_reads_is_of_one_moment(api: Api) -> None:
    count = text("SELECT count(*) FROM projects")
    with api.database.connect() as connection:
        before = connection.scalar(count)
        api.run()
        assert connection.scalar(count) == before
    with api.database.connect() as connection:
        assert connection.scalar(count) == (before or 0) + 1


def test_a_connection_for_reading_writes_nothing(api: Api) -> None:
    with api.database.connect() as connection, pytest.raises(InternalError, match="read-only"):
        connection.execute(insert(Project).values(name="x", created_by="x"))
