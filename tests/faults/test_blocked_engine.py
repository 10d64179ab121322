"""A root step can make an engine wait for a file of its container: only that workspace may notice, and its step is ended."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.fault_stack import Stack, fault_relay
from tests.support.own_engine import OwnEngine
from tests.support.relay import Relay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

BLOCK = "rm /etc/passwd; mkfifo /etc/passwd; echo blocked; exec sleep 980"


@pytest.fixture
def there(whole: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A node on an engine of its own, which is to be blocked."""
    short = Path(tempfile.mkdtemp(prefix="relay-"))
    engine = OwnEngine(short)
    engine.start()
    engine.load_images()
    relay = fault_relay(tmp_path_factory.mktemp("node"), whole.postgres, whole.valkey)
    relay.environment["RELAY_API_PORT"] = whole.relay.environment["RELAY_API_PORT"]
    relay.environment["RELAY_DOCKER_HOST"] = engine.host
    relay.http = whole.relay.http
    relay.start("worker")
    yield relay
    relay.kill_9("worker")
    print(relay.log_of("worker")[-8000:])
    engine.end()
    shutil.rmtree(short, ignore_errors=True)


def test_a_fifo_in_place_of_the_accounts(there: Relay, whole: Stack):
    run = there.submit(whole.repo, setup_script=BLOCK, setup_as_root=True, limits={"kill_grace_seconds": 0.5})
    setup = there.wait_step(run, "setup_script", {"running"})
    there.until(lambda: there.log(setup["id"]) == b"blocked\n")
    there.kill(setup["id"])
    began = time.monotonic()
    other = there.submit(whole.repo, "echo other")
    assert [step["status"] for step in there.wait_chain(other)] == ["completed", "completed"]
    ended = there.wait_step(run, "setup_script", {"completed", "failed", "killed"}, 90)
    assert ended["status"] == "killed"
    assert time.monotonic() - began < 60
    assert there.http.delete(f"/v1/workspaces/{run['workspace_id']}").status_code in {200, 202, 204}
    there.until(lambda: "workspace.removed" in _kinds(there, run), 60, "its removal")


def _kinds(there: Relay, run: dict[str, str]) -> list[str]:
    with there.database.connect() as connection:
        statement = text("SELECT kind FROM events WHERE workspace_id = :id")
        return list(connection.scalars(statement, {"id": run["workspace_id"]}))
