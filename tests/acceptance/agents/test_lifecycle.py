"""The life of a task from its project to its merges: two repositories, two attempts, a follow-up, both ways to merge."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relay_stack.images.agent_images import AGENT_TAGS, build_agents_image
from tests.support.forge_server import TOKEN, ForgeServer
from tests.support.machine import engine, machine_lock
from tests.support.matrix_cases import anthropic
from tests.support.model_server.server import ModelServer
from tests.support.relay import Relay, git, make_repo, relay_command

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

TITLE = "Add a note to both"
WORK = "for each in app remote; do echo by-agent >>$each/note.txt; done"
DESCRIPTION = f"Each gets a **note**. [[run: {WORK}]] [[say: I wrote both.]] [[wait]] [[say: Both have a note.]]"


@pytest.fixture
def remotes(tmp_path: Path) -> dict[str, Path]:
    """Two remotes without work trees; the host of pull requests calls one of them team/remote."""
    made = {}
    for name in ("app", "remote"):
        work = make_repo(tmp_path / name, {"README.md": f"# {name}\n"})
        git("clone", "-q", "--bare", str(work), str(tmp_path / f"team/{name}.git"), cwd=tmp_path)
        made[name] = tmp_path / f"team/{name}.git"
    return made


@pytest.fixture
def claude(relay: Relay) -> str:
    """An image that has Claude Code."""
    with machine_lock("images"):
        build_agents_image(engine(), ["claude-code"], relay.root / "build")
    return AGENT_TAGS["claude-code"]


@pytest.fixture
def project(relay: Relay, remotes: dict[str, Path]) -> str:
    """A project of both; the setup script of one may run beside others."""
    setup = "echo ready >installed; echo installed >.git/info/exclude; echo set up"
    repos = [
        {"url": f"file://{remotes['app']}", "setup_script": setup, "parallel_setup_script": True},
        {"url": f"file://{remotes['remote']}"},
    ]
    made = post(relay, "/v1/projects", 202, name=f"life of {remotes['app'].parent.parent.name}", repos=repos)
    path = f"/v1/projects/{made['id']}"
    assert relay.http.put(f"{path}/secrets/GITHUB_TOKEN", json={"value": TOKEN}).status_code == 204
    relay.until(lambda: relay.get(path)["state"] == "ready", what="the clone of the project")
    return str(made["id"])


def post(relay: Relay, path: str, status: int, **body: Any) -> dict[str, Any]:
    answer = relay.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


def by_repo(execution: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {state["name"]: state for state in execution["repo_states"]}


def merged(relay: Relay, merge_id: str) -> dict[str, Any] | None:
    found = relay.get(f"/v1/merges/{merge_id}")
    return found if found["status"] == "merged" else None


@dataclass
class Life:
    """One task from its creation to its merges, in the steps of the domain model; each step asserts what must be true."""

    relay: Relay
    remotes: dict[str, Path]
    project: str
    start: dict[str, Any]
    """The request for the first attempt."""
    run: dict[str, Any] = field(default_factory=dict)
    agent_id: str = ""
    branch: str = ""
    first: dict[str, str] = field(default_factory=dict)
    """Commits of the target branches before."""
    heads: dict[str, str] = field(default_factory=dict)
    """Commits after the latest turn."""

    @property
    def where(self) -> str:
        return f"/v1/workspaces/{self.run['workspace_id']}"

    @property
    def task_status(self) -> str:
        return str(self.relay.get(f"/v1/tasks/{self.run['task_id']}")["status"])

    def create_task(self) -> None:
        self.first = {name: git("rev-parse", "main", cwd=path) for name, path in self.remotes.items()}
        body = {"project_id": self.project, "title": TITLE, "description": DESCRIPTION, "start": self.start}
        made = post(self.relay, "/v1/tasks", 202, **body)
        self.run = made["started"]
        assert (made["status"], made["id"]) == ("todo", self.run["task_id"])
        self.agent_id = self.relay.wait_step(self.run, "coding_agent", {"running"})["id"]
        assert self.task_status == "inprogress"

    def check_workspace(self) -> None:
        workspace = self.relay.get(self.where)
        self.branch = workspace["branch"]
        assert self.branch.startswith(f"vk-{self.run['workspace_id'].replace('-', '')[:8]}-add-a-note")
        targets = [(repo["name"], repo["target_branch"]) for repo in workspace["repos"]]
        assert targets == [("app", "main"), ("remote", "main")]
        assert {repo["name"]: repo["base_commit"] for repo in workspace["repos"]} == self.first
        assert workspace["setup_completed_at"] is not None

    def check_session(self) -> None:
        session = self.relay.get(f"/v1/sessions/{self.run['session_id']}")
        assert (session["executor"], session["workspace_id"]) == ("claude-code", self.run["workspace_id"])
        steps = self.relay.executions(self.run)
        assert [step["run_reason"] for step in steps] == ["clone", "setup_script", "coding_agent"]
        assert {step["session_id"] for step in steps} == {self.run["session_id"]}
        setup = steps[1]
        assert (setup["status"], setup["exit_code"], setup["repo"]) == ("completed", 0, "app")
        events = self.relay.get(f"/v1/executions/{setup['id']}/events")["items"]
        assert [event["kind"] for event in events][-2:] == ["execution.started", "execution.completed"]
        assert by_repo(setup)["app"]["before_head_commit"] == self.first["app"]

    def check_working_agent(self) -> None:
        self.relay.until(lambda: self.relay.log_size(self.agent_id), what="the log while the agent works")
        working = self.relay.get(f"/v1/executions/{self.agent_id}")
        assert working["status"] == "running"
        assert working["turn"]["prompt"] == f"{TITLE}\n\n{DESCRIPTION}"
        assert working["turn"]["summary"] is None
        assert {name: state["before_head_commit"] for name, state in by_repo(working).items()} == self.first
        assert [state["after_state"] for state in working["repo_states"]] == ["pending"] * 2

    def check_finished_agent(self) -> None:
        done = self.relay.wait_end(self.agent_id)
        assert (done["status"], done["exit_code"]) == ("completed", 0), done["error_reason"]
        assert "Both have a note." in done["turn"]["summary"]
        self.heads = {name: state["after_head_commit"] for name, state in by_repo(done).items()}
        assert all(self.heads[name] not in (None, self.first[name]) for name in self.remotes)
        self.relay.wait_chain(self.run)

    def attempt_again(self) -> None:
        """By another executor, in one of the repositories."""
        executor = {"name": "shell", "command": "cat; echo other >>README.md"}
        path = f"/v1/tasks/{self.run['task_id']}"
        other = post(self.relay, f"{path}/workspaces", 202, executor=executor, repos=[{"repo": "app"}])
        self.relay.until(
            lambda: self.relay.get(f"/v1/runs/{other['run_id']}")["status"] == "completed", what="the second attempt"
        )
        attempts = self.relay.get(f"{path}/attempts")["items"]
        told = [
            (each["workspace_id"], each["executor"], each["conclusion"], each["stat"]["files"]) for each in attempts
        ]
        assert told == [
            (self.run["workspace_id"], "claude-code", "success", 2),
            (other["workspace_id"], "shell", "success", 1),
        ]
        assert len({each["branch"] for each in attempts}) == 2
        [heard] = [step for step in self.relay.executions(other) if step["run_reason"] == "coding_agent"]
        assert self.relay.log(heard["id"], "stdout").decode().rstrip() == f"{TITLE}\n\n{DESCRIPTION}"

    def follow_up(self) -> None:
        path = f"/v1/sessions/{self.run['session_id']}"
        more = "And in one more. [[run: echo more >>app/note.txt]]"
        second = self.relay.wait_end(post(self.relay, f"{path}/follow-ups", 202, prompt=more)["id"])
        assert (second["status"], second["session_id"]) == ("completed", self.run["session_id"]), second["error_reason"]
        assert "history=2" in second["turn"]["summary"]
        assert by_repo(second)["app"]["before_head_commit"] == self.heads["app"]
        self.heads = {name: state["after_head_commit"] for name, state in by_repo(second).items()}
        turns = self.relay.get(path)["turns"]
        assert [turn["execution_id"] for turn in turns] == [self.agent_id, second["id"]]
        assert len({turn["agent_session_id"] for turn in turns}) == 1
        self.relay.until(lambda: self.task_status == "inreview", what="the review")

    def review(self) -> None:
        items = self.relay.get(f"{self.where}/diff/files")["items"]
        seen = {diff["name"]: [file["path"] for file in diff["files"]] for diff in items}
        assert seen == {"app": ["note.txt"], "remote": ["note.txt"]}

    def merge(self, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The merge after its execution, and that."""
        asked = post(self.relay, f"{self.where}/merge", 202, **body)
        ended = self.relay.wait_end(asked["execution_id"])
        return dict(self.relay.get(f"/v1/merges/{asked['id']}")), ended

    def open_pull_request(self, github: ForgeServer) -> dict[str, Any]:
        pull, _ = self.merge(repo="remote", kind="pr")
        assert (pull["status"], pull["kind"]) == ("open", "pr"), pull["error_reason"]
        [opened] = [each for each in github.pulls if each["source"] == self.branch]
        assert (pull["pr_info"]["number"], pull["pr_info"]["status"]) == (opened["number"], "open")
        assert opened["title"].startswith(TITLE)
        assert git("rev-parse", self.branch, cwd=self.remotes["remote"]) == self.heads["remote"]
        assert self.task_status == "inreview", "an open pull request merges nothing"
        return pull

    def merge_directly(self) -> dict[str, Any]:
        direct, ended = self.merge(repo="app")
        assert (direct["status"], direct["kind"]) == ("merged", "direct"), direct["error_reason"]
        assert direct["merge_commit"] == git("rev-parse", "main", cwd=self.remotes["app"])
        assert git("show", "main:note.txt", cwd=self.remotes["app"]) == "by-agent\nmore"
        state = by_repo(ended)["app"]
        assert (state["merge_commit"], state["after_head_commit"]) == (direct["merge_commit"], self.heads["app"])
        assert self.task_status == "done"
        return direct

    def merge_pull_request(self, pull: dict[str, Any], github: ForgeServer) -> None:
        """Its host does, and Relay learns of it."""
        git("update-ref", "refs/heads/main", self.heads["remote"], cwd=self.remotes["remote"])
        github.merge(pull["pr_info"]["number"], self.heads["remote"])
        relay_command(self.relay, "merge", "refresh", pull["id"])
        found = self.relay.until(lambda: merged(self.relay, pull["id"]), what="the merged pull request")
        assert found["merge_commit"] == found["pr_info"]["merge_commit_sha"] == self.heads["remote"]
        assert (found["pr_info"]["status"], found["pr_info"]["merged_at"]) == ("merged", "2026-01-31T08:02:31Z")

    def check_closed(self, *merges: dict[str, Any]) -> None:
        assert self.task_status == "done"
        listed = self.relay.get("/v1/merges", workspace_id=self.run["workspace_id"])["items"]
        assert {each["id"] for each in listed} == {each["id"] for each in merges}
        refused = self.relay.http.post(f"/v1/tasks/{self.run['task_id']}/workspaces", json=self.start)
        assert (refused.status_code, refused.json()["code"]) == (409, "task_closed")


def test_a_task_from_its_creation_to_both_kinds_of_merges(
    relay: Relay, model: ModelServer, github: ForgeServer, remotes: dict[str, Path], project: str, claude: str
):
    """The numbers are the steps of the domain model's example; its project is step 1."""
    repos = [{"repo": name, "target_branch": "main"} for name in remotes]
    start = {"executor": {"name": "claude-code"}, "image": claude, "env": anthropic(model.url), "repos": repos}
    life = Life(relay, remotes, project, start)
    life.create_task()  # 2
    life.check_workspace()  # 3
    life.check_session()  # 4
    life.check_working_agent()
    model.go.set()
    life.check_finished_agent()  # 5
    life.attempt_again()
    life.follow_up()
    life.review()  # 6
    pull = life.open_pull_request(github)
    direct = life.merge_directly()
    life.merge_pull_request(pull, github)
    life.check_closed(direct, pull)
