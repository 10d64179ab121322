"""A node whose disk runs full: the run that fills it is ended, the others and the worker go on."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.support.fault_stack import Stack, fault_relay, lines, numbered
from tests.support.relay import Relay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

DISK_MIB = 200


@pytest.fixture
def small(whole: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A node whose data directory is a small file system of its own; Postgres is elsewhere."""
    root = tmp_path_factory.mktemp("small")
    data = root / "data"
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "relay-test", data], check=True)
    try:
        relay = fault_relay(root, whole.postgres, whole.valkey)
        relay.environment["RELAY_API_PORT"] = whole.relay.environment["RELAY_API_PORT"]
        relay.environment["RELAY_NODE_MIN_FREE_BYTES"] = str(100 << 20)
        relay.environment["RELAY_NODE_PRESSURE_BYTES"] = str(75 << 20)
        relay.environment["RELAY_CONTAINER_NETWORK"] += "-small"
        relay.http = whole.relay.http
        relay.start("worker")
        yield relay
        print(relay.log_of("worker")[-8000:])
        relay.end()
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)


def test_the_run_that_fills_the_disk_is_ended_and_no_other(small: Relay, whole: Stack):
    quiet = small.submit(whole.repo, numbered(6000))
    whole.agent(quiet, {"running"})
    flood = small.submit(whole.repo, "while head -c 5M /dev/zero; do sleep 0.2; done", limits={"kill_grace_seconds": 1})
    ended = whole.agent(flood)
    assert (ended["status"], ended["reason"]) == ("failed", "disk_pressure"), ended
    other = whole.agent(quiet)
    assert (other["status"], other["reason"]) == ("completed", None)
    assert small.log(other["id"], "stdout") == lines(6000)
    assert small.processes["worker"].poll() is None
    stored = small.log(ended["id"], "stdout")
    assert stored
    assert stored.count(0) == len(stored)
    whole.must_be_whole(ended["id"])


def test_the_workspace_that_grows_is_ended_and_not_the_one_with_the_largest_log(small: Relay, whole: Stack):
    victim = small.submit(whole.repo, f"head -c 20M /dev/zero; {numbered(25000)}")
    whole.agent(victim, {"running"})
    attacker = small.submit(
        whole.repo, "while head -c 4M /dev/zero >>~/file; do sleep 0.3; done", limits={"kill_grace_seconds": 0}
    )
    ended = whole.agent(attacker)
    assert (ended["status"], ended["reason"]) == ("failed", "disk_pressure"), ended
    small.http.delete(f"/v1/workspaces/{attacker['workspace_id']}")
    other = whole.agent(victim)
    assert (other["status"], other["reason"]) == ("completed", None)


def test_a_volume_that_is_full_within_a_moment_loses_output_and_says_so(small: Relay, whole: Stack):
    """Faster than any look at the disk: what could not be written is lost, told, and the end stays true."""
    flood = small.submit(whole.repo, f"head -c {DISK_MIB}M /dev/zero >/workspace/tmp/full; echo behind; exit 3")
    ended = whole.agent(flood)
    assert ended["status"] == "failed"
    assert ended["reason"] in {"exit_code", "disk_pressure"}
    if ended["reason"] == "exit_code":
        assert ended["exit_code"] == 3
    assert small.processes["worker"].poll() is None
    whole.must_be_whole(ended["id"])
