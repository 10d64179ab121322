"""The run as a resource of the API: whether it is done, how it ended, and lists of runs."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, problem_of, settings_for


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
