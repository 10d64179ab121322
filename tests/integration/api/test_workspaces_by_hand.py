"""Workspaces that are renamed, pinned, archived and set up again by hand; a test plays the worker."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import Workspace
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for
from tests.support.planned import planned

REPOS = [
    {"url": f"https://git.example.org/{name}.git", "archive_script": f"pack {name}", "dev_server_script": "serve"}
    for name in "ab"
]


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def steps(api: Api, made: dict[str, Any]) -> list[dict[str, Any]]:
    return api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]


def done(api: Api, worker: Worker, **body: Any) -> dict[str, Any]:
    """A run of two repositories whose agent has ended."""
    made = api.run(repos=REPOS, **body)
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    worker.finish(worker.claim(steps(api, made)[-1]["id"]))
    return made


def change(api: Api, made: dict[str, Any], **patch: Any) -> Any:
    return api.patch(f"/v1/workspaces/{made['workspace_id']}", patch)


def status_of_task(api: Api, made: dict[str, Any]) -> str:
    return api.get(f"/v1/tasks/{made['task_id']}").json()["status"]


def test_a_patch_changes_what_it_names_and_tells_of_it(api: Api):
    made = api.run(repos=REPOS)
    changed = change(api, made, name="Second try", pinned=True, agent_working_dir="a/./src").json()
    assert (changed["name"], changed["pinned"], changed["agent_working_dir"]) == ("Second try", True, "a/src")
    assert change(api, made, pinned=None, agent_working_dir=None).json()["pinned"] is True
    assert change(api, made, name=None).json()["name"] is None
    events = api.get(f"/v1/workspaces/{made['workspace_id']}/events").json()["items"]
    fields = [one["payload"]["fields"] for one in events if one["kind"] == "workspace.changed"]
    assert fields == [["agent_working_dir", "name", "pinned"], ["agent_working_dir"], ["name"]]
    assert problem_of(change(api, made, agent_working_dir="elsewhere")) == (
        422,
        "validation_failed",
        ["agent_working_dir"],
    )
    assert problem_of(change(api, made, branch="x"))[0] == 422
    path = f"/v1/workspaces/{made['workspace_id']}"
    assert problem_of(api.patch(path, {"name": "x"}, "bob"))[:2] == (404, "not_found")
    assert problem_of(api.patch(f"/v1/workspaces/{made['run_id']}", {"name": "x"}))[0] == 404


def test_an_agent_begins_in_the_directory_of_its_workspace(api: Api, worker: Worker):
    made = done(api, worker)
    change(api, made, agent_working_dir="b/docs")
    path = f"/v1/workspaces/{made['workspace_id']}/executions"
    step = api.post(path, {"run_reason": "coding_agent", "prompt": "go on"}).json()
    assert planned(api.database, step["id"]).step.cwd == "repos/b/docs"


def test_archiving_runs_the_archive_scripts_of_all_repositories_and_leaves_the_task(api: Api, worker: Worker):
    made = done(api, worker)
    api.patch(f"/v1/tasks/{made['task_id']}", {"status": "done"})
    assert change(api, made, archived=True).json()["archived"] is True
    first = steps(api, made)[-1]
    assert (first["run_reason"], first["repo"], first["run_id"]) == ("archive_script", "a", None)
    worker.finish(worker.claim(first["id"]), machine.failed(Reason.EXIT_CODE, "the step exited with 1", 1))
    second = steps(api, made)[-1]
    assert (second["run_reason"], second["repo"]) == ("archive_script", "b"), "it is no setup script"
    worker.finish(worker.claim(second["id"]))
    assert steps(api, made)[-1]["id"] == second["id"]
    assert api.get(f"/v1/workspaces/{made['workspace_id']}").json()["archived"] is True
    assert status_of_task(api, made) == "done"
    change(api, made, archived=True)
    assert steps(api, made)[-1]["id"] == second["id"], "it was archived already"


def test_an_archived_workspace_takes_no_step_until_it_is_taken_out(api: Api, worker: Worker):
    made = done(api, worker)
    change(api, made, archived=True)
    path = f"/v1/workspaces/{made['workspace_id']}/executions"
    body = {"run_reason": "coding_agent", "prompt": "go on"}
    assert problem_of(api.post(path, body))[:2] == (409, "workspace_archived")
    assert change(api, made, archived=False).json()["archived"] is False
    assert api.post(path, body).status_code == 202


def test_a_busy_workspace_is_not_archived_and_its_dev_servers_end(api: Api, worker: Worker):
    made = api.run(repos=REPOS)
    refused = change(api, made, archived=True)
    assert problem_of(refused)[:2] == (409, "workspace_busy")
    assert made["execution_id"] in refused.json()["detail"]
    assert api.get(f"/v1/workspaces/{made['workspace_id']}").json()["archived"] is False
    made = done(api, worker)
    server = api.post(f"/v1/workspaces/{made['workspace_id']}/dev-server", {"repo": "a"}).json()
    worker.claim(server["id"])
    assert change(api, made, archived=True).status_code == 200
    assert api.get(f"/v1/executions/{server['id']}").json()["kill_requested_at"] is not None


def test_a_stopped_workspace_is_archived_without_scripts(api: Api, worker: Worker):
    made = done(api, worker)
    with api.database.begin() as connection:
        stopped = update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(state="stopped")
        connection.execute(stopped)
    assert change(api, made, archived=True).json()["archived"] is True
    assert steps(api, made)[-1]["run_reason"] == "coding_agent"


def test_a_setup_script_by_hand_ends_in_review(api: Api, worker: Worker):
    made = done(api, worker)
    body = {"run_reason": "setup_script", "repo": "a", "script": "make"}
    step = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", body).json()
    claimed = worker.claim(step["id"])
    assert status_of_task(api, made) == "inprogress"
    worker.finish(claimed)
    assert status_of_task(api, made) == "inreview"
