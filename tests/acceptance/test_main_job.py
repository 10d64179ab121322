"""The whole job through API → Celery → worker → container, with every status, commit and log byte."""

import hashlib

import httpx
import pytest

from tests.support.machine import engine
from tests.support.relay import Relay, git, make_repo

pytestmark = pytest.mark.docker


def by_reason(executions):
    return {item["run_reason"]: item for item in executions}


def test_clone_setup_agent_cleanup(relay: Relay, repo):
    run = relay.submit(
        repo,
        "cat > prompt.txt; echo changed >> README.md; git add -A; git commit -qm 'by the agent'; echo all done",
        setup_script="echo setting up; echo warned >&2; echo ready > state.txt; echo state.txt > .git/info/exclude",
        cleanup_script="echo cleaning; test -f state.txt",
        prompt="please change\nthe readme",
    )
    steps = relay.wait_chain(run)
    assert [(s["run_reason"], s["status"], s["exit_code"]) for s in steps] == [
        ("clone", "completed", 0),
        ("setup_script", "completed", 0),
        ("coding_agent", "completed", 0),
        ("cleanup_script", "completed", 0),
    ]
    assert steps[0]["id"] == run["execution_id"]
    clone, setup, agent, cleanup = steps
    first = git("rev-parse", "main", cwd=repo)
    assert clone["repo_states"][0]["after_head_commit"] == first
    assert setup["repo_states"][0]["before_head_commit"] == setup["repo_states"][0]["after_head_commit"] == first
    state = agent["repo_states"][0]
    assert state["before_head_commit"] == first
    assert state["after_head_commit"] not in (first, None)
    assert state["dirty"] is False
    assert cleanup["repo_states"][0]["before_head_commit"] == state["after_head_commit"]
    assert relay.log(setup["id"], "stdout") == b"setting up\n"
    assert relay.log(setup["id"], "stderr") == b"warned\n"
    for stream in ("stdout", "stderr", "all"):
        data = relay.log(setup["id"], stream)
        assert setup["logs"][stream]["bytes"] == len(data)
        assert setup["logs"][stream]["sha256"] == hashlib.sha256(data).hexdigest()
        assert setup["logs"][stream]["truncated"] is False
    patch = relay.http.get(f"/v1/workspaces/{run['workspace_id']}/diff", headers={"Accept": "text/x-diff"}).text
    assert "+changed" in patch
    assert "+please change" in patch


def test_what_the_agent_leaves_is_committed_with_its_last_words(relay: Relay, repo):
    run = relay.submit(repo, "echo new > new.txt; echo; echo 'I made a file'; echo")
    agent = by_reason(relay.wait_chain(run))["coding_agent"]
    state = agent["repo_states"][0]
    assert state["after_head_commit"] == state["committed"]
    clone = relay.data_dir / "workspaces" / run["workspace_id"] / "repos" / "sample"
    words = ["-c", "safe.directory=*", "log", "-1", "--format=%s"]
    assert git(*words, cwd=clone) == "I made a file"


def test_failing_setup_stops_the_chain(relay: Relay, repo):
    run = relay.submit(repo, setup_script="echo partial > left.txt; exit 7")
    steps = relay.wait_chain(run)
    assert [s["run_reason"] for s in steps] == ["clone", "setup_script"]
    setup = steps[1]
    assert (setup["status"], setup["reason"], setup["exit_code"]) == ("failed", "exit_code", 7)
    assert setup["repo_states"][0]["after_head_commit"] == git("rev-parse", "main", cwd=repo)


def test_a_failed_agent_leaves_evidence(relay: Relay, repo):
    run = relay.submit(repo, "echo half > half.txt; exit 3", cleanup_script="true")
    steps = relay.wait_chain(run)
    assert [s["run_reason"] for s in steps] == ["clone", "coding_agent"]
    agent = steps[1]
    assert (agent["status"], agent["reason"], agent["exit_code"]) == ("failed", "exit_code", 3)
    assert agent["repo_states"][0]["dirty"] is True
    assert "+half" in relay.http.get(f"/v1/executions/{agent['id']}/diff", headers={"Accept": "text/x-diff"}).text


def test_environment_values_reach_the_step_masked_and_appear_nowhere_else(relay: Relay, repo):
    run = relay.submit(
        repo,
        'printf "%s|%s" "$API_TOKEN" "$MODE"',
        env={"API_TOKEN": "s3cr3t-value", "MODE": {"value": "production", "secret": False}},
    )
    agent = by_reason(relay.wait_chain(run))["coding_agent"]
    assert relay.log(agent["id"], "stdout") == b"************|production"
    for path in (
        f"/v1/executions/{agent['id']}",
        f"/v1/workspaces/{run['workspace_id']}",
        f"/v1/workspaces/{run['workspace_id']}/events",
    ):
        assert "s3cr3t" not in relay.http.get(path).text
    assert "s3cr3t" not in str(relay.container(run).attrs)
    assert "s3cr3t" not in relay.log_of("worker") + relay.log_of("api")


