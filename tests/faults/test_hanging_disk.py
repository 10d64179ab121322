"""A disk of the node that answers nothing, below the logs of its executions: it stops logs, and nothing else."""

import time
from collections.abc import Iterator

import pytest

from tests.support.fault_stack import Stack, fault_relay, lines
from tests.support.hanging_disk import StoppedDisk, hanging, stopped_disk
from tests.support.relay import Relay

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

LEASE_SECONDS, TAIL_SECONDS = 2, 5
"""Of leases and of tails of logs on this node: the disk hangs longer, and afterwards a tail must suffice for the rest."""
LOUD = "i=0; while :; do echo $i; i=$((i+1)); done"
QUIET = "until [ -e /workspace/go ]; do sleep 0.05; done; echo behind; exit 3"


@pytest.fixture(scope="module")
def node(whole: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Relay, StoppedDisk]]:
    """A node with the logs of its executions on a disk of their own; Postgres and the workspaces are elsewhere."""
    root = tmp_path_factory.mktemp("hanging")
    (root / "data").mkdir()
    with stopped_disk(root / "data" / "executions") as disk:
        relay = fault_relay(root, whole.postgres, whole.valkey)
        relay.environment["RELAY_API_PORT"] = whole.relay.environment["RELAY_API_PORT"]
        relay.environment["RELAY_CONTAINER_NETWORK"] += "-hanging"
        relay.environment["RELAY_LEASE_SECONDS"] = str(LEASE_SECONDS)
        relay.environment["RELAY_LOG_TAIL_SECONDS"] = str(TAIL_SECONDS)
        relay.environment["RELAY_LEASE_RENEW_SECONDS"] = "0.5"
        relay.http = whole.relay.http
        relay.start("worker")
        yield relay, disk
        print(relay.log_of("worker")[-8000:])
        relay.end()


def test_kills_and_ends_go_on_and_logs_are_whole_once_it_answers(node: tuple[Relay, StoppedDisk], whole: Stack):
    relay, disk = node
    loud = relay.submit(whole.repo, LOUD, limits={"kill_grace_seconds": 0})
    quiet = relay.submit(whole.repo, QUIET)
    killed, ended = whole.agent(loud, {"running"}), whole.agent(quiet, {"running"})
    whole.wait_log(killed["id"], 1000)
    with hanging(disk):
        began = time.monotonic()
        relay.kill(killed["id"])
        relay.until(lambda: "/bin/sh" not in relay.processes_in(loud), 20, what="the killed step is gone")
        (relay.data_dir / "workspaces" / quiet["workspace_id"] / "go").touch()
        relay.until(lambda: "/bin/sh" not in relay.processes_in(quiet), 20, what="the other step has ended")
        later = relay.submit(whole.repo, "echo later")
        whole.relay.until(
            lambda: time.monotonic() - began > TAIL_SECONDS + LEASE_SECONDS, what="a lease and a tail are over"
        )
        assert [whole.agent(run, {"running"})["id"] for run in (loud, quiet)] == [killed["id"], ended["id"]]
    done = whole.agent(loud)
    assert (done["status"], done["reason"]) == ("killed", "user"), done
    numbers = relay.log(done["id"], "stdout")
    assert lines(numbers.count(b"\n") + 1).startswith(numbers)
    done = whole.agent(quiet)
    assert (done["status"], done["reason"], done["exit_code"]) == ("failed", "exit_code", 3), done
    assert relay.log(done["id"], "stdout") == b"behind\n"
    assert whole.agent(later)["status"] == "completed"
    for run in (loud, quiet, later):
        execution = whole.agent(run)
        assert not execution["logs"]["stdout"]["truncated"], execution
        whole.must_be_whole(execution["id"])
        assert [kind for kind, _ in whole.events(execution["id"])].count("execution.started") == 1
