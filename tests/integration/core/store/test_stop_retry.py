"""Stop, resume and retry through the API, on a real Postgres; the node's part is played through the core."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import Engine, select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store import events
from relay_core.store.executions import messages
from relay_core.store.executions.claim import Claimant, claim
from relay_core.store.schema.tables import ProjectRepo, Workspace
from relay_core.store.workspaces import stop_resume
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_in_process, problem_of, settings_for

FAILED = machine.failed(Reason.EXIT_CODE, "the script exited with 7", 7)


@pytest.fixture
def api(database: Engine, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Engine) -> Worker:
    return Worker(database)


def started(api: Api, worker: Worker, **scripts) -> dict:
    """A run whose workspace is ready."""
    made = api.run(repos=[{**RUN["repos"][0], **scripts}])
    claimed = worker.claim(made["execution_id"])
    with api.database.begin() as connection:
        values = {"state": "running", "container_id": "c1", "uid": 1000}
        connection.execute(update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(values))
    worker.finish(claimed)
    return made


def steps(api: Api, made: dict) -> list[dict]:
    return api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]


def newest(api: Api, made: dict, reason: str) -> dict:
    return [step for step in steps(api, made) if step["run_reason"] == reason][-1]


def workspace(api: Api, made: dict, **change) -> dict:
    if change:
        with api.database.begin() as connection:
            connection.execute(update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(change))
    return api.get(f"/v1/workspaces/{made['workspace_id']}").json()


def ask(api: Api, made: dict, what: str):
    return api.post(f"/v1/workspaces/{made['workspace_id']}/{what}")


def retried(api: Api, step: dict, **body):
    return api.post(f"/v1/executions/{step['id']}/retry", body or None)


def node_acts(api: Api) -> list:
    """What the node's sweep does, without an engine; the executions whose messages it sends."""
    api.database.publisher.take()
    with api.database.begin() as connection:
        for wanted in stop_resume.due_requests(connection, NODE):
            if stop_resume.is_due(connection, wanted):
                stop_resume.settle(connection, wanted)
    return [message.execution_id for message in api.database.publisher.take()]


def kinds(api: Api, made: dict) -> list[str]:
    with api.database.connect() as connection:
        rows = events.of_workspace(connection, UUID(made["workspace_id"]), 0)
        return [f"{row.kind}:{row.payload['state']}" for row in rows if "state" in row.payload]


def not_claimed(api: Api, step: dict) -> str:
    by = Claimant("worker@test", NODE, "default", 60)
    with api.database.begin() as connection:
        return claim(connection, UUID(step["id"]), 1, by).why


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
        connection.execute(text("UPDATE execution_processes SET created_at = now() - interval '1 hour'"))
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


def test_a_retried_setup_script_goes_on_to_the_agent(api, worker):
    made = started(api, worker, setup_script="make", cleanup_script="clean")
    setup = newest(api, made, "setup_script")
    worker.finish(worker.claim(setup["id"]), FAILED)
    assert len(steps(api, made)) == 2, "the chain ended"
    again = retried(api, setup)
    assert again.status_code == 202, again.text
    new = again.json()
    assert (new["retry_of"], new["status"], new["id"] != setup["id"]) == (setup["id"], "queued", True)
    assert new["action"] == api.get(f"/v1/executions/{setup['id']}").json()["action"]
    worker.finish(worker.claim(new["id"]))
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    worker.finish(worker.claim(newest(api, made, "cleanup_script")["id"]))
    assert [step["status"] for step in steps(api, made)] == ["completed", "failed", *["completed"] * 3]


def test_an_agent_is_repeated_only_on_that_word(api, worker):
    made = started(api, worker)
    agent = newest(api, made, "coding_agent")
    worker.finish(worker.claim(agent["id"]), FAILED)
    assert problem_of(retried(api, agent))[:2] == (409, "agent_not_confirmed")
    assert problem_of(retried(api, agent, run_agent_again=False))[:2] == (409, "agent_not_confirmed")
    assert problem_of(retried(api, agent, run_agent_again="yes"))[0] == 422
    new = retried(api, agent, run_agent_again=True).json()
    assert new["turn"]["prompt"] == RUN["prompt"]
    assert new["session_id"] == agent["session_id"]


