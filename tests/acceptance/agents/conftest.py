"""The matrix of real agents: a model server that their containers reach, their images, and what was found."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from relay_stack.images.agent_images import AGENT_TAGS, SEVERAL_TAG, build_agents_image
from tests.support.agents_wanted import wanted
from tests.support.machine import engine, machine_lock
from tests.support.matrix_cases import AGENTS, Agent
from tests.support.matrix_desk import Desk
from tests.support.model_server.server import ModelServer
from tests.support.relay import Relay, make_repo

MATRIX_FILE = os.environ.get("RELAY_TEST_MATRIX_FILE")
"""File for what was found; None outside `scripts/agent-matrix`."""
FOUND: dict[str, dict[str, str]] = {}
"""{agent: {behaviour: outcome}}"""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "agent" in metafunc.fixturenames:
        needed = [ability for mark in metafunc.definition.iter_markers("agents_that") for ability in mark.args]
        names = [name for name in wanted(AGENTS) if all(getattr(AGENTS[name], ability) for ability in needed)]
        for name in set(wanted(AGENTS)) - set(names):
            FOUND.setdefault(name, {})[_behaviour(metafunc.definition)] = "does not apply"
        metafunc.parametrize("agent", [AGENTS[name] for name in names], ids=names, scope="session")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    callspec = getattr(item, "callspec", None)
    if callspec is None or "agent" not in callspec.params or (report.when != "call" and report.passed):
        return
    name = next(key for key, agent in AGENTS.items() if agent is callspec.params["agent"])
    FOUND.setdefault(name, {})[_behaviour(item)] = "ok" if report.passed else "FAILED"


def _behaviour(item: pytest.Item) -> str:
    name: str = item.originalname  # type: ignore[attr-defined]
    return name.removeprefix("test_")


def pytest_collection_finish() -> None:
    """For the matrix, images are built before the first test: a download takes longer than a test may."""
    if MATRIX_FILE:
        for name in wanted(AGENTS):
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as logs:
                built = build_agents_image(engine(), AGENTS[name].image.split(), Path(logs))
            print(f"{built.tag}: {built.size / 1e6:.0f} MB, after {time.monotonic() - began:.0f} s", flush=True)


def pytest_sessionfinish() -> None:
    if MATRIX_FILE:
        Path(MATRIX_FILE).write_text(json.dumps(FOUND))


@pytest.fixture(scope="package")
def bridge(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The gateway of the workspaces' bridge, which is there once a workspace is."""
    relay.wait_chain(relay.submit(make_repo(tmp_path_factory.mktemp("first") / "first", {"a": "b"})))
    network = engine().networks.get(relay.environment["RELAY_CONTAINER_NETWORK"])
    gateway: str = network.attrs["IPAM"]["Config"][0]["Gateway"]
    return gateway


@pytest.fixture
def model(bridge: str) -> Iterator[ModelServer]:
    with ModelServer(bridge) as server:
        yield server


@pytest.fixture
def desk(relay: Relay, agent: Agent, model: ModelServer, repo: Path) -> Desk:
    with machine_lock("images"):
        build_agents_image(engine(), agent.image.split(), relay.root / "build")
    return Desk(relay, agent, model, repo, AGENT_TAGS.get(agent.image, SEVERAL_TAG))
