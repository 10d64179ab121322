"""Tasks: created, changed by hand, deleted; attempts at them, and the attempts side by side."""

from collections.abc import Iterator
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from relay_core.domain.task import BY_HAND, MOVED_BY_EXECUTION, MOVED_BY_HAND, MOVED_BY_MERGE
from relay_core.domain.vocabulary import TaskStatus
from relay_core.store.schema.tables import Task, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import lane
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.planned import planned_agent

URL = RUN["repos"][0]["url"]
SHELL = RUN["executor"]
MOVED_TO = (TaskStatus.INPROGRESS, TaskStatus.INREVIEW, TaskStatus.DONE)


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        api.post("/v1/projects", {"name": "shop", "repos": [{"url": URL, "setup_script": "make"}]})
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def make(api: Api, who: str = "ann", **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/tasks", {"project_id": "shop", "title": "Mend the parser"} | fields, who)
    assert answer.status_code == (202 if "start" in fields else 201), answer.text
    return answer.json()


def attempt(api: Api, task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = api.post(f"/v1/tasks/{task['id']}/workspaces", {"executor": SHELL} | fields)
    assert answer.status_code == 202, answer.text
    return answer.json()


def prompt(api: Api, started: dict[str, Any]) -> str:
    return planned_agent(api.database, started["execution_id"]).prompt


def status(api: Api, task: dict[str, Any]) -> str:
    return api.get(f"/v1/tasks/{task['id']}").json()["status"]


def set_status(api: Api, task: dict[str, Any], to: str) -> None:
    with api.database.begin() as connection:
        connection.execute(update(Task).where(Task.id == UUID(task["id"])).values(status=to))


def kinds(api: Api) -> list[str]:
    items = api.get("/v1/projects/shop/events").json()["items"]
    return [one["kind"] for one in items if one["kind"].startswith("task.")]


def test_a_task_is_created_to_do_and_shown(api: Api):
    made = make(api, description="It fails on empty files.")
    assert (made["status"], made["workspace_ids"], made["started"]) == ("todo", [], None)
    shown = api.get(f"/v1/tasks/{made['id']}").json()
    assert shown == {key: value for key, value in made.items() if key != "started"}
    assert kinds(api) == ["task.created"]
    assert problem_of(api.post("/v1/tasks", {"project_id": "none", "title": "x"}))[:2] == (404, "not_found")
    assert problem_of(api.post("/v1/tasks", {"project_id": "shop"}))[0] == 422


def test_one_request_creates_a_task_and_starts_it(api: Api):
    made = make(api, description="It fails.", start={"executor": SHELL})
    started = made["started"]
    assert (started["task_id"], made["workspace_ids"]) == (made["id"], [started["workspace_id"]])
    assert prompt(api, started) == "Mend the parser\n\nIt fails."
    assert api.get(f"/v1/runs/{started['run_id']}").json()["title"] == "Mend the parser"
    workspace = api.get(f"/v1/workspaces/{started['workspace_id']}").json()
    assert workspace["branch"] == f"vk-{started['workspace_id'][:8]}-mend-the-parser"
    assert [repo["url"] for repo in workspace["repos"]] == [URL]


def test_nothing_is_created_if_the_first_attempt_cannot_start(api: Api):
    body = {"project_id": "shop", "title": "x", "start": {"executor": {"name": "nobody"}}}
    assert problem_of(api.post("/v1/tasks", body))[0] == 422
    assert api.get("/v1/tasks").json()["items"] == []
    body["start"] = {"executor": SHELL, "repos": [{"repo": "elsewhere"}]}
    assert problem_of(api.post("/v1/tasks", body)) == (422, "repo_unknown", ["repos.0.repo"])
    assert api.get("/v1/tasks").json()["items"] == []


def test_a_task_gets_a_second_attempt_with_its_own_branch_and_executor(api: Api):
    task = make(api)
    first = attempt(api, task)
    second = attempt(
        api, task, executor={"name": "codex"}, repos=[{"repo": "app", "target_branch": "next"}], name="Two"
    )
    assert api.get(f"/v1/tasks/{task['id']}").json()["workspace_ids"] == [first["workspace_id"], second["workspace_id"]]
    one, two = (api.get(f"/v1/workspaces/{each['workspace_id']}").json() for each in (first, second))
    assert one["branch"] != two["branch"]
    assert (one["repos"][0]["target_branch"], two["repos"][0]["target_branch"]) == (None, "next")
    assert (one["name"], two["name"]) == ("Mend the parser", "Two")
    assert prompt(api, first) == prompt(api, second) == "Mend the parser"
    sessions = api.get(f"/v1/workspaces/{second['workspace_id']}/sessions").json()["items"]
    assert [each["executor"] for each in sessions] == ["codex"]
    third = attempt(api, task, prompt="Only the tests")
    assert prompt(api, third) == "Only the tests"


def test_an_attempt_takes_the_scripts_of_project_and_repo_unless_it_brings_its_own(api: Api):
    task = make(api)
    steps = [
        [step["run_reason"] for step in api.get(f"/v1/executions/{made['execution_id']}").json()["next"]]
        for made in (attempt(api, task), attempt(api, task, repos=[{"repo": URL, "setup_script": ""}]))
    ]
    assert steps == [["setup_script"], ["coding_agent"]]


def test_a_task_of_a_project_without_repositories_cannot_start(api: Api):
    api.post("/v1/projects", {"name": "empty"})
    task = make(api, project_id="empty")
    refused = api.post(f"/v1/tasks/{task['id']}/workspaces", {"executor": SHELL})
    assert problem_of(refused) == (422, "invalid_input", ["project_id"])


def test_the_task_follows_its_steps(api: Api, worker: Worker):
    task = make(api, start={"executor": SHELL, "repos": [{"repo": "app", "setup_script": ""}]})
    assert status(api, task) == "todo"
    clone = worker.claim(task["started"]["execution_id"])
    assert status(api, task) == "inprogress"
    worker.finish(clone)
    worker.ready(task["started"]["workspace_id"])
    steps = api.get(f"/v1/workspaces/{task['started']['workspace_id']}/executions").json()["items"]
    worker.finish(worker.claim(steps[-1]["id"]))
    assert status(api, task) == "inreview"


@pytest.mark.parametrize("closed", ["done", "cancelled"])
def test_no_step_moves_a_closed_task(api: Api, worker: Worker, closed: str):
    task = make(api, start={"executor": SHELL, "repos": [{"repo": "app", "setup_script": ""}]})
    clone = worker.claim(task["started"]["execution_id"])
    assert api.patch(f"/v1/tasks/{task['id']}", {"status": closed}).json()["status"] == closed
    worker.finish(clone)
    worker.ready(task["started"]["workspace_id"])
    steps = api.get(f"/v1/workspaces/{task['started']['workspace_id']}/executions").json()["items"]
    worker.finish(worker.claim(steps[-1]["id"]))
    assert status(api, task) == closed
    refused = api.post(f"/v1/tasks/{task['id']}/workspaces", {"executor": SHELL})
    assert problem_of(refused)[:2] == (409, "task_closed")
    assert api.patch(f"/v1/tasks/{task['id']}", {"status": "todo"}).json()["status"] == "todo"
    worker.claim(attempt(api, task)["execution_id"])
    assert status(api, task) == "inprogress"


@pytest.mark.parametrize(("source", "target"), [*product(TaskStatus, MOVED_TO)])
def test_the_database_moves_a_task_as_the_domain_says(api: Api, source: TaskStatus, target: TaskStatus):
    made = api.run()
    task = {"id": made["task_id"]}
    set_status(api, task, source)
    with api.database.begin() as connection:
        lane.set_task_status(connection, UUID(made["workspace_id"]), target)
    moves = (source, target) in MOVED_BY_EXECUTION | MOVED_BY_MERGE
    assert status(api, task) == (target if moves or source is target else source)


@pytest.mark.parametrize(("source", "target"), [*product(TaskStatus, TaskStatus)])
def test_a_person_sets_three_statuses(api: Api, source: TaskStatus, target: TaskStatus):
    task = make(api)
    set_status(api, task, source)
    answer = api.patch(f"/v1/tasks/{task['id']}", {"status": target})
    if target in BY_HAND:
        assert answer.json()["status"] == target
        assert ((source, target) in MOVED_BY_HAND) == ("task.status_changed" in kinds(api))
    else:
        assert problem_of(answer) == (422, "status_not_by_hand", ["status"])


def test_an_archive_script_leaves_the_task_alone(api: Api, worker: Worker):
    made = api.run(repos=[{"url": URL, "archive_script": "pack"}])
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    steps = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]
    worker.finish(worker.claim(steps[-1]["id"]))
    task = {"id": made["task_id"]}
    for before in ("inreview", "todo", "done"):
        set_status(api, task, before)
        body = {"run_reason": "archive_script"}
        step = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", body).json()
        worker.finish(worker.claim(step["id"]))
        assert status(api, task) == before


def test_a_patch_changes_what_it_names(api: Api):
    task = make(api, description="old")
    path = f"/v1/tasks/{task['id']}"
    changed = api.patch(path, {"title": "Mend the lexer", "description": None}).json()
    assert (changed["title"], changed["description"], changed["status"]) == ("Mend the lexer", None, "todo")
    assert api.patch(path, {"title": None, "status": None}).json()["title"] == "Mend the lexer"
    assert kinds(api) == ["task.created", "task.changed"]
    assert problem_of(api.patch(path, {"project_id": "x"}))[0] == 422
    assert problem_of(api.patch(path, {"title": "mine"}, "bob"))[:2] == (404, "not_found")


def test_a_subtask_hangs_below_a_workspace_of_its_project(api: Api):
    task = make(api, start={"executor": SHELL})
    workspace = task["started"]["workspace_id"]
    below = make(api, title="Below", parent_workspace_id=workspace[:8])
    assert below["parent_workspace_id"] == workspace
    listed = api.get(f"/v1/tasks?parent_workspace_id={workspace}").json()["items"]
    assert [each["id"] for each in listed] == [below["id"]]
    elsewhere = api.run()["workspace_id"]
    refused = api.patch(f"/v1/tasks/{below['id']}", {"parent_workspace_id": elsewhere})
    assert problem_of(refused)[:2] == (422, "parent_of_other_project")
    assert api.patch(f"/v1/tasks/{below['id']}", {"parent_workspace_id": None}).json()["parent_workspace_id"] is None


def test_no_task_is_below_itself(api: Api):
    top = make(api, start={"executor": SHELL})
    of_top = top["started"]["workspace_id"]
    middle = make(api, title="Middle", parent_workspace_id=of_top, start={"executor": SHELL})
    of_middle = middle["started"]["workspace_id"]
    for parent in (of_top, of_middle):
        refused = api.patch(f"/v1/tasks/{top['id']}", {"parent_workspace_id": parent})
        assert problem_of(refused)[:2] == (422, "parent_below_task")


def test_a_deleted_task_takes_its_workspaces_and_leaves_its_subtasks(api: Api, worker: Worker):
    task = make(api, start={"executor": SHELL})
    started = task["started"]
    other = attempt(api, task)
    below = make(api, title="Below", parent_workspace_id=started["workspace_id"])
    worker.claim(started["execution_id"])
    assert problem_of(api.delete(f"/v1/tasks/{task['id']}", "bob"))[:2] == (404, "not_found")
    assert api.delete(f"/v1/tasks/{task['id']}").json() == {"id": task["id"], "killed": 1}
    assert problem_of(api.get(f"/v1/tasks/{task['id']}"))[:2] == (404, "not_found")
    for each in (started, other):
        assert problem_of(api.get(f"/v1/workspaces/{each['workspace_id']}"))[:2] == (404, "not_found")
    assert [each["id"] for each in api.get("/v1/tasks").json()["items"]] == [below["id"]]
    assert api.get(f"/v1/tasks/{below['id']}").json()["parent_workspace_id"] == started["workspace_id"]
    assert kinds(api)[-1] == "task.deleted"
    assert problem_of(api.delete(f"/v1/tasks/{task['id']}"))[:2] == (404, "not_found")
    assert api.get(f"/v1/runs/{started['run_id']}").status_code == 200
    with api.database.connect() as connection:
        assert all(connection.scalars(select(Workspace.deleted_at).where(Workspace.task_id == UUID(task["id"]))))


def test_the_id_of_a_run_changes_or_deletes_no_task(api: Api):
    task = make(api, start={"executor": SHELL})
    run = task["started"]["run_id"]
    assert api.get(f"/v1/tasks/{run}").json()["id"] == task["id"]
    assert problem_of(api.delete(f"/v1/tasks/{run}"))[0] == 404
    assert problem_of(api.patch(f"/v1/tasks/{run}", {"status": "done"}))[0] == 404


def test_attempts_are_compared(api: Api, worker: Worker):
    task = make(api)
    first = attempt(api, task, repos=[{"repo": "app", "setup_script": "", "target_branch": "main"}])
    attempt(api, task, executor={"name": "codex", "model": "small"})
    worker.finish(worker.claim(first["execution_id"]))
    worker.ready(first["workspace_id"])
    steps = api.get(f"/v1/workspaces/{first['workspace_id']}/executions").json()["items"]
    worker.finish(worker.claim(steps[-1]["id"]))
    done, waits = api.get(f"/v1/tasks/{task['id']}/attempts").json()["items"]
    assert (done["workspace_id"], done["status"], done["conclusion"], done["runs"]) == (
        first["workspace_id"],
        "completed",
        "success",
        1,
    )
    assert done["seconds"] > 0
    assert done["completed_at"] is not None
    assert (done["repos"][0]["name"], done["repos"][0]["target_branch"], done["stat"]) == ("app", "main", None)
    assert (waits["executor"], waits["model"], waits["status"], waits["seconds"]) == ("codex", "small", "queued", 0)
    assert problem_of(api.get(f"/v1/tasks/{task['id']}/attempts", "bob"))[:2] == (404, "not_found")


def test_a_repeated_request_starts_one_attempt(api: Api):
    task, key = make(api), {"Idempotency-Key": "k"}
    answers = [
        api.post(f"/v1/tasks/{task['id']}/workspaces", {"executor": SHELL}, headers=key).json() for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert len(api.get(f"/v1/tasks/{task['id']}").json()["workspace_ids"]) == 1
