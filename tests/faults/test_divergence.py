"""Where disk, engine and record differ: it is shown, and never repaired in silence."""

import shutil

import pytest

from tests.support.fault_stack import Stack, lines, numbered
from tests.support.machine import engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


def workspace(stack: Stack, run: dict[str, str]) -> dict[str, str]:
    return stack.relay.get(f"/v1/workspaces/{run['workspace_id']}")


@pytest.mark.proves("T000-16")
def test_a_container_removed_by_hand_while_nothing_ran(stack: Stack):
    """T000-16: noticed by the next worker, without any step."""
    run = stack.relay.submit(stack.repo)
    stack.relay.wait_chain(run)
    stack.relay.kill_9("worker")
    stack.relay.container(run).remove(force=True)
    stack.relay.start("worker")
    stack.relay.until(lambda: workspace(stack, run)["state"] == "failed", 30)
    assert "removed outside of Relay" in workspace(stack, run)["error_reason"]


@pytest.mark.proves("T000-16")
def test_a_container_removed_by_hand_under_a_run(stack: Stack):
    """T000-16: what it wrote is kept, its end says what happened, its heads are read from the disk."""
    run = stack.relay.submit(stack.repo, numbered(100).removeprefix("exec ") + "\nsleep 1000")
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], len(lines(100)))
    stack.relay.container(run).remove(force=True)
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("failed", "container_missing")
    assert stack.relay.log(agent["id"], "stdout") == lines(100)
    assert ended["repo_states"][0]["after_head_commit"] is not None
    stack.must_be_whole(agent["id"])


def test_a_container_removed_by_hand_while_no_worker_lived(stack: Stack):
    run = stack.relay.submit(stack.repo, numbered(100).removeprefix("exec ") + "\nsleep 1000")
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], len(lines(100)))
    stack.relay.kill_9("worker")
    stack.relay.container(run).remove(force=True)
    stack.relay.start("worker")
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("failed", "container_missing")
    assert stack.relay.log(agent["id"], "stdout") == lines(100)


def test_a_workspace_directory_removed_by_hand_under_a_run(stack: Stack):
    run = stack.relay.submit(stack.repo, "echo before; sleep 1000")
    agent = stack.agent(run, {"running"})
    stack.wait_log(agent["id"], 7)
    stack.relay.kill_9("worker")
    shutil.rmtree(stack.relay.data_dir / "workspaces" / run["workspace_id"])
    stack.relay.start("worker")
    ended = stack.agent(run)
    assert (ended["status"], ended["reason"]) == ("failed", "workspace_gone")
    assert stack.relay.log(agent["id"], "stdout") == b"before\n"
    stack.must_be_whole(agent["id"])


@pytest.mark.proves("T000-17")
def test_a_container_with_our_label_and_no_row_is_reported_and_left(stack: Stack):
    """T000-17."""
    node_id = (stack.relay.data_dir / "node_id").read_text().strip()
    client = engine()
    labels = {"relay.node_id": node_id, "relay.role": "workspace", "relay.workspace_id": "not-a-workspace"}
    stranger = client.containers.create("relay-base:latest", ["true"], labels=labels, network_mode="none")
    try:
        told = lambda: "container_without_workspace" in stack.relay.log_of("worker")  # noqa: E731
        stack.relay.until(told, 20, "the report")
        stranger.reload()
    finally:
        stranger.remove(force=True)


def test_raw_files_are_gone_after_a_crash_between_the_end_and_their_removal(stack: Stack):
    run = stack.relay.submit(stack.repo)
    agent = stack.agent(run)
    data_dir = stack.relay.data_dir
    now = data_dir / "executions" / agent["id"] / "1"
    first_edition = data_dir / "workspaces" / run["workspace_id"] / "runs" / agent["id"] / "1"
    for left in (now, first_edition):
        left.mkdir(parents=True)
        (left / "stdout").write_bytes(b"a secret, unmasked")
    stack.relay.until(lambda: not (now.parent.exists() or first_edition.parent.exists()), 40)
