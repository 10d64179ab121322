"""Stop, resume and retry on real containers; and a node that comes back after its run was given up."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.settings import Settings
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database
from relay_workers.execution.step_log import stored_ends
from relay_workers.maintenance import presence
from relay_workers.maintenance.reaper import Reaper
from relay_workers.metrics import Metrics
from tests.support.published import Published
from tests.support.relay import Relay, git, make_repo

pytestmark = pytest.mark.docker

SERVE = "exec python3 -m http.server $PORT --bind $HOST"
ONCE_BROKEN = "test -f $HOME/tried || { touch $HOME/tried; echo not yet; exit 7; }; echo now it works"


def cli(relay: Relay, *words: str) -> str:
    env = relay.environment | {"RELAY_API_URL": str(relay.http.base_url), "RELAY_TOKEN": relay.token}
    command = [sys.executable, "-m", "relay_cli.main", *words]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def workspace(relay: Relay, run: dict) -> dict:
    return relay.get(f"/v1/workspaces/{run['workspace_id']}")


def ask(relay: Relay, run: dict, what: str) -> dict:
    answer = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/{what}")
    assert answer.status_code == 202, answer.text
    return answer.json()


def settled(relay: Relay, run: dict, state: str) -> dict:
    return relay.wait_state(run, state, 30)


def add_step(relay: Relay, run: dict, script: str, reason: str = "cleanup_script") -> dict:
    body = {"run_reason": reason, "script": script}
    answer = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/executions", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


def ended(relay: Relay, execution_id: str) -> dict:
    return relay.wait_end(execution_id)


def retried(relay: Relay, execution_id: str, **body) -> dict:
    answer = relay.http.post(f"/v1/executions/{execution_id}/retry", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()


@pytest.mark.proves("T000-15")
def test_a_stopped_workspace_resumes_as_it_was(relay: Relay, repo):
    """T000-15: same container id and same files; two resumes make one transition, and start the container once."""
    run = relay.submit(repo, "echo kept > uncommitted.txt", auto_commit=False)
    relay.wait_chain(run)
    before = relay.container(run)
    stopped = json.loads(cli(relay, "stop", run["workspace_id"], "--json"))
    assert stopped["requested_state"] == "stopped"
    ask(relay, run, "stop")
    settled(relay, run, "stopped")
    assert relay.container(run).status == "exited"
    ask(relay, run, "resume")
    settled(relay, run, "running")
    started = relay.container(run).attrs["State"]["StartedAt"]
    assert "running" in subprocess_note(relay, "resume", run["workspace_id"])
    after = relay.container(run)
    assert (after.id, after.status) == (before.id, "running")
    step = ended(relay, add_step(relay, run, "cat uncommitted.txt")["id"])
    assert step["status"] == "completed", step
    assert relay.log(step["id"], "stdout") == b"kept\n"
    assert relay.container(run).attrs["State"]["StartedAt"] == started
    items = relay.get(f"/v1/workspaces/{run['workspace_id']}/events", limit=500)["items"]
    states = [one["payload"]["state"] for one in items if one["kind"] == "workspace.state_changed"]
    assert states == ["running", "stopped", "running"]


def subprocess_note(relay: Relay, *words: str) -> str:
    env = relay.environment | {"RELAY_API_URL": str(relay.http.base_url), "RELAY_TOKEN": relay.token}
    done = subprocess.run(
        [sys.executable, "-m", "relay_cli.main", *words], env=env, check=True, capture_output=True, text=True
    )
    return done.stderr


def test_a_stop_ends_agent_and_dev_server_and_what_waits_goes_on_after_the_resume(relay: Relay, tmp_path):
    repo = make_repo(tmp_path / "site", {"index.html": "hi"})
    run = relay.submit(repo, "sleep 300", dev_server_script=SERVE, limits={"kill_grace_seconds": 1})
    agent = relay.wait_step(run, "coding_agent", {"running"})
    relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server").raise_for_status()
    relay.until(lambda: (workspace(relay, run).get("dev_server") or {}).get("url"))
    waiting = add_step(relay, run, "echo at last")
    ask(relay, run, "stop")
    settled(relay, run, "stopped")
    assert ended(relay, agent["id"])["reason"] == "user"
    assert relay.wait_step(run, "dev_server", {"killed"})
    assert relay.container(run).status == "exited"
    assert relay.get(f"/v1/executions/{waiting['id']}")["status"] == "queued"
    ask(relay, run, "resume")
    assert ended(relay, waiting["id"])["status"] == "completed"
    assert relay.log(waiting["id"]) == b"at last\n"


def test_a_stopped_workspace_is_removed_when_it_is_deleted(relay: Relay, repo):
    run = relay.submit(repo)
    relay.wait_chain(run)
    ask(relay, run, "stop")
    settled(relay, run, "stopped")
    directory = relay.data_dir / "workspaces" / run["workspace_id"]
    assert directory.is_dir()
    relay.http.delete(f"/v1/workspaces/{run['workspace_id']}").raise_for_status()
    relay.until(lambda: not directory.exists(), 30, "the directory's removal")


def test_a_retried_setup_goes_on_to_the_agent(relay: Relay, repo):
    run = relay.submit(repo, "echo the agent", setup_script=ONCE_BROKEN)
    setup = relay.wait_step(run, "setup_script", {"failed"})
    assert setup["exit_code"] == 7
    again = json.loads(cli(relay, "retry", setup["id"], "--json"))
    assert again["retry_of"] == setup["id"]
    assert ended(relay, again["id"])["status"] == "completed"
    agent = relay.wait_step(run, "coding_agent", {"completed", "failed"})
    assert (agent["status"], relay.log(agent["id"])) == ("completed", b"the agent\n")
    assert relay.log(setup["id"]) == b"not yet\n", "what was, stays"


def test_an_agent_runs_again_only_on_request_and_finds_its_files(relay: Relay, repo):
    run = relay.submit(repo, "echo once >> notes.txt; wc -l < notes.txt; test $(wc -l < notes.txt) -gt 1")
    agent = relay.wait_step(run, "coding_agent", {"failed"})
    refused = relay.http.post(f"/v1/executions/{agent['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "agent_not_confirmed")
    again = ended(relay, retried(relay, agent["id"], run_agent_again=True)["id"])
    assert (again["status"], relay.log(again["id"], "stdout")) == ("completed", b"2\n")


def test_a_workspace_whose_container_was_removed_is_prepared_again_with_its_work(relay: Relay, repo):
    run = relay.submit(repo, "echo work > work.txt", auto_commit=False)
    relay.wait_chain(run)
    base = workspace(relay, run)["repos"][0]["base_commit"]
    (repo / "later.txt").write_text("later")
    git("add", "-A", cwd=repo)
    git("commit", "-qm", "later", cwd=repo)
    relay.container(run).remove(force=True)
    lost = ended(relay, add_step(relay, run, "true")["id"])
    assert lost["reason"] == "container_missing"
    assert workspace(relay, run)["state"] == "failed"
    clone = ended(relay, ask(relay, run, "retry")["id"])
    assert clone["status"] == "completed", relay.log(clone["id"])
    settled(relay, run, "running")
    step = ended(relay, retried(relay, lost["id"])["id"])
    assert step["status"] == "completed"
    read = ended(relay, add_step(relay, run, "cat work.txt; git rev-parse HEAD")["id"])
    assert relay.log(read["id"], "stdout").decode() == f"work\n{base}\n"
    assert workspace(relay, run)["repos"][0]["base_commit"] == base


def test_a_retry_that_fails_keeps_the_work(relay: Relay, repo, tmp_path):
    run = relay.submit(repo, "echo work > work.txt", auto_commit=False)
    relay.wait_chain(run)
    relay.container(run).remove(force=True)
    ended(relay, add_step(relay, run, "true")["id"])
    repo.rename(tmp_path / "away")
    assert ended(relay, ask(relay, run, "retry")["id"])["reason"] == "clone_failed"
    work = relay.data_dir / "workspaces" / run["workspace_id"] / "repos" / "sample" / "work.txt"
    assert work.read_text() == "work\n"
    (tmp_path / "away").rename(repo)
    assert ended(relay, ask(relay, run, "retry")["id"])["status"] == "completed"
    assert work.read_text() == "work\n"


def test_a_clone_that_failed_is_retried_with_the_whole_chain(relay: Relay, tmp_path):
    path = tmp_path / "late"
    run = relay.submit(path, "cat README.md")
    assert ended(relay, run["execution_id"])["reason"] == "clone_failed"
    assert workspace(relay, run)["state"] == "failed"
    make_repo(path, {"README.md": "# here\n"})
    ask(relay, run, "retry")
    agent = relay.wait_step(run, "coding_agent", {"completed", "failed"})
    assert (agent["status"], relay.log(agent["id"])) == ("completed", b"# here\n")


@pytest.mark.proves("T003-29")
def test_a_node_that_returns_touches_nothing_of_a_lost_run_and_ends_its_processes(relay: Relay, repo):
    """T003-29 on the real thing: the worker stands still, its run is reaped by another, then it wakes up."""
    run = relay.submit(repo, "echo before; sleep 987")
    agent = relay.wait_step(run, "coding_agent", {"running"})
    relay.until(lambda: relay.log(agent["id"]) == b"before\n" and "sleep 987" in relay.processes_in(run))
    relay.processes["worker"].send_signal(signal.SIGSTOP)
    try:
        with relay.database.begin() as connection:
            long_ago = "now() - interval '5 minutes'"
            connection.execute(text(f"UPDATE runtime_nodes SET last_heartbeat_at = {long_ago}"))
            connection.execute(text(f"UPDATE incarnations SET lease_until = {long_ago}"))
            connection.execute(
                text("UPDATE presence_sweeps SET swept_at = now(), resumed_at = now() - interval '1 day'")
            )
        settings = Settings(redis_url=relay.environment["RELAY_REDIS_URL"])
        live_logs = LiveLogPublisher(settings)
        database = Database(relay.database, Published())
        log_ends = partial(stored_ends, LogStore(database))
        presence.sweep(database, settings.presence, Metrics())
        Reaper(database, "w1@elsewhere", settings.presence, log_ends, live_logs).sweep()
        lost = relay.get(f"/v1/executions/{agent['id']}")
        assert (lost["status"], lost["reason"]) == ("failed", "node_lost")
        assert (lost["logs"]["stdout"]["truncated"], lost["logs"]["stdout"]["closed"]) == (True, True)
        assert "sleep 987" in relay.processes_in(run), "nobody could end it there"
        node = own_node(relay)
        assert (node["liveness"], node["epoch"]) == ("offline", 2)
    finally:
        relay.processes["worker"].send_signal(signal.SIGCONT)
    relay.until(lambda: "sleep 987" not in relay.processes_in(run), 30, "the end of the leftovers")
    relay.until(lambda: own_node(relay)["liveness"] == "online", 30, "the node's return")
    path = f"/v1/executions/{agent['id']}"
    relay.until(lambda: all(one["after_head_commit"] for one in relay.get(path)["repo_states"]), 30, "HEAD")
    assert {**relay.get(path), "repo_states": None} == {**lost, "repo_states": None}
    step = ended(relay, add_step(relay, run, "echo again")["id"])
    assert (step["status"], relay.log(step["id"])) == ("completed", b"again\n")


def own_node(relay: Relay) -> dict[str, Any]:
    node_id = (relay.data_dir / "node_id").read_text().strip()
    return next(node for node in relay.get("/v1/nodes")["items"] if node["node_id"] == node_id)


def test_a_node_says_what_it_is(relay: Relay):
    def said():
        node = own_node(relay)
        return node if node["capabilities"] else None

    node = relay.until(said, 40, "capabilities")
    assert {"engine_version", "cgroup_version", "images", "slots_per_worker", "cpus", "memory_bytes"} <= set(
        node["capabilities"]
    )
    assert node["capabilities"]["slots_per_worker"] == 16
    assert (node["reported_health"], node["liveness"]) == ("ok", "online")
    assert [(worker["worker"], worker["slots"]) for worker in node["workers"]] == [(f"w1@{node['node_id']}", 16)]
    rows = json.loads(cli(relay, "nodes", "--json"))
    assert node["node_id"] in {row["node_id"] for row in rows}


def test_a_node_is_drained_from_the_command_line(relay: Relay):
    node_id = own_node(relay)["node_id"]
    environment = {**os.environ, "RELAY_API_URL": str(relay.http.base_url), "RELAY_TOKEN": relay.token}
    for words, draining in ((["drain", node_id], True), (["drain", node_id, "--undo"], False)):
        command = [sys.executable, "-m", "relay_cli.main", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert node_id in done.stderr
        assert own_node(relay)["draining"] is draining


def test_a_revoked_node_starts_nothing_until_it_is_restored(relay: Relay, repo):
    """The worker goes on with the step that it runs, says why it takes no other, and starts it after the restoration."""
    node_id = own_node(relay)["node_id"]
    run = relay.submit(repo, "touch changed; until test -f /tmp/go; do sleep 0.1; done", cleanup_script="echo cleaned")
    agent = relay.wait_step(run, "coding_agent", {"running"})
    assert "starts no step" in subprocess_note(relay, "revoke", node_id)
    try:
        assert relay.container(run).exec_run(["touch", "/tmp/go"]).exit_code == 0
        assert ended(relay, agent["id"])["status"] == "completed"
        after = relay.wait_step(run, "cleanup_script", {"queued"})
        wait = relay.get(f"/v1/executions/{after['id']}")["waits_for"]
        assert wait["message"] == f"its node {node_id} is revoked"
        relay.until(lambda: "this node is revoked" in relay.log_of("worker"), 30, "the error of the worker")
    finally:
        subprocess_note(relay, "revoke", node_id, "--undo")
    assert {step["status"] for step in relay.wait_chain(run)} == {"completed"}
