"""The git state of a workspace through the API; what its node found is written into the database."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from relay_core.domain import execution as machine
from relay_core.domain.vocabulary import Reason
from relay_core.store.schema.tables import ExecutionProcessRepoState, Workspace, WorkspaceRepo
from relay_core.store.transaction import Database
from relay_core.store.workspaces import git_watch
from tests.support.api_fixtures import Api, Worker, api_in_process, settings_for

OURS, THEIRS = "1" * 40, "2" * 40


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_in_process(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.fixture
def made(api: Api, database: Database) -> str:
    """A workspace whose clone and agent have ended."""
    worker, made = Worker(database), api.run()
    worker.ready(made["workspace_id"])
    for _ in range(2):
        newest = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
        claimed = worker.claim(newest["id"])
        with database.connect() as connection:
            repos = connection.scalars(select(WorkspaceRepo.repo_id)).all()
        worker.finish(claimed, repo_states={repo: {"after_head_commit": OURS, "dirty": False} for repo in repos})
    return made["workspace_id"]


def diverge(database: Database, workspace: str) -> None:
    """As the node stores it."""
    found = {"found_state": "diverged", "found_commit": THEIRS, "found_from": OURS, "found_at": func.now()}
    with database.begin() as connection:
        connection.execute(update(WorkspaceRepo).where(WorkspaceRepo.workspace_id == UUID(workspace)).values(found))
        connection.execute(update(Workspace).where(Workspace.id == UUID(workspace)).values(diverged_at=func.now()))


def state_of(api: Api, workspace: str) -> dict:
    answer = api.get(f"/v1/workspaces/{workspace}/git-state")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_state_is_that_of_the_last_execution(api, database, made):
    state = state_of(api, made)
    (clone,) = state["repos"]
    assert (state["git_state"], clone["git_state"], clone["head_commit"]) == ("clean", "clean", OURS)
    assert not state["acknowledgement_needed"]
    with database.begin() as connection:
        connection.execute(update(ExecutionProcessRepoState).values(dirty=True))
    shown = api.get(f"/v1/workspaces/{made}").json()
    assert (shown["git_state"], shown["repos"][0]["git_state"]) == ("dirty", "dirty")


def test_a_new_workspace_has_no_state_yet(api):
    workspace = api.run()["workspace_id"]
    assert state_of(api, workspace)["git_state"] is None


@pytest.mark.proves("T002-12")
def test_a_diverged_workspace_answers_409_until_it_is_acknowledged(api, database, made):
    diverge(database, made)
    state = state_of(api, made)
    (clone,) = state["repos"]
    assert (state["git_state"], clone["recorded_commit"], clone["head_commit"]) == ("diverged", OURS, THEIRS)
    step = {"run_reason": "setup_script", "script": "true"}
    for path, body in ((f"/v1/workspaces/{made}/executions", step), (f"/v1/workspaces/{made}/push", {})):
        refused = api.post(path, body)
        assert (refused.status_code, refused.json()["code"]) == (409, "workspace_diverged"), refused.text
    taken = api.post(f"/v1/workspaces/{made}/acknowledge", {"generation": state["generation"]})
    assert taken.status_code == 200, taken.text
    assert (taken.json()["git_state"], taken.json()["repos"][0]["recorded_commit"]) == ("clean", THEIRS)
    event = api.get(f"/v1/workspaces/{made}/events").json()["items"][-1]
    assert event["kind"] == "workspace.divergence_acknowledged"
    told = {"repo": "app", "head_commit": THEIRS, "recorded_commit": OURS}
    assert event["payload"] == {"by": "ann", "clones": [told]}
    assert api.post(f"/v1/workspaces/{made}/executions", step).status_code == 202


def test_what_is_accepted_after_a_step_that_recorded_nothing_is_shown(api, database, made):
    """As after a lost node: the step ends without a commit, and the next look accepts what it finds."""
    worker = Worker(database)
    step = api.post(f"/v1/workspaces/{made}/executions", {"run_reason": "setup_script", "script": "x"}).json()
    worker.finish(worker.claim(step["id"]), machine.failed(Reason.NODE_LOST, "the node is gone"))
    with database.begin() as connection:
        group = git_watch.last_group(connection, UUID(made))
        connection.execute(update(WorkspaceRepo).values(accepted_group=group, accepted_commit=THEIRS))
    (clone,) = state_of(api, made)["repos"]
    assert (clone["recorded_commit"], clone["head_commit"], clone["git_state"]) == (THEIRS, THEIRS, "clean")


def test_an_acknowledgement_of_something_else_is_refused(api, database, made):
    before = state_of(api, made)["generation"]
    assert acknowledge(api, made, before) == (409, "not_diverged")
    diverge(database, made)
    api.post(f"/v1/workspaces/{made}/dev-server", {"script": "x"})
    assert acknowledge(api, made, before) == (409, "stale_generation")
    answer = api.post(f"/v1/workspaces/{made}/acknowledge", {"generation": before}, "bob")
    assert answer.status_code == 404


def acknowledge(api: Api, workspace: str, generation: str) -> tuple[int, str]:
    answer = api.post(f"/v1/workspaces/{workspace}/acknowledge", {"generation": generation})
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize(
    ("reason", "wanted"), [("clone", "workspace"), ("coding_agent", "workspace"), ("push", "registry")]
)
def test_executions_show_the_class_of_their_kind(api, made, reason, wanted):
    if reason == "push":
        api.post(f"/v1/workspaces/{made}/push", {})
    items = api.get(f"/v1/workspaces/{made}/executions").json()["items"]
    assert {item["operation_class"] for item in items if item["run_reason"] == reason} == {wanted}
