"""What a run may ask for beyond its repository and prompt."""

import json
import os
import stat
import subprocess
import sys

import pytest

from tests.support.relay import Relay, relay_command

pytestmark = pytest.mark.docker


def test_a_run_names_its_user_and_only_its_setup_script_is_root(relay: Relay, repo):
    run = relay.submit(
        repo,
        "id -u; touch made",
        user=4321,
        repos=[{"url": f"file://{repo}", "setup_script": "id -u", "cleanup_script": "id -u", "setup_as_root": True}],
    )
    steps = relay.wait_chain(run)
    assert [step["status"] for step in steps] == ["completed"] * 4
    users = {step["run_reason"]: relay.log(step["id"], "stdout") for step in steps[1:]}
    assert users == {"setup_script": b"0\n", "coding_agent": b"4321\n", "cleanup_script": b"4321\n"}


def test_each_workspace_has_a_uid_of_its_own_and_no_other_account_reaches_its_files(relay: Relay, repo):
    runs = [relay.submit(repo, "id -u; whoami") for _ in range(2)]
    said = []
    for run in runs:
        agent = relay.wait_chain(run)[-1]
        uid, name = relay.log(agent["id"], "stdout").decode().split()
        assert (int(uid) in range(70000, 100000), name) == (True, "relay")
        said.append(uid)
    assert said[0] != said[1]
    names = ("workspaces", "mirrors", "stores", "tmp")
    assert {stat.S_IMODE((relay.data_dir / name).stat().st_mode) for name in names} == {0o700}


def test_a_neighbour_on_the_bridge_is_told_no_id(relay: Relay, repo):
    """The engine's DNS answers with the names of containers."""
    run = relay.submit(repo, "sleep 60")
    first = relay.wait_step(run, "coding_agent", {"running"})
    (network,) = relay.container(run).attrs["NetworkSettings"]["Networks"].values()
    asks = f"python3 -c 'import socket; print(socket.gethostbyaddr(\"{network['IPAddress']}\"))'; hostname"
    asking = relay.submit(repo, asks)
    told = relay.log(relay.wait_chain(asking)[-1]["id"], "stdout").decode()
    relay.kill(first["id"])
    assert network["IPAddress"] in told, "it was answered"
    parts = [word for one in (run, asking) for word in one["workspace_id"].split("-") if len(word) > 4]
    assert not [word for word in parts if word in told]


def test_as_much_environment_as_is_taken_can_be_used(relay: Relay, repo):
    """Linux passes 2 MiB to a program; more was accepted, and no step could start."""
    env = {f"V{number}": {"value": "x" * 65_000, "secret": False} for number in range(16)}
    run = relay.submit(repo, 'sh -c "env | wc -c"', env=env)
    steps = relay.wait_chain(run)
    assert [step["status"] for step in steps] == ["completed"] * 2
    assert int(relay.log(steps[-1]["id"], "stdout")) > 16 * 65_000
    body = {"repos": [{"url": f"file://{repo}"}], "prompt": "x", "executor": {"name": "shell", "command": "true"}}
    refused = relay.http.post("/v1/runs", json={**body, "env": {**env, "W": {"value": "x" * 65_000, "secret": False}}})
    assert (refused.status_code, refused.json()["code"]) == (422, "env_too_large")
    assert "1048576" in refused.json()["detail"]
    refused = relay.http.post("/v1/runs", json={**body, "env": {"W": {"value": "€" * 50_000, "secret": False}}})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "env.W")


def test_without_auto_commit_the_changes_stay_in_the_work_tree(relay: Relay, repo):
    run = relay.submit(repo, "echo new >made.txt", auto_commit=False)
    agent = relay.wait_chain(run)[-1]
    (state,) = agent["repo_states"]
    assert agent["status"] == "completed"
    assert state["after_head_commit"] == state["before_head_commit"]
    assert state["dirty"] is True
    assert "made.txt" in relay.http.get(f"/v1/workspaces/{run['workspace_id']}/diff?format=patch").text, (
        "pinned all the same"
    )


