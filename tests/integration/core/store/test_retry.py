"""Retries of executions and workspaces through the API, on a real Postgres; the test acts for the node through the core."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import text, update

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import Workspace
from relay_core.store.transaction import Database
from tests.support.api_fixtures import NODE, RUN, Api, Worker, api_in_process, problem_of, settings_for
from tests.support.workspace_acts import ask, newest, node_acts, not_claimed, retried, started, steps, workspace

FAILED = machine.failed(Reason.EXIT_CODE, "the script exited with 7", 7)


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


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
def test_every_end_of_a_clone_but_success_fails_workspace_and_project(api, worker, end, mirror):
    made = api.run()
    worker.finish(worker.claim(made["execution_id"]), end)
    project = api.get(f"/v1/projects/{made['project_id']}").json()
    assert (project["state"], project["clone_error"]) == (mirror, end.error_reason)
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
