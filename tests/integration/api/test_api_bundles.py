"""Git bundles of recorded states, and what the exclude list left out."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import zstandard
from sqlalchemy import select, update

from relay_core.store.schema.tables import WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def repo_id(api: Api) -> UUID:
    with api.database.connect() as connection:
        return connection.scalars(select(WorkspaceRepo.repo_id)).one()


def bundle_runs(api: Api, worker: Worker, *states: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """A run whose steps left these states in its only repository; its answer and the executions' ids."""
    made = api.run()
    repo = repo_id(api)
    executions = [made["execution_id"]]
    worker.finish(worker.claim(made["execution_id"]), repo_states={repo: states[0]})
    worker.ready(made["workspace_id"])
    for state in states[1:]:
        agent = next(
            item["id"]
            for item in api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]
            if item["status"] == "queued"
        )
        worker.finish(worker.claim(agent), repo_states={repo_id(api): state})
        executions.append(agent)
        api.post(f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "cleanup_script", "script": "x"})
    return made, executions


def test_a_bundle_is_that_of_the_state_or_of_an_earlier_one_with_the_same_commit(api: Api, worker: Worker):
    patched = {"patch": zstandard.compress(b"p"), "stat": {"files": 1}}
    first = patched | {"pinned_commit": "1" * 40, "bundle": b"one"}
    made, (one, two, three) = bundle_runs(
        api,
        worker,
        first,
        patched | {"pinned_commit": "2" * 40, "bundle": b"second"},
        patched | {"pinned_commit": "1" * 40},
    )
    workspace = f"/v1/workspaces/{made['workspace_id']}"
    answer = api.get(f"{workspace}/bundle")
    assert (answer.content, answer.headers["content-type"]) == (b"one", "application/x-git-bundle")
    plain = api.get(f"{workspace}/bundle", headers={"Accept": "application/octet-stream"})
    assert (plain.content, plain.headers["content-type"]) == (b"one", "application/octet-stream")
    assert answer.headers["content-disposition"] == 'attachment; filename="app.bundle"'
    assert [api.get(f"/v1/executions/{id_}/bundle").content for id_ in (one, two, three)] == [b"one", b"second", b"one"]
    shown = api.get(f"{workspace}/diff").json()["items"][0]
    assert (shown["bundle_bytes"], shown["bundle_problem"], shown["stat"]["files"]) == (3, None, 1)
    assert api.get(api.get(workspace).json()["links"]["bundle"]).content == b"one"
    assert api.get(f"/v1/runs/{made['run_id']}/bundle").content == b"second", "the last state of this run"
    cleanup = api.get(f"/v1/executions/{three}").json()["run_id"]
    assert api.get(api.get(f"/v1/runs/{cleanup}").json()["links"]["bundle"]).content == b"one"
    assert api.get(f"/v1/runs/{made['run_id']}/bundle", "bob").status_code == 404
    assert api.get(f"{workspace}/bundle", params={"repo": "app"}).content == b"one"
    assert problem_of(api.get(f"{workspace}/bundle", params={"repo": "other"})) == (
        422,
        "invalid_input",
        ["query.repo"],
    )


def test_where_there_is_no_bundle_the_reason_is_told(api: Api, worker: Worker):
    made = api.run()
    path = f"/v1/workspaces/{made['workspace_id']}"
    assert problem_of(api.get(f"{path}/bundle"))[:2] == (404, "no_bundle")
    assert "no state of it is recorded yet" in api.get(f"{path}/bundle").json()["detail"]
    why = "its commits contain a secret"
    state = {"patch": zstandard.compress(b"p"), "pinned_commit": "3" * 40, "bundle_problem": why}
    with api.database.begin() as connection:
        connection.execute(update(WorkspaceRepo).values(base_commit="4" * 40))
    worker.finish(worker.claim(made["execution_id"]), repo_states={repo_id(api): state})
    assert api.get(f"{path}/bundle").json()["detail"] == f"there is no bundle of app: {why}"
    assert api.get(f"{path}/diff").json()["items"][0]["bundle_problem"] == why
    with api.database.begin() as connection:
        connection.execute(update(WorkspaceRepo).values(base_commit="3" * 40))
    assert "nothing changed in it" in api.get(f"{path}/bundle").json()["detail"]


def test_what_the_exclude_list_left_out_is_told(api: Api, worker: Worker):
    paths = [{"path": "node_modules/", "pattern": "node_modules/"}]
    stat = {"files": 0, "excluded": {"count": 1, "paths": paths}}
    made, (execution,) = bundle_runs(api, worker, {"patch": zstandard.compress(b""), "stat": stat})
    state = api.get(f"/v1/executions/{execution}").json()["repo_states"][0]
    assert (state["excluded"], state["stat"]["files"]) == (stat["excluded"], 0)
    assert api.get(f"/v1/workspaces/{made['workspace_id']}/diff").json()["items"][0]["excluded"] == paths
