"""A node with room for two: what comes in a burst waits and says why; a node that drains stays closed."""

from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import text

from tests.support.fault_stack import Stack, fault_relay
from tests.support.relay import Relay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

ROOM = 2
RUNS = 6


@pytest.fixture(scope="module")
def narrow(whole: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A node with room for two workspaces, beside the API of the stack; no other one is online."""
    relay = fault_relay(tmp_path_factory.mktemp("narrow"), whole.postgres, whole.valkey)
    relay.environment |= {
        "RELAY_API_PORT": whole.relay.environment["RELAY_API_PORT"],
        "RELAY_NODE_MAX_WORKSPACES": str(ROOM),
    }
    relay.http = whole.relay.http
    relay.start("worker")
    relay.until(lambda: [one["liveness"] for one in relay.get("/v1/nodes")["items"]].count("online") == 1, 60)
    yield relay
    relay.end()


def most_at_once(relay: Relay, runs: list[dict[str, str]]) -> int:
    """Workspaces that were at work at the same time, from their first step to their last."""
    with relay.database.connect() as connection:
        spans = connection.execute(
            text(
                "SELECT min(started_at) AS began, max(completed_at) AS ended FROM execution_processes "
                "WHERE workspace_id = ANY(CAST(:ids AS uuid[])) GROUP BY workspace_id"
            ),
            {"ids": [run["workspace_id"] for run in runs]},
        ).all()
    return max(sum(other.began <= one.began < other.ended for other in spans) for one in spans)


def test_a_burst_takes_no_more_room_than_there_is_and_the_rest_says_why_it_waits(narrow: Relay, whole: Stack):
    runs = [narrow.submit(whole.repo, "sleep 1", setup_script="sleep 1") for _ in range(RUNS)]
    last = f"/v1/executions/{runs[-1]['execution_id']}"
    why = narrow.until(lambda: (narrow.get(last)["queue"] or {}).get("waits"), 30, "why the last one waits")
    assert why == f"no node has room ({ROOM} of {ROOM} workspaces are at work)"
    for run in runs:
        assert [step["status"] for step in narrow.wait_chain(run, 120)] == ["completed"] * 3
    assert most_at_once(narrow, runs) == ROOM


def test_a_draining_node_stays_closed_when_its_worker_starts_again(narrow: Relay, whole: Stack):
    node_id = (narrow.data_dir / "node_id").read_text().strip()
    assert narrow.http.post(f"/v1/nodes/{node_id}/drain").status_code == 200
    process = narrow.processes["worker"]
    narrow.stop("worker")
    assert process.returncode == 0, "it was told to go"
    run = narrow.submit(whole.repo, "true")
    narrow.start("worker")
    with redis.Redis.from_url(whole.valkey.url) as client:
        narrow.until(lambda: 'why="it is draining"' in narrow.log_of("worker"), 20, "the worker has looked")
        assert client.llen("relay:pool.default") == 0, "no message is sent before a node can take it"
    [clone] = narrow.executions(run)
    assert clone["status"] == "queued"
    assert narrow.get(f"/v1/executions/{clone['id']}")["queue"]["waits"] == f"no node has room ({node_id} is draining)"
    assert narrow.http.post(f"/v1/nodes/{node_id}/undrain").status_code == 200
    assert [step["status"] for step in narrow.wait_chain(run, 60)] == ["completed"] * 2
