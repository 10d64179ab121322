"""Masking never changes what things mean: verdicts, names and diffs of a run whose secrets are ordinary words."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.relay import Relay, adopted, git, make_repo, relay_command

pytestmark = pytest.mark.docker

SESSION = "0b8f8f4e-2d62-4a7b-9c1e-6f1d2a3b4c5d"
FRAMES: list[dict[str, Any]] = [
    {"type": "thread.started", "thread_id": SESSION},
    {"type": "turn.started"},
    {"type": "item.completed", "item": {"id": "1", "type": "agent_message", "text": "It is completed."}},
    {"type": "turn.completed", "usage": {"input_tokens": 3, "output_tokens": 1}},
]
AGENT = f"""#!/bin/sh
cd app
cat <<'END'
{chr(10).join(json.dumps(frame) for frame in FRAMES[:3])}
END
mkfifo /workspace/home/gate
cat /workspace/home/gate
git checkout -q -b "is-$APP_STATE"
sed -i s/mode/kind/ conf.yml
head -c 2000 /dev/urandom >new.png
echo "now $APP_STATE" >state
mkdir "$APP_STATE" && echo x >"$APP_STATE/file"
echo more >>../other/README.md
git init -q web && echo x >web/f
echo '{json.dumps(FRAMES[3])}'
"""


def diff_of(relay: Relay, run: dict[str, Any], repo: str) -> bytes:
    """As `relay diff --repo` prints it."""
    return relay_command(relay, "diff", run["workspace_id"], "--repo", repo).stdout.encode("utf-8", "surrogateescape")


def test_an_agents_turn_and_diff_are_what_they_are_whatever_is_masked(relay: Relay, tmp_path: Path):
    repo = make_repo(tmp_path / "app", {"agent.sh": AGENT, "conf.yml": "mode: production\n"})
    (repo / "agent.sh").chmod(0o755)
    git("commit", "-qam", "executable", cwd=repo)
    other = make_repo(tmp_path / "other", {"README.md": "# other\n"})
    run = relay.submit(
        repo,
        repos=[{"url": f"file://{repo}"}, {"url": f"file://{other}"}],
        executor={"name": "codex", "command": "./app/agent.sh"},
        env={"NODE_ENV": "production", "APP_STATE": {"value": "completed", "secret": True}},
    )
    assert run["masked_env"] == ["APP_STATE"]
    agent = relay.wait_step(run, "coding_agent", {"running"})
    gate = relay.data_dir / "workspaces" / run["workspace_id"] / "home" / "gate"
    relay.until(gate.exists)
    relay.kill_9("worker")
    relay.start("worker")
    relay.until(lambda: adopted(relay, agent["id"]), 60, "the adoption")
    gate.write_text("")
    ended = relay.wait_chain(run)[-1]
    assert (ended["status"], ended["error_reason"]) == ("completed", None)

    turn = relay.get(f"/v1/executions/{ended['id']}")["turn"]
    assert (turn["agent_session_id"], turn["summary"]) == (SESSION, "It is *********.")
    assert b"completed" not in relay.log(ended["id"])
    words = [one["text"] for one in relay.get(f"/v1/executions/{ended['id']}/conversation")["items"] if one["text"]]
    assert words == ["It is *********."]

    state = ended["repo_states"][0]
    assert state["branch"] == "is-*********"
    assert state["committed"]
    assert "?? *********/file" in state["summary"]["paths"]
    assert set(state["masked"]) == {"branch", "summary", "patch:*********/file", "patch:state"}
    assert [one["path"] for one in state["omitted"]] == ["web/"]
    assert "web/" in state["problem"]
    events = relay.get(f"/v1/workspaces/{run['workspace_id']}/events")["items"]
    told = [one["payload"] for one in events if one["kind"] == "execution.evidence_problem"]
    assert [one["omitted"] for one in told] == [state["omitted"]]

    app, second = relay.get(f"/v1/workspaces/{run['workspace_id']}/diff")["items"]
    assert (app["applies"], app["masked"]) == (False, ["*********/file", "state"])
    assert (second["applies"], second["masked"], second["omitted"]) == (True, [], [])
    shown = relay_command(relay, "diff", run["workspace_id"])
    assert "secrets are masked in the patch of *********/file, state: it does not make" in shown.stderr
    assert "--repo NAME" in shown.stderr
    patch = diff_of(relay, run, "app")
    assert b"-mode: production\n+kind: production\n" in patch, "an ordinary word is none"
    assert b"GIT binary patch" in patch
    applied = subprocess.run(["git", "apply"], cwd=other, input=diff_of(relay, run, "other"), check=False)
    assert applied.returncode == 0
    assert (other / "README.md").read_text() == "# other\nmore\n"


def test_a_secret_that_is_stored_meanwhile_is_masked_in_what_runs(relay: Relay, repo: Path):
    set_it = ("secret", "set", "TOKEN", "--repo", str(repo))
    relay_command(relay, *set_it, stdin="the first value")
    until_told = "until [ -e /workspace/home/enough ]; do echo another value entirely; sleep 0.1; done; echo the end"
    run = relay.submit(repo, until_told, secrets=["TOKEN"])
    agent = relay.wait_step(run, "coding_agent", {"running"})
    relay.until(lambda: b"another value" in relay.log(agent["id"]))
    relay_command(relay, *set_it, stdin="another value entirely")
    stars = b"*" * len("another value entirely") + b"\n"
    relay.until(lambda: relay.log(agent["id"]).endswith(2 * stars), 30, "masked lines")
    (relay.data_dir / "workspaces" / run["workspace_id"] / "home" / "enough").touch()
    ended = relay.wait_chain(run)[-1]
    assert ended["status"] == "completed"
    before, _, after = relay.log(ended["id"]).partition(stars)
    assert set(before.splitlines()) == {b"another value entirely"}
    assert set(after.splitlines()) == {stars.strip(), b"the end"}, "from the first on, all are masked"
