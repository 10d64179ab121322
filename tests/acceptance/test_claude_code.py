"""The whole job with the real Claude Code, on a scripted model server on the workspaces' own bridge."""

import docker
import pytest

from relay_cli.stack.agent_images import AGENT_TAGS, ensure_agent_image
from tests.acceptance.conftest import Relay
from tests.model_server.server import ModelServer

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def image(relay: Relay) -> str:
    ensure_agent_image(docker.from_env(), "claude-code", relay.root / "build")
    return AGENT_TAGS["claude-code"]


@pytest.fixture
def model(relay: Relay, repo):
    """Reachable from containers at their bridge's gateway; the bridge is there once a workspace is."""
    relay.wait_chain(relay.submit(repo))
    bridge = docker.from_env().networks.get(relay.environment["RELAY_CONTAINER_NETWORK"])
    with ModelServer(bridge.attrs["IPAM"]["Config"][0]["Gateway"]) as server:
        yield server


def submit(relay: Relay, repo, image: str, model: ModelServer, prompt: str, **more):
    env = {
        "ANTHROPIC_BASE_URL": {"value": model.url, "secret": False},
        "ANTHROPIC_API_KEY": "test-key-of-ours",
        "CLAUDE_CODE_MAX_RETRIES": {"value": "1", "secret": False},
    }
    return relay.submit(repo, executor={"name": "claude-code"}, image=image, env=env, prompt=prompt, **more)


def test_it_edits_and_commits_and_its_words_are_kept(relay: Relay, repo, image, model):
    write = "echo by-claude > claude.txt && git add -A && git commit -qm 'Add claude.txt'"
    run = submit(
        relay, repo, image, model, f"Please [[run: {write}]] [[say: I added it.]]", cleanup_script="cat claude.txt"
    )
    steps = relay.wait_chain(run)
    assert [(step["run_reason"], step["status"]) for step in steps] == [
        (reason, "completed") for reason in ("clone", "coding_agent", "cleanup_script")
    ]
    agent = steps[1]
    state = agent["repo_states"][0]
    assert state["after_head_commit"] not in (None, state["before_head_commit"])
    assert agent["turn"]["agent_session_id"]
    assert "I added it." in agent["turn"]["summary"]
    assert relay.log(steps[2]["id"], "stdout") == b"by-claude\n"
    patch = relay.http.get(f"/v1/workspaces/{run['workspace_id']}/diff", headers={"Accept": "text/x-diff"}).text
    assert "+by-claude" in patch


def test_an_error_of_the_model_is_the_reason(relay: Relay, repo, image, model):
    agent = relay.wait_chain(submit(relay, repo, image, model, "Please [[error: 400]]"))[-1]
    assert (agent["status"], agent["reason"]) == ("failed", "agent_error")
    assert "400" in agent["error_reason"]


def test_a_kill_in_the_middle_of_a_tool_call_leaves_nothing(relay: Relay, repo, image, model):
    run = submit(
        relay, repo, image, model, "[[run: echo begun; exec tail -f /dev/null]]", limits={"kill_grace_seconds": 2}
    )
    agent = relay.wait_step(run, "coding_agent", {"running"})
    relay.until(lambda: "tail -f" in relay.processes_in(run))
    relay.kill(agent["id"])
    relay.wait_step(run, "coding_agent", {"killed"})
    left = relay.processes_in(run)
    assert "claude" not in left
    assert "tail" not in left
