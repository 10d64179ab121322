"""Projects that are changed by hand: their own fields, and the repositories in them."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.planned import planned_agent

URL = RUN["repos"][0]["url"]
OTHER = "https://git.example.org/team/other.git"


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def make(api: Api, name: str = "shop", **fields: object) -> dict:
    answer = api.post("/v1/projects", {"name": name} | fields)
    assert answer.status_code in {201, 202}, answer.text
    return answer.json()


def events(api: Api, project: dict) -> list[dict]:
    return [one for one in api.get(f"/v1/projects/{project['id']}/events").json()["items"] if "changed" in one["kind"]]


def test_a_project_has_every_field_from_the_start(api: Api):
    remote = str(uuid4())
    given = {"default_image": "a:1", "default_agent_working_dir": "./app//api/", "remote_project_id": remote}
    made = make(api, **given, default_for=URL)
    assert {key: made[key] for key in given} == given | {"default_agent_working_dir": "app/api"}
    assert made["default_for"] == URL
    assert api.get("/v1/projects/shop").json() == made


def test_a_patch_changes_what_it_names_and_null_clears(api: Api):
    made = make(api, default_image="a:1", default_agent_working_dir="app")
    remote = str(uuid4())
    changed = api.patch(
        "/v1/projects/shop", {"name": "store", "remote_project_id": remote, "default_image": None}
    ).json()
    assert (changed["name"], changed["remote_project_id"], changed["default_image"]) == ("store", remote, None)
    assert changed["default_agent_working_dir"] == "app"
    assert api.patch("/v1/projects/store", {"name": None, "default_agent_working_dir": None}).json()["name"] == "store"
    assert [one["payload"]["fields"] for one in events(api, made)] == [
        ["default_image", "name", "remote_project_id"],
        ["default_agent_working_dir"],
    ]
    before = len(events(api, made))
    api.patch("/v1/projects/store", {"name": "store"})
    assert len(events(api, made)) == before, "nothing has changed"


def test_a_name_and_a_default_are_taken_once(api: Api):
    make(api, "shop", default_for=URL)
    make(api, "store")
    assert problem_of(api.patch("/v1/projects/store", {"name": "shop"}))[:2] == (409, "project_name_taken")
    taken = api.patch("/v1/projects/store", {"default_for": URL})
    assert problem_of(taken)[:2] == (409, "default_project_exists")
    assert api.patch("/v1/projects/shop", {"default_for": None}).json()["default_for"] is None
    assert api.patch("/v1/projects/store", {"default_for": URL}).json()["default_for"] == URL
    assert problem_of(api.patch("/v1/projects/store", {"default_agent_working_dir": "../x"}))[0] == 422


def test_nobody_else_changes_a_project(api: Api):
    made = make(api)
    path = f"/v1/projects/{made['id']}"
    assert problem_of(api.patch(path, {"name": "mine"}, "bob"))[:2] == (404, "not_found")
    assert problem_of(api.post(f"{path}/repos", {"url": URL}, "bob"))[:2] == (404, "not_found")
    assert problem_of(api.patch(path, {"name": "mine"}, "reader"))[:2] == (403, "scope_missing")


def test_projects_are_listed_by_state(api: Api):
    make(api, "empty")
    make(api, "busy", repos=[{"url": URL}])
    listed = api.get("/v1/projects?state=cloning").json()["items"]
    assert [each["name"] for each in listed] == ["busy"]


def test_a_repo_is_added_changed_and_taken_out(api: Api, database: Database):
    worker, made = Worker(database), make(api)
    added = api.post("/v1/projects/shop/repos", {"url": URL, "setup_script": "make"})
    assert added.status_code == 202
    repo = added.json()["repos"][0]
    assert (repo["url"], repo["setup_script"], repo["parallel_setup_script"]) == (URL, "make", None)
    clone = api.get(f"/v1/executions/{made['id']}").json()
    assert (clone["run_reason"], clone["status"]) == ("clone", "queued")
    assert problem_of(api.post("/v1/projects/shop/repos", {"url": URL}))[:2] == (409, "repo_in_project")
    assert problem_of(api.post("/v1/projects/shop/repos", {"url": OTHER}))[:2] == (409, "project_cloning")
    worker.finish(worker.claim(clone["id"]), machine.failed(Reason.CLONE_FAILED, "it is away"))

    path = f"/v1/projects/shop/repos/{repo['repo_id']}"
    changed = api.patch(path, {"setup_script": None, "copy_files": ".env", "parallel_setup_script": True}).json()
    mine = changed["repos"][0]
    assert (mine["setup_script"], mine["copy_files"], mine["parallel_setup_script"]) == (None, ".env", True)
    assert api.delete(path).json()["repos"] == []
    assert api.get("/v1/projects/shop").json()["state"] == "ready", "there is nothing to clone"
    assert problem_of(api.delete(path))[:2] == (404, "not_found")
    assert [one["payload"]["repo_id"] for one in events(api, made) if "fields" in one["payload"]] == [
        repo["repo_id"]
    ] * 3


def dir_of(api: Api, made: dict) -> tuple[str | None, str | None, str]:
    """The agent's working directory, its source, and the directory in which the agent is planned to run."""
    found = api.get(f"/v1/workspaces/{made['workspace_id']}").json()
    return (
        found["agent_working_dir"],
        found["sources"].get("agent_working_dir"),
        planned_agent(api.database, made["execution_id"]).cwd,
    )


def test_the_agents_directory_comes_from_request_project_and_repo(api: Api):
    make(api, default_agent_working_dir="app/docs")
    api.post("/v1/repos", {"url": URL, "default_working_dir": "services/api"})
    both = [{"url": URL}, {"url": OTHER}]
    asked = api.run(project_id="shop", agent_working_dir="app/src")
    assert dir_of(api, asked) == ("app/src", "request", "repos/app/src")
    assert dir_of(api, api.run(project_id="shop")) == ("app/docs", "project", "repos/app/docs")
    assert dir_of(api, api.run()) == ("app/services/api", None, "repos/app/services/api")
    assert dir_of(api, api.run(repos=both)) == (None, None, "repos")
    assert dir_of(api, api.run(repos=both, agent_working_dir="other")) == ("other", "request", "repos/other")
    assert dir_of(api, api.run(agent_working_dir=".")) == (".", "request", "repos")
    unknown = api.post("/v1/runs", RUN | {"agent_working_dir": "elsewhere/src"})
    assert problem_of(unknown) == (422, "validation_failed", ["agent_working_dir"])
    assert "app" in unknown.json()["errors"][0]["message"]
    assert problem_of(api.post("/v1/runs", RUN | {"agent_working_dir": "/etc"}))[0] == 422


def test_runs_take_the_scripts_of_the_project_that_their_repo_belongs_to(api: Api):
    make(api, default_for=URL, repos=[{"url": URL, "setup_script": "make"}])
    made = api.run()
    with api.database.connect() as connection:
        scripts = select(WorkspaceRepo.setup_script).where(WorkspaceRepo.workspace_id == UUID(made["workspace_id"]))
        assert connection.scalar(scripts) == "make"
