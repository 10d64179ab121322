"""`relay workspace git-state | acknowledge | go-back` against a real API; what the node does is written by hand."""

from collections.abc import Callable
from uuid import UUID

import pytest
from click.testing import Result
from sqlalchemy import func, insert, select, update
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_core.store.schema.tables import ExecutionProcessRepoState, Workspace, WorkspaceRepo
from tests.support.api_fixtures import Api, Worker

OURS, THEIRS = "1" * 40, "2" * 40


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])

    def call(*words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, ["workspace", *words])
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    return call


@pytest.fixture
def made(api: Api, worker: Worker) -> dict:
    """A run whose steps have ended, with the commits that they left."""
    made = api.run()
    worker.ready(made["workspace_id"])
    with api.database.connect() as connection:
        repo = connection.scalars(select(WorkspaceRepo.repo_id)).one()
    for _ in range(2):
        newest = api.get(f"/v1/workspaces/{made['workspace_id']}/executions").json()["items"][-1]
        claimed = worker.claim(newest["id"])
        ids = {"execution_process_id": claimed.execution_id, "repo_id": repo}
        with api.database.begin() as connection:
            connection.execute(insert(ExecutionProcessRepoState).values(**ids, before_head_commit=OURS))
        worker.finish(claimed, repo_states={repo: {"after_head_commit": OURS, "dirty": False}})
    return made | {"agent": str(claimed.execution_id)}


def test_a_divergence_is_shown_and_acknowledged(api, relay, made):
    workspace = made["workspace_id"]
    assert "app   clean" in relay("git-state", workspace).stdout
    assert "nothing to acknowledge" in str(relay("acknowledge", workspace, "--yes", code=1).exception)
    found = {"found_state": "diverged", "found_commit": THEIRS, "found_from": OURS, "found_at": func.now()}
    with api.database.begin() as connection:
        connection.execute(update(WorkspaceRepo).values(found))
        connection.execute(update(Workspace).where(Workspace.id == UUID(workspace)).values(diverged_at=func.now()))
    shown = relay("git-state", workspace)
    assert "diverged" in shown.stdout
    assert f"relay workspace acknowledge {workspace}" in shown.stderr
    assert "accept 222222222222 in app" in str(relay("acknowledge", workspace, code=2).exception)
    assert "the workspace is clean" in relay("acknowledge", workspace, "--yes").stderr


def test_going_back_shows_what_it_does_and_asks(api, relay, made):
    workspace = made["workspace_id"]
    asked = str(relay("go-back", workspace, made["agent"], code=2).exception)
    assert f"repos/app are those of {OURS}; 1 executions are marked as dropped" in asked
    queued = relay("go-back", workspace, made["agent"], "--yes", "--detach")
    assert "is queued" in queued.stderr
    busy = relay("go-back", workspace, made["agent"], "--yes", "--detach", code=1)
    assert "queued or running" in str(busy.exception)
