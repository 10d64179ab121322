"""The git bundle that is kept beside the patch of an after-state."""

from pathlib import Path

import pytest

from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.logs.secret_forms import maskable
from relay_workers.git.port import AfterState
from tests.support.git_bench import BRANCH, Remote, git, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker

SECRET = "correct-horse-battery"


def content(state: AfterState) -> bytes:
    assert state.problem is None
    assert state.bundle is not None
    assert state.bundle.content is not None, state.bundle.problem
    return state.bundle.content


def fetched(state: AfterState, remote: Remote, tmp_path: Path) -> str:
    """Fetch the bundle into the repository that was cloned; return the commit of its branch."""
    path = tmp_path / "a.bundle"
    path.write_bytes(content(state))
    assert git(remote.path, "bundle", "list-heads", str(path)).split() == [state.pinned_commit, f"refs/heads/{BRANCH}"]
    git(remote.path, "fetch", "-q", str(path), f"refs/heads/{BRANCH}:refs/heads/{BRANCH}")
    git(remote.path, "fsck", "--strict", "--no-dangling")
    return git(remote.path, "rev-parse", BRANCH)


def test_a_repository_that_has_the_base_commit_can_read_it(workspace, remote, tmp_path):
    write(workspace.clone / "README", "changed\n")
    git(workspace.clone, "commit", "-qam", "The agent's own")
    write(workspace.clone / "new", "new\n")
    state = workspace.after("Relay's")

    assert fetched(state, remote, tmp_path) == state.pinned_commit == state.committed
    subjects = git(remote.path, "log", "--format=%s", f"{workspace.base}..{BRANCH}").split("\n")
    assert subjects == ["Relay's", "The agent's own"]
    assert git(remote.path, "status", "--porcelain") == ""


def test_it_is_thin(remote, bench):
    remote.commit({"big": "".join(f"line {number}\n" for number in range(200_000))})
    workspace = bench.clone(remote.url)
    with (workspace.clone / "big").open("a") as big:
        big.write("one more\n")

    assert len(content(workspace.after("changed"))) < 2000


def test_uncommitted_work_is_its_last_commit(workspace, remote, tmp_path):
    write(workspace.clone / "half", "done\n")
    state = workspace.after()

    assert fetched(state, remote, tmp_path) == state.pinned_commit != state.after_head
    assert git(remote.path, "show", f"{BRANCH}:half") == "done"


def test_nothing_new_needs_no_bundle(workspace):
    assert workspace.after("nothing").bundle is None
    write(workspace.clone / "new")
    first = workspace.after("new")
    again = workspace.after("nothing", before=first.after_head, bundled=frozenset({str(first.pinned_commit)}))
    assert (again.pinned_commit, again.bundle) == (first.pinned_commit, None)


def test_a_bundle_larger_than_the_setting_is_not_kept_and_that_is_said(bench, remote):
    workspace = bench.with_settings(bundle_max_bytes=1024).clone(remote.url)
    write(workspace.clone / "new", "".join(f"{number * 7919 % 65537}\n" for number in range(9000)))
    state = workspace.after("large")

    assert state.pinned_commit
    assert state.bundle is not None
    assert state.bundle.content is None
    assert "more than 1024 bytes (RELAY_BUNDLE_MAX_BYTES)" in str(state.bundle.problem)


@pytest.mark.parametrize("place", ["file", "removed file", "name", "message", "binary"])
def test_a_secret_in_any_commit_prevents_the_bundle(workspace, place):
    mask = SecretMask(maskable([SECRET]))
    name = SECRET if place == "name" else "file"
    text = f"\0{SECRET}\0" if place == "binary" else SECRET if "file" in place else "x"
    write(workspace.clone / name, text)
    git(workspace.clone, "add", "-A")
    git(workspace.clone, "commit", "-qm", f"It is {SECRET}" if place == "message" else "add")
    if place == "removed file":
        git(workspace.clone, "rm", "-q", name)
        git(workspace.clone, "commit", "-qm", "remove")
    write(workspace.clone / "other")
    state = workspace.after("Relay's", mask=mask)

    assert state.bundle is not None
    assert state.bundle.content is None
    assert "contain a secret" in str(state.bundle.problem)
    assert SECRET not in str(state.bundle.problem)


def test_with_secrets_that_are_nowhere_it_is_kept(workspace):
    write(workspace.clone / "file", "harmless\n")
    assert content(workspace.after("Relay's", mask=SecretMask(maskable([SECRET]))))


def test_too_much_to_look_for_secrets_in_prevents_the_bundle(bench, remote):
    workspace = bench.with_settings(bundle_max_bytes=4096).clone(remote.url)
    write(workspace.clone / "zeros", "0" * 100_000)
    state = workspace.after("zeros", mask=SecretMask(maskable([SECRET])))

    assert state.bundle is not None
    assert "too many to look for secrets" in str(state.bundle.problem)


def test_another_branch_of_the_remote_is_in_it_because_a_clone_may_lack_it(bench, remote, tmp_path):
    git(remote.path, "checkout", "-qb", "other")
    other = remote.commit({"other": "1"})
    git(remote.path, "checkout", "-q", "main")
    workspace = bench.clone(remote.url)
    git(workspace.clone, "merge", "-q", "--no-ff", "-m", "merge", "origin/other")
    state = workspace.after()
    git(remote.path, "branch", "-qD", "other")
    git(remote.path, "reflog", "expire", "--expire=now", "--all")
    git(remote.path, "gc", "-q", "--prune=now")

    fetched(state, remote, tmp_path)
    assert other in git(remote.path, "log", "--format=%H", BRANCH)


def test_it_is_made_from_a_shallow_remote(bench, remote, tmp_path):
    for number in range(3):
        remote.commit({"README": f"{number}\n"})
    shallow = Remote(tmp_path / "shallow")
    git(tmp_path, "clone", "-q", "--depth=2", remote.url, str(shallow.path))
    workspace = bench.clone(shallow.url)
    write(workspace.clone / "new")
    state = workspace.after("new")

    assert fetched(state, shallow, tmp_path) == state.committed


def test_nothing_of_the_clone_is_executed_for_it(workspace, tmp_path):
    canary = tmp_path / "canary"
    git(workspace.clone, "config", "core.fsmonitor", f"touch {canary}")
    git(workspace.clone, "config", "uploadpack.packObjectsHook", f"touch {canary}")
    hook = write(workspace.clone / ".git/hooks/reference-transaction", f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    write(workspace.clone / ".gitattributes", "* filter=evil diff=evil\n")
    write(workspace.clone / "new")

    assert content(workspace.after("new"))
    assert not canary.exists()
