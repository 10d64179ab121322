"""`relay delegation` against a real API."""

import json
from collections.abc import Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from tests.support.api_fixtures import Api

Relay = Callable[..., Result]


@pytest.fixture
def relay(api: Api, monkeypatch: pytest.MonkeyPatch) -> Relay:
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])

    def call(*words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, ["delegation", *words])
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    return call


def test_a_lease_is_allowed_made_listed_and_released(api: Api, relay: Relay):
    parent, child = (str(api.run()["workspace_id"]) for _ in range(2))
    assert "nothing" in relay("scope", parent).stdout
    assert "no delegable scope" in str(relay("create", parent, child, "src", code=2).exception)
    assert "app:src, app:docs" in relay("allow", parent[:8], "src", "app:docs", "--deny", "src/made").stdout
    assert "reserved delegation" in relay("create", parent, child, "src/parser", "--name", "parser").stderr
    [made] = json.loads(relay("list", "--workspace", child, "--json").stdout)
    assert (made["name"], made["rules"]) == ("parser", [{"repo": "app", "path": "src/parser", "permission": "write"}])
    row = relay("list").stdout.splitlines()[-1]
    assert all(word in row for word in (made["id"], "parser", "reserved", parent[:8], child[:8], "app:src/parser"))
    assert "app:src/parser" in relay("show", made["id"]).stdout
    assert json.loads(relay("scope", child, "--json").stdout)["held"] == made["rules"]
    assert "app:src/parser, app:src/made" in relay("scope", parent).stdout
    assert "is released" in relay("release", made["id"]).stderr
    assert json.loads(relay("show", made["id"], "--json").stdout)["state"] == "released"
    assert "PATH" in str(relay("create", parent, str(api.run()["workspace_id"]), "../x", code=2).exception)


def test_leases_to_read_and_of_the_whole_branch(api: Api, relay: Relay):
    parent, reader, writer = (str(api.run()["workspace_id"]) for _ in range(3))
    relay("allow", parent, ".")
    relay("create", parent, reader, "src", "--read")
    made = json.loads(relay("create", parent, writer, "app:", "--json").stdout)
    assert made["rules"] == [{"repo": "app", "path": "", "permission": "write"}]
    assert "app:." in relay("list").stdout
    assert "app:src (read)" in relay("list").stdout
