"""Push and reset through the API, on a real Postgres; the worker's part is played."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from relay_core.domain import execution as machine
from relay_core.domain.step import PushStep, ResetStep, ResetTarget
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import ExecutionProcessRepoState, WorkspaceRepo
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for

TWO = [{"url": "https://git.example.org/team/app.git"}, {"url": "https://git.example.org/team/lib.git"}]


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


@pytest.fixture
def made(api: Api, worker: Worker) -> dict:
    """A run that has ended, its workspace ready."""
    return ended(api, worker)


def ended(api: Api, worker: Worker, **body) -> dict:
    made = api.run(**body)
    worker.ready(made["workspace_id"])
    for _ in range(2):
        worker.finish(worker.claim(UUID(newest(api, made)["id"])))
    return made


def newest(api: Api, made: dict) -> dict:
    return api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]


def ask(api: Api, made: dict, verb: str, body: dict | None = None, **options):
    return api.post(f"/v1/workspaces/{made['workspace_id']}/{verb}", body, **options)


def code_of(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["code"])


def record_before(database: Database, execution_id: str, commits: dict[str, str]) -> None:
    with database.begin() as connection:
        repos = dict(connection.execute(select(WorkspaceRepo.name, WorkspaceRepo.repo_id)).all())
        for name, commit in commits.items():
            values = {"execution_process_id": UUID(execution_id), "repo_id": repos[name], "before_head_commit": commit}
            connection.execute(insert(ExecutionProcessRepoState).values(**values))


def test_a_push_is_a_run_of_its_own(api, worker, made):
    answer = ask(api, made, "push", {"branch": "parser"})
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert (asked["run_reason"], asked["status"], asked["repo"]) == ("push", "queued", "app")
    assert asked["action"] | {"branch": "parser", "force": False} == asked["action"]
    assert asked["run_id"] != made["run_id"]
    task = api.get(f"/v1/workspaces/{made['workspace_id']}").json()["task"]["status"]
    claimed = worker.claim(UUID(asked["id"]))
    assert claimed.step == PushStep("app", "parser")
    assert api.get(f"/v1/workspaces/{made['workspace_id']}").json()["task"]["status"] == task == "inreview"
    worker.finish(claimed, machine.failed(Reason.PUSH_REJECTED, "the remote says no"))
    run = api.get(f"/v1/runs/{asked['run_id']}").json()
    assert (run["kind"], run["title"], run["conclusion"]) == ("step", "push app", "failure")
    events = api.get(f"/v1/executions/{asked['id']}/events").json()["items"]
    assert [event["sequence"] for event in events] == [1, 2, 3]
    assert [event["terminal"] for event in events] == [False, False, True]
    assert events[-1]["payload"]["reason"] == "push_rejected"


def test_a_push_needs_no_body_and_waits_for_the_lane(api, worker, made):
    step = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "setup_script", "script": "x"})
    asked = ask(api, made, "push").json()
    assert asked["queue"]["ahead"] == 1
    worker.finish(worker.claim(UUID(step.json()["id"])))
    assert worker.claim(UUID(asked["id"])).step == PushStep("app")


def test_force_is_for_the_workspaces_own_branch(api, made):
    assert code_of(ask(api, made, "push", {"branch": "main", "force": True}), 422) == "force_not_allowed"
    own = api.get(f"/v1/workspaces/{made['workspace_id']}").json()["branch"]
    for body in ({"force": True}, {"branch": own, "force": True}):
        assert ask(api, made, "push", body).status_code == 202


@pytest.mark.parametrize(
    ("verb", "body", "code"),
    [
        ("push", {"branch": "-x"}, "branch_invalid"),
        ("push", {"branch": ""}, "validation_failed"),
        ("push", {"branch": "refs/heads/main"}, "branch_invalid"),
        ("push", {"branch": "b" * 201}, "branch_invalid"),
        ("push", {"repo": "other"}, "invalid_input"),
        ("reset", {}, "target_ambiguous"),
        ("reset", {"commit": "0123456", "before_execution": "0123456789"}, "not_found"),
        ("reset", {"commit": "main"}, "validation_failed"),
        ("reset", {"commit": "0123456", "repo": "other"}, "invalid_input"),
    ],
)
def test_what_cannot_be_done_is_refused(api, made, verb, body, code):
    answer = ask(api, made, verb, body)
    assert answer.status_code in {404, 422}
    assert answer.json()["code"] == code, answer.text


def test_several_repositories_need_a_name_to_push(api, worker):
    made = ended(api, worker, repos=TWO)
    assert "app, lib" in ask(api, made, "push").json()["detail"]
    assert ask(api, made, "push", {"repo": "lib"}).json()["repo"] == "lib"


def test_a_reset_takes_the_commits_before_an_execution(api, worker, database):
    made = ended(api, worker, repos=TWO)
    step = newest(api, made)["id"]
    assert code_of(ask(api, made, "reset", {"before_execution": step}), 409) == "before_state_unknown"
    record_before(database, step, {"app": "a" * 40, "lib": "b" * 40})
    asked = ask(api, made, "reset", {"before_execution": step[:8], "discard_changes": True}).json()
    assert (asked["run_reason"], asked["repo"]) == ("reset", None)
    targets = (ResetTarget("app", "a" * 40), ResetTarget("lib", "b" * 40))
    claimed = worker.claim(UUID(asked["id"]))
    assert claimed.step == ResetStep(targets, discard_changes=True)
    worker.finish(claimed)
    one = ask(api, made, "reset", {"before_execution": step, "repo": "lib"}).json()
    assert one["action"]["targets"] == [{"repo": "lib", "commit": "b" * 40}]


def test_an_execution_of_another_workspace_is_no_target(api, worker, made):
    other = newest(api, ended(api, worker))["id"]
    assert code_of(ask(api, made, "reset", {"before_execution": other}), 404) == "not_found"


@pytest.mark.parametrize("verb", ["push", "reset"])
def test_only_the_owner_with_a_token_to_write_may_ask(api, made, verb):
    body = {} if verb == "push" else {"commit": "0123456"}
    assert ask(api, made, verb, body, who="reader").status_code == 403
    assert ask(api, made, verb, body, who="bob").status_code == 404
    assert ask(api, made, verb, body, who="admin").status_code == 202


def test_a_key_makes_one_push(api, made):
    key = {"Idempotency-Key": "push-1"}
    first, second = (ask(api, made, "push", headers=key).json()["id"] for _ in range(2))
    assert first == second
