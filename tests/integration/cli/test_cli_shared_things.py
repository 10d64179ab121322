"""`relay tag`, `relay scratch` and the pictures of `relay image` against a real API."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import Result
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from tests.support.api_fixtures import Api, Worker
from tests.support.pictures import gif, png

Relay = Callable[..., Result]


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])

    def call(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        answer = CliRunner().invoke(app, list(words), input=stdin)
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    return call


def test_tags_are_made_listed_edited_and_deleted(relay: Relay, tmp_path: Path):
    file = tmp_path / "review.md"
    file.write_text("Review the diff.\nSay what is wrong.\n")
    assert "created tag review" in relay("tag", "create", "review", "--file", str(file)).stderr
    relay("tag", "create", "careful", "--content", "Run the tests.")
    assert re.search(r"^[0-9a-f]{8}  review +Review the diff\.", relay("tag", "list").stdout, re.MULTILINE)
    assert [one["tag_name"] for one in json.loads(relay("tag", "list", "--query", "rev", "--json").stdout)] == [
        "review"
    ]
    assert "Say what is wrong." in relay("tag", "show", "@review").stdout
    relay("tag", "edit", "careful", "--rename", "slowly", "--file", "-", stdin="Slowly.")
    assert json.loads(relay("tag", "show", "slowly", "--json").stdout)["content"] == "Slowly."
    assert "add --yes" in str(relay("tag", "rm", "slowly", code=2).exception)
    relay("tag", "rm", "slowly", "--yes")
    assert "there is no tag slowly" in str(relay("tag", "show", "slowly", code=2).exception)


def test_a_wrong_use_of_a_tag_says_what_to_give(relay: Relay, tmp_path: Path):
    assert "--content TEXT or --file FILE" in str(relay("tag", "create", "a", code=2).exception)
    assert "say what to change" in str(relay("tag", "edit", "a", code=2).exception)
    assert "either itself or as a file" in str(
        relay("tag", "create", "a", "--content", "a", "--file", "-", code=2).exception
    )
    assert "cannot be read" in str(relay("tag", "create", "a", "--file", str(tmp_path), code=2).exception)
    assert "NAME: must have 1 to 63" in str(relay("tag", "create", "a b", "--content", "", code=2).exception)


def test_scratch_is_stored_shown_and_deleted(relay: Relay):
    identity = str(uuid4())
    relay("scratch", "set", "workspace_notes", identity, "ask Ann")
    assert "ask Ann" in relay("scratch", "show", "workspace_notes", identity).stdout
    relay("scratch", "set", "ui_preferences", identity, "--payload", '{"preferences": {"sidebar": false}}')
    shown = json.loads(relay("scratch", "show", "ui_preferences", identity, "--json").stdout)
    assert shown["payload"]["preferences"] == {"sidebar": False}
    assert relay("scratch", "list", "--type", "workspace_notes").stdout.count(identity) == 1
    relay("scratch", "rm", "workspace_notes", identity)
    assert "there is no workspace_notes" in str(relay("scratch", "show", "workspace_notes", identity, code=2).exception)
    assert "give --payload JSON" in str(relay("scratch", "set", "ui_preferences", identity, "a", code=2).exception)
    assert "is not JSON" in str(relay("scratch", "set", "ui_preferences", identity, "--payload", "{", code=2).exception)
    assert "JSON object" in str(relay("scratch", "set", "draft_task", identity, "--payload", "[]", code=2).exception)


def test_pictures_are_uploaded_given_to_tasks_saved_and_deleted(relay: Relay, api: Api, tmp_path: Path):
    shot, other, text = tmp_path / "shot.png", tmp_path / "other.gif", tmp_path / "a.txt"
    shot.write_bytes(png())
    other.write_bytes(gif())
    text.write_text("no image")
    run = api.run()
    assert "uploaded shot.png" in relay("image", "add", str(shot), str(other), "--task", run["run_id"][:8]).stderr
    listed = relay("image", "list", "--task", run["workspace_id"]).stdout
    assert re.search(r"^[0-9a-f]{8}  shot\.png +image/png +3x2 +\d+ bytes +1$", listed, re.MULTILINE)
    [first, second] = json.loads(relay("image", "list", "--json").stdout)
    relay("image", "save", first["id"][:8], str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == gif()
    assert "cannot be written" in str(relay("image", "save", first["id"], str(tmp_path / "copy"), code=2).exception)
    assert "image_in_use" in str(relay("image", "rm", first["id"], "--yes", code=2).exception)
    relay("image", "rm", first["id"], "--task", run["task_id"])
    relay("image", "rm", first["id"], "--yes")
    assert [each["id"] for each in json.loads(relay("image", "list", "--json").stdout)] == [second["id"]]
    assert "no picture" in str(relay("image", "rm", "ffffffff", code=2).exception)
    assert f"{text}: these bytes are no PNG" in str(relay("image", "add", str(text), code=2).exception)
    assert "cannot be read" in str(relay("image", "add", str(tmp_path / "missing"), code=2).exception)


def test_a_run_and_a_follow_up_take_pictures_along(relay: Relay, api: Api, tmp_path: Path):
    shot, later = tmp_path / "shot.png", tmp_path / "later.png"
    shot.write_bytes(png())
    later.write_bytes(png(shade=5))
    url = "https://git.example.org/team/app.git"
    said = relay("run", "look", "--repo", url, "--executor", "claude-code", "--attach", str(shot), "--detach", "--json")
    run = json.loads(said.stdout)
    task = api.get(f"/v1/workspaces/{run['workspace_id']}").json()["task_id"]
    worker = Worker(api.database)
    worker.finish(worker.claim(run["current_step"]["execution_id"]))
    worker.ready(run["workspace_id"])
    relay("follow-up", run["id"], "and this", "--attach", str(later), "--detach")
    names = [each["original_name"] for each in api.get(f"/v1/images?task_id={task}").json()["items"]]
    assert names == ["later.png", "shot.png"]
