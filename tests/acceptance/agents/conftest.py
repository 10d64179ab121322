"""The matrix of real agents: a model server that their containers reach, their images, and what was found."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from relay_stack.images.agent_images import AGENT_TAGS, SEVERAL_TAG, ensure_agent_image
from tests.acceptance.agents.cases import AGENTS, Agent
from tests.acceptance.conftest import Relay, make_repo
from tests.agents_wanted import wanted
from tests.model_server.server import ModelServer

FOUND: dict[str, dict[str, str]] = {}
"""{agent: {behaviour: outcome}}"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "agent" in metafunc.fixturenames:
        names = wanted(AGENTS)
        metafunc.parametrize("agent", [AGENTS[name] for name in names], ids=names, scope="session")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    callspec = getattr(item, "callspec", None)
    if callspec is None or "agent" not in callspec.params or (report.when != "call" and report.passed):
        return
    behaviour = item.originalname.removeprefix("test_")  # type: ignore[attr-defined]
    name = next(key for key, agent in AGENTS.items() if agent is callspec.params["agent"])
    result = "does not apply" if report.skipped else ("ok" if report.passed else "FAILED")
    FOUND.setdefault(name, {})[behaviour] = result


def pytest_sessionfinish() -> None:
    if target := os.environ.get("RELAY_TEST_MATRIX_FILE"):
        Path(target).write_text(json.dumps(FOUND))


@pytest.fixture(scope="session")
def bridge(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The gateway of the workspaces' bridge, which is there once a workspace is."""
    relay.wait_chain(relay.submit(make_repo(tmp_path_factory.mktemp("first") / "first", {"a": "b"})))
    network = docker.from_env().networks.get(relay.environment["RELAY_CONTAINER_NETWORK"])
    gateway: str = network.attrs["IPAM"]["Config"][0]["Gateway"]
    return gateway


@pytest.fixture
def model(bridge: str) -> Iterator[ModelServer]:
    with ModelServer(bridge) as server:
        yield server


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
        def final() -> dict[str, Any] | None:
            found = self.relay.get(f"/v1/executions/{execution_id}")
            return found if found["status"] in {"completed", "failed", "killed"} else None

        return self.relay.until(final, seconds, f"the end of {execution_id}")

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


def history(execution: dict[str, Any]) -> int:
    """How many prompts the model says to have heard."""
    found = re.search(r"history=(\d+)", execution["turn"]["summary"])
    assert found, execution["turn"]
    return int(found[1])


@pytest.fixture
def desk(relay: Relay, agent: Agent, model: ModelServer, repo: Path) -> Desk:
    ensure_agent_image(docker.from_env(), agent.image, relay.root / "build")
    return Desk(relay, agent, model, repo, AGENT_TAGS.get(agent.image, SEVERAL_TAG))
