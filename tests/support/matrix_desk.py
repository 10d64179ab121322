"""Asks one agent through the whole of Relay, and reads its answers."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relay_core.store import page_sessions
from tests.support.matrix_cases import Agent
from tests.support.model_server.server import ModelServer
from tests.support.relay import Relay


class Desk:
    """Asks one agent through the whole of Relay."""

    def __init__(self, relay: Relay, agent: Agent, model: ModelServer, repo: Path, image: str) -> None:
        self.relay, self.agent, self.model, self.repo, self.image = relay, agent, model, repo, image

    def submit(self, prompt: str, **more: Any) -> dict[str, Any]:
        plain = {name: {"value": value, "secret": False} for name, value in self.agent.more_env.items()}
        env = {**self.agent.env(self.model.url), **plain}
        return self.relay.submit(
            self.repo, executor=self.agent.choice, image=self.image, env=env, prompt=prompt, **more
        )

    def turn(self, prompt: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A run to its end: the run, and its agent's execution."""
        run = self.submit(prompt, **more)
        return run, next(one for one in self.relay.wait_chain(run) if one["run_reason"] == "coding_agent")

    def follow_up(self, run: dict[str, Any], prompt: str) -> dict[str, Any]:
        answer = self.relay.http.post(f"/v1/sessions/{run['session_id']}/follow-ups", json={"prompt": prompt})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def ended(self, execution_id: str, seconds: float = 90) -> dict[str, Any]:
        return self.relay.wait_end(execution_id, seconds)

    def busy(self, run: dict[str, Any], command: str) -> None:
        """Wait until it is in the middle of a turn: in a tool call, or where it has none waiting for the model."""
        if self.agent.has_tools:
            self.relay.until(lambda: command in self.relay.processes_in(run), what="the tool call")
        else:
            self.relay.until(lambda: self.model.requests, what="the request to the model")

    def clone(self, run: dict[str, Any]) -> Path:
        """The clone's directory on the node."""
        return self.relay.data_dir / "workspaces" / run["workspace_id"] / "repos" / self.repo.name

    def entries(self, execution: dict[str, Any]) -> list[dict[str, Any]]:
        return self.relay.get(f"/v1/executions/{execution['id']}/conversation")["items"]

    @contextmanager
    def followed(self, run: dict[str, Any], target: Path) -> Iterator[Callable[[], str]]:
        """`relay logs -f` of a run in a process of its own, which ends with the run; what it has printed so far."""
        environment = {**os.environ, "RELAY_API_URL": self.relay.api_url, "RELAY_TOKEN": self.relay.token}
        command = [sys.executable, "-m", "relay_cli.main", "logs", "-f", run["run_id"]]
        with target.open("wb") as out, subprocess.Popen(command, env=environment, stdout=out, stderr=out) as process:
            try:
                yield target.read_text
                assert process.wait(60) == 0, target.read_text()
            finally:
                process.kill()

    def on_the_page(self, execution: dict[str, Any]) -> str:
        """The entries of the page's conversation that a browser asks for, again and again, while the agent works."""
        with self.relay.database.begin() as connection:
            session = page_sessions.sign_in_by_token(connection, self.relay.token)
        cookie = f"relay-session-{self.relay.http.base_url.port}={session}"
        headers = {"Cookie": cookie, "Host": f"localhost:{self.relay.http.base_url.port}"}
        answer = self.relay.http.get(f"/executions/{execution['id']}/entries", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text


def history(execution: dict[str, Any]) -> int:
    """How many prompts the model says to have heard."""
    found = re.search(r"history=(\d+)", execution["turn"]["summary"])
    assert found, execution["turn"]
    return int(found[1])