def test_a_step_that_could_not_start_has_its_heads_too(relay: Relay, repo):
    """Design 4.4: before and after, whatever the end."""
    run = relay.submit(repo)
    before = relay.wait_chain(run)[-1]["repo_states"][0]["after_head_commit"]
    relay.container(run).remove(force=True)
    added = relay.http.post(
        f"/v1/workspaces/{run['workspace_id']}/executions", json={"run_reason": "setup_script", "script": "true"}
    ).json()
    step = relay.wait_end(added["id"])
    assert (step["status"], step["reason"]) == ("failed", "container_missing")
    assert [state["after_head_commit"] for state in step["repo_states"]] == [before]


def test_a_working_directory_that_is_not_there_is_named(relay: Relay, repo):
    step = relay.wait_chain(relay.submit(repo, working_dir="./no/such/"))[-1]
    assert (step["status"], step["reason"]) == ("failed", "start_failed")
    assert f"the working directory repos/{repo.name}/no/such does not exist" in step["error_reason"]


def test_the_first_token_of_a_server_needs_no_api(relay: Relay):
    command = [sys.executable, "-m", "relay_cli.main", "token", "create", "first", "--owner", "operator"]
    made = subprocess.run(
        [*command, "--scope", "admin", "--database", "--json"],
        env={**os.environ, **relay.environment},
        check=True,
        capture_output=True,
        text=True,
    )
    token = json.loads(made.stdout)["token"]
    answer = relay.http.get("/v1/tokens", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert "first" in {item["name"] for item in answer.json()["items"]}


def test_the_command_line_runs_a_job_on_the_repository_of_its_directory(relay: Relay, repo):
    """From a directory below the root, with work that is not committed."""
    (repo / "README.md").write_text("# changed, not committed\n")
    environment = {**os.environ, "RELAY_API_URL": str(relay.http.base_url), "RELAY_TOKEN": relay.token}
    command = "cat README.md; echo made >made.txt; printf warned >&2"
    words = ("run", "--command", command, "--title", "Make a file", "--limit", "memory=512m", "--limit", "timeout=1m")
    done = subprocess.run(
        [sys.executable, "-m", "relay_cli.main", *words],
        env=environment,
        cwd=repo / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stderr)
    assert done.returncode == 0
    assert done.stdout == "# sample\n", "the log, and the committed file"
    assert "1 file of" in done.stderr
    assert "which the run does not see: README.md" in done.stderr
    assert f"relay: cloning {repo}" in done.stderr
    assert "\nwarned\nrelay: coding_agent completed after " in done.stderr
    summary = done.stderr.rpartition("relay: run ")[2].splitlines()
    assert " succeeded in " in summary[0]
    assert summary[1].startswith("  1 file, +1 -0 · branch vk-")
    short = summary[0].split()[0]
    assert summary[-1] == f'  next: relay diff {short} · relay fetch {short} · relay follow-up {short} "…"'
    assert "made.txt" in relay_command(relay, "diff", short).stdout
    listed = relay_command(relay, "ps").stdout.splitlines()
    assert any(line.startswith(short) and "Make a file" in line and "success" in line for line in listed)
    assert "coding_agent" in relay_command(relay, "show", short).stdout
    _goes_on(relay, short)


def _goes_on(relay: Relay, first: str) -> None:
    """A follow-up is a run with a title, a diff and a start of its own."""
    before = relay.get(f"/v1/workspaces/{first}/executions")["items"][-1]["repo_states"][0]["after_head_commit"]
    relay_command(relay, "follow-up", first, "echo more >more.txt", "--title", "More", "--label", "team=web")
    [more] = relay.http.get("/v1/runs", params={"label": "team=web"}).json()["items"]
    assert (more["title"], more["stat"]["files"], more["sources"][0]["commit"]) == ("More", 1, before)
    own, whole = (
        relay_command(relay, "diff", more["id"]).stdout,
        relay_command(relay, "diff", more["workspace_id"]).stdout,
    )
    assert ("more.txt" in own, "made.txt" in own) == (True, False)
    assert ("more.txt" in whole, "made.txt" in whole) == (True, True)
    assert relay.get(more["links"]["diff"])["items"][0]["base_commit"] == before
