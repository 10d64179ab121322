"""Resets in the git container: traps of a clone do not run, and what git left half done is cleaned."""

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from tests.support.git_bench import BRANCH, Remote, Workspace, git, reset_request, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def head(workspace: Workspace) -> tuple[str | None, str | None]:
    found = workspace.service.heads(workspace.dir, ["repo"])["repo"]
    return found.commit, found.branch


def test_ignored_files_stay_and_other_new_files_go(workspace):
    write(workspace.clone / ".gitignore", "*.cache\n")
    workspace.commit = workspace.after("ignore").committed
    for name in ("kept.cache", "gone.txt", "folder/gone.txt"):
        write(workspace.clone / name)
    workspace.service.reset(reset_request(workspace, workspace.commit))
    assert (workspace.clone / "kept.cache").exists()
    assert not (workspace.clone / "gone.txt").exists()
    assert not (workspace.clone / "folder").exists()


def test_head_is_on_the_workspaces_branch_again(workspace):
    git(workspace.clone, "switch", "-q", "-c", "other")
    write(workspace.clone / "README", "other\n")
    git(workspace.clone, "commit", "-q", "-a", "-m", "on another branch")
    other = head(workspace)[0]
    workspace.service.reset(reset_request(workspace, workspace.base))
    assert head(workspace) == (workspace.base, BRANCH)
    assert git(workspace.clone, "rev-parse", "other") == other
    assert git(workspace.clone, "status", "--porcelain") == ""


def test_a_merge_that_was_left_half_done_is_forgotten(workspace):
    git(workspace.clone, "switch", "-q", "-c", "other")
    write(workspace.clone / "README", "other\n")
    git(workspace.clone, "commit", "-q", "-a", "-m", "theirs")
    git(workspace.clone, "switch", "-q", BRANCH)
    write(workspace.clone / "README", "mine\n")
    git(workspace.clone, "commit", "-q", "-a", "-m", "mine")
    with pytest.raises(AssertionError):
        git(workspace.clone, "merge", "other")
    workspace.service.reset(reset_request(workspace, workspace.base))
    assert not (workspace.clone / ".git/MERGE_HEAD").exists()
    assert git(workspace.clone, "status", "--porcelain") == ""
    assert (workspace.clone / "README").read_text() == "hello\n"


def test_a_broken_index_is_made_anew(workspace):
    write(workspace.clone / ".git/index", "no index\n")
    write(workspace.clone / "README", "changed\n")
    workspace.service.reset(reset_request(workspace, workspace.base))
    assert git(workspace.clone, "status", "--porcelain") == ""


def test_a_git_command_that_runs_in_the_clone_is_not_disturbed(workspace):
    write(workspace.clone / ".git/index.lock", "")
    write(workspace.clone / "README", "changed\n")
    with pytest.raises(StepFailed) as caught:
        workspace.service.reset(reset_request(workspace, workspace.base))
    assert caught.value.reason == Reason.RESET_FAILED
    assert "another git command is running" in str(caught.value)
    assert (workspace.clone / "README").read_text() == "changed\n"


def test_programs_of_the_clone_do_not_run(workspace, tmp_path):
    trap = f"sh -c 'touch {tmp_path}/ran /workspace/ran; cat'"
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        write(workspace.clone / ".git/hooks" / hook, f"#!/bin/sh\n{trap}\n").chmod(0o755)
    config = workspace.clone / ".git/config"
    text = f'[core]\n\tfsmonitor = "{trap}"\n[filter "x"]\n\tsmudge = "{trap}"\n\tprocess = "{trap}"\n'
    config.write_text(config.read_text() + text)
    write(workspace.clone / ".git/info/attributes", "* filter=x\n")
    write(workspace.clone / "README", "changed\n")
    workspace.service.reset(reset_request(workspace, workspace.base))
    assert (workspace.clone / "README").read_text() == "hello\n"
    assert not (tmp_path / "ran").exists()
    assert not (workspace.dir / "ran").exists()


def test_links_of_the_clone_lead_nowhere(workspace, tmp_path):
    target = write(tmp_path / "elsewhere" / "README", "untouched\n")
    (workspace.clone / "README").unlink()
    (workspace.clone / "README").symlink_to(target)
    (workspace.clone / "src/a.py").unlink()
    (workspace.clone / "src/b.py").unlink()
    (workspace.clone / "src").rmdir()
    (workspace.clone / "src").symlink_to(target.parent)
    workspace.service.reset(reset_request(workspace, workspace.base))
    assert target.read_text() == "untouched\n"
    assert (workspace.clone / "README").read_text() == "hello\n"
    assert (workspace.clone / "src/a.py").read_text() == "print(1)\n"


def test_a_repository_within_the_clone_stays(workspace):
    """Its files are in no commit of the clone, and so nothing has kept them."""
    (workspace.clone / "inner").mkdir()
    git(workspace.clone / "inner", "init", "-q")
    write(workspace.clone / "inner/file", "its own\n")
    workspace.service.reset(reset_request(workspace, workspace.base))
    assert (workspace.clone / "inner/file").exists()
    state = workspace.after()
    assert (state.dirty, state.after_head) == (True, workspace.base)
    assert "a git repository of its own" in (state.problem or "")


def test_a_reset_of_a_shallow_clone_and_to_its_boundary(bench, remote, tmp_path):
    for number in range(3):
        remote.commit({"README": f"{number}\n"})
    git(tmp_path, "clone", "-q", "--bare", "--depth=2", "--template=", remote.url, str(tmp_path / "shallow.git"))
    made = bench.clone(Remote(tmp_path / "shallow.git").url)
    boundary = git(made.clone, "rev-list", "HEAD").split()[-1]
    assert made.service.reset(reset_request(made, boundary)) == boundary
    assert (made.clone / "README").read_text() == "1\n"
