"""Files that are stored with a project: what is accepted, how it is kept, and that no request reads it again."""

import base64
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text

from relay_core.secret_box import of_file
from relay_core.store.projects import stored_files
from relay_core.store.schema.tables import Project, ProjectFile
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, api_in_process, problem_of, settings_for

APP = "https://git.example.org/team/app.git"
LIB = "https://git.example.org/team/lib.git"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    more = {"secret_keys": (KEY,), "stored_file_max_bytes": 1000, "stored_files_max_bytes": 1500}
    with api_in_process(database, settings_for(database_url, redis_url, **more)) as api:
        yield api


@pytest.fixture
def shop(api: Api) -> str:
    answer = api.post("/v1/projects", {"name": "shop", "repos": [{"url": APP}, {"url": LIB}]})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def put(api: Api, project: str, data: bytes = b"A=1\n", path: str = ".env", who: str = "ann", **more: Any):
    body = {"repo": "app", "path": path, "content": base64.b64encode(data).decode(), **more}
    return api.post(f"/v1/projects/{project}/files", body, who)


def paths(api: Api, project: str) -> list[tuple[str, str]]:
    items = api.get(f"/v1/projects/{project}/files").json()["items"]
    return [(each["repo"], each["path"]) for each in items]


def test_a_file_is_stored_encrypted_replaced_listed_and_deleted(api: Api, shop: str):
    made = put(api, shop, executable=True)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert {name: shown[name] for name in ("repo", "path", "size_bytes", "executable", "created_by")} == {
        "repo": "app",
        "path": ".env",
        "size_bytes": 4,
        "executable": True,
        "created_by": "ann",
    }
    again = put(api, shop, b"A=second\n").json()
    assert (again["id"], again["size_bytes"], again["executable"]) == (shown["id"], 9, False)
    assert put(api, shop, path="config/b", repo="lib").status_code == 201
    assert paths(api, "shop") == [("app", ".env"), ("lib", "config/b")]
    with api.database.connect() as connection:
        row = connection.execute(select(ProjectFile.__table__).where(ProjectFile.path == ".env")).mappings().one()
    assert b"second" not in bytes(row["ciphertext"])
    box = api.app.state.services.secrets
    place = of_file(row["project_id"], row["repo_id"], ".env")
    assert base64.b64decode(box.open(place, bytes(row["ciphertext"]))) == b"A=second\n"
    told = [event["payload"] for event in api.get("/v1/events").json()["items"]]
    assert told.count({"change": "stored", "name": "app/.env", "by": "ann"}) == 2
    assert api.delete(f"/v1/projects/{shop}/files/{shown['id']}").status_code == 204
    assert problem_of(api.delete(f"/v1/projects/{shop}/files/{shown['id']}"))[:2] == (404, "not_found")
    assert paths(api, shop) == [("lib", "config/b")]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../b", ".git/config", "a/.GIT/x", "a//b", "a\\b", "a/", ".", 'a"b', "a\nb", "é" * 200],
)
def test_a_path_that_leads_elsewhere_is_refused(api: Api, shop: str, path: str):
    assert problem_of(put(api, shop, path=path)) == (422, "file_path_invalid", ["path"])
    assert paths(api, shop) == []


def test_what_is_too_large_is_refused(api: Api, shop: str):
    assert problem_of(put(api, shop, bytes(1001))) == (422, "file_too_large", ["content"])
    assert put(api, shop, bytes(1000)).status_code == 201
    assert problem_of(put(api, shop, bytes(501), "b")) == (422, "files_too_large", ["content"])
    assert put(api, shop, bytes(500), "b").status_code == 201
    assert put(api, shop, b"", ".env").status_code == 201, "it takes the place of the other one"
    assert put(api, shop, bytes(1000), "c").status_code == 201
    assert problem_of(put(api, shop, content="%%")) == (422, "content_invalid", ["content"])


def test_a_project_has_a_limited_number_of_files(api: Api, shop: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stored_files, "MOST_OF_PROJECT", 2)
    assert [put(api, shop, path=name).status_code for name in "abc"] == [201, 201, 422]
    assert paths(api, shop) == [("app", "a"), ("app", "b")]


def test_the_repository_is_one_of_the_project(api: Api, shop: str):
    assert problem_of(put(api, shop, repo="other")) == (422, "repo_unknown", ["repo"])
    assert problem_of(put(api, shop, repo=None)) == (422, "repo_unknown", ["repo"])
    api.post("/v1/projects", {"name": "alone", "default_for": APP})
    assert put(api, "alone", repo=None).json()["repo"] == "app", "the repository of a project without runs"
    empty = api.post("/v1/projects", {"name": "empty"}).json()["id"]
    assert problem_of(put(api, empty, repo=None)) == (422, "repo_unknown", ["repo"])


def test_files_of_others_are_not_seen(api: Api, shop: str):
    made = put(api, shop).json()
    where = f"/v1/projects/{shop}/files"
    answers = [api.get(where, "bob"), put(api, shop, who="bob"), api.delete(f"{where}/{made['id']}", "bob")]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert problem_of(put(api, shop, who="reader"))[:2] == (403, "scope_missing")
    other = api.post("/v1/projects", {"name": "other", "repos": [{"url": LIB}]}).json()["id"]
    assert api.delete(f"/v1/projects/{other}/files/{made['id']}").status_code == 404
    assert api.delete(f"{where}/{uuid4()}").status_code == 404


def test_they_go_with_their_repository_and_their_project(api: Api, shop: str):
    put(api, shop)
    put(api, shop, repo="lib")
    repo = next(each for each in api.get("/v1/projects/shop").json()["repos"] if each["name"] == "app")
    assert api.delete(f"/v1/projects/{shop}/repos/{repo['repo_id']}").status_code == 200
    assert paths(api, shop) == [("lib", ".env")]
    assert api.delete(f"/v1/projects/{shop}").status_code == 202
    with api.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(ProjectFile)) == 0
        assert connection.scalar(select(func.count()).select_from(Project).where(Project.deleted_at.is_(None))) == 0


def test_a_server_without_a_key_stores_nothing(database: Database, database_url: str, redis_url: str):
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        api.post("/v1/projects", {"name": "shop", "repos": [{"url": APP}]})
        assert problem_of(put(api, "shop"))[:2] == (409, "secrets_not_configured")
        with api.database.begin() as connection:
            assert connection.execute(text("SELECT 1 FROM project_files")).all() == []
