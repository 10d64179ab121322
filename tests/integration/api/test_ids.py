"""Shortened ids, ids of something related, and names of projects: in paths, queries and bodies."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic import command
from sqlalchemy import insert, select, update

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema import migrate
from relay_core.store.schema.tables import Project, Token, Workspace
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def id_of(answer: Any) -> str:
    assert answer.status_code < 300, answer.text
    return answer.json()["id"]


def twin(api: Api, made: dict[str, Any], owner: str = "ann") -> str:
    """Add a workspace whose id begins as that of a run's workspace does; return its id."""
    new = made["workspace_id"][:9] + "0000-4000-8000-000000000000"
    with api.database.begin() as connection:
        found = select(Workspace.__table__).where(Workspace.id == UUID(made["workspace_id"]))
        row = dict(connection.execute(found).mappings().one())
        connection.execute(insert(Workspace).values(**row | {"id": UUID(new), "name": "twin", "created_by": owner}))
    return new


@pytest.fixture
def chain(api: Api, worker: Worker) -> dict[str, Any]:
    """A run whose clone is done and whose agent is queued."""
    made = api.run()
    worker.finish(worker.claim(made["execution_id"]))
    steps = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]
    assert [step["run_reason"] for step in steps] == ["clone", "coding_agent"]
    return {**made, "agent_id": steps[1]["id"]}


@pytest.mark.parametrize(
    "form", [lambda whole: whole[:8], lambda whole: whole[:13].upper(), lambda whole: whole.replace("-", "")]
)
def test_the_beginning_of_an_id_is_enough(api: Api, chain: dict[str, Any], form: Any):
    for path, name in (
        ("executions", "execution_id"),
        ("workspaces", "workspace_id"),
        ("sessions", "session_id"),
        ("tasks", "task_id"),
        ("projects", "project_id"),
        ("runs", "run_id"),
    ):
        assert id_of(api.get(f"/v1/{path}/{form(chain[name])}")) == chain[name]
    assert api.get(f"/v1/executions/{form(chain['agent_id'])}/logs").status_code == 200


def test_the_id_of_something_related_is_enough(api: Api, chain: dict[str, Any]):
    meant = {
        "executions": chain["agent_id"],
        "workspaces": chain["workspace_id"],
        "sessions": chain["session_id"],
        "tasks": chain["task_id"],
        "runs": chain["run_id"],
    }
    for path, expected in meant.items():
        for given in meant.values():
            wanted = expected if given != chain["execution_id"] else given
            assert id_of(api.get(f"/v1/{path}/{given}")) == wanted
            assert id_of(api.get(f"/v1/{path}/{given[:9]}")) == wanted
    assert id_of(api.get(f"/v1/projects/{chain['agent_id']}")) == chain["project_id"]
    assert id_of(api.get(f"/v1/workspaces/{chain['execution_id']}")) == chain["workspace_id"]
    answer = api.get(f"/v1/workspaces/{chain['project_id']}")
    assert problem_of(answer)[:2] == (404, "not_found")
    assert "is a project, and there is no workspace that it stands for" in answer.json()["detail"]


def test_of_several_executions_that_one_is_meant_which_the_request_can_be_for(api: Api, worker: Worker):
    made = api.run(repos=[{**RUN["repos"][0], "cleanup_script": "rm -r tmp"}])
    workspace = made["workspace_id"]
    worker.finish(worker.claim(made["execution_id"]))
    agent = id_of(api.get(f"/v1/executions/{workspace}"))
    worker.finish(worker.claim(agent))
    cleanup = api.get(f"/v1/workspaces/{workspace}/executions").json()["items"][2]["id"]
    claimed = worker.claim(cleanup)
    assert id_of(api.get(f"/v1/executions/{workspace}")) == agent
    assert id_of(api.post(f"/v1/executions/{workspace}/kill")) == cleanup
    worker.finish(claimed, machine.failed(Reason.EXIT_CODE, "it ended with 7", 7))
    again = api.post(f"/v1/executions/{workspace}/retry")
    assert again.json()["retry_of"] == cleanup
    assert id_of(api.post(f"/v1/executions/{workspace[:8]}/kill")) == again.json()["id"]


