"""Files that are stored with a project, in a new clone: beside those of a work tree, never over a link, never committed."""

import base64
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update

from relay_core.domain.vocabulary import RunReason
from relay_core.secret_box import SecretBox, of_file
from relay_core.settings import Settings
from relay_core.store.projects import stored_files
from relay_core.store.projects.repos import NamedRepo
from relay_core.store.projects.stored_files import NewFile
from relay_core.store.schema.tables import Project, ProjectFile, Repo, Task, Workspace
from tests.support.worker_fixtures import Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture
def node_of_two(node: Node, tmp_path: Path) -> Node:
    """A node with a repository that has a link, and a local file that git does not have."""
    repo = tmp_path / "shop"
    repo.mkdir()
    subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=repo, check=True)
    (repo / "README").write_text("of git\n")
    (repo / "trap").symlink_to("/tmp")
    subprocess.run([*GIT, "add", "-A"], cwd=repo, check=True)
    subprocess.run([*GIT, "commit", "-q", "-m", "first"], cwd=repo, check=True)
    (repo / "local.env").write_text("of the work tree\n")
    for path in (tmp_path, repo):
        path.chmod(0o755)
    return replace(node, repo=repo)


def store(node: Node, workspace_id: UUID, path: str, data: bytes, *, executable: bool = False) -> None:
    """Store a file with the project of a workspace whose clone has not begun."""
    statement = (
        select(Task.project_id).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == workspace_id)
    )
    with node.db.begin() as connection:
        project_id = connection.execute(statement).scalar_one()
        row = connection.execute(select(Repo.id, Repo.name, Repo.path).where(Repo.path == f"file://{node.repo}")).one()
        repo = NamedRepo(*row)
        text = base64.b64encode(data).decode()
        sealed = node.context.secrets.seal(of_file(project_id, repo.id, path), text)
        stored_files.put(connection, project_id, NewFile(repo, path, len(data), executable, sealed), 1 << 20, "me")


def clone_of(node: Node, workspace_id: UUID) -> Path:
    return node.context.settings.data_dir / "workspaces" / str(workspace_id) / "repos" / node.repo.name


def log_of(node: Node, workspace_id: UUID) -> str:
    execution_id = node.step(workspace_id, RunReason.CLONE)["id"]
    size = node.context.logs.sizes(execution_id)["all"].bytes
    return node.context.logs.read(execution_id, "all", 0, size).decode()


def test_they_are_written_once_and_never_committed_by_relay(node_of_two: Node):
    node = node_of_two
    workspace_id = node.submit(command="echo new >new; git add -A; git add -f config/.env", copy_files=None)
    store(node, workspace_id, "config/.env", b"A=\x00\xff\n")
    store(node, workspace_id, "bin/run", b"#!/bin/sh\n", executable=True)
    store(node, workspace_id, "README", b"not over what git has")
    due = node.chain(workspace_id, RunReason.CODING_AGENT)
    clone = clone_of(node, workspace_id)
    assert (clone / "config/.env").read_bytes() == b"A=\x00\xff\n"
    assert [(clone / each).stat().st_mode & 0o777 for each in ("config/.env", "bin/run")] == [0o644, 0o755]
    assert (clone / "config/.env").stat().st_uid == node.workspace(workspace_id)["uid"]
    assert (clone / "README").read_text() == "of git\n"
    assert "copied 2 files that git does not have: bin/run, config/.env" in log_of(node, workspace_id)
    assert node.run(due["id"])["status"] == "completed"
    shown = ["git", "-c", "safe.directory=*", "show", "--format=", "--name-only", "HEAD"]
    changed = subprocess.run(shown, cwd=clone, capture_output=True, text=True, check=True).stdout
    assert changed.split() == ["new"]


def test_patterns_choose_and_the_work_tree_comes_first(node_of_two: Node):
    node = node_of_two
    workspace_id = node.submit(copy_files="*.env")
    store(node, workspace_id, "local.env", b"stored\n")
    store(node, workspace_id, "more.env", b"stored\n")
    store(node, workspace_id, "other", b"stored\n")
    node.chain(workspace_id, RunReason.CODING_AGENT)
    clone = clone_of(node, workspace_id)
    assert (clone / "local.env").read_text() == "of the work tree\n"
    assert (clone / "more.env").read_text() == "stored\n"
    assert not (clone / "other").exists()
    assert "other is not copied: no pattern of copy_files matches it" in log_of(node, workspace_id)


def test_a_link_of_the_repository_is_not_followed(node_of_two: Node):
    node = node_of_two
    workspace_id = node.submit()
    name = f"relay-test-{workspace_id}"
    store(node, workspace_id, f"trap/{name}", b"x")
    ended = node.run(node.due(workspace_id)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert "is not a directory of its own" in ended["error_reason"]
    assert not Path("/tmp", name).exists()


@pytest.mark.parametrize("path", ["../out", ".git/hooks/post-checkout", "other"])
def test_a_row_that_was_changed_by_hand_is_not_believed(node_of_two: Node, path: str):
    node = node_of_two
    workspace_id = node.submit()
    store(node, workspace_id, "in", b"x")
    with node.db.begin() as connection:
        connection.execute(update(ProjectFile).values(path=path))
    ended = node.run(node.due(workspace_id)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert "was not stored as that" in ended["error_reason"]


def test_a_file_for_which_the_node_has_no_key_ends_the_clone(node_of_two: Node):
    node = node_of_two
    workspace_id = node.submit()
    store(node, workspace_id, "in", b"x")
    other = SecretBox.of(Settings(secret_keys=("bm90IHRoZSBrZXkgb2YgdGhlIG90aGVyIHNlcnZlciE=",)))
    with node.db.begin() as connection:
        row = connection.execute(select(ProjectFile.project_id, ProjectFile.repo_id)).first()
        assert row is not None
        sealed = other.seal(of_file(row.project_id, row.repo_id, "in"), "eA==")
        connection.execute(update(ProjectFile).values(ciphertext=sealed))
        assert connection.scalar(select(Project.id)) == row.project_id
    ended = node.run(node.due(workspace_id)["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "clone_failed")
    assert "RELAY_SECRET_KEYS" in ended["error_reason"]
