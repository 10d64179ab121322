"""Merges and rebases through the API, on a real Postgres; the worker's part is played."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_core.domain import execution as machine
from relay_core.domain.step import MergeStep, RebaseStep
from relay_core.domain.vocabulary import MergeKind, MergeMethod, Reason
from relay_core.store.merges import acts
from relay_core.store.merges.acts import Result
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for

TWO = [{"url": "https://git.example.org/team/app.git"}, {"url": "https://git.example.org/team/lib.git"}]
COMMIT = "c" * 40


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


@pytest.fixture
def made(api: Api, worker: Worker) -> dict:
    """A run that has ended, its workspace ready, with a target branch."""
    return ended(api, worker)


def ended(api: Api, worker: Worker, **body) -> dict:
    made = api.run(**body)
    worker.ready(made["workspace_id"])
    for _ in range(2):
        executions = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]
        worker.finish(worker.claim(UUID(executions[-1]["id"])))
    with worker.database.begin() as connection:
        connection.execute(text("UPDATE workspace_repos SET target_branch = 'main'"))
    return made


def ask(api: Api, made: dict, verb: str, body: dict | None = None, **options):
    return api.post(f"/v1/workspaces/{made['workspace_id']}/{verb}", body, **options)


def code_of(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["code"])


def task(api: Api, made: dict) -> str:
    return str(api.get(f"/v1/workspaces/{made['workspace_id']}").json()["task"]["status"])


def arrives(worker: Worker, asked: dict) -> None:
    """The worker pushes the merge's commit."""
    claimed = worker.claim(UUID(asked["execution_id"]))
    with worker.database.begin() as connection:
        acts.begin(connection, claimed, UUID(asked["id"]), "a" * 40)
        result = Result(UUID(asked["id"]), UUID(asked["repo_id"]), asked["repo"], "main", COMMIT)
        acts.merged(connection, claimed, result)
    worker.finish(claimed)


def test_a_merge_is_a_run_of_its_own(api, worker, made):
    answer = ask(api, made, "merge", {"method": "merge", "message": "Add it"})
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    wanted = ("pending", "direct", "merge", "app", "main", "Add it")
    assert (
        tuple(asked[name] for name in ("status", "kind", "method", "repo", "target_branch_name", "message")) == wanted
    )
    execution = api.get(f"/v1/executions/{asked['execution_id']}").json()
    assert (execution["run_reason"], execution["action"]["merge_id"]) == ("merge", asked["id"])
    run = api.get(f"/v1/runs/{asked['run_id']}").json()
    assert (run["kind"], run["title"]) == ("step", "merge app")
    assert task(api, made) == "inreview"
    arrives(worker, asked)
    found = api.get(f"/v1/merges/{asked['id'][:8]}").json()
    assert (found["status"], found["merge_commit"], found["source_commit"]) == ("merged", COMMIT, "a" * 40)
    assert task(api, made) == "done"
    events = api.get(f"/v1/executions/{asked['execution_id']}/events").json()["items"]
    [told] = [event["payload"] for event in events if event["kind"] == "merge.merged"]
    assert told == {"merge_id": asked["id"], "repo": "app", "target_branch": "main", "merge_commit": COMMIT}


def test_the_worker_gets_what_was_asked_for(api, worker, made):
    asked = ask(api, made, "merge", {"target_branch": "release"}).json()
    found = worker.claim(UUID(asked["execution_id"])).step
    message = api.get(f"/v1/merges/{asked['id']}").json()["message"]
    assert found == MergeStep(UUID(asked["id"]), "app", "release", MergeKind.DIRECT, MergeMethod.SQUASH, message)
    assert f"(relay {made['workspace_id'][:8]})" in message


def test_a_failed_merge_says_why(api, worker, made):
    asked = ask(api, made, "merge").json()
    claimed = worker.claim(UUID(asked["execution_id"]))
    with worker.database.begin() as connection:
        acts.begin(connection, claimed, UUID(asked["id"]), "a" * 40)
        acts.store_conflicts(connection, claimed, UUID(asked["id"]), ["README"])
    worker.finish(claimed, machine.failed(Reason.MERGE_CONFLICT, "both changed README"))
    found = api.get(f"/v1/merges/{asked['id']}").json()
    assert (found["status"], found["conflicts"], found["error_reason"]) == ("failed", ["README"], "both changed README")
    assert task(api, made) == "inreview"
    run = api.get(f"/v1/runs/{asked['run_id']}").json()
    assert (run["conclusion"], run["reason"]) == ("failure", "merge_conflict")


@pytest.mark.parametrize("how", ["retry", "rerun"])
def test_a_merge_that_is_repeated_is_pending_again_and_only_one_is(api, worker, made, how):
    first = ask(api, made, "merge").json()
    worker.finish(worker.claim(UUID(first["execution_id"])), machine.failed(Reason.MERGE_FAILED, "no"))
    other = ask(api, made, "merge").json()
    paths = {"retry": f"/v1/executions/{first['execution_id']}/retry", "rerun": f"/v1/runs/{first['run_id']}/rerun"}
    body = {"from": "start"} if how == "rerun" else None
    assert code_of(api.post(paths[how], body), 409) == "merge_pending"
    worker.finish(worker.claim(UUID(other["execution_id"])), machine.failed(Reason.MERGE_FAILED, "no"))
    answer = api.post(paths[how], body)
    assert answer.status_code == 202, answer.text
    found = api.get(f"/v1/merges/{first['id']}").json()
    assert (found["status"], found["execution_id"] != first["execution_id"]) == ("pending", True)
    assert code_of(ask(api, made, "merge"), 409) == "merge_pending"