def test_the_newest_session_of_a_workspace_is_meant(api: Api, worker: Worker, chain: dict[str, Any]):
    worker.ready(chain["workspace_id"])
    body = {"run_reason": "coding_agent", "prompt": "go", "executor": RUN["executor"]}
    step = api.post(f"/v1/workspaces/{chain['workspace_id']}/executions", body).json()
    assert step["session_id"] != chain["session_id"]
    assert id_of(api.get(f"/v1/sessions/{chain['workspace_id']}")) == step["session_id"]


def test_a_beginning_that_several_ids_have_is_answered_with_these(api: Api, chain: dict[str, Any]):
    other = twin(api, chain)
    for given in (other[:4], other[:9]):
        answer = api.get(f"/v1/workspaces/{given}")
        assert problem_of(answer)[:2] == (409, "ambiguous_id")
        body = answer.json()
        assert {(each["kind"], each["id"]) for each in body["candidates"]} >= {
            ("workspace", chain["workspace_id"]),
            ("workspace", other),
        }
        assert "give more of the id" in body["detail"]
    assert {each["title"] for each in body["candidates"]} == {"Say hello", "twin"}
    assert id_of(api.get(f"/v1/workspaces/{other[:-1]}")) == other
    # The task has two workspaces now, so its id stands for none of them.
    assert problem_of(api.get(f"/v1/workspaces/{chain['task_id']}"))[:2] == (409, "ambiguous_id")
    # One that is deleted is not meant while there is another.
    assert api.delete(f"/v1/workspaces/{other}").status_code == 202
    assert id_of(api.get(f"/v1/workspaces/{other[:9]}")) == chain["workspace_id"]
    assert id_of(api.get(f"/v1/workspaces/{chain['task_id']}")) == chain["workspace_id"]


def test_rows_of_other_owners_do_not_count_and_are_not_named(api: Api, chain: dict[str, Any]):
    other = twin(api, chain, owner="bob")
    assert id_of(api.get(f"/v1/workspaces/{other[:8]}")) == chain["workspace_id"]
    assert problem_of(api.get(f"/v1/workspaces/{other[:8]}", "admin"))[:2] == (409, "ambiguous_id")
    for path, name in (("executions", "agent_id"), ("sessions", "session_id"), ("tasks", "task_id")):
        for given in (chain[name], chain[name][:8]):
            answer = api.get(f"/v1/{path}/{given}", "bob")
            assert problem_of(answer)[:2] == (404, "not_found")
            assert answer.json()["detail"].startswith("there is no ")
    assert problem_of(api.get("/v1/projects/app", "bob"))[:2] == (404, "not_found")


@pytest.mark.parametrize("text", ["0b8", "nothing", "a" * 37])
def test_what_cannot_be_an_id_is_refused(api: Api, text: str):
    assert problem_of(api.get(f"/v1/executions/{text}")) == (422, "validation_failed", ["path.execution_id"])


def test_a_project_has_its_name_for_an_id(api: Api):
    project = id_of(api.post("/v1/projects", {"name": "shop / à la carte"}))
    assert id_of(api.post("/v1/projects", {"name": "cafe"})) == id_of(api.get("/v1/projects/cafe"))
    made = api.run(project_id="shop / à la carte")
    assert made["project_id"] == project
    assert api.run(project_id=project[:6])["project_id"] == project
    listed = api.get("/v1/workspaces", params={"project_id": "shop / à la carte"}).json()["items"]
    assert len(listed) == 2
    assert api.get("/v1/agents", params={"project_id": "cafe"}).status_code == 200
    assert problem_of(api.post("/v1/runs", RUN | {"project_id": "shop"}))[:2] == (404, "not_found")
    assert problem_of(api.get("/v1/workspaces", params={"project_id": "shop"}))[:2] == (404, "not_found")
    # What deletes so much wants the project itself.
    assert problem_of(api.delete(f"/v1/projects/{made['workspace_id']}"))[:2] == (404, "not_found")
    assert api.delete("/v1/projects/cafe").status_code == 202
    assert problem_of(api.get("/v1/projects/cafe"))[:2] == (404, "not_found")


