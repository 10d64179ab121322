"""Projects that are cloned without a workspace, as clients see them; a test plays the worker."""

import base64
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import func, select, text

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason, Stream
from relay_core.store.executions.progress import append_progress
from relay_core.store.logs.log_store import Append, StreamEnd
from relay_core.store.projects import mirrors, state
from relay_core.store.projects.mirrors import MirrorPlace
from relay_core.store.schema.tables import Workspace, WorkspaceSecret
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.log_fixtures import append_one

KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()
URL = RUN["repos"][0]["url"]


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url, secret_keys=KEY)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def make(api: Api, name: str = "shop", *, repos: bool = True, status: int = 202) -> dict:
    answer = api.post("/v1/projects", {"name": name, "repos": [{"url": URL}] if repos else []})
    assert answer.status_code == status, answer.text
    return answer.json()


def clone_of(api: Api, project: dict) -> dict:
    return api.get(f"/v1/executions/{project['id']}").json()


def cloned(api: Api, worker: Worker, project: dict, error: str | None = None) -> None:
    """The worker's part: the row of the mirror, a log, and the end."""
    claimed = worker.claim(clone_of(api, project)["id"])
    append_one(worker.logs, Append(claimed.execution_id, claimed.fence, Stream.STDOUT, 0, b"relay: cloning\n"))
    with api.database.begin() as connection:
        mirrors.end_fetch(connection, MirrorPlace(NODE, UUID(project["id"]), URL, "/mirrors/x.git"), error)
    with api.database.begin() as connection:
        state.settle(connection, UUID(project["id"]))
    end = machine.failed(Reason.CLONE_FAILED, error) if error else machine.completed(0)
    ends = {stream: StreamEnd(15, "0" * 64, truncated=False) for stream in (Stream.STDOUT, Stream.ALL)}
    worker.finish(claimed, end, log_ends=ends)


@pytest.mark.proves("T000-01")
def test_a_project_with_repositories_is_accepted_and_cloned(api: Api, worker: Worker) -> None:
    """T000-01."""
    project = make(api)
    assert (project["state"], project["clone_error"]) == ("cloning", None)
    assert api.get("/v1/workspaces").json()["items"] == []
    cloned(api, worker, project)
    shown = api.get("/v1/projects/shop").json()
    assert (shown["state"], shown["repos"][0]["state"]) == ("ready", "ready")


def test_a_project_without_repositories_is_created(api: Api) -> None:
    project = make(api, repos=False, status=201)
    assert project["state"] == "ready"
    assert api.get("/v1/executions").json()["items"] == []
    assert api.get(f"/v1/executions/{project['id']}").status_code == 404


def test_a_clone_is_shown_like_every_execution(api: Api, worker: Worker) -> None:
    project = make(api)
    queued = clone_of(api, project)
    assert (queued["run_reason"], queued["status"], queued["project_id"]) == ("clone", "queued", project["id"])
    assert (queued["workspace_id"], queued["session_id"], queued["run_id"]) == (None, None, None)
    assert queued["links"]["workspace"] is None
    assert queued["queue"] == {"ahead": 0, "waits_for": [], "waits": None} | queued["queue"]
    cloned(api, worker, project)

    path = f"/v1/executions/{queued['id']}"
    assert [each["id"] for each in api.get("/v1/executions").json()["items"]] == [queued["id"]]
    assert [each["id"] for each in api.get("/v1/executions?run_reason=clone").json()["items"]] == [queued["id"]]
    assert api.get(f"/v1/executions/{queued['id'][:8]}").json()["status"] == "completed"
    assert api.get(f"{path}/logs?stream=stdout").content == b"relay: cloning\n"
    events = api.get(f"{path}/events").json()["items"]
    assert [event["kind"] for event in events] == ["execution.queued", "execution.started", "execution.completed"]
    assert {(event["workspace_id"], event["cursor"], event["project_id"]) for event in events} == {
        (None, None, project["id"])
    }
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert api.get(f"{path}/diff").json()["items"] == []
    assert problem_of(api.get(f"{path}/bundle"))[:2] == (404, "no_bundle")
    assert api.get(f"{path}/conversation").status_code == 200
    assert problem_of(api.post(f"{path}/retry"))[:2] == (409, "execution_completed")
    assert problem_of(api.get(f"/v1/workspaces/{queued['id']}"))[:2] == (404, "not_found")
    assert problem_of(api.get(f"/v1/runs/{queued['id']}"))[:2] == (404, "not_found")


