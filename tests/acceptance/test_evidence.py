"""What a step leaves in its clone for the next one, whoever it ran as and however it ended."""

from pathlib import Path

import pytest

from tests.support.relay import Relay, step

pytestmark = pytest.mark.docker

ROOTS = "mkdir made && echo x >made/file && git add -A && git commit -qm 'by root' && touch .git/config"
KILLED = "echo y >new && : >.git/index.lock && : >/workspace/home/here && exec sleep 600"
WORKS_ON = "echo z >>made/file && git add -A && git commit -qm 'goes on' && echo w >left"


def test_files_of_root_and_locks_of_a_killed_git_stop_no_later_step(relay: Relay, repo: Path):
    run = relay.submit(repo, KILLED, setup_script=ROOTS, setup_as_root=True)
    agent = relay.wait_step(run, "coding_agent", {"running"})
    relay.until((relay.data_dir / "workspaces" / run["workspace_id"] / "home" / "here").exists)
    relay.kill(agent["id"])
    killed = relay.wait_step(run, "coding_agent", {"killed"})
    assert killed["repo_states"][0]["dirty"]

    body = {"run_reason": "coding_agent", "prompt": "go on", "executor": {"name": "shell", "command": WORKS_ON}}
    ended = step(relay, run, **body)

    assert (ended["status"], ended["error_reason"]) == ("completed", None), relay.log(ended["id"])
    state = ended["repo_states"][0]
    assert (state["problem"], state["dirty"], bool(state["committed"])) == (None, False, True)
    events = relay.get(f"/v1/workspaces/{run['workspace_id']}/events")["items"]
    told = {one["kind"]: one["payload"] for one in events}
    assert told["execution.locks_removed"] == {"repo": "sample", "files": ["index.lock"]}
    assert told["execution.files_given_back"]["files"] >= 3