def test_an_owner_has_one_project_of_a_name(api: Api):
    project = id_of(api.post("/v1/projects", {"name": "app"}))
    assert problem_of(api.post("/v1/projects", {"name": "app"}))[:2] == (409, "project_name_taken")
    assert id_of(api.post("/v1/projects", {"name": "app"}, "bob")) != project
    # The project of runs that name none gets another name.
    made = api.run()
    assert made["project_id"] != project
    assert api.get(f"/v1/projects/{made['project_id']}").json()["name"].startswith("app-")
    assert api.run()["project_id"] == made["project_id"]
    assert id_of(api.get("/v1/projects/app")) == project
    # An admin means its own project first; of others of one name it has to give the id.
    assert problem_of(api.get("/v1/projects/app", "admin"))[:2] == (409, "ambiguous_id")
    assert api.delete("/v1/projects/app").status_code == 202
    assert id_of(api.post("/v1/projects", {"name": "app"})) != project


def test_the_migration_leaves_projects_of_one_name_usable(api: Api, database_url: str):
    with api.database.begin() as connection:
        command.downgrade(migrate._config(connection), "0013")
        rows = [{"id": uuid4(), "name": "old", "created_by": owner} for owner in ("ann", "ann", "bob", "ann")]
        for age, row in enumerate(rows):
            connection.execute(insert(Project).values(**row, created_at=datetime(2026, 1, 9 - age, tzinfo=UTC)))
    migrate.upgrade(database_url)
    newest, middle, bobs, oldest = (str(row["id"]) for row in rows)
    assert id_of(api.get("/v1/projects/old")) == oldest
    assert id_of(api.get("/v1/projects/old", "bob")) == bobs
    for project in (newest, middle):
        assert id_of(api.get(f"/v1/projects/old-{project[:8]}")) == project


def test_ids_in_queries_may_be_short_or_related(api: Api, chain: dict[str, Any]):
    for given in (chain["workspace_id"][:8], chain["agent_id"], chain["session_id"][:9]):
        assert len(api.get("/v1/executions", params={"workspace_id": given}).json()["items"]) == 2
        assert len(api.get("/v1/workspaces", params={"task_id": given}).json()["items"]) == 1
    unknown = "00000000-0000-4000-8000-000000000000"
    assert api.get("/v1/executions", params={"workspace_id": unknown}).json()["items"] == []
    assert problem_of(api.get("/v1/executions", params={"workspace_id": unknown[:9]}))[:2] == (404, "not_found")


def test_a_token_is_revoked_by_the_beginning_of_its_id(api: Api):
    body = {"name": "ci", "owner": "ann", "scopes": ["runs:read"]}
    made = [api.post("/v1/tokens", body, "admin").json()["id"] for _ in range(2)]
    twin = made[0][:9] + "0000-4000-8000-000000000000"
    with api.database.begin() as connection:
        connection.execute(update(Token).where(Token.id == UUID(made[1])).values(id=UUID(twin)))
    refused = api.delete(f"/v1/tokens/{made[0][:8]}", "admin")
    assert problem_of(refused)[:2] == (409, "ambiguous_id")
    assert {each["id"] for each in refused.json()["candidates"]} == {made[0], twin}
    assert api.delete(f"/v1/tokens/{made[0][:13]}", "admin").status_code == 204
    revoked = [each["id"] for each in api.get("/v1/tokens", "admin").json()["items"] if each["revoked_at"]]
    assert revoked == [made[0]]
    assert problem_of(api.delete("/v1/tokens/abc", "admin"))[0] == 422