def test_dev_server_answers_and_stops(relay: Relay, repo):
    run = relay.submit(repo, dev_server_script="exec python3 -m http.server $PORT --bind $HOST")
    relay.wait_chain(run)
    answer = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server")
    assert answer.status_code == 202, answer.text
    url = relay.until(lambda: (relay.get(f"/v1/workspaces/{run['workspace_id']}").get("dev_server") or {}).get("url"))
    assert "README.md" in httpx.get(url).text
    server = relay.wait_step(run, "dev_server", {"running"})
    follow_up = relay.http.post(
        f"/v1/workspaces/{run['workspace_id']}/executions", json={"run_reason": "setup_script", "script": "echo beside"}
    )
    assert follow_up.status_code == 202, follow_up.text
    relay.wait_step(run, "setup_script", {"completed"})
    assert httpx.get(url).status_code == 200, "another step of the workspace leaves the dev server alone"
    relay.http.delete(f"/v1/workspaces/{run['workspace_id']}/dev-server")
    ended = relay.wait_step(run, "dev_server", {"killed"})
    assert ended["id"] == server["id"]
    assert "http.server" not in relay.processes_in(run)


def test_a_dev_server_that_never_listens(relay: Relay, repo):
    run = relay.submit(repo, dev_server_script="sleep 1000")
    relay.wait_chain(run)
    relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server")
    ended = relay.wait_step(run, "dev_server", {"failed"})
    assert ended["reason"] == "no_port"
    assert "sleep 1000" not in relay.processes_in(run)


@pytest.mark.proves("T000-05", "T000-06")
def test_two_workspaces_are_two_clones_and_commit_at_once(relay: Relay, repo):
    """T000-05, -06."""
    command = "for i in $(seq 20); do echo $i > f$i; git add -A; git commit -qm c$i || exit 9; done"
    runs = [relay.submit(repo, command) for _ in range(2)]
    for run in runs:
        agent = by_reason(relay.wait_chain(run))["coding_agent"]
        assert agent["status"] == "completed"
    assert len({relay.container(run).id for run in runs}) == 2


def test_two_repositories_in_one_workspace(relay: Relay, tmp_path):
    repos = [make_repo(tmp_path / name / "lib", {"name.txt": name}) for name in ("one", "two")]
    body = {
        "repos": [
            {"url": f"file://{path}", "setup_script": "cat name.txt", "parallel_setup_script": True} for path in repos
        ],
        "prompt": "go",
        "executor": {"name": "shell", "command": "ls"},
    }
    run = relay.http.post("/v1/runs", json=body).json()
    steps = relay.wait_chain(run)
    assert [s["run_reason"] for s in steps] == ["clone", "setup_script", "setup_script", "coding_agent"]
    assert sorted(relay.log(s["id"]) for s in steps[1:3]) == [b"one", b"two"]
    assert len(relay.log(steps[3]["id"], "stdout").split()) == 2


@pytest.mark.proves("T000-18")
def test_deleting_removes_container_and_files_and_keeps_the_record(relay: Relay, repo):
    """T000-18, for a project: its workspaces go with it."""
    run = relay.submit(repo, "sleep 100")
    agent = relay.wait_step(run, "coding_agent", {"running"})
    project = relay.get(f"/v1/tasks/{run['task_id']}")["project_id"]
    assert relay.http.delete(f"/v1/projects/{project}").status_code == 202
    assert project not in [one["id"] for one in relay.get("/v1/projects")["items"]]
    relay.until(lambda: relay.get(f"/v1/executions/{agent['id']}")["status"] == "killed", 40)
    relay.until(lambda: not (relay.data_dir / "workspaces" / run["workspace_id"]).exists(), 30)
    label = f"relay.workspace_id={run['workspace_id']}"
    assert not engine().containers.list(all=True, filters={"label": label})
    assert relay.http.get(f"/v1/workspaces/{run['workspace_id']}").status_code == 404
    there = [relay.data_dir / name / run["workspace_id"] for name in ("stores", "workspaces", "workspaces/.quarantine")]
    relay.until(lambda: relay.get("/v1/quarantine", project_id=project)["items"], 30, "its files are out of reach")
    asked = {"generation": relay.http.post(f"/v1/projects/{project}/purge/preview").json()["generation"]}
    assert relay.http.post(f"/v1/projects/{project}/purge", json=asked).status_code == 202
    relay.until(lambda: not any(place.exists() for place in there), 30, "nothing is left on the node")