def test_a_merge_that_is_merged_is_not_repeated(api, worker, made):
    first = ask(api, made, "merge").json()
    arrives(worker, first)
    assert code_of(api.post(f"/v1/runs/{first['run_id']}/rerun", {"from": "start"}), 409) == "already_merged"
    assert api.get(f"/v1/merges/{first['id']}").json()["execution_id"] == first["execution_id"]
    assert ask(api, made, "merge").status_code == 202, "another one is"


def test_lists_are_filtered_and_only_the_owners(api, worker, made):
    other = ended(api, worker)
    first, second = ask(api, made, "merge").json(), ask(api, other, "merge").json()
    arrives(worker, first)

    def ids(query: str, **options) -> list[str]:
        return [each["id"] for each in api.get(f"/v1/merges?{query}", **options).json()["items"]]

    assert ids("limit=10") == [second["id"], first["id"]]
    assert ids("status=merged") == [first["id"]]
    assert ids("status=pending") == [second["id"]]
    assert ids(f"workspace_id={made['workspace_id']}") == [first["id"]]
    assert ids("limit=10", who="bob") == []
    assert api.get(f"/v1/merges/{first['id']}", who="bob").status_code == 404
    page = api.get("/v1/merges?limit=1").json()
    assert ids(f"limit=1&cursor={page['next_cursor']}") == [first["id"]]


def test_a_preview_tells_what_would_change_and_changes_nothing(api, worker, made):
    answer = ask(api, made, "merge/preview", {"method": "squash"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["target_branch"], found["blockers"]) == ("main", [])
    assert found["mutations"][0].startswith("push: one commit with all changes to branch main of https://git.example")
    assert found["mutations"][1:] == ["task → done"]
    assert ask(api, made, "merge/preview").json()["generation"] == found["generation"]
    assert api.get("/v1/merges").json()["items"] == []


def test_a_stale_generation_is_refused(api, worker, made):
    seen = ask(api, made, "merge/preview").json()["generation"]
    step = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "setup_script", "script": "x"})
    assert code_of(ask(api, made, "merge", {"generation": seen}), 409) == "stale_generation"
    worker.finish(worker.claim(UUID(step.json()["id"])))
    seen = ask(api, made, "merge/preview").json()["generation"]
    assert ask(api, made, "merge", {"generation": seen}).status_code == 202
    assert ask(api, made, "merge/preview").json()["generation"] != seen


def test_what_stands_in_the_way_is_told_before_and_refused(api, worker, made):
    with worker.database.begin() as connection:
        connection.execute(text("UPDATE workspace_repos SET target_branch = NULL"))
    assert code_of(ask(api, made, "merge"), 409) == "target_branch_missing"
    assert code_of(ask(api, made, "rebase"), 409) == "target_branch_missing"
    assert ask(api, made, "merge/preview").json()["blockers"][0]["code"] == "target_branch_missing"
    asked = ask(api, made, "merge", {"target_branch": "main"})
    assert asked.status_code == 202
    assert code_of(ask(api, made, "merge", {"target_branch": "main"}), 409) == "merge_pending"
    blockers = ask(api, made, "merge/preview", {"target_branch": "main"}).json()["blockers"]
    assert [each["code"] for each in blockers] == ["merge_pending"]


@pytest.mark.parametrize("verb", ["merge", "merge/preview", "rebase"])
@pytest.mark.parametrize("branch", ["-x", "refs/heads/main", "a..b"])
def test_what_is_no_branch_is_refused(api, made, verb, branch):
    assert code_of(ask(api, made, verb, {"target_branch": branch}), 422) == "branch_invalid"


def test_several_repositories_need_a_name(api, worker):
    made = ended(api, worker, repos=TWO)
    assert "app, lib" in ask(api, made, "merge").json()["detail"]
    first, second = (ask(api, made, "merge", {"repo": repo}) for repo in ("app", "lib"))
    assert (first.status_code, second.status_code, second.json()["repo"]) == (202, 202, "lib")


def test_a_rebase_waits_for_its_turn_in_the_lane(api, worker, made):
    step = api.post(f"/v1/workspaces/{made['workspace_id']}/executions", {"run_reason": "setup_script", "script": "x"})
    asked = ask(api, made, "rebase").json()
    assert (asked["run_reason"], asked["repo"], asked["queue"]["ahead"]) == ("rebase", "app", 1)
    worker.finish(worker.claim(UUID(step.json()["id"])))
    assert worker.claim(UUID(asked["id"])).step == RebaseStep("app", "main")
    assert task(api, made) == "inreview"


@pytest.mark.parametrize("verb", ["merge", "rebase"])
def test_only_the_owner_with_a_token_to_write_may_ask(api, made, verb):
    assert ask(api, made, verb, {}, who="reader").status_code == 403
    assert ask(api, made, verb, {}, who="bob").status_code == 404
    assert ask(api, made, verb, {}, who="admin").status_code == 202


def test_a_key_makes_one_merge(api, made):
    key = {"Idempotency-Key": "merge-1"}
    first, second = (ask(api, made, "merge", headers=key).json()["id"] for _ in range(2))
    assert first == second


def test_merges_of_a_deleted_workspace_stay_readable(api, worker, made):
    asked = ask(api, made, "merge").json()
    arrives(worker, asked)
    assert api.delete(f"/v1/workspaces/{made['workspace_id']}").status_code in {200, 202}
    assert api.get(f"/v1/merges/{asked['id']}").json()["status"] == "merged"
