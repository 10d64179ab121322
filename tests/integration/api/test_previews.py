"""Previews of acts that destroy something, and the acts with the generation of their preview."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import (
    CodingAgentTurn,
    ExecutionProcess,
    ExecutionProcessRepoState,
    Project,
    Session,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.transaction import Database
from relay_core.store.workspaces.sessions import conversation_before
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for
from tests.support.waiting import eventually

BEFORE, AFTER = "1" * 40, "2" * 40


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def made(api: Api, database: Database) -> dict:
    """A run whose agent has ended, with the commits before and after it."""
    worker, made = Worker(database), api.run()
    worker.ready(made["workspace_id"])
    with database.connect() as connection:
        repos = connection.scalars(select(WorkspaceRepo.repo_id)).all()
    for commit in (BEFORE, AFTER):
        claimed = worker.claim(executions(api, made)[-1]["id"])
        with database.begin() as connection:
            for repo in repos:
                ids = {"execution_process_id": claimed.execution_id, "repo_id": repo}
                connection.execute(insert(ExecutionProcessRepoState).values(**ids, before_head_commit=BEFORE))
        worker.finish(claimed, repo_states={repo: {"after_head_commit": commit, "dirty": True} for repo in repos})
    return made


def executions(api: Api, made: dict) -> list[dict]:
    return api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"]


def preview(api: Api, path: str, body: dict | None = None) -> dict:
    answer = api.post(f"{path}/preview", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def codes(notes: list[dict]) -> list[str]:
    return [note["code"] for note in notes]


@pytest.mark.proves("T002-16")
def test_a_generation_is_stale_when_a_run_has_changed_the_workspace(api, database, made):
    path = f"/v1/workspaces/{made['workspace_id']}"
    wanted = {"before_execution": executions(api, made)[-1]["id"], "discard_changes": True}
    told = preview(api, f"{path}/reset", wanted)
    worker = Worker(database)
    step = api.post(f"{path}/executions", {"run_reason": "setup_script", "script": "true"}).json()
    worker.finish(worker.claim(step["id"]))
    stale = {"generation": told["generation"]}
    for answer in (
        api.post(f"{path}/reset", wanted | stale),
        api.post(f"{path}/resume-at", {"execution": wanted["before_execution"]} | stale),
        api.client.delete(path, params=stale, headers=api.as_("ann")),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_generation"), answer.text


def test_the_preview_of_a_reset_lists_the_clone_and_warns_of_changes(api, made):
    path = f"/v1/workspaces/{made['workspace_id']}/reset"
    told = preview(api, path, {"before_execution": executions(api, made)[-1]["id"]})
    (moved,) = told["mutations"]
    assert (moved["repo"], moved["from_commit"], moved["to_commit"]) == ("app", AFTER, BEFORE)
    assert (told["blockers"], codes(told["warnings"])) == ([], ["uncommitted_changes"])
    answer = api.post(path, {"commit": "1111111", "generation": told["generation"]})
    assert answer.status_code == 202, answer.text


def test_the_preview_of_a_deletion_tells_what_is_lost(api, made):
    path = f"/v1/workspaces/{made['workspace_id']}"
    api.post(f"{path}/executions", {"run_reason": "setup_script", "script": "true"})
    told = preview(api, f"{path}/delete")
    assert codes(told["warnings"]) == ["executions_queued", "uncommitted_changes", "never_pushed"]
    assert {one["operation_class"] for one in told["mutations"]} == {"registry", "workspace"}
    done = api.client.delete(path, params={"generation": told["generation"]}, headers=api.as_("ann"))
    assert done.status_code == 202, done.text


def test_a_project_is_deleted_with_the_generation_of_its_preview_only(api, made):
    project = api.get(f"/v1/workspaces/{made['workspace_id']}").json()["project_id"]
    path = f"/v1/projects/{project}"
    told = preview(api, f"{path}/delete")
    assert "1 workspaces are marked as deleted" in [one["change"] for one in told["mutations"]]
    api.post(f"/v1/workspaces/{made['workspace_id']}/push", {})
    stale = api.client.delete(path, params={"generation": told["generation"]}, headers=api.as_("ann"))
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_generation")
    again = preview(api, f"{path}/delete")["generation"]
    assert api.client.delete(path, params={"generation": again}, headers=api.as_("ann")).status_code == 202


def test_a_deletion_of_a_project_that_was_interrupted_goes_on_with_its_generation(api, database, made):
    project = UUID(api.get(f"/v1/workspaces/{made['workspace_id']}").json()["project_id"])
    told = preview(api, f"/v1/projects/{project}/delete")
    with database.begin() as connection:  # as far as its first transaction
        gone = update(Project).where(Project.id == project)
        connection.execute(gone.values(deleted_at=func.now(), updated_at=func.now()))
    params = {"generation": told["generation"]}
    answer = api.client.delete(f"/v1/projects/{project}", params=params, headers=api.as_("ann"))
    assert answer.status_code == 202, answer.text
    with database.connect() as connection:
        assert connection.scalars(select(Workspace.id).where(Workspace.deleted_at.is_(None))).all() == []


def test_a_projects_generation_is_checked_under_its_lock(api, database, made):
    project = UUID(api.get(f"/v1/workspaces/{made['workspace_id']}").json()["project_id"])
    told = preview(api, f"/v1/projects/{project}/delete")
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as other:
            other.execute(update(Project).where(Project.id == project).values(updated_at=func.clock_timestamp()))
            params = {"generation": told["generation"]}
            path = f"/v1/projects/{project}"
            asked = pool.submit(api.client.delete, path, params=params, headers=api.as_("ann"))
            eventually(lambda: _waits_for_a_lock(database), what="the deletion waits for the project")
        answer = asked.result(30)
    assert (answer.status_code, answer.json()["code"]) == (409, "stale_generation"), answer.text


def _waits_for_a_lock(database: Database) -> bool:
    with database.connect() as connection:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return connection.scalar(text(waiting)) is not None


def test_going_back_drops_the_execution_and_the_ones_after_it(api, database, made):
    path = f"/v1/workspaces/{made['workspace_id']}/resume-at"
    at = {"execution": executions(api, made)[-1]["id"]}
    told = preview(api, path, at)
    assert [one["change"] for one in told["mutations"]][-1] == "1 executions are marked as dropped"
    asked = api.post(path, at | {"generation": told["generation"]})
    assert asked.status_code == 202, asked.text
    assert asked.json()["run_reason"] == "reset"
    assert not any(one["dropped"] for one in executions(api, made)), "not before the reset has completed"
    assert codes(preview(api, path, at)["blockers"]) == ["workspace_busy"]
    worker = Worker(database)
    worker.finish(worker.claim(asked.json()["id"]))
    assert [one["dropped"] for one in executions(api, made)] == [False, True, False]


def test_a_return_that_failed_is_not_repeated_without_its_generation(api, database, made):
    turn = executions(api, made)[-1]["id"]
    path = f"/v1/workspaces/{made['workspace_id']}/resume-at"
    told = preview(api, path, {"execution": turn})
    reset = api.post(path, {"execution": turn, "generation": told["generation"]}).json()
    worker = Worker(database)
    worker.finish(worker.claim(reset["id"]), machine.failed(Reason.RESET_FAILED, "uncommitted changes"))
    for answer in (
        api.post(f"/v1/executions/{reset['id']}/retry"),
        api.post(f"/v1/runs/{reset['run_id']}/rerun", {"from": "start"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_generation"), answer.text
        assert "resume-at again" in answer.json()["detail"]


def test_what_was_queued_behind_the_reset_is_not_dropped(api, database, made):
    with database.begin() as connection:
        claude = ExecutorChoice("claude-code")
        connection.execute(update(Session).values(executor=claude.name, executor_config=claude.as_json()))
    turn = executions(api, made)[-1]
    path = f"/v1/workspaces/{made['workspace_id']}/resume-at"
    told = preview(api, path, {"execution": turn["id"]})
    reset = api.post(path, {"execution": turn["id"], "generation": told["generation"]}).json()
    asked = api.post(f"/v1/sessions/{turn['session_id']}/follow-ups", {"prompt": "and now?"})
    assert asked.status_code == 202, asked.text
    worker = Worker(database)
    worker.finish(worker.claim(reset["id"]))
    assert [one["dropped"] for one in executions(api, made)] == [False, True, False, False]
    worker.finish(worker.claim(asked.json()["id"]), turn={"agent_session_id": "s", "agent_message_id": "m"})
    with database.connect() as connection:
        found = conversation_before(connection, UUID(turn["session_id"]), UUID(int=1))
    assert found == ("s", "m", False)


def test_a_conversation_is_rewound_to_the_last_turn_that_is_not_dropped(api, database, made):
    """Turns of one conversation of the agent: the second one is dropped."""
    first = UUID(executions(api, made)[-1]["id"])
    with database.begin() as connection:
        row = connection.execute(select(ExecutionProcess).where(ExecutionProcess.id == first)).mappings().one()
    turns = [first, *(_turn(database, dict(row)) for _ in range(2))]
    with database.begin() as connection:
        for number, turn in enumerate(turns[:2]):
            told = update(CodingAgentTurn).where(CodingAgentTurn.execution_process_id == turn)
            connection.execute(told.values(agent_session_id="s", agent_message_id=f"m{number}"))
        found = conversation_before(connection, row["session_id"], turns[2])
        assert found == ("s", "m1", False)
        connection.execute(update(ExecutionProcess).where(ExecutionProcess.id == turns[1]).values(dropped=True))
        assert conversation_before(connection, row["session_id"], turns[2]) == ("s", "m0", True)


def _turn(database: Database, like: dict) -> UUID:
    """A later turn of the same session."""
    with database.begin() as connection:
        connection.execute(update(Workspace).values(state="running"))
        values = {
            name: like[name] for name in ("session_id", "workspace_id", "run_id", "run_reason", "executor_action")
        }
        done = {"status": "queued", "created_by": "ann"}
        made = insert(ExecutionProcess).values(**values, **done, task_id=like["id"].__class__(int=like["id"].int ^ 7))
        new = connection.scalar(made.returning(ExecutionProcess.id))
        connection.execute(update(ExecutionProcess).where(ExecutionProcess.id == new).values(task_id=new))
        connection.execute(insert(CodingAgentTurn).values(execution_process_id=new))
    claimed = Worker(database).claim(new)
    Worker(database).finish(claimed)
    return new
