"""Priorities, needs and limits on concurrent runs through the API."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def put(api: Api, path: str, most: int, who: str = "admin"):
    return api.client.put(f"/v1/limits/{path}", json={"max_runs": most}, headers=api.as_(who))


def test_a_run_tells_its_priority_its_needs_and_the_limit_that_it_waits_for(api: Api) -> None:
    assert put(api, "owner/ann", 1).json() == {"kind": "owner", "name": "ann", "max_runs": 1, "project_name": None}
    first = api.run(priority="high", needs=["gpu", "kvm", "gpu"])
    found = api.get(f"/v1/runs/{first['run_id']}").json()
    assert (found["priority"], found["needs"]) == ("high", ["gpu", "kvm"])
    assert found["waits_for"]["kind"] == "capability"
    assert found["queue"]["waits"] == "no node of the pool default declares gpu and kvm"
    working, waiting = api.run(), api.run()
    listed = {one["id"]: one for one in api.get("/v1/runs").json()["items"]}
    assert listed[waiting["run_id"]]["waits_for"] == {
        "kind": "limit",
        "limit": "owner",
        "name": "ann",
        "max_runs": 1,
        "message": "the owner ann has 1 of 1 runs at work",
        "capabilities": [],
        "executions": [],
    }
    assert listed[working["run_id"]]["priority"] == "normal"
    assert put(api, "owner/ann", 2).status_code == 200
    assert api.get(f"/v1/runs/{waiting['run_id']}").json()["waits_for"] != listed[waiting["run_id"]]["waits_for"]


def test_the_limit_of_a_project_is_told_by_its_name(api: Api) -> None:
    project = api.post("/v1/projects", {"name": "shop"}).json()
    assert put(api, f"project/{project['id']}", 0).status_code == 200
    run = api.run(project_id="shop")
    waits = api.get(f"/v1/executions/{run['execution_id']}").json()["waits_for"]
    assert (waits["name"], waits["message"]) == (project["id"], "the project shop has 0 of 0 runs at work")


def test_limits_are_listed_and_removed_and_only_an_administrator_sets_them(api: Api) -> None:
    for path, most in (("pool/default", 9), ("owner/*", 4)):
        assert put(api, path, most).status_code == 200
    assert api.get("/v1/limits").json()["items"] == [
        {"kind": "owner", "name": "*", "max_runs": 4, "project_name": None},
        {"kind": "pool", "name": "default", "max_runs": 9, "project_name": None},
    ]
    assert problem_of(put(api, "owner/ann", 1, "ann"))[0] == 403
    assert api.delete("/v1/limits/owner/*", "admin").status_code == 204
    assert problem_of(api.delete("/v1/limits/owner/*", "admin"))[:2] == (404, "not_found")
    assert problem_of(put(api, "project/nonsense", 1))[0] == 422
    assert problem_of(put(api, "owner/ann", -1))[0] == 422


def test_a_priority_or_a_capability_that_cannot_be_is_refused_by_its_name(api: Api) -> None:
    for field, value in (("priority", "urgent"), ("needs", ["GPU!"])):
        status, _, fields = problem_of(api.post("/v1/runs", RUN | {field: value}))
        assert status == 422
        assert fields[0].startswith(field)


def test_limits_of_others_are_shown_to_administrators_only(api: Api) -> None:
    mine = api.post("/v1/projects", {"name": "mine"}).json()["id"]
    theirs = api.post("/v1/projects", {"name": "theirs"}, who="bob").json()["id"]
    for path in ("owner/ann", "owner/bob", "owner/*", f"project/{mine}", f"project/{theirs}", "pool/default"):
        assert put(api, path, 3).status_code == 200
    listed = api.get("/v1/limits").json()["items"]
    assert {(one["kind"], one["name"]) for one in listed} == {
        ("owner", "*"),
        ("owner", "ann"),
        ("pool", "default"),
        ("project", mine),
    }
    assert len(api.get("/v1/limits", who="admin").json()["items"]) == 6


def test_the_limit_of_a_project_is_removed_by_any_spelling_of_its_id_and_after_its_deletion(api: Api) -> None:
    project = api.post("/v1/projects", {"name": "shop"}).json()["id"]
    assert put(api, f"project/{project.upper()}", 1).json()["name"] == project
    assert put(api, f"project/{project}", 1).status_code == 200
    assert api.delete(f"/v1/projects/{project}").status_code in {202, 204}
    assert api.delete(f"/v1/limits/project/{project.upper()}", "admin").status_code == 204
    assert api.get("/v1/limits", who="admin").json()["items"] == []


def test_an_owner_with_any_name_that_a_token_may_have_can_have_a_limit(api: Api) -> None:
    for name in ("team/a", "ü b", "x" * 255):
        path = f"owner/{quote(name, safe='')}"
        assert put(api, path, 1).json()["name"] == name
        assert api.delete(f"/v1/limits/{path}", "admin").status_code == 204
