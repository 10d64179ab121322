"""Stop and resume of workspaces through the API, on a real Postgres; the test acts for the node through the core."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import select, text

from relay_core.domain import execution as machine
from relay_core.store.executions import messages
from relay_core.store.schema.tables import Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from tests.support.api_fixtures import NODE, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.workspace_acts import ask, kinds, newest, node_acts, not_claimed, started, steps, workspace


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def test_a_stop_kills_what_runs_then_waits_for_its_end(api, worker):
    made = started(api, worker, dev_server_script="serve")
    agent = worker.claim(newest(api, made, "coding_agent")["id"])
    server = api.post(f"/v1/workspaces/{made['workspace_id']}/dev-server").json()
    serving = worker.claim(server["id"])
    answer = ask(api, made, "stop")
    assert (answer.status_code, answer.json()["state"], answer.json()["requested_state"]) == (202, "running", "stopped")
    assert all(step["kill_requested_at"] for step in steps(api, made) if step["status"] == "running")
    assert node_acts(api) == []
    assert workspace(api, made)["state"] == "running", "something still runs"
    worker.finish(agent, machine.killed("killed"))
    worker.finish(serving, machine.killed("killed"))
    node_acts(api)
    seen = workspace(api, made)
    assert (seen["state"], seen["requested_state"]) == ("stopped", None)


@pytest.mark.proves("T000-15")
def test_stop_and_resume_are_idempotent(api, worker):
    """T000-15: two resumes make one transition."""
    made = started(api, worker)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    before = len(kinds(api, made))
    for what in ("stop", "stop"):
        assert ask(api, made, what).status_code == 202
    node_acts(api)
    assert ask(api, made, "stop").json()["requested_state"] is None
    for what in ("resume", "resume"):
        assert ask(api, made, what).status_code == 202
    node_acts(api)
    node_acts(api)
    ask(api, made, "resume")
    assert kinds(api, made)[before:] == [
        "workspace.state_requested:stopped",
        "workspace.state_changed:stopped",
        "workspace.state_requested:running",
        "workspace.state_changed:running",
    ]


def test_a_resume_before_the_stop_was_carried_out_wins(api, worker):
    made = started(api, worker)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    ask(api, made, "stop")
    with api.database.begin() as connection:
        (stop,) = stop_resume.due_requests(connection, NODE)
        assert ask(api, made, "resume").status_code == 202
        stop_resume.settle(connection, stop)
    assert workspace(api, made)["requested_state"] == "running", "the container may be stopped already: it is due"
    node_acts(api)
    seen = workspace(api, made)
    assert (seen["state"], seen["requested_state"]) == ("running", None)


def test_what_was_carried_out_is_not_due(api, worker):
    made = started(api, worker)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    ask(api, made, "stop")
    with api.database.begin() as connection:
        (wanted,) = stop_resume.due_requests(connection, NODE)
        assert stop_resume.is_due(connection, wanted)
        stop_resume.settle(connection, wanted)
        assert not stop_resume.is_due(connection, wanted)


def test_what_is_queued_in_a_stopped_workspace_waits_for_the_resume(api, worker):
    made = started(api, worker)
    agent = worker.claim(newest(api, made, "coding_agent")["id"])
    queue = f"/v1/workspaces/{made['workspace_id']}/executions"
    waiting = api.post(queue, {"run_reason": "cleanup_script", "script": "true"}).json()
    ask(api, made, "stop")
    worker.finish(agent, machine.killed("killed"))
    assert not_claimed(api, waiting) == "the workspace is stopped"
    node_acts(api)
    later = api.post(queue, {"run_reason": "cleanup_script", "script": "true"})
    assert later.status_code == 202
    assert not_claimed(api, waiting) == "the workspace is stopped"
    assert problem_of(api.post(f"/v1/workspaces/{made['workspace_id']}/dev-server", {"script": "x"}))[:2] == (
        409,
        "workspace_stopped",
    )
    with api.database.begin() as connection:
        connection.execute(
            text("UPDATE execution_processes SET created_at = now() - interval '1 hour', published_at = NULL")
        )
        assert messages.undispatched(connection, 15) == []
    ask(api, made, "resume")
    assert node_acts(api) == [UUID(waiting["id"])]
    assert worker.claim(waiting["id"])


@pytest.mark.parametrize(("state", "code"), [("starting", "workspace_starting"), ("failed", "workspace_failed")])
def test_what_is_not_prepared_is_neither_stopped_nor_resumed(api, worker, state, code):
    made = started(api, worker)
    workspace(api, made, state=state)
    for what in ("stop", "resume"):
        assert problem_of(ask(api, made, what))[:2] == (409, code)


def test_an_archived_workspace_is_not_resumed(api, worker):
    made = started(api, worker)
    workspace(api, made, state="stopped", archived=True)
    assert problem_of(ask(api, made, "resume"))[:2] == (409, "workspace_archived")


def test_these_are_for_their_owner(api, worker):
    made = started(api, worker)
    agent = newest(api, made, "coding_agent")
    for path in (
        f"/v1/executions/{agent['id']}/retry",
        *(f"/v1/workspaces/{made['workspace_id']}/{what}" for what in ("stop", "resume", "retry")),
    ):
        assert api.post(path, who="bob").status_code == 404, path
        assert api.post(path, who="reader").status_code == 403, path


def test_a_node_is_drained_by_admins_only_and_idempotently(api, worker):
    path = f"/v1/nodes/{NODE}"
    assert problem_of(api.post(f"{path}/drain"))[0] == 403
    for _ in range(2):
        assert api.post(f"{path}/drain", who="admin").json()["draining"] is True
    (seen,) = api.get("/v1/nodes").json()["items"]
    assert (seen["draining"], seen["epoch"], seen["liveness"], seen["reported_health"]) == (True, 1, "online", "ok")
    assert seen["age_seconds"] >= 0
    assert api.post(f"{path}/undrain", who="admin").json()["draining"] is False
    assert problem_of(api.post("/v1/nodes/nobody/drain", who="admin"))[0] == 404


def test_a_stopped_workspace_that_is_deleted_is_still_to_be_removed(api, worker):
    """Stopped is not removed: its node finds it by its directory."""
    made = started(api, worker)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    workspace(api, made, container_ref="/somewhere")
    ask(api, made, "stop")
    api.delete(f"/v1/workspaces/{made['workspace_id']}")
    with api.database.connect() as connection:
        row = connection.execute(select(Workspace.requested_state, Workspace.container_ref)).one()
    assert tuple(row) == (None, "/somewhere")
