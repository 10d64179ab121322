"""Repositories as a resource, and what runs and workspaces take from them: request over project over repository."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from relay_core.store.schema.tables import Repo, WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, api_in_process, problem_of, settings_for

URL = RUN["repos"][0]["url"]
ALL = {
    "display_name": "The app",
    "setup_script": "make deps",
    "cleanup_script": "make clean",
    "archive_script": "make pack",
    "dev_server_script": "make serve",
    "parallel_setup_script": True,
    "copy_files": ".env\n*.pem",
    "default_target_branch": "develop",
    "default_working_dir": "services/api",
}


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


def make(api: Api, who: str = "ann", **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/repos", {"url": URL} | fields, who)
    assert answer.status_code == 201, answer.text
    return answer.json()


def used(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    """The settings that the workspace of a run got from its only repository."""
    with api.database.connect() as connection:
        mine = WorkspaceRepo.workspace_id == UUID(made["workspace_id"])
        return dict(connection.execute(select(WorkspaceRepo.__table__).where(mine)).mappings().one())


def sources(api: Api, made: dict[str, Any]) -> dict[str, str]:
    return api.get(f"/v1/workspaces/{made['workspace_id']}").json()["sources"]


def test_a_repo_has_every_field_and_shows_it_again(api: Api):
    made = make(api, **ALL)
    assert {key: made[key] for key in ALL} == ALL
    assert (made["url"], made["name"], made["project_ids"]) == (URL, "app", [])
    assert api.get(made["links"]["self"]).json() == made == api.get("/v1/repos/app").json()


def test_a_url_is_taken_once_by_each_owner(api: Api):
    make(api)
    assert problem_of(api.post("/v1/repos", {"url": URL}))[:2] == (409, "repo_exists")
    make(api, "bob")
    assert len(api.get("/v1/repos").json()["items"]) == 1
    assert len(api.get("/v1/repos", "admin").json()["items"]) == 2
    assert problem_of(api.get("/v1/repos/app", "admin"))[:2] == (409, "ambiguous_id")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"url": "https://user:secret@git.example.org/a.git"}, "git_url_has_credentials"),
        ({"default_target_branch": "a..b"}, "branch_invalid"),
        ({"default_working_dir": "../out"}, "validation_failed"),
        ({"default_working_dir": "/etc"}, "validation_failed"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_field(api: Api, fields: dict[str, str], code: str):
    assert problem_of(api.post("/v1/repos", {"url": URL} | fields)) == (422, code, list(fields))


def test_a_patch_changes_what_it_names_and_null_clears(api: Api):
    made = make(api, **ALL)
    path = f"/v1/repos/{made['id']}"
    changed = api.patch(path, {"setup_script": "make all", "cleanup_script": None, "display_name": None}).json()
    assert changed["setup_script"] == "make all"
    assert (changed["cleanup_script"], changed["display_name"]) == (None, "app")
    same = set(ALL) - {"setup_script", "cleanup_script", "display_name"}
    assert {key: changed[key] for key in same} == {key: ALL[key] for key in same}
    assert api.patch(path, {"parallel_setup_script": None}).json()["parallel_setup_script"] is False
    assert problem_of(api.patch(path, {"url": "https://git.example.org/b.git"}))[0] == 422
    assert problem_of(api.patch(path, {"name": "b"}))[0] == 422


def test_nobody_else_reads_changes_or_deletes_a_repo(api: Api):
    path = f"/v1/repos/{make(api)['id']}"
    assert problem_of(api.get(path, "bob"))[:2] == (404, "not_found")
    assert problem_of(api.patch(path, {"setup_script": "rm"}, "bob"))[:2] == (404, "not_found")
    assert problem_of(api.delete(path, "bob"))[:2] == (404, "not_found")
    assert problem_of(api.patch(path, {"setup_script": "rm"}, "reader"))[:2] == (403, "scope_missing")
    assert api.get(path).status_code == 200


def test_repos_are_listed_by_url_name_and_project_in_pages(api: Api):
    for name in ("a", "b", "c"):
        make(api, url=f"https://git.example.org/{name}.git")
    project = api.post("/v1/projects", {"name": "shop", "repos": [{"url": "https://git.example.org/b.git"}]}).json()

    def names(query: str = "") -> list[str]:
        return [each["name"] for each in api.get(f"/v1/repos{query}").json()["items"]]

    assert names() == ["c", "b", "a"]
    assert names("?name=a") == names("?url=https://git.example.org/a.git") == ["a"]
    assert names("?project_id=shop") == ["b"]
    assert api.get("/v1/repos/b").json()["project_ids"] == [project["id"]]
    first = api.get("/v1/repos?limit=2").json()
    assert [each["name"] for each in first["items"]] == ["c", "b"]
    assert names(f"?limit=2&cursor={first['next_cursor']}") == ["a"]


def test_a_run_makes_its_repo_which_then_has_no_defaults(api: Api):
    api.run()
    (found,) = api.get("/v1/repos").json()["items"]
    assert (found["url"], found["setup_script"], len(found["project_ids"])) == (URL, None, 1)


def test_a_run_takes_what_it_leaves_open_from_the_repo(api: Api):
    make(api, **ALL)
    made = api.run()
    got = used(api, made)
    assert got["target_branch"] == "develop"
    assert got["working_dir"] == "services/api"
    scripts = ("setup_script", "cleanup_script", "archive_script", "dev_server_script", "parallel_setup_script")
    assert {key: got[key] for key in scripts} == {key: ALL[key] for key in scripts}
    told = sources(api, made)
    assert {key: told[f"repos.app.{key}"] for key in ("setup_script", "working_dir", "target_branch")} == {
        "setup_script": "repo",
        "working_dir": "repo",
        "target_branch": "repo",
    }


def test_project_comes_before_repo_and_request_before_both(api: Api):
    make(api, **ALL)
    repo = {"url": URL, "setup_script": "of project", "parallel_setup_script": False}
    assert api.post("/v1/projects", {"name": "shop", "repos": [repo]}).status_code == 202
    made = api.run(project_id="shop", repos=[{"url": URL, "cleanup_script": "", "target_branch": "main"}])
    got = used(api, made)
    assert (got["setup_script"], got["parallel_setup_script"]) == ("of project", False)
    assert (got["cleanup_script"], got["target_branch"]) == ("", "main")
    assert got["dev_server_script"] == "make serve"
    told = sources(api, made)
    assert [told[f"repos.app.{key}_script"] for key in ("setup", "cleanup", "dev_server")] == [
        "project",
        "request",
        "repo",
    ]
    root = api.run(repos=[{"url": URL, "working_dir": "."}])
    assert used(api, root)["working_dir"] is None, "the request asks for the root"


def test_the_project_of_another_owner_brings_its_repos_with_it(api: Api):
    make(api, **ALL)
    make(api, "admin", setup_script="of admin", default_working_dir="docs")
    project = api.post("/v1/projects", {"name": "shop", "repos": [{"url": URL}]}).json()
    got = used(api, api.run("admin", project_id=project["id"]))
    assert (got["setup_script"], got["working_dir"]) == ("make deps", "services/api")


def test_a_repo_in_use_stays_and_a_deleted_one_is_made_anew_without_defaults(api: Api):
    made = make(api, **ALL)
    path = f"/v1/repos/{made['id']}"
    project = api.post("/v1/projects", {"name": "shop", "repos": [{"url": URL}]}).json()
    assert problem_of(api.delete(path))[:2] == (409, "repo_in_use")
    api.delete(f"/v1/projects/{project['id']}")
    run = api.run()
    assert problem_of(api.delete(path))[:2] == (409, "repo_in_use")
    api.delete(f"/v1/projects/{run['project_id']}")
    assert api.delete(path).json() == {"id": made["id"]}
    assert problem_of(api.get(path))[:2] == (404, "not_found")
    assert api.get("/v1/repos").json()["items"] == []
    got = used(api, api.run())
    assert got["setup_script"] is None
    assert str(got["repo_id"]) != made["id"]
    with api.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Repo)) == 2


def test_workspaces_that_exist_keep_what_they_were_made_with(api: Api):
    make(api, setup_script="old")
    made = api.run()
    api.patch("/v1/repos/app", {"setup_script": "new"})
    assert used(api, made)["setup_script"] == "old"
    assert used(api, api.run())["setup_script"] == "new"