def test_the_progress_of_a_clone_is_shown_while_it_runs(api: Api, worker: Worker) -> None:
    """Of a project, and of a run as its current step; also on the page's fleet."""
    project, run = make(api), api.run()
    of_project, of_run = clone_of(api, project)["id"], api.get(f"/v1/runs/{run['run_id']}").json()["current_step"]
    assert (of_run["progress"], clone_of(api, project)["progress"]) == (None, None)
    state = {"remote": URL, "phase": "receiving", "objects": 450, "total": 1000, "bytes": 3 << 19}
    taken = [worker.claim(one) for one in (of_project, of_run["execution_id"])]
    for claimed in taken:
        for objects in (1, 450):
            with api.database.begin() as connection:
                told = state | {"objects": objects}
                assert append_progress(connection, claimed.execution_id, claimed.fence, told)
    message = "receiving 45% of 1,000 objects, 1.5 MiB"
    shown = clone_of(api, project)["progress"]
    assert shown == state | {"percent": 45, "message": message}
    assert api.get(f"/v1/runs/{run['run_id']}").json()["current_step"]["progress"] == shown
    listed = api.get("/v1/executions?without_workspace=true&status=running").json()["items"]
    assert [(each["id"], each["progress"]) for each in listed] == [(of_project, shown)]
    for claimed in taken:
        worker.finish(claimed)
    assert clone_of(api, project)["progress"] is None
    assert api.get("/v1/executions?without_workspace=true&status=running").json()["items"] == []


def test_a_clone_and_its_events_are_its_owners(api: Api, worker: Worker) -> None:
    project = make(api)
    clone = clone_of(api, project)
    cloned(api, worker, project)

    assert api.get(f"/v1/executions/{clone['id']}", "bob").status_code == 404
    assert api.get("/v1/executions", "bob").json()["items"] == []
    assert not [event for event in api.get("/v1/events", "bob").json()["items"] if event["project_id"]]
    assert api.post(f"/v1/executions/{clone['id']}/kill", who="bob").status_code == 404
    for who in ("ann", "admin"):
        assert [each["id"] for each in api.get("/v1/executions", who).json()["items"]] == [clone["id"]]
        kinds = [event["kind"] for event in api.get("/v1/events", who).json()["items"] if event["project_id"]]
        assert kinds == [
            "project.created",
            "project.clone_started",
            "execution.queued",
            "execution.started",
            "project.state_changed",
            "execution.completed",
            "project.cloned",
        ]


def test_a_failed_clone_says_why_and_is_repeated(api: Api, worker: Worker) -> None:
    project = make(api)
    first = clone_of(api, project)
    assert problem_of(api.post("/v1/projects/shop/clone"))[:2] == (409, "project_cloning")
    cloned(api, worker, project, "cannot clone it: no route")
    shown = api.get("/v1/projects/shop").json()
    assert (shown["state"], shown["clone_error"]) == ("failed", "cannot clone it: no route")

    again = api.post(f"/v1/executions/{first['id']}/retry").json()
    assert (again["retry_of"], again["project_id"], again["workspace_id"]) == (first["id"], project["id"], None)
    assert api.post(f"/v1/executions/{again['id']}/kill").json()["status"] == "killed"
    third = api.post("/v1/projects/shop/clone")
    assert third.status_code == 202
    assert clone_of(api, project)["id"] == third.json()["id"]


