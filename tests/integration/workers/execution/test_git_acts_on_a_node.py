"""Push and reset from end to end: a real repository as remote, a real container, and the git container."""

from pathlib import Path
from uuid import UUID

import pytest

from relay_core.domain.vocabulary import RunReason
from relay_core.store.workspaces.git_acts import PushRequest, ResetRequest, add_push, add_reset
from relay_workers.git.service import GitService
from tests.support.git_bench import git
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def bare(node: Node, tiny_repo: Path, tmp_path: Path) -> Path:
    """The remote of the node's workspaces: a bare repository."""
    path = tmp_path / "app"
    git(tiny_repo, "clone", "-q", "--bare", "--template=", str(tiny_repo), str(path))
    node.repo = path
    return path


def head(repository: Path, branch: str) -> str:
    return git(repository, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")


def push(node: Node, workspace: UUID) -> UUID:
    with node.db.begin() as connection:
        return add_push(connection, workspace, PushRequest(), ME)


def test_commits_of_an_agent_are_pushed_and_taken_back(node, bare):
    workspace = node.submit(command="echo made by the agent > file && git add file && git commit -qm mine")
    agent = node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    branch = node.workspace(workspace)["branch"]
    pushed = node.run(push(node, workspace))
    assert pushed["status"] == "completed", pushed["error_reason"]
    assert git(bare, "show", f"{branch}:file") == "made by the agent"
    with node.db.begin() as connection:
        back = add_reset(connection, workspace, ResetRequest(before=agent["id"]), ME)
    assert node.run(back)["status"] == "completed", node.row(back)["error_reason"]
    look = node.add(workspace, "git status --porcelain --branch && ls")
    assert node.run(look)["status"] == "completed"
    assert node.log(look) == f"## {branch}\n".encode(), "the file is gone, and the user's git finds nothing changed"


def test_a_push_goes_on_at_another_worker_when_its_own_is_killed(node, bare, monkeypatch):
    """The worker is gone after the remote has taken the commits, before the end is written."""
    workspace = node.submit(command="git commit -q --allow-empty -m mine")
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    pushed = push(node, workspace)
    real = GitService.push

    def killed_after(self, request):
        real(self, request)
        (control,) = node.context.live.all()
        control.let_go()
        raise SystemExit

    monkeypatch.setattr(GitService, "push", killed_after)
    node.run(pushed)
    assert node.row(pushed)["status"] == "running"
    monkeypatch.setattr(GitService, "push", real)
    assert node.run(pushed)["status"] == "completed", node.row(pushed)["error_reason"]
    assert node.kinds(workspace).count("execution.adopted") == 1
    assert head(bare, node.workspace(workspace)["branch"]) != head(bare, "main")
    assert b"was there already" in node.log(pushed)
