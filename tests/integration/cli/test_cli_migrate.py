"""`relay migrate` from one Relay to another: two APIs, each with a database of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from relay_cli.errors import CommandFailed
from relay_cli.main import app
from relay_core.store import tokens
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api, Worker, api_on_a_port, settings_for
from tests.support.migrating import PIECES, History, differing, history, listed, made, shown
from tests.support.published import Published


@dataclass
class Two:
    """A source with a history, and a target."""

    source: Api
    target: Api
    there: History
    monkeypatch: pytest.MonkeyPatch

    def migrate(self, *words: str, code: int = 0, who: str = "ann") -> Result:
        self.monkeypatch.setenv("RELAY_TARGET_TOKEN", self.target.tokens[who])
        return self.call(*words, code=code)

    def call(self, *words: str, code: int = 0) -> Result:
        answer = CliRunner().invoke(app, ["migrate", "--to", url_of(self.target), "--wait", "0.3", *words])
        failed = answer.exception if isinstance(answer.exception, CommandFailed) else None
        assert (failed.exit_code if failed else answer.exit_code) == code, (answer.output, answer.exception)
        return answer

    def states(self) -> list[tuple[str, str, int]]:
        """Kind, status and number of attempts of each entity."""
        order = ["project", "task", "workspace", "pr_merge"]
        found = [(one["entity_type"], one["status"], one["attempt_count"]) for one in self.state_items()]
        return sorted(found, key=lambda one: order.index(one[0]))

    def state_items(self) -> list[dict[str, Any]]:
        return listed(self.source, "/v1/migrations")

    def origin(self) -> str:
        """The id of the source."""
        return str(self.source.get("/v1/migrations/installation").json()["id"])

    def forget(self) -> None:
        with self.source.database.begin() as connection:
            connection.execute(text("DELETE FROM migration_states"))

    def new_owner(self, name: str) -> None:
        with self.target.database.begin() as connection:
            scopes = ["runs:read", "runs:write"]
            self.target.tokens[name] = tokens.create(connection, name=name, owner=name, scopes=scopes)[1]


def url_of(api: Api) -> str:
    return str(api.client.base_url).rstrip("/")


@contextmanager
def a_database(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[tuple[Database, str]]:
    with new_database() as url:
        database = Database(create_engine(url), Published())
        yield database, url
        database.dispose()


@pytest.fixture
def two(
    api: Api,
    redis_url: str,
    new_database: Callable[[], AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Two]:
    monkeypatch.setenv("RELAY_API_URL", url_of(api))
    monkeypatch.setenv("RELAY_TOKEN", api.tokens["ann"])
    monkeypatch.setenv("COLUMNS", "160")
    there = history(api, Worker(api.database))
    with a_database(new_database) as (database, url), api_on_a_port(database, settings_for(url, redis_url)) as target:
        yield Two(api, target, there, monkeypatch)


DONE = [("project", "migrated", 1), ("task", "migrated", 1), ("workspace", "migrated", 1), ("pr_merge", "migrated", 1)]


def test_all_arrives_once_with_its_history(two: Two):
    before = shown(two.source)
    assert json.loads(two.migrate("--dry-run", "--json").stdout) == {
        "projects": 1,
        "tasks": 1,
        "workspaces": 1,
        "pr_merges": 1,
    }
    assert two.states() == []
    said = two.migrate()
    assert "project" in said.stderr
    assert "shop → " in said.stderr
    assert two.states() == DONE
    assert differing(shown(two.target), before) == []
    assert shown(two.source) == before
    workspace = listed(two.target, "/v1/workspaces")[0]
    assert (workspace["archived"], workspace["state"], workspace["node_id"]) == (True, "stopped", None)
    assert workspace["imported_from"] == two.origin()
    executions = two.target.get(f"/v1/workspaces/{workspace['id']}/executions").json()["items"]
    agent = two.target.get(f"/v1/executions/{executions[-1]['id']}").json()
    assert agent["turn"]["agent_session_id"] is None, "the agent's own files stay on the node of the source"
    events = two.target.get(f"/v1/workspaces/{workspace['id']}/events").json()["items"]
    assert events[-1]["kind"] == "workspace.imported"
    source = two.source.get(f"/v1/projects/{two.there.project}").json()
    assert source["remote_project_id"] == listed(two.target, "/v1/projects")[0]["id"]
    assert two.target.database.publisher.messages == [], "nothing of it is work of the target"
    two.migrate()
    assert two.states() == DONE
    assert differing(shown(two.target), before) == []
    two.forget()  # as of a client that has lost the answers of the target
    two.migrate()
    assert differing(shown(two.target), before) == []
    with two.target.database.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM transfer_parts")) == 0


class Killed(BaseException):
    """Takes the place of SIGKILL in this process: no handler of the command catches it."""


COUNTED = """
    SELECT (SELECT count(*) FROM projects WHERE created_by = :owner), (SELECT count(*) FROM tasks WHERE created_by = :owner),
      (SELECT count(*) FROM merges WHERE created_by = :owner), count(DISTINCT w.id), count(e.id),
      (SELECT count(*) FROM runs WHERE owner = :owner), (SELECT count(*) FROM transfer_parts WHERE created_by = :owner),
      (SELECT sum(s.bytes) FROM log_streams s JOIN execution_processes x ON x.id = s.execution_id
        WHERE x.created_by = :owner),
      (SELECT count(*) FROM events v JOIN workspaces o ON o.id = v.workspace_id WHERE o.created_by = :owner)
    FROM workspaces w JOIN execution_processes e ON e.workspace_id = w.id WHERE w.created_by = :owner
    """


def test_a_migration_goes_on_wherever_it_was_interrupted(two: Two):
    send, last, sent = httpx.Client.send, 0, 0

    def counted(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        nonlocal sent
        answer = send(client, request, **options)
        sent += request.method != "GET"  # after one that only reads, all is as before it
        if sent == last:
            answer.read()
            raise Killed
        return answer

    found, ended = {}, False
    while not ended:
        last, sent, owner = last + 1, 0, f"owner{last}"
        two.new_owner(owner)
        two.forget()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(httpx.Client, "send", counted)
            try:
                two.migrate(who=owner)
            except Killed:
                ended = False
            else:
                ended = True
        two.migrate(who=owner)
        states = two.states()
        assert [(kind, status) for kind, status, _ in states] == [one[:2] for one in DONE], last
        assert max(attempts for _, _, attempts in states) <= 2, last
        with two.target.database.connect() as connection:
            found[last] = tuple(connection.execute(text(COUNTED), {"owner": owner}).one())
    assert last > 12
    assert set(found.values()) == {found[last]}, found
    assert found[last][:4] == (1, 1, 1, 1)
    assert found[last][6] == 0, "no part is left"


KILLED = """
import os, signal, httpx

