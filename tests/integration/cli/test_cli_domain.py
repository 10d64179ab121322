"""Commands of repositories, projects, tasks and workspaces that create and change them, against a real API."""

import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from tests.support.api_fixtures import Api

URL = "https://git.example.org/team/app.git"
Relay = Callable[..., Result]


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])
    monkeypatch.setenv("COLUMNS", "100")

    def call(*words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, list(words))
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    return call


def test_a_repository_is_made_changed_shown_and_forgotten(relay: Relay):
    made = relay("repo", "create", URL, "--setup", "make deps", "--branch", "develop", "--parallel-setup")
    assert "created repository app" in made.stderr
    assert re.search(rf"^\w{{8}}  app +{URL} +develop +setup +\d+s$", relay("repo", "list").stdout, re.MULTILINE)
    shown = relay(
        "repo", "set", "app", "--serve", "make serve", "--clear", "setup_script", "--no-parallel-setup"
    ).stdout
    assert "dev server script  make serve\n" in shown
    assert "make deps" not in shown
    found = json.loads(relay("repo", "show", "app", "--json").stdout)
    assert (found["setup_script"], found["parallel_setup_script"]) == (None, False)
    assert found["default_target_branch"] == "develop"
    assert "add --yes" in str(relay("repo", "rm", "app", code=2).exception)
    assert "forgot repository app" in relay("repo", "rm", "app", "--yes").stderr
    assert json.loads(relay("repo", "list", "--json").stdout) == []


def test_a_change_says_what_it_cannot_do(relay: Relay):
    relay("repo", "create", URL)
    assert "nothing is to be changed" in str(relay("repo", "set", "app", code=2).exception)
    assert "url cannot be cleared" in str(relay("repo", "set", "app", "--clear", "url", code=2).exception)
    both = relay("repo", "set", "app", "--setup", "x", "--clear", "setup_script", code=2)
    assert "contradicts" in str(both.exception)


def test_a_project_is_changed_and_its_repositories_too(api: Api, relay: Relay):
    relay("project", "create", "shop", "--working-dir", "app")
    relay("project", "set", "shop", "--name", "store", "--image", "node:22", "--clear", "default_agent_working_dir")
    assert "repositories of store: app" in relay("project", "repo", "store", "--add", URL).stderr
    found = json.loads(relay("project", "show", "store", "--json").stdout)
    assert (found["default_image"], found["default_agent_working_dir"], found["state"]) == ("node:22", None, "ready")
    assert "repositories of store: none" in relay("project", "repo", "store", "--remove", "app").stderr
    assert "either --add or --remove" in str(relay("project", "repo", "store", code=2).exception)


def test_a_task_is_made_started_compared_closed_and_deleted(api: Api, relay: Relay):
    relay("project", "create", "shop", "--repo", URL)
    made = relay("task", "create", "Mend the parser", "--project", "shop", "--start", "--command", "cat", "--json")
    task = json.loads(made.stdout)
    identity = task["id"][:8]
    assert "attempt " in relay("task", "start", identity, "--executor", "codex", "--branch", "app=next").stderr
    compared = relay("task", "attempts", identity).stdout
    assert re.search(r"^\w{8} +Mend the parser +shell +queued +1 +- +- +- +-$", compared, re.MULTILINE)
    assert re.search(r"^\w{8} +Mend the parser +codex +queued ", compared, re.MULTILINE)
    shown = relay("task", "set", identity, "--status", "done").stdout
    assert re.search(r"^status +done$", shown, re.MULTILINE)
    assert relay("task", "start", identity, code=2).exception.code == "task_closed"
    below = relay("task", "create", "Below", "--project", "shop", "--parent", task["workspace_ids"][0], "--json")
    assert json.loads(below.stdout)["parent_workspace_id"] == task["workspace_ids"][0]
    listed = json.loads(relay("task", "list", "--parent", task["workspace_ids"][0], "--json").stdout)
    assert [each["title"] for each in listed] == ["Below"]
    assert "with 2 workspaces" in str(relay("task", "rm", identity, code=2).exception)
    assert f"deleted task {identity}" in relay("task", "rm", identity, "--yes").stderr
    assert "add --start" in str(relay("task", "create", "x", "--project", "shop", "--command", "y", code=2).exception)


def test_a_workspace_is_renamed_pinned_and_archived(api: Api, relay: Relay):
    made = api.run()
    identity = made["workspace_id"][:8]
    changed = json.loads(relay("workspace", "set", identity, "--name", "Two", "--pin", "--json").stdout)
    assert (changed["name"], changed["pinned"]) == ("Two", True)
    assert relay("workspace", "archive", identity, code=2).exception.code == "workspace_busy"
    assert f"{identity} is not archived" in relay("workspace", "archive", identity, "--undo").stderr


def test_hours_of_idle_workspaces_are_set_and_told(api: Api, relay: Relay):
    relay("project", "create", "shop", "--idle-stop-hours", "8")
    shown = relay("project", "set", "shop", "--idle-archive-hours", "0", "--json").stdout
    assert (json.loads(shown)["idle_stop_hours"], json.loads(shown)["idle_archive_hours"]) == (8.0, 0.0)
    assert re.search(
        r"^idle +stop after 8 hours, never archive$", relay("project", "show", "shop").stdout, re.MULTILINE
    )
    relay("project", "set", "shop", "--clear", "idle_stop_hours")
    assert json.loads(relay("project", "show", "shop", "--json").stdout)["idle_stop_hours"] is None

    workspace = api.run()["workspace_id"]
    project = api.get(f"/v1/workspaces/{workspace}").json()["project_id"]
    relay("project", "set", project, "--idle-archive-hours", "24")
    with api.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET state = 'running', updated_at = now() - interval '2 hours'"))
        connection.execute(
            text("UPDATE execution_processes SET status = 'failed', reason = 'user', completed_at = now()")
        )
    told = relay("workspace", "expiry", workspace).stdout
    assert re.search(r"^next +archive in (23h59m|1d00h) \(idle_archive_hours is 24\)$", told, re.MULTILINE)
    relay("workspace", "set", workspace, "--pin")
    assert "nothing: it is pinned" in relay("workspace", "expiry", workspace).stdout
    assert json.loads(relay("workspace", "list", "--archived", "--json").stdout) == []
    assert len(json.loads(relay("workspace", "list", "--not-archived", "--json").stdout)) == 1
    assert json.loads(relay("workspace", "kept", workspace, "--json").stdout) == {"items": []}


def test_an_attempt_starts_from_another_workspace_and_a_project_with_its_first_one(api: Api, relay: Relay):
    made = relay("project", "create", "mall", "--repo", URL, "--first", "Mend it", "--command", "cat", "--json")
    assert json.loads(made.stdout)["first_workspace"]["state"] == "waiting"
    assert re.search(r"^first workspace +waits for the project$", relay("project", "show", "mall").stdout, re.MULTILINE)
    assert "give --first" in str(relay("project", "create", "x", "--command", "cat", code=2).exception)
    source = api.run()["workspace_id"]
    task = api.get(f"/v1/workspaces/{source}").json()["task"]["id"]
    refused = relay("task", "start", task[:8], "--command", "cat", "--from", source[:8], code=2).exception
    assert refused.code == "no_after_state"
    assert "attempt " in relay("task", "start", task[:8], "--command", "cat", "--fresh").stderr
    assert "either --from or --fresh" in str(
        relay("task", "start", task, "--from", source, "--fresh", code=2).exception
    )
    assert "give both" in str(relay("task", "start", task, "--after", source, code=2).exception)
