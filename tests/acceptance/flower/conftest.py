"""Flower beside the session's Relay, a recorder of Celery's events, and a second node."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from relay_core.queue.celery_app import make_app
from relay_core.settings import Settings
from tests.support.flower import Events, Flower, recording
from tests.support.relay import Relay


@pytest.fixture(scope="package")
def flower(relay: Relay) -> Iterator[Flower]:
    flower = Flower(relay)
    yield flower
    flower.stop()


@pytest.fixture(scope="package")
def celery_app(relay: Relay):
    """The shared app, for publishing and controlling as an outsider does."""
    app = make_app(Settings(redis_url=relay.environment["RELAY_REDIS_URL"]))
    yield app
    app.close()


@pytest.fixture
def events(celery_app, relay: Relay) -> Iterator[Events]:
    with recording(celery_app, relay) as events:
        yield events


@pytest.fixture
def second_node(relay: Relay):
    """Starts a worker that is a node of its own; returns its name for Celery."""
    started: list[subprocess.Popen[bytes]] = []
    data_dir = relay.root / "data2"

    def start() -> str:
        log = (relay.root / "second.log").open("ab")
        environment = {**relay.environment, "RELAY_DATA_DIR": str(data_dir), "RELAY_POOL": "elsewhere"}
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "relay_workers"], env=environment, stdout=log, stderr=log, cwd=relay.root
            )
        )
        node = relay.until(
            lambda: (data_dir / "node_id").exists() and (data_dir / "node_id").read_text().strip(), 30, "a node id"
        )
        return f"w1@{node}"

    yield start
    for process in started:
        process.terminate()
        process.wait(30)