send = httpx.Client.send


def killed(client, request, **options):
    answer = send(client, request, **options)
    if request.method == "PATCH":
        answer.read()
        os.kill(os.getpid(), signal.SIGKILL)
    return answer


httpx.Client.send = killed
from relay_cli.main import main

main()
"""


def test_a_client_that_is_killed_between_two_entities_is_continued_by_another(two: Two, tmp_path: Path):
    before = shown(two.source)
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    command = [sys.executable, str(program), "migrate", "--to", url_of(two.target)]
    for ended in range(1, 4):
        environment = os.environ | {"RELAY_TARGET_TOKEN": two.target.tokens["ann"]}
        killed = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed
        assert [status for _, status, _ in two.states()].count("migrated") == ended
    two.migrate()
    assert two.states() == DONE
    assert differing(shown(two.target), before) == []


def test_a_target_that_goes_away_is_waited_for_and_the_next_command_goes_on(
    two: Two, redis_url: str, new_database: Callable[[], AbstractContextManager[str]]
):
    before = shown(two.source)
    send, imports = httpx.Client.send, 0
    with ExitStack() as at_the_end, a_database(new_database) as (database, url):
        settings = settings_for(url, redis_url)
        served = at_the_end.enter_context(ExitStack())
        target = two.target = served.enter_context(api_on_a_port(database, settings))

        def counted(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
            nonlocal imports
            imports += request.url.path.endswith("/imports")
            if imports == 3:
                served.close()
            return send(client, request, **options)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(httpx.Client, "send", counted)
            assert "does not answer" in str(two.migrate(code=1).exception)
        assert [status for _, status, _ in two.states()] == ["migrated", "migrated", "pending", "pending"]
        port = target.client.base_url.port
        assert port is not None
        at_the_end.enter_context(api_on_a_port(database, settings, port))
        two.call("--status")
        with api_on_a_port(database, settings) as again:
            again.tokens["ann"] = target.tokens["ann"]
            two.target = again
            two.migrate()
            assert shown(again) == before


def test_a_refused_token_ends_it_and_says_why(two: Two):
    two.monkeypatch.setenv("RELAY_TARGET_TOKEN", "relay_wrong")
    assert "refuses the token" in str(two.call(code=1).exception)
    assert two.states() == []
    refused = two.migrate(who="reader", code=1)
    assert "it needs the scope runs:write" in str(refused.exception)
    assert two.states()[0] == ("project", "failed", 1)
    two.monkeypatch.delenv("RELAY_TARGET_TOKEN")
    assert "give a token" in str(two.call(code=2).exception)
    assert "no credentials" in str(CliRunner().invoke(app, ["migrate", "--to", "http://a:b@example.org"]).exception)


def test_a_project_whose_name_is_taken_fails_and_the_rest_of_it_is_skipped(two: Two):
    taken = made(two.target, "/v1/projects", {"name": "shop"})
    failed = two.migrate(code=1)
    assert "4 of 4 are not migrated" in str(failed.exception)
    assert "you have a project of this name" in failed.stdout
    assert two.states()[0] == ("project", "failed", 1)
    assert [status for _, status, _ in two.states()[1:]] == ["skipped"] * 3
    assert "is not migrated" in next(one["error_message"] for one in two.state_items() if one["entity_type"] == "task")
    shown_again = json.loads(two.call("--status", "--json").stdout)
    assert shown_again["counts"]["project"] == {"pending": 0, "migrated": 0, "failed": 1, "skipped": 0}
    two.target.patch(f"/v1/projects/{taken['id']}", {"name": "other"})
    two.migrate()
    assert two.states() == [(kind, status, 2) for kind, status, _ in DONE]


def test_what_has_not_ended_is_left_for_the_next_time(two: Two):
    body = {"run_reason": "cleanup_script", "script": "true"}
    step = made(two.source, f"/v1/workspaces/{two.there.workspace}/executions", body)
    failed = two.migrate(code=1)
    assert "wait for its end or kill it" in failed.stdout
    assert ("workspace", "failed", 1) in two.states()
    assert two.source.post(f"/v1/executions/{step['id']}/kill").status_code == 202
    two.migrate()
    assert [status for _, status, _ in two.states()] == ["migrated"] * 4
    assert differing(shown(two.target), shown(two.source)) == []


def test_one_project_is_moved_without_the_others(two: Two):
    made(two.source, "/v1/projects", {"name": "other"})
    two.migrate("--project", "shop")
    assert [one["name"] for one in listed(two.target, "/v1/projects")] == ["shop"]
    two.migrate()
    assert [one["name"] for one in listed(two.target, "/v1/projects")] == ["shop", "other"]
    ann, bob = listed(two.source, "/v1/migrations"), listed(two.source, "/v1/migrations", "bob")
    assert (len(ann), bob) == (5, [])
    assert two.source.get(f"/v1/migrations/{ann[0]['id']}", "bob").status_code == 404


def test_an_admin_moves_with_states_of_his_own(two: Two):
    made(two.source, "/v1/projects", {"name": "of bob"}, "bob")
    target = {"target_id": two.target.get("/v1/migrations/installation").json()["id"], "target_url": url_of(two.target)}
    made(two.source, "/v1/migrations", target)
    made(two.source, "/v1/migrations", target, "bob")
    before = {who: listed(two.source, "/v1/migrations", who) for who in ("ann", "bob")}
    two.monkeypatch.setenv("RELAY_TOKEN", two.source.tokens["admin"])
    two.migrate(who="admin")
    assert {who: listed(two.source, "/v1/migrations", who) for who in ("ann", "bob")} == before
    all_states = listed(two.source, "/v1/migrations", "admin")
    root = [one["status"] for one in all_states if one["created_by"] == "root"]
    assert (len(all_states), root) == (10, ["migrated"] * 5)
    path = f"/v1/migrations/{before['ann'][0]['id']}"
    assert two.source.get(path, "admin").status_code == 200
    assert two.source.post(f"{path}/attempts", None, "admin").status_code == 404
    outcome = {"status": "failed", "error_message": "x"}
    assert two.source.patch(path, outcome, "admin").status_code == 404
    two.monkeypatch.setenv("RELAY_TOKEN", two.source.tokens["ann"])
    two.migrate()
    assert two.states() == DONE
    assert differing(shown(two.target), shown(two.source)) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [((404, {"code": "not_found"}), "too old"), ((200, {"id": "0" * 32, "version": "9", "formats": [7]}), "upgrade")],
)
def test_a_target_of_another_version_is_refused(two: Two, answer: tuple[int, dict[str, Any]], words: str):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(answer[1]).encode()
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    two.monkeypatch.setenv("RELAY_TARGET_TOKEN", "any")
    refused = CliRunner().invoke(app, ["migrate", "--to", f"http://127.0.0.1:{server.server_port}"])
    server.shutdown()
    server.server_close()
    assert words in str(refused.exception)
    assert two.states() == []


def test_bytes_that_are_not_those_of_the_source_are_refused(two: Two):
    assert len(PIECES) == 4
    with two.source.database.begin() as connection:
        changed = "UPDATE log_streams SET sha256 = repeat('0', 64) WHERE stream = 'stdout' AND bytes > 0"
        connection.execute(text(changed))
    failed = two.migrate(code=1)
    assert "has not the bytes that it has in the source" in failed.stdout
    assert listed(two.target, "/v1/workspaces") == []
