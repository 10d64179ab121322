"""`relay project files`: only regular files are sent, and no command shows their content."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, api_on_a_port, settings_for

URL = "https://git.example.org/team/app.git"
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url, secret_keys=(KEY,))) as api:
        yield api


def test_files_are_stored_listed_and_deleted(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("RELAY_API_URL", str(api.client.base_url).rstrip("/"))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])
    monkeypatch.setenv("COLUMNS", "100")

    def relay(*words: str) -> str:
        answer = CliRunner().invoke(app, list(words))
        if isinstance(answer.exception, CommandFailed):
            assert answer.exception.exit_code == 2
            return str(answer.exception)
        assert answer.exit_code == 0, (answer.output, answer.exception)
        return answer.output

    file = tmp_path / "env"
    file.write_text("TOKEN=of-ann\n")
    file.chmod(0o700)
    relay("project", "create", "shop", "--repo", URL)
    stored = relay("project", "files", "put", "shop", str(file), "--to", "config/.env")
    assert "stored config/.env of app (13 bytes); new workspaces get it" in stored
    assert "stored env of app" in relay("project", "files", "put", "shop", str(file), "--repo", "app")
    listed = relay("project", "files", "list", "shop")
    assert [line.split()[1:3] for line in listed.splitlines()[1:]] == [["app", "config/.env"], ["app", "env"]]
    found = json.loads(relay("project", "files", "list", "shop", "--json"))
    assert [each["executable"] for each in found] == [True, True]
    assert "of-ann" not in stored + listed + str(found)
    assert "add --yes" in relay("project", "files", "rm", "shop", "config/.env")
    assert "deleted config/.env of app" in relay("project", "files", "rm", "shop", "config/.env", "--yes")
    assert "deleted env of app" in relay("project", "files", "rm", "shop", found[1]["id"][:8], "--yes")
    assert "no files" in relay("project", "files", "rm", "shop", "env", "--yes")
    assert "must be relative" in relay("project", "files", "put", "shop", str(file), "--to", "../env")
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "none", "."):
        assert "file" in relay("project", "files", "put", "shop", str(tmp_path / name), "--to", "x")
    assert json.loads(relay("project", "files", "list", "shop", "--json")) == []
