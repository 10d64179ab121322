"""A workspace moves to a second Relay, with a database, a data directory, an API and a worker of its own, and goes on there."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from relay_stack.services.valkey import EmbeddedValkey
from tests.support.relay import Relay, environment_of, git, step


@pytest.fixture
def target(
    new_database: Callable[[], AbstractContextManager[str]], services_dir: Path, tmp_path: Path
) -> Iterator[Relay]:
    valkey = EmbeddedValkey(services_dir / f"valkey-{tmp_path.name}")
    root = tmp_path / "target"
    root.mkdir()
    with new_database() as database_url:
        environment = environment_of(root, database_url, valkey.start())
        environment["RELAY_CONTAINER_NETWORK"] += "-target"
        relay = Relay(environment, root)
        relay.start("api")
        relay.start("worker")
        yield relay
        print(relay.log_of("worker")[-6000:])
        relay.end()
        valkey.stop()


def migrate(source: Relay, target: Relay, *words: str) -> subprocess.CompletedProcess[str]:
    there = {"RELAY_API_URL": source.api_url, "RELAY_TOKEN": source.token, "RELAY_TARGET_TOKEN": target.token}
    command = [sys.executable, "-m", "relay_cli.main", "migrate", "--to", target.api_url, *words]
    return subprocess.run(command, env=os.environ | there, capture_output=True, text=True, check=False)


def test_a_workspace_goes_on_in_another_relay(relay: Relay, target: Relay, repo: Path):
    command = "echo from the source; printf 'changed\\n' >src/app.py; printf 'raw \\377 bytes' >&2"
    project = relay.http.post("/v1/projects", json={"name": "moving", "repos": [{"url": f"file://{repo}"}]}).json()
    setup = "echo prepared >>.git/prepared; cat .git/prepared"
    run = relay.submit(repo, command, project_id="moving", setup_script=setup, title="Move me")
    agent = relay.wait_chain(run)[-1]
    changed = step(relay, run, run_reason="cleanup_script", script="printf 'not committed\\n' >half.txt; exit 3")
    assert changed["status"] == "failed"
    head = relay.get(f"/v1/workspaces/{run['workspace_id']}/diff")["items"][0]
    git("commit", "-q", "--allow-empty", "-m", "the remote goes on", cwd=repo)

    said = migrate(relay, target, "--project", "moving")
    assert said.returncode == 0, said
    assert target.get("/v1/executions", status="queued")["items"] == []
    [workspace] = target.get("/v1/workspaces")["items"]
    there = {"workspace_id": workspace["id"], "task_id": workspace["task"]["id"]}
    moved = target.executions(there)
    assert [one["status"] for one in moved] == ["completed", "completed", "completed", "failed"]
    for stream in ("stdout", "stderr", "all"):
        assert target.log(moved[2]["id"], stream) == relay.log(agent["id"], stream)
    assert b"raw \xff bytes" in target.log(moved[2]["id"], "stderr")
    assert (
        relay.get(f"/v1/projects/{project['id']}")["remote_project_id"] == target.get("/v1/projects")["items"][0]["id"]
    )
    before = target.get(f"/v1/workspaces/{workspace['id']}/diff")["items"][0]
    assert (before["stat"], before["base_commit"]) == (head["stat"], head["base_commit"])

    answer = target.http.patch(f"/v1/workspaces/{workspace['id']}", json={"archived": False})
    assert answer.status_code == 200, answer.text
    look = "cat src/app.py half.txt; git log --format=%s; git status --porcelain; printf 'more\\n' >more.txt"
    went_on = step(
        target, there, run_reason="coding_agent", executor={"name": "shell", "command": look}, prompt="go on"
    )
    assert went_on["status"] == "completed", (went_on, target.log(went_on["id"]))
    said_there = target.log(went_on["id"], "stdout").decode()
    assert said_there.startswith("changed\nnot committed\n"), said_there
    assert "first" in said_there
    assert "the remote goes on" not in said_there
    later = sorted(target.executions(there)[4:], key=lambda one: one["started_at"])
    assert [one["run_reason"] for one in later] == ["clone", "setup_script", "coding_agent"]
    after = target.get(f"/v1/workspaces/{workspace['id']}/diff")["items"][0]
    assert after["base_commit"] == head["base_commit"]
    assert after["stat"]["files"] == head["stat"]["files"] + 1
    assert after["bundle_problem"] is None
    assert migrate(relay, target, "--project", "moving").returncode == 0
    assert len(target.get("/v1/workspaces")["items"]) == 1
