"""Every cap has a named end."""

import pytest

from tests.support.relay import Relay

pytestmark = pytest.mark.docker


def agent(relay, run):
    return next(s for s in relay.wait_chain(run) if s["run_reason"] == "coding_agent")


@pytest.mark.parametrize(
    ("command", "limits", "reason"),
    [
        ("sleep 100", {"timeout_seconds": 2}, "timeout"),
        ("echo x; sleep 100", {"no_output_seconds": 2}, "no_output"),
        ("while :; do echo y; done", {"log_bytes": 100_000}, "log_limit"),
        ("python3 -c 'x = bytearray(400_000_000)'", {"memory_bytes": 100_000_000}, "oom"),
        ("head -c 200M /dev/zero >~/large; sleep 100", {"disk_bytes": 100_000_000}, "disk_limit"),
        (
            "exec 3>/var/tmp/gone; rm /var/tmp/gone; head -c 200M /dev/zero >&3; sleep 100",
            {"disk_bytes": 100_000_000},
            "disk_limit",
        ),
        ("cd ~; seq 25000 | xargs touch; sleep 100", {"disk_bytes": 100_000_000}, "disk_limit"),
    ],
)
def test_a_cap_ends_the_run_and_says_which(relay: Relay, repo, command, limits, reason):
    run = relay.submit(repo, command, limits={**limits, "kill_grace_seconds": 1})
    step = agent(relay, run)
    assert (step["status"], step["reason"]) == ("failed", reason), step
    assert "limits." in step["error_reason"]
    assert "sleep" not in relay.processes_in(run)
    if reason == "log_limit":
        assert step["logs"]["all"]["bytes"] == 100_000
        assert step["logs"]["stdout"]["truncated"] is True
        assert len(relay.log(step["id"])) == 100_000


@pytest.mark.proves("T000-10")
def test_limits_show_in_the_container(relay: Relay, repo):
    """T000-10."""
    run = relay.submit(repo)
    relay.wait_chain(run)
    host = relay.container(run).attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (2 << 30, 2 << 30, 2_000_000_000)
    assert host["CapDrop"] == ["ALL"]
    assert host["Privileged"] is False
    assert relay.container(run).labels["relay.workspace_id"] == run["workspace_id"]


def test_missing_command(relay: Relay, repo):
    step = agent(relay, relay.submit(repo, "no-such-command --help"))
    assert (step["status"], step["reason"], step["exit_code"]) == ("failed", "exit_code", 127)
    assert b"not found" in relay.log(step["id"], "stderr")


def test_missing_image(relay: Relay, repo):
    run = relay.submit(repo, image="no-such-image:ever")
    (clone,) = relay.wait_chain(run)
    assert (clone["status"], clone["reason"]) == ("failed", "image_unavailable")
    assert "no-such-image:ever" in clone["error_reason"]
    assert not (relay.data_dir / "workspaces" / run["workspace_id"]).exists()


def test_missing_program(relay: Relay, repo):
    run = relay.submit(repo, executor={"name": "claude-code"}, image="relay-base:latest")
    (clone,) = relay.wait_chain(run)
    assert (clone["status"], clone["reason"]) == ("failed", "program_missing")
    assert "'claude'" in clone["error_reason"]
    assert "npm install" in clone["error_reason"], "it says what to do"
    assert clone["repo_states"] == [] or clone["repo_states"][0]["after_head_commit"] is None


def test_neither_links_nor_holes_count_as_disk_space(relay: Relay, repo):
    """A name of something large is not something large."""
    command = """
        head -c 40M /dev/zero >~/file && ln ~/file ~/once && ln ~/file ~/twice && ln -s / ~/everything
        truncate -s 10G ~/hole
        mkdir -m 0 ~/closed
        sleep 12
    """
    step = agent(relay, relay.submit(repo, command, limits={"disk_bytes": 60_000_000}))
    assert (step["status"], step["reason"]) == ("completed", None), step
