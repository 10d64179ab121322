"""Kill at every stage: every process of that execution is gone, others of the workspace go on."""

import subprocess

import pytest

from tests.support.relay import Relay, make_repo

pytestmark = pytest.mark.docker

STUBBORN = "trap '' TERM; (trap '' TERM; setsid sh -c 'while :; do sleep 999; done') & while :; do sleep 998; done"


def killed(relay, run, reason):
    execution = relay.wait_step(run, reason, {"completed", "failed", "killed"}, seconds=40)
    execution = relay.get(f"/v1/executions/{execution['id']}")
    assert (execution["status"], execution["reason"]) == ("killed", "user"), execution
    assert relay.get(f"/v1/tasks/{run['task_id']}")["status"] == "inreview"
    return execution


@pytest.mark.parametrize("stage", ["setup_script", "coding_agent"])
def test_a_running_step_with_children_in_sessions_of_their_own(relay: Relay, repo, stage):
    scripts = {"setup_script": {"setup_script": STUBBORN}, "coding_agent": {"command": STUBBORN}}[stage]
    run = relay.submit(
        repo,
        scripts.get("command", "true"),
        limits={"kill_grace_seconds": 1},
        **{k: v for k, v in scripts.items() if k != "command"},
    )
    step = relay.wait_step(run, stage, {"running"})
    relay.until(lambda: "sleep 999" in relay.processes_in(run))
    relay.kill(step["id"])
    relay.kill(step["id"])
    killed(relay, run, stage)
    left = relay.processes_in(run)
    assert "sleep" not in left, left
    assert relay.executions(run)[-1]["id"] == step["id"], "nothing follows a killed step"


def test_a_queued_step(relay: Relay, repo):
    run = relay.submit(repo, "sleep 60")
    relay.wait_step(run, "coding_agent", {"running"})
    body = {"run_reason": "cleanup_script", "script": "echo never"}
    queued = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body).json()["id"]
    relay.kill(queued)
    assert relay.get(f"/v1/executions/{queued}")["status"] == "killed"
    assert relay.get(f"/v1/executions/{queued}")["started_at"] is None
    relay.kill(relay.wait_step(run, "coding_agent", {"running"})["id"])
    killed(relay, run, "coding_agent")


def test_a_clone_that_hangs(relay: Relay, tmp_path):
    """A remote that accepts and says nothing: the git process group is gone after the kill, and no directory is left."""
    server = subprocess.Popen(
        [
            "python3",
            "-c",
            "import socket,time;s=socket.socket();s.bind(('127.0.0.1',0));s.listen();print(s.getsockname()[1],flush=True);time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = server.stdout.readline().strip()
        run = relay.submit(f"http://127.0.0.1:{port}/x.git")
        relay.until(lambda: b"cloning" in relay.log(run["execution_id"]))
        relay.kill(run["execution_id"])
        killed(relay, run, "clone")
        assert (
            f"127.0.0.1:{port}" not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
        )
        assert not (relay.data_dir / "workspaces" / run["workspace_id"]).exists()
    finally:
        server.kill()
        server.wait()


def test_killing_an_agent_leaves_the_dev_server(relay: Relay, tmp_path):
    repo = make_repo(tmp_path / "site", {"index.html": "hi"})
    run = relay.submit(repo, dev_server_script="exec python3 -m http.server $PORT --bind $HOST")
    relay.wait_chain(run)
    relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server")
    relay.until(lambda: (relay.get(f"/v1/workspaces/{run['workspace_id']}").get("dev_server") or {}).get("url"))
    body = {"run_reason": "setup_script", "script": STUBBORN}
    relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body)
    step = relay.wait_step(run, "setup_script", {"running"})
    relay.until(lambda: "sleep 999" in relay.processes_in(run))
    relay.kill(step["id"])
    relay.wait_step(run, "setup_script", {"killed"}, seconds=40)
    left = relay.processes_in(run)
    assert "http.server" in left
    assert "sleep" not in left
    assert relay.wait_step(run, "dev_server", {"running"})
