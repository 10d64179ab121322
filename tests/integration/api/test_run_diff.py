"""The diff of a run: what its steps changed together, from the commit before the first to the state after the last."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import zstandard
from alembic import command
from sqlalchemy import select

from relay_core.store.executions.owned import before_run
from relay_core.store.schema.migrate import _config, upgrade
from relay_core.store.schema.tables import ExecutionProcessRepoState, WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for

BASE, FIRST, SECOND = "0" * 40, "1" * 40, "2" * 40
STAT = {"files": 1, "insertions": 1, "deletions": 0, "truncated": False, "masked": []}


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def state(before: str, after: str, whole: int, step: bytes, **more: Any) -> dict[str, Any]:
    """The columns of a state; the patch of the workspace has that number of files."""
    stat = {**STAT, "files": whole, "step": STAT, **more.pop("stat", {})}
    columns = {"before_head_commit": before, "after_head_commit": after, "pinned_commit": after}
    return {
        **columns,
        "patch": zstandard.compress(b"whole\n"),
        "step_patch": zstandard.compress(step),
        "stat": stat,
    } | {name: zstandard.compress(value) for name, value in more.items()}


def repo_id(api: Api) -> UUID:
    with api.database.connect() as connection:
        return connection.scalars(select(WorkspaceRepo.repo_id)).one()


def step(api: Api, worker: Worker, made: dict, recorded: dict[str, Any]) -> dict:
    """Add a step, which leaves the state; return its execution."""
    path = f"/v1/workspaces/{made['workspace_id']}/executions"
    added = api.post(path, {"run_reason": "cleanup_script", "script": "x"}).json()
    worker.finish(worker.claim(added["id"]), repo_states={repo_id(api): recorded})
    return added


def ready(api: Api, worker: Worker) -> dict:
    """A job whose agent left the state `FIRST`."""
    made = api.run()
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    agent = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
    of_job = {
        "before_head_commit": BASE,
        "after_head_commit": FIRST,
        "patch": zstandard.compress(b"job\n"),
        "stat": STAT,
    }
    worker.finish(worker.claim(agent["id"]), repo_states={repo_id(api): of_job})
    return made


def test_it_is_the_diff_of_the_steps_of_this_run_alone(api: Api, worker: Worker):
    made = ready(api, worker)
    run_counts = {"run": {**STAT, "files": 2, "masked": ["key"], "base": FIRST}}
    two_steps = step(api, worker, made, state(FIRST, SECOND, 7, b"step\n", run_patch=b"both\n", stat=run_counts))
    one_step = step(api, worker, made, state(SECOND, SECOND, 7, b"step\n", stat={"run": {**STAT, "base": SECOND}}))

    job = f"/v1/runs/{made['run_id']}"
    assert api.get(job).json()["links"]["diff"] == f"{job}/diff"
    assert api.get(f"{job}/diff", params={"format": "patch"}).content == b"job\n"
    assert api.get(job).json()["stat"]["files"] == 1
    source = {"repo": "app", "url": "https://git.example.org/team/app.git", "ref": None, "target_branch": None}
    assert api.get(job).json()["sources"] == [{**source, "commit": None}], "no clone recorded a commit"
    for later, commit in ((two_steps, FIRST), (one_step, SECOND)):
        assert api.get(f"/v1/runs/{later['run_id']}").json()["sources"] == [{**source, "commit": commit}]
    of_two = f"/v1/runs/{two_steps['run_id']}/diff"
    [shown] = api.get(of_two).json()["items"]
    assert (shown["base_commit"], shown["head_commit"], shown["stat"]["files"]) == (FIRST, SECOND, 2)
    assert (shown["masked"], shown["applies"], shown["execution_id"]) == (["key"], False, two_steps["id"])
    patch = api.get(of_two, headers={"Accept": "text/x-diff"})
    assert (patch.content, patch.headers["content-type"]) == (b"both\n", "text/x-diff")
    assert api.get(api.get(of_two).json()["links"]["patch"]).content == b"both\n"
    of_one = f"/v1/runs/{one_step['run_id']}"
    assert api.get(f"{of_one}/diff", params={"format": "patch", "repo": "app"}).content == b"step\n"
    assert api.get(of_one).json()["stat"] == {"files": 1, "insertions": 1, "deletions": 0}
    assert api.get(f"{of_one}/diff", params={"repo": "other"}).status_code == 404
    assert problem_of(api.get(f"{of_one}/diff", "bob"))[:2] == (404, "not_found")
    assert api.get(f"/v1/workspaces/{made['workspace_id']}/diff").json()["items"][0]["stat"]["files"] == 7
    told = api.get(f"/v1/executions/{one_step['id']}").json()["repo_states"][0]["stat"]
    assert set(told) == {"files", "insertions", "deletions", "truncated", "step"}


def test_without_a_recorded_state_there_is_no_patch(api: Api):
    made = api.run()
    path = f"/v1/runs/{made['run_id']}/diff"
    [shown] = api.get(path).json()["items"]
    assert (shown["stat"], shown["applies"], shown["bundle_problem"]) == (None, None, "no state of it is recorded yet")
    assert api.get(path, params={"format": "patch"}).content == b""


def test_head_before_a_run_is_that_before_its_first_step(api: Api, worker: Worker):
    made = ready(api, worker)
    agent = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]["id"]
    first = step(api, worker, made, state(FIRST, SECOND, 2, b"step\n"))
    with api.database.connect() as connection:
        for execution, commit in ((agent, BASE), (first["id"], FIRST), (made["execution_id"], BASE)):
            assert before_run(connection, UUID(execution), repo_id(api)) == commit


def test_the_migration_gives_runs_of_one_step_the_counts_of_that_step(api: Api, worker: Worker, database_url: str):
    made = ready(api, worker)
    added = step(api, worker, made, state(FIRST, SECOND, 7, b"step\n"))
    again = f"/v1/runs/{added['run_id']}"
    assert api.get(again).json()["stat"]["files"] == 7
    with api.database.begin() as connection:
        command.downgrade(_config(connection), "0017")
    upgrade(database_url)
    assert api.get(again).json()["stat"]["files"] == 1
    assert api.get(f"{again}/diff").json()["items"][0]["base_commit"] == FIRST
    with api.database.connect() as connection:
        assert connection.scalars(select(ExecutionProcessRepoState.run_patch)).all() == [None, None]
