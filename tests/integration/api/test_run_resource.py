"""The run as a resource of the API: whether it is done, how it ended, and lists of runs."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.nodes import runtime_nodes
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_in_process, problem_of, settings_for


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(api: Api) -> Worker:
    return Worker(api.database)


def run_of(api: Api, run_id: str, who: str = "ann") -> dict[str, Any]:
    answer = api.get(f"/v1/runs/{run_id}", who)
    assert answer.status_code == 200, answer.text
    return answer.json()


def steps_to_end(api: Api, worker: Worker, run: dict[str, Any], last: machine.Transition | None = None) -> str:
    """Carry the steps of a run out in order; the last one ends as told. Return the id of the last."""
    worker.ready(run["workspace_id"])
    while True:
        step = run_of(api, run["run_id"])["current_step"]
        claimed = worker.claim(step["execution_id"])
        end = last if step["run_reason"] == "coding_agent" else None
        worker.finish(claimed, end)
        if run_of(api, run["run_id"])["status"] == "completed":
            return step["execution_id"]


def test_a_new_run_says_that_it_is_queued_and_whether_it_waits(api: Api, worker: Worker) -> None:
    new = api.run(title="Say hello")
    found = run_of(api, new["run_id"])
    assert new["links"]["run"] == found["links"]["self"] == f"/v1/runs/{new['run_id']}"
    assert (found["status"], found["conclusion"], found["kind"]) == ("queued", None, "job")
    assert found["current_step"] == {
        "execution_id": new["execution_id"],
        "run_reason": "clone",
        "repo": None,
        "status": "queued",
        "progress": None,
    }
    assert found["queue"] == {"ahead": 0, "waits_for": [], "waits": None}
    assert (found["title"], found["labels"], found["metadata"]) == ("Say hello", {}, {})
    assert found["project"] == {"id": new["project_id"], "name": "app"}
    assert [repo["name"] for repo in found["repos"]] == ["app"]
    assert found["timings"] == {"queue_seconds": None, "start_seconds": None, "run_seconds": None}


def test_a_run_goes_on_from_the_claim_of_its_first_step_to_the_end_of_its_last(api: Api, worker: Worker) -> None:
    new = api.run()
    clone = worker.claim(new["execution_id"])
    assert run_of(api, new["run_id"])["status"] == "running"
    worker.finish(clone)
    between = run_of(api, new["run_id"])
    assert (between["status"], between["current_step"]["status"]) == ("running", "queued")
    agent = steps_to_end(api, worker, new)
    done = run_of(api, new["run_id"])
    assert (done["status"], done["conclusion"], done["exit_code"]) == ("completed", "success", 0)
    assert done["agent_execution_id"] == agent
    assert done["links"]["diff"] == f"/v1/runs/{done['id']}/diff"
    assert done["failed_step"] is done["current_step"] is done["reason"] is done["advice"] is None
    assert all(done["timings"][name] >= 0 for name in ("queue_seconds", "start_seconds", "run_seconds"))


def test_a_failed_run_names_its_step_the_reason_and_what_to_do(api: Api, worker: Worker) -> None:
    new = api.run()
    agent = steps_to_end(api, worker, new, machine.failed(Reason.EXIT_CODE, "the command exited with 3", 3))
    done = run_of(api, new["run_id"])
    assert (done["conclusion"], done["reason"], done["exit_code"]) == ("failure", "exit_code", 3)
    assert done["failed_step"]["execution_id"] == agent
    assert done["failed_step"]["message"] == done["message"] == "the command exited with 3"
    assert "log" in done["advice"]


def test_a_kill_cancels_and_a_retry_of_the_execution_opens_the_run_again(api: Api, worker: Worker) -> None:
    new = api.run()
    api.post(f"/v1/executions/{new['execution_id']}/kill")
    assert run_of(api, new["run_id"])["conclusion"] == "cancelled"
    again = api.post(f"/v1/executions/{new['execution_id']}/retry").json()
    assert again["run_id"] == new["run_id"]
    assert run_of(api, new["run_id"])["status"] == "queued"
    steps_to_end(api, worker, new)
    assert run_of(api, new["run_id"])["conclusion"] == "success"


def test_a_further_step_is_a_run_and_a_dev_server_is_none(api: Api, worker: Worker) -> None:
    new = api.run()
    steps_to_end(api, worker, new)
    path = f"/v1/workspaces/{new['workspace_id']}"
    step = api.post(f"{path}/executions", {"run_reason": "cleanup_script", "script": "true"}).json()
    server = api.post(f"{path}/dev-server", {"script": "true"}).json()
    archive = api.post(f"{path}/executions", {"run_reason": "archive_script", "script": "true"}).json()
    assert server["run_id"] is archive["run_id"] is None
    found = run_of(api, step["run_id"])
    assert (found["kind"], found["title"], found["status"]) == ("step", "cleanup_script app", "queued")
    assert step["links"]["run"] == found["links"]["self"]
    worker.claim(server["id"])
    assert run_of(api, new["run_id"])["status"] == "completed"


def test_the_run_of_a_further_step_has_the_notes_that_were_given_with_it(api: Api, worker: Worker) -> None:
    new = api.run()
    steps_to_end(api, worker, new)
    path = f"/v1/workspaces/{new['workspace_id']}/executions"
    notes = {"title": "Tidy", "labels": {"kind": "chore"}, "metadata": {"n": 1}}
    step = api.post(path, {"run_reason": "setup_script", "script": "true", **notes}).json()
    found = run_of(api, step["run_id"])
    assert {name: found[name] for name in notes} == notes
    for field, value in notes.items():
        refused = api.post(path, {"run_reason": "archive_script", "script": "true", field: value})
        assert problem_of(refused) == (422, "field_not_allowed", [field])


def test_lists_are_filtered_and_paged_and_show_each_owner_its_own(api: Api, worker: Worker) -> None:
    first = api.run(title="Alpha 100%")
    second = api.run(title="beta", repos=[{"url": "https://git.example.org/team/other.git"}])
    api.run("bob", title="Alpha of bob")
    api.post(f"/v1/executions/{first['execution_id']}/kill")

    def ids(query: str, who: str = "ann") -> list[str]:
        answer = api.get(f"/v1/runs?{query}", who)
        assert answer.status_code == 200, answer.text
        return [run["id"] for run in answer.json()["items"]]

    assert ids("") == [second["run_id"], first["run_id"]]
    assert len(ids("", "admin")) == 3
    assert ids("status=completed") == ids("conclusion=cancelled") == ids("q=alpha") == [first["run_id"]]
    assert ids("q=100%25") == [first["run_id"]]
    assert ids("q=a%25b") == ids("label=a=b") == ids("since=2100-01-01T00:00:00Z") == []
    assert ids("repo=other") == ids("project=other") == [second["run_id"]]
    assert ids(f"project={second['project_id']}") == [second["run_id"]]
    assert ids(f"project={second['project_id'][:8]}") == [second["run_id"]]
    assert api.get("/v1/runs", params={"project": "no such project"}).status_code == 404
    assert ids("repo=https://git.example.org/team/other.git") == [second["run_id"]]
    assert len(ids("status=queued&status=completed&since=2020-01-01")) == 2
    page = api.get("/v1/runs?limit=1").json()
    assert ids(f"cursor={page['next_cursor']}") == [first["run_id"]]
    assert problem_of(api.get("/v1/runs?since=0.5")) == (422, "time_invalid", ["query.since"])
    assert problem_of(api.get("/v1/runs?label=nonsense")) == (422, "label_invalid", ["query.label"])


def test_a_run_of_another_owner_is_not_there(api: Api) -> None:
    new = api.run()
    assert problem_of(api.get(f"/v1/runs/{new['run_id']}", "bob"))[:2] == (404, "not_found")
    assert problem_of(api.get(f"/v1/runs/{uuid4()}"))[:2] == (404, "not_found")
    assert run_of(api, new["run_id"], "admin")["id"] == new["run_id"]


def test_labels_and_metadata_are_given_filtered_by_and_changed_by_a_merge_patch(api: Api) -> None:
    new = api.run(labels={"team": "web", "round": "1"}, metadata={"issue": {"id": 7, "open": True}})
    api.run(labels={"team": "db"})
    assert run_of(api, new["run_id"])["metadata"] == {"issue": {"id": 7, "open": True}}
    found = api.get("/v1/runs?label=team=web&label=round=1").json()["items"]
    assert [run["id"] for run in found] == [new["run_id"]]
    assert api.get("/v1/runs?label=team=web&label=round=2").json()["items"] == []
    patch = {"title": "Renamed", "labels": {"round": None, "new": "x=y"}, "metadata": {"issue": {"open": None}}}
    changed = api.client.patch(f"/v1/runs/{new['run_id']}", json=patch, headers=api.as_("ann")).json()
    assert (changed["title"], changed["labels"]) == ("Renamed", {"team": "web", "new": "x=y"})
    assert changed["metadata"] == {"issue": {"id": 7}}
    assert len(api.get("/v1/runs?label=new=x=y").json()["items"]) == 1
    gone = {"labels": None, "metadata": None}
    changed = api.client.patch(f"/v1/runs/{new['run_id']}", json=gone, headers=api.as_("ann")).json()
    assert (changed["title"], changed["labels"], changed["metadata"]) == ("Renamed", {}, {})


def test_labels_and_metadata_that_cannot_be_stored_are_refused(api: Api) -> None:
    new = api.run()
    assert problem_of(api.post("/v1/runs", RUN | {"labels": {"a b": "c"}}))[0] == 422
    large = {"metadata": {"text": "x" * 20_000}}
    assert problem_of(api.post("/v1/runs", RUN | large)) == (422, "metadata_too_large", ["metadata"])
    path = f"/v1/runs/{new['run_id']}"
    nul = api.client.patch(path, json={"metadata": {"a": "\0"}}, headers=api.as_("ann"))
    assert problem_of(nul) == (422, "metadata_invalid", ["metadata"])
    many = {"labels": {f"l{number}": "v" for number in range(51)}}
    assert problem_of(api.client.patch(path, json=many, headers=api.as_("ann")))[0] == 422
    assert problem_of(api.client.patch(path, json={}, headers=api.as_("bob")))[0] == 404
    assert problem_of(api.client.patch(path, json={}, headers=api.as_("reader")))[0] == 403


def test_a_run_is_cancelled_in_the_queue_at_once_and_while_it_runs_when_its_step_ends(api: Api, worker: Worker) -> None:
    queued = api.run()
    assert api.post(f"/v1/runs/{queued['run_id']}/cancel").json()["conclusion"] == "cancelled"
    running = api.run()
    clone = worker.claim(running["execution_id"])
    asked = api.post(f"/v1/runs/{running['run_id']}/cancel").json()
    assert (asked["status"], asked["current_step"]["status"]) == ("running", "running")
    worker.finish(clone)
    done = run_of(api, running["run_id"])
    assert (done["conclusion"], done["reason"], done["advice"]) == ("cancelled", "user", None)
    assert api.post(f"/v1/runs/{running['run_id']}/cancel").json() == done


def test_a_job_is_repeated_from_its_start_in_a_new_workspace_with_all_that_was_asked(api: Api, worker: Worker) -> None:
    repo = {**RUN["repos"][0], "setup_script": "make", "ref": "v1"}
    new = api.run(repos=[repo], env={"A": "b"}, labels={"team": "web"}, title="Build", limits={"pids": 300})
    api.post(f"/v1/runs/{new['run_id']}/cancel")
    again = api.post(f"/v1/runs/{new['run_id']}/rerun").json()
    assert again["rerun_of"] == new["run_id"]
    assert (again["title"], again["labels"], again["kind"]) == ("Build", {"team": "web"}, "job")
    assert again["task_id"] == new["task_id"]
    assert again["workspace_id"] != new["workspace_id"]
    old, fresh = (api.get(f"/v1/workspaces/{one['workspace_id']}").json() for one in (new, again))
    assert fresh["limits"] == old["limits"]
    assert fresh["branch"] != old["branch"]
    assert fresh["repos"][0] == old["repos"][0]
    worker.ready(again["workspace_id"])
    for wanted in ("clone", "setup_script", "coding_agent"):
        step = run_of(api, again["id"])["current_step"]
        assert step["run_reason"] == wanted
        worker.finish(worker.claim(step["execution_id"]))
    assert run_of(api, again["id"])["conclusion"] == "success"
    assert run_of(api, new["run_id"])["conclusion"] == "cancelled"


def test_a_run_is_repeated_from_its_failed_step_as_a_new_run_in_its_workspace(api: Api, worker: Worker) -> None:
    new = api.run(repos=[{**RUN["repos"][0], "cleanup_script": "tidy"}])
    path = f"/v1/runs/{new['run_id']}/rerun"
    assert problem_of(api.post(path, {"from": "failed_step"}))[:2] == (409, "run_not_completed")
    failed = steps_to_end(api, worker, new, machine.failed(Reason.EXIT_CODE, "exit 3", 3))
    again = api.post(path, {"from": "failed_step"}).json()
    assert (again["workspace_id"], again["rerun_of"]) == (new["workspace_id"], new["run_id"])
    step = again["current_step"]
    assert step["run_reason"] == "coding_agent"
    assert api.get(f"/v1/executions/{step['execution_id']}").json()["retry_of"] == failed
    worker.finish(worker.claim(step["execution_id"]))
    assert run_of(api, again["id"])["current_step"]["run_reason"] == "cleanup_script"
    worker.finish(worker.claim(run_of(api, again["id"])["current_step"]["execution_id"]))
    assert run_of(api, again["id"])["conclusion"] == "success"
    assert run_of(api, new["run_id"])["conclusion"] == "failure"
    succeeded = api.post(f"/v1/runs/{again['id']}/rerun", {"from": "failed_step"})
    assert problem_of(succeeded)[:2] == (409, "run_succeeded")
    assert problem_of(api.post(path, {"from": "failed_step"}))[:2] == (409, "already_retried")


def test_a_further_step_is_repeated_as_it_was_asked_for(api: Api, worker: Worker) -> None:
    new = api.run()
    steps_to_end(api, worker, new)
    path = f"/v1/workspaces/{new['workspace_id']}/executions"
    for body in ({"run_reason": "cleanup_script", "script": "tidy"}, {"run_reason": "coding_agent", "prompt": "More"}):
        step = api.post(path, body).json()
        again = api.post(f"/v1/runs/{step['run_id']}/rerun", {"from": "start"}).json()
        assert again["rerun_of"] == step["run_id"]
        repeated = api.get(f"/v1/executions/{again['current_step']['execution_id']}").json()
        assert repeated["action"] == step["action"]
        assert repeated["retry_of"] is None


def test_more_processors_than_any_node_has_are_refused(api: Api, worker: Worker) -> None:
    api.run(limits={"cpus": 64})  # nothing is known of any node
    with api.database.begin() as connection:
        for node, cpus in (("small", 2), ("large", 8)):
            values = {"pool": "default", "client_version": "1", "capabilities": {"cpus": cpus}}
            runtime_nodes.heartbeat(connection, node, **values)
    api.run(limits={"cpus": 8})
    refused = api.post("/v1/runs", RUN | {"limits": {"cpus": 8.5}})
    assert problem_of(refused) == (422, "limit_too_large", ["limits.cpus"])
    assert "8 processors" in refused.json()["detail"]
