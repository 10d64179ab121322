"""A clone is a working repository of the workspace's own, on the branch that was asked for."""

import os
import time

import pytest

from relay_core.domain.vocabulary import Reason
from tests.support.git_bench import BRANCH, UID, Remote, git, refused, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def test_a_clone_is_a_working_repository(bench, remote):
    git(remote.path, "tag", "-am", "one", "v1")
    git(remote.path, "branch", "feature")
    workspace = bench.clone(remote.url)
    clone = workspace.clone

    assert workspace.result is not None
    assert workspace.result.head_commit == git(remote.path, "rev-parse", "main")
    assert workspace.result.target_branch == "main"
    assert workspace.service.heads(workspace.dir, ["repo"])["repo"] == (workspace.base, BRANCH, None, False)
    assert (clone / "src/a.py").read_text() == "print(1)\n"
    assert clone.stat().st_uid == (clone / "src/a.py").stat().st_uid == UID
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "log", "--oneline", "origin/main..") == ""
    assert git(clone, "rev-parse", "--abbrev-ref", "origin/HEAD") == "origin/main"
    assert git(clone, "branch", "-r", "--format=%(refname)").split() == [
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/feature",
        "refs/remotes/origin/main",
    ]
    assert git(clone, "tag") == "v1"
    git(clone, "fsck", "--no-dangling")
    write(clone / "new")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "mine")
    assert git(clone, "log", "--format=%s", "origin/main..") == "mine"
    git(clone, "push", "-q", "origin", "HEAD")
    assert git(remote.path, "log", "-1", "--format=%s", BRANCH) == "mine"


def test_its_origin_is_the_remote_and_holds_no_secret(bench, remote):
    clone = bench.clone(remote.url).clone

    assert git(clone, "remote", "get-url", "origin") == remote.url
    config = (clone / ".git/config").read_text()
    assert "@" not in config.replace(bench.settings.git_author_email, "")
    assert not list((clone / ".git").glob("hooks/*"))


def test_a_target_branch_is_checked_out(bench, remote):
    git(remote.path, "checkout", "-qb", "dev/x")
    commit = remote.commit({"dev": "1"})
    git(remote.path, "checkout", "-q", "main")

    workspace = bench.clone(remote.url, "dev/x")

    assert workspace.base == commit
    assert (workspace.clone / "dev").exists()


def test_a_missing_branch_is_answered_with_those_that_exist(bench, remote):
    message = refused(bench, Reason.CLONE_FAILED, remote.url, "nope")
    assert "no branch 'nope' (it has main)" in message


def test_a_branch_whose_name_is_not_utf8(bench, remote):
    packed = remote.path / ".git" / "packed-refs"
    git(remote.path, "pack-refs", "--all")
    line = packed.read_bytes().replace(b"refs/heads/main", b"refs/heads/caf\xe9").splitlines()[-1]
    packed.write_bytes(
        b"\n".join([packed.read_bytes().splitlines()[0], line, *packed.read_bytes().splitlines()[1:], b""])
    )

    assert "no branch 'nope' (it has main)" in refused(bench, Reason.CLONE_FAILED, remote.url, "nope")
    (remote.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/caf\xe9\n")
    workspace = bench.clone(remote.url)
    assert b"caf\xe9" in (workspace.clone / ".git" / "packed-refs").read_bytes()
    (remote.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/main\n")
    packed.write_bytes(packed.read_bytes().replace(line + b"\n", line.replace(line[:40], git_commit(remote)) + b"\n"))
    (remote.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/caf\xe9\n")
    assert bench.clone(remote.url).result.target_branch is None


def git_commit(remote: Remote) -> bytes:
    """A commit that no branch is at."""
    return git(remote.path, "commit-tree", "-m", "x", "main^{tree}", "-p", "main").encode()


def test_a_clone_s_log_has_no_progress_bars(bench, remote):
    remote.commit({f"f{n}": f"{n}\n" for n in range(300)})

    output = b"".join(bench.clone(remote.url).output)

    assert b"done." in output
    assert b"\r" not in output


def test_removing_a_workspace_removes_what_others_own_and_what_is_deep(bench, remote):
    workspace = bench.clone(remote.url)
    write(workspace.clone / "new")
    workspace.after()
    deep = workspace.dir / "home"
    here = os.open(workspace.dir, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("home", dir_fd=here)
        here_below = os.open("home", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = here_below
    os.close(here)
    (workspace.dir / "out").symlink_to(remote.path)

    workspace.service.remove_workspace(workspace.id, workspace.dir)
    workspace.service.remove_workspace(workspace.id, workspace.dir)

    assert not deep.exists()
    assert not workspace.dir.exists()
    assert not (bench.settings.data_dir / "stores" / str(workspace.id)).exists()
    assert (remote.path / "README").exists()


def test_nothing_of_the_tools_is_left(bench, remote, tool_runner):
    bench.clone(remote.url)
    (workspace,) = (bench.settings.data_dir / "workspaces").iterdir()
    ours = ["relay.tool=1", f"relay.workspace_id={workspace.name}"]
    deadline = time.monotonic() + 10
    while tool_runner._api.containers(all=True, filters={"label": ours}):
        assert time.monotonic() < deadline
        time.sleep(0.05)