@pytest.mark.proves("T000-04")
def test_no_workspace_is_made_before_the_project_is_ready(api: Api, worker: Worker) -> None:
    """T000-04."""
    project = make(api)
    wanted = {"project_id": "shop", "title": "Look around"}
    assert problem_of(api.post("/v1/workspaces", wanted))[:2] == (409, "project_not_ready")
    cloned(api, worker, project, "no route")
    refused = api.post("/v1/workspaces", wanted)
    assert problem_of(refused)[:2] == (409, "project_not_ready")
    assert "no route" in refused.json()["detail"]
    with api.database.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(Workspace)) == 0

    assert api.post("/v1/projects/shop/clone").status_code == 202
    cloned(api, worker, project)
    made = api.post("/v1/workspaces", wanted)
    assert made.status_code == 202
    workspace = made.json()
    assert (workspace["state"], workspace["task"]["title"]) == ("starting", "Look around")
    steps = api.get(workspace["links"]["executions"]).json()["items"]
    assert [step["run_reason"] for step in steps] == ["clone"]
    worker.finish(worker.claim(steps[0]["id"]))
    worker.ready(workspace["id"])
    agent = {"run_reason": "coding_agent", "prompt": "go"}
    path = f"/v1/workspaces/{workspace['id']}/executions"
    assert problem_of(api.post(path, agent)) == (422, "invalid_input", ["executor"])
    named = agent | {"executor": {"name": "shell", "command": "true"}}
    assert api.post(path, named).status_code == 202


def test_a_workspace_takes_environment_and_secrets_as_a_run_does(api: Api, worker: Worker) -> None:
    cloned(api, worker, make(api))
    secret = {"value": "a-secret-value"}
    stored = api.client.put("/v1/projects/shop/secrets/TOKEN", json=secret, headers=api.as_("ann"))
    assert stored.status_code == 204, stored.text
    wanted = {
        "project_id": "shop",
        "env": {"MODE": "fast", "API_KEY": "sk-0123456789"},
        "secrets": ["TOKEN"],
        "secrets_in": ["setup_script"],
        "limits": {"pids": 99},
    }
    made = api.post("/v1/workspaces", wanted)
    assert made.status_code == 202, made.text
    assert made.json()["masked_env"] == ["API_KEY"]
    with api.database.connect() as connection:
        used = connection.execute(select(WorkspaceSecret.env_name, WorkspaceSecret.secret_name)).all()
        secrets_in = connection.scalars(select(Workspace.secrets_in)).one()
    assert ([tuple(row) for row in used], secrets_in) == ([("TOKEN", "TOKEN")], ["setup_script"])
    assert made.json()["sources"]["limits.pids"] == "request"

    assert problem_of(api.post("/v1/workspaces", wanted | {"secrets": ["GONE"]}))[0] == 422
    twice = wanted | {"secrets": {"MODE": "TOKEN"}}
    assert problem_of(api.post("/v1/workspaces", twice)) == (422, "env_given_twice", ["secrets"])
    no_agent = wanted | {"executor": {"name": "shell", "command": "true"}}
    assert problem_of(api.post("/v1/workspaces", no_agent))[0] == 422


def test_a_run_in_a_project_that_is_being_cloned_is_not_refused(api: Api) -> None:
    make(api)
    assert api.run(project_id="shop")["run_id"]


def test_a_bad_workspace_is_refused(api: Api) -> None:
    make(api, repos=False, status=201)
    assert problem_of(api.post("/v1/workspaces", {"project_id": "none"}))[:2] == (404, "not_found")
    assert problem_of(api.post("/v1/workspaces", {"project_id": "shop"}))[0] == 422
    assert problem_of(api.post("/v1/workspaces", {"project_id": "shop"}, who="reader"))[0] == 403


