"""`relay workspace quarantine | restore | purge`, `relay project restore | purge | clean-up` against a real API.

The part of the node is written by hand.
"""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import Result
from sqlalchemy import update
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces import quarantine
from tests.support.api_fixtures import NODE, Api, Worker

PLACE = Path("/data/workspaces/.quarantine/w")


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])
    monkeypatch.setenv("COLUMNS", "120")

    def call(*words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, words)
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    return call


def ready(api: Api, worker: Worker) -> str:
    """A workspace on a node in which nothing runs."""
    workspace = api.run(title="Mend the parser")["workspace_id"]
    worker.ready(workspace)
    for _ in range(2):
        newest = api.get(f"/v1/workspaces/{workspace}/executions").json()["items"][-1]
        worker.finish(worker.claim(newest["id"]))
    with api.database.begin() as connection:
        there = {"container_ref": "/data/workspaces/w", "container_id": "c1", "node_id": NODE, "archived": True}
        connection.execute(update(Workspace).where(Workspace.id == UUID(workspace)).values(there))
    return workspace


def put_away(api: Api, workspace: str) -> None:
    with api.database.begin() as connection:
        quarantine.left(connection, UUID(workspace), NODE, PLACE, 3600)


def test_a_deleted_workspace_is_listed_restored_and_purged(api, worker, relay):
    workspace = ready(api, worker)
    short = workspace[:8]
    relay("workspace", "rm", short, "--yes")
    put_away(api, workspace)
    shown = relay("workspace", "quarantine").stdout
    assert all(word in shown for word in (short, "Mend the parser", NODE, "kept"))
    assert "add --yes" in str(relay("workspace", "purge", short, code=2).exception)
    assert f"workspace {short} comes back" in relay("workspace", "restore", short).stderr
    assert json.loads(relay("workspace", "quarantine", "--json").stdout)[0]["quarantine"] == "restoring"
    assert "is being restored" in str(relay("workspace", "purge", short, "--yes", code=1).exception)
    with api.database.begin() as connection:
        quarantine.restored(connection, UUID(workspace), NODE, PLACE)
    purged = relay("workspace", "purge", short, "--yes").stderr
    assert "never pushed" in purged
    assert f"workspace {short} is removed for good" in purged


def test_a_projects_archive_is_cleaned_up_and_the_project_comes_back(api, worker, relay):
    workspace = ready(api, worker)
    project = api.get(f"/v1/workspaces/{workspace}").json()["project_id"]
    empty = relay("project", "clean-up", project, "--older-than", "1h", "--yes", code=1)
    assert "no archived workspace" in str(empty.exception)
    assert "deleted 1 archived workspace" in relay("project", "clean-up", project, "--yes").stderr
    put_away(api, workspace)
    assert "not deleted" in str(relay("project", "restore", project, code=2).exception)
    relay("project", "rm", project, "--yes")
    assert f"project {project[:8]} is back" in relay("project", "restore", project).stderr
    assert f"project {project[:8]} is removed for good" in relay("project", "purge", project, "--yes").stderr
