"""Commands of repositories, projects, tasks and workspaces that create and change them, against a real API."""

import json
import re
from collections.abc import Callable

import pytest
from click.testing import Result
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