def test_a_deleted_project_takes_its_clone_along(api: Api) -> None:
    project = make(api)
    clone = clone_of(api, project)
    assert api.delete("/v1/projects/shop").status_code == 202
    ended = api.get(f"/v1/executions/{clone['id']}").json()
    assert ended["status"] == "killed"
    assert problem_of(api.post(f"/v1/executions/{clone['id']}/retry"))[:2] == (409, "project_gone")


FIRST = {"title": "Mend it", "description": "It is broken.", "executor": RUN["executor"], "env": {"WORD": "x"}}


def with_first(api: Api, repos: bool = True, **changes: object):
    body = {"name": "shop", "repos": [{"url": URL}] if repos else [], "first_workspace": FIRST | changes}
    return api.post("/v1/projects", body)


def test_a_first_workspace_is_asked_for_with_the_project_and_made_when_that_is_ready(api: Api, worker: Worker) -> None:
    answer = with_first(api)
    assert answer.status_code == 202, answer.text
    waiting = {"state": "waiting", "workspace_id": None, "error": None}
    assert answer.json()["first_workspace"] == waiting
    assert (api.get("/v1/workspaces").json()["items"], api.get("/v1/tasks").json()["items"]) == ([], [])
    assert make(api, "plain")["first_workspace"] is None
    cloned(api, worker, answer.json())
    [made] = api.get("/v1/workspaces?project_id=shop").json()["items"]
    shown = api.get("/v1/projects/shop").json()["first_workspace"]
    assert shown == {"state": "made", "workspace_id": made["id"], "error": None}
    assert (made["task"]["title"], made["created_by"], made["repos"][0]["url"]) == ("Mend it", "ann", URL)
    kinds = [event["kind"] for event in api.get("/v1/projects/shop/events").json()["items"]]
    assert kinds.count("project.first_workspace_made") == 1
    assert kinds.index("project.state_changed") < kinds.index("project.first_workspace_made")


def test_a_first_workspace_waits_while_the_clone_fails(api: Api, worker: Worker) -> None:
    project = with_first(api).json()
    cloned(api, worker, project, "unreachable")
    shown = api.get("/v1/projects/shop").json()
    assert (shown["state"], shown["first_workspace"]["state"]) == ("failed", "waiting")
    assert api.post("/v1/projects/shop/clone").status_code == 202
    cloned(api, worker, project)
    assert api.get("/v1/projects/shop").json()["first_workspace"]["state"] == "made"
    assert len(api.get("/v1/workspaces").json()["items"]) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"secrets": ["KEY"]}, (422, "not_for_first_workspace", ["first_workspace.secrets"])),
        ({"repos": False}, (422, "nothing_to_clone", ["first_workspace"])),
        ({"executor": {"name": "nobody"}}, (422, "invalid_input", ["executor.name"])),
    ],
)
def test_a_first_workspace_that_can_never_be_made_makes_no_project(api: Api, changes: dict, expected: tuple) -> None:
    found = problem_of(with_first(api, **changes))
    assert found[0] == expected[0]
    assert api.get("/v1/projects").json()["items"] == []
    assert found[1:] == expected[1:]


def test_a_deleted_project_keeps_nothing_of_the_environment_of_its_first_workspace(api: Api) -> None:
    secret = {"value": "s3cret-value", "secret": True}
    project = with_first(api, env={"TOKEN": secret}).json()["id"]
    assert api.delete(f"/v1/projects/{project}").status_code == 202
    with api.database.connect() as connection:
        stored = connection.execute(text("SELECT p::text FROM projects p")).scalar_one()
    assert "s3cret-value" not in stored
    kinds = [event["kind"] for event in api.get(f"/v1/projects/{project}/events").json()["items"]]
    assert kinds.count("project.first_workspace_failed") == 1
    assert api.post(f"/v1/projects/{project}/restore").status_code == 202
    first = api.get(f"/v1/projects/{project}").json()["first_workspace"]
    assert (first["state"], first["workspace_id"]) == ("failed", None)
    assert "the project was deleted" in first["error"]