def test_an_execution_is_repeated_once_and_then_its_repetition(api, worker):
    made = started(api, worker, setup_script="make")
    setup = newest(api, made, "setup_script")
    assert problem_of(retried(api, setup))[:2] == (409, "execution_not_ended")
    worker.finish(worker.claim(setup["id"]), FAILED)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: retried(api, setup), range(4)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    second = next(answer.json() for answer in answers if answer.status_code == 202)
    refused = retried(api, setup)
    assert problem_of(refused)[1] == "already_retried"
    assert second["id"] in refused.json()["detail"]
    worker.finish(worker.claim(second["id"]), FAILED)
    third = retried(api, second).json()
    worker.finish(worker.claim(third["id"]))
    assert problem_of(retried(api, third))[:2] == (409, "execution_completed")


def test_the_same_key_makes_one_retry(api, worker):
    made = started(api, worker, setup_script="make")
    setup = newest(api, made, "setup_script")
    worker.finish(worker.claim(setup["id"]), FAILED)
    path, headers = f"/v1/executions/{setup['id']}/retry", {"Idempotency-Key": "again-1"}
    first, second = (api.post(path, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert len(steps(api, made)) == 3


def test_siblings_that_did_not_complete_are_repeated_together(api, worker):
    repos = [
        {"url": f"https://git.example.org/team/{name}.git", "setup_script": "s", "parallel_setup_script": True}
        for name in ("a", "b", "c")
    ]
    made = api.run(repos=repos)
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    a, b, c = (worker.claim(step["id"]) for step in steps(api, made)[1:])
    worker.finish(a, FAILED)
    assert problem_of(retried(api, {"id": a.execution_id}))[:2] == (409, "execution_not_ended"), "siblings still run"
    worker.finish(b)
    worker.finish(c, FAILED)
    new = retried(api, {"id": c.execution_id}).json()
    again = [step for step in steps(api, made) if step["retry_of"]]
    assert {step["retry_of"] for step in again} == {str(a.execution_id), str(c.execution_id)}
    assert new["retry_of"] == str(c.execution_id)
    worker.finish(worker.claim(again[0]["id"]))
    assert not [step for step in steps(api, made) if step["run_reason"] == "coding_agent"]
    worker.finish(worker.claim(again[1]["id"]))
    assert newest(api, made, "coding_agent")["status"] == "queued"


def test_a_step_after_which_the_chain_went_on_is_repeated_alone(api, worker):
    repos = [{"url": f"https://git.example.org/team/{name}.git", "cleanup_script": "c"} for name in ("a", "b")]
    made = api.run(repos=repos)
    worker.finish(worker.claim(made["execution_id"]))
    worker.ready(made["workspace_id"])
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    first = newest(api, made, "cleanup_script")
    worker.finish(worker.claim(first["id"]), FAILED)
    worker.finish(worker.claim(newest(api, made, "cleanup_script")["id"]))
    new = retried(api, first).json()
    assert new["next"] == []
    worker.finish(worker.claim(new["id"]))
    assert len(steps(api, made)) == 5


def test_no_retry_where_the_workspace_is_gone_archived_or_failed(api, worker):
    made = started(api, worker, setup_script="make")
    setup = newest(api, made, "setup_script")
    worker.finish(worker.claim(setup["id"]), FAILED)
    for change, code in (
        ({"archived": True}, "workspace_archived"),
        ({"archived": False, "state": "failed", "error_reason": "x"}, "workspace_failed"),
        ({"state": "running", "deleted_at": text("now()")}, "workspace_gone"),
    ):
        with api.database.begin() as connection:
            connection.execute(update(Workspace).where(Workspace.id == UUID(made["workspace_id"])).values(change))
        assert problem_of(retried(api, setup))[:2] == (409, code)


def test_a_retry_in_a_stopped_workspace_waits(api, worker):
    made = started(api, worker, setup_script="make")
    setup = newest(api, made, "setup_script")
    worker.finish(worker.claim(setup["id"]), FAILED)
    ask(api, made, "stop")
    node_acts(api)
    new = retried(api, setup).json()
    assert not_claimed(api, new) == "the workspace is stopped"
    ask(api, made, "resume")
    assert node_acts(api) == [UUID(new["id"])]


@pytest.mark.parametrize("by", ["workspace", "execution"])
def test_a_failed_clone_is_repeated_with_its_whole_chain_on_any_node(api, worker, by):
    made = api.run()
    worker.finish(worker.claim(made["execution_id"]), machine.failed(Reason.CLONE_FAILED, "unreachable"))
    assert (workspace(api, made)["state"], workspace(api, made)["error_reason"]) == ("failed", "unreachable")
    answer = ask(api, made, "retry") if by == "workspace" else retried(api, {"id": made["execution_id"]})
    assert answer.status_code == 202, answer.text
    new = answer.json()
    assert (new["run_reason"], new["retry_of"]) == ("clone", made["execution_id"])
    seen = workspace(api, made)
    assert (seen["state"], seen["error_reason"], seen["node_id"]) == ("starting", None, None)
    assert problem_of(ask(api, made, "retry"))[:2] == (409, "workspace_not_failed")
    worker.finish(worker.claim(new["id"]))
    assert newest(api, made, "coding_agent")["status"] == "queued"


def test_a_workspace_that_was_ready_once_is_only_prepared_again(api, worker):
    """Nothing that ran is repeated by it, and it stays where its files are."""
    made = started(api, worker)
    worker.finish(worker.claim(newest(api, made, "coding_agent")["id"]))
    workspace(api, made, state="failed", error_reason="its container was removed")
    new = ask(api, made, "retry").json()
    assert (new["run_reason"], new["next"]) == ("clone", [])
    assert workspace(api, made)["node_id"] == NODE


def test_a_clone_that_was_killed_before_it_began_can_be_repeated(api, worker):
    made = api.run()
    api.post(f"/v1/executions/{made['execution_id']}/kill")
    assert workspace(api, made)["state"] == "failed"
    assert ask(api, made, "retry").status_code == 202


@pytest.mark.parametrize(
    ("end", "mirror"),
    [
        (machine.failed(Reason.INTERNAL_ERROR, "Relay itself failed"), "failed"),
        (machine.failed(Reason.ENGINE_ERROR, "away"), "failed"),
        (machine.killed("killed by a user"), "failed"),
        (machine.completed(0), "cloning"),
    ],
)
def test_every_end_of_a_clone_but_success_fails_workspace_and_mirror(api, worker, end, mirror):
    made = api.run()
    worker.finish(worker.claim(made["execution_id"]), end)
    with api.database.connect() as connection:
        states = connection.execute(select(ProjectRepo.state, ProjectRepo.clone_error)).all()
    assert states == [(mirror, end.error_reason)]
    assert workspace(api, made)["state"] == ("failed" if mirror == "failed" else "starting")


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_a_workspace_that_did_not_fail_is_not_prepared_again(api, worker, state):
    made = started(api, worker)
    workspace(api, made, state=state)
    assert problem_of(ask(api, made, "retry"))[:2] == (409, "workspace_not_failed")


def test_a_dev_server_is_not_repeated_beside_another(api, worker):
    made = started(api, worker, dev_server_script="serve")
    serve = f"/v1/workspaces/{made['workspace_id']}/dev-server"
    first = api.post(serve).json()
    worker.finish(worker.claim(first["id"]), FAILED)
    assert api.post(serve).status_code == 202
    assert problem_of(retried(api, first))[:2] == (409, "dev_server_running")


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
