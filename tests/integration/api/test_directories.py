"""Directories of nodes that are not used, through the API; what the node finds is written by hand."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from relay_core.domain.directories import DirectoryFinding
from relay_core.domain.limits import Limits
from relay_core.store.nodes import directories
from relay_core.store.nodes.directories import Unused
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, Api, Worker, api_in_process, problem_of, settings_for

PATH = "/data/workspaces/strange"
URL = "https://git.example.org/team/app.git"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        Worker(database)
        yield api


def finds(api: Api, *found: Unused) -> None:
    with api.database.begin() as connection:
        directories.settle(connection, NODE, {f"{PATH}{number}": one for number, one in enumerate(found)})


def unregistered(uid: int | None = 20007) -> Unused:
    clone = {"name": "app", "url": URL, "target_branch": "main", "base_commit": "1" * 40, "mirror_path": "/data/m.git"}
    anchor = {"branch": "relay/x", "uid": uid, "pool": "default", "resolved_image": "i", "image_digest": None}
    anchor |= {"limits": vars(Limits()), "auto_commit": True}
    anchor |= {"repos": [clone | {"ref": None, "working_dir": None}]}
    return Unused(uuid4(), DirectoryFinding.UNREGISTERED, anchor)


def listed(api: Api) -> list[dict]:
    return api.get("/v1/directories", "admin").json()["items"]


@pytest.mark.proves("T002-14")
def test_an_unregistered_directory_is_listed_evented_and_adopted_by_an_admin(api: Api):
    found = unregistered()
    project = api.post("/v1/projects", {"name": "shop", "repos": []}).json()["id"]
    finds(api, found)
    assert problem_of(api.get("/v1/directories"))[:2] == (403, "scope_missing")
    [one] = listed(api)
    assert (one["workspace_id"], one["finding"], one["node_id"]) == (str(found.workspace_id), "unregistered", NODE)
    assert api.get(f"/v1/workspaces/{found.workspace_id}").status_code == 404
    told = [event for event in api.get("/v1/events", "admin").json()["items"] if event["kind"] == "directory.found"]
    assert told[0]["payload"]["place"] == f"{PATH}0"
    path = f"/v1/directories/{one['id']}/adopt"
    assert problem_of(api.post(path, {"project_id": "shop"}))[:2] == (403, "scope_missing")
    made = api.post(path, {"project_id": project, "title": "found again"}, "admin")
    assert made.status_code == 200, made.text
    assert (made.json()["id"], made.json()["state"], made.json()["created_by"]) == (
        str(found.workspace_id),
        "stopped",
        "ann",
    )
    assert [repo["name"] for repo in made.json()["repos"]] == ["app"]
    finds(api)
    assert listed(api) == []
    assert problem_of(api.post(path, {"project_id": project}, "admin"))[:2] == (404, "not_found")
    asked = api.post(
        f"/v1/workspaces/{found.workspace_id}/executions", {"run_reason": "setup_script", "script": "true"}
    )
    assert asked.status_code == 202, asked.text


def test_a_user_id_that_is_taken_by_now_is_not_given_twice(api: Api):
    api.post("/v1/projects", {"name": "shop", "repos": []})
    finds(api, unregistered(), unregistered())
    first, second = listed(api)
    body = {"project_id": api.get("/v1/projects", "admin").json()["items"][0]["id"]}
    assert api.post(f"/v1/directories/{first['id']}/adopt", body, "admin").status_code == 200
    refused = api.post(f"/v1/directories/{second['id']}/adopt", body, "admin")
    assert problem_of(refused)[:2] == (409, "uid_taken")


@pytest.mark.proves("T002-15")
def test_a_workspace_with_two_directories_takes_no_step_of_any_kind(api: Api):
    worker, made = Worker(api.database), api.run(repos=[{"url": URL, "dev_server_script": "serve"}])
    workspace = UUID(made["workspace_id"])
    worker.ready(made["workspace_id"])
    for _ in range(2):
        newest = api.get(f"/v1/workspaces/{workspace}/executions").json()["items"][-1]
        worker.finish(worker.claim(newest["id"]))
    with api.database.begin() as connection:
        directories.duplicated(connection, workspace, NODE, [f"{PATH}0", f"{PATH}1"])
        directories.duplicated(connection, workspace, NODE, [f"{PATH}0", f"{PATH}1"])
    path = f"/v1/workspaces/{workspace}"
    for body in ({"run_reason": "setup_script", "script": "true"}, {"run_reason": "dev_server"}):
        refused = api.post(f"{path}/executions", body)
        assert problem_of(refused)[:2] == (409, "workspace_duplicated"), body
        assert f"{PATH}1" in refused.json()["detail"]
    assert problem_of(api.post(f"{path}/push", {}))[1] == "workspace_duplicated"
    generation = api.get(f"{path}/git-state").json()["generation"]
    assert problem_of(api.post(f"{path}/acknowledge", {"generation": generation}))[1] == "workspace_duplicated"
    kinds = [event["kind"] for event in api.get(f"{path}/events").json()["items"]]
    assert kinds.count("workspace.duplicated") == 1
    with api.database.begin() as connection:
        directories.not_duplicated(connection, workspace, NODE)
    assert api.post(f"{path}/executions", {"run_reason": "setup_script", "script": "true"}).status_code == 202
