"""After a step, dead lock files are removed from clones, and files of root are given to the workspace's user."""

import os

import pytest

from relay_workers.git.sandbox.file_owners import give_back
from relay_workers.git.sandbox.locks import remove_dead_locks
from tests.support.git_bench import BRANCH, GID, UID, Workspace, git, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def remove_locks(workspace: Workspace, ended: int = GID, running: tuple[int, ...] = ()) -> list[str]:
    return remove_dead_locks(workspace.dir, workspace.name, BRANCH, ended=ended, running=lambda: running)


def test_a_lock_that_nobody_holds_does_not_stop_a_later_commit(workspace):
    for lock in ("index.lock", "HEAD.lock", f"refs/heads/{BRANCH}.lock"):
        write(workspace.clone / ".git" / lock)
    write(workspace.clone / "new")
    assert "lock" in str(workspace.after("message").commit_problem)

    assert remove_locks(workspace) == ["index.lock", "HEAD.lock", f"refs/heads/{BRANCH}.lock"]

    assert workspace.after("message").committed
    git(workspace.clone, "commit", "--allow-empty", "-qm", "the agent's")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of other groups")
def test_a_lock_that_another_execution_may_hold_stays(workspace):
    lock = write(workspace.clone / ".git/index.lock")
    os.chown(lock, UID, 20007)
    assert remove_locks(workspace, running=(20007,)) == []
    assert remove_locks(workspace, running=(20008,)) == [], "it is of neither: it stays while anything runs"
    assert remove_locks(workspace) == ["index.lock"]
    target = write(workspace.dir / "home/target")
    lock.symlink_to(target)
    assert remove_locks(workspace) == []
    assert target.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes root's files")
def test_files_of_root_are_given_to_the_workspaces_user(workspace, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("root's\n")
    (workspace.clone / "sub").mkdir()
    (workspace.clone / "sub/made").write_text("x\n")
    (workspace.clone / "ln").symlink_to(outside)
    os.chown(workspace.clone / ".git/index", 0, 0)
    write(workspace.clone / "new")
    (workspace.clone / ".git/objects/aa").mkdir(exist_ok=True)

    assert give_back(workspace.dir, UID) == 5

    assert (workspace.clone / "sub/made").stat().st_uid == UID
    assert outside.stat().st_uid == 0
    assert workspace.after("message").committed
