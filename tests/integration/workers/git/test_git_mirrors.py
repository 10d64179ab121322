"""Mirrors of remotes: they are shared, follow their remote, and survive fetches that were killed or had no space."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.host import mirror
from tests.support.git_bench import Bench, Remote, git, git_children, refused, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def test_workspaces_of_one_project_share_a_mirror_and_nothing_else(bench, remote):
    first, second = bench.clone(remote.url), bench.clone(remote.url)

    assert first.result is not None
    assert second.result is not None
    assert first.result.mirror_path == second.result.mirror_path
    assert len(bench.mirrors()) == 1
    inodes = {(w.clone / ".git").stat().st_ino for w in (first, second)}
    assert len(inodes) == 2
    for workspace in (first, second):
        write(workspace.clone / "new", str(workspace.id))
    with ThreadPoolExecutor() as pool:
        states = list(pool.map(lambda w: w.after("both at once"), (first, second)))
    assert all(state.committed and not state.problem for state in states)
    assert states[0].committed != states[1].committed


def test_workers_that_clone_a_new_remote_at_once_make_one_mirror(bench, remote):
    with ThreadPoolExecutor() as pool:
        workspaces = list(pool.map(lambda _: bench.clone(remote.url), range(3)))

    assert len({w.base for w in workspaces}) == 1
    assert len(list((bench.settings.data_dir / "mirrors").glob("*/*"))) == 2  # and its lock


def test_other_projects_have_mirrors_of_their_own(bench, remote):
    other = Bench(bench.settings, bench.tool)
    first, second = bench.clone(remote.url).result, other.clone(remote.url).result

    assert first is not None
    assert second is not None
    assert first.mirror_path != second.mirror_path


def test_a_later_clone_sees_what_the_remote_has_now(bench, remote):
    git(remote.path, "branch", "topic")
    first = bench.clone(remote.url)
    commit = remote.commit({"later": "1"})
    git(remote.path, "branch", "-D", "topic")
    git(remote.path, "branch", "topic/deep")

    second = bench.clone(remote.url)

    assert second.base == commit
    assert "topic'" in refused_target(bench, remote.url, "topic")
    assert bench.clone(remote.url, "topic/deep").base == commit
    git(first.clone, "fsck", "--no-dangling")


def refused_target(bench: Bench, url: str, target: str) -> str:
    with pytest.raises(StepFailed) as error:
        bench.clone(url, target)
    return str(error.value)


def test_history_that_the_remote_rewrote_stays_for_the_clones_that_borrow_it(bench, remote):
    first = bench.clone(remote.url)
    git(remote.path, "commit", "-q", "--amend", "-m", "rewritten")

    second = bench.clone(remote.url)

    assert first.base != second.base
    git(first.clone, "fsck", "--no-dangling")
    assert first.after().pinned_commit == first.base


def test_the_default_branch_may_change(bench, remote):
    bench.clone(remote.url)
    git(remote.path, "checkout", "-qb", "trunk")
    commit = remote.commit({"trunk": "1"})

    workspace = bench.clone(remote.url)

    assert workspace.result is not None
    assert (workspace.base, workspace.result.target_branch) == (commit, "trunk")


def shallow(remote: Remote, path: Path) -> Remote:
    """A remote as a CI checkout is: only the newest commit, which follows that of another."""
    for name in ("one", "two"):
        remote.commit({name: name})
    subprocess.run(["git", "clone", "-q", "--depth", "1", remote.url, path], check=True)
    return Remote(path)


def move_on(remote: Remote, copy: Remote) -> str:
    commit = remote.commit({"later": git(remote.path, "rev-list", "--count", "HEAD")})
    git(copy.path, "fetch", "-q", "--depth", "1", "origin", "main")
    git(copy.path, "reset", "-q", "--hard", "FETCH_HEAD")
    return commit


def test_a_shallow_remote_gives_whole_clones_and_is_followed(bench, remote, tmp_path):
    copy = shallow(remote, tmp_path / "copy")
    first = bench.clone(copy.url)
    assert git(first.clone, "rev-parse", "--is-shallow-repository") == "true"
    assert git(first.clone, "log", "--format=%s") == "change"
    git(first.clone, "fsck", "--no-dangling")

    commit = move_on(remote, copy)
    second = bench.clone(copy.url)

    assert second.base == commit
    for workspace in (first, second):
        git(workspace.clone, "fsck", "--no-dangling")
        assert git(workspace.clone, "rev-list", "--count", "HEAD")
        write(workspace.clone / "new")
        state = workspace.after("mine")
        assert (state.problem, state.commit_problem) == (None, None)
        assert state.patch is not None
        assert state.patch.files == 1
    git(copy.path, "fetch", "-q", "--unshallow", "origin")
    third = bench.clone(copy.url)
    assert git(third.clone, "rev-parse", "--is-shallow-repository") == "false"
    assert git(third.clone, "rev-list", "--count", "HEAD") == git(remote.path, "rev-list", "--count", "HEAD")


def test_a_ref_that_git_leaves_behind_is_no_success(bench, remote, tmp_path, monkeypatch):
    copy = shallow(remote, tmp_path / "copy")
    bench.clone(copy.url)
    move_on(remote, copy)
    without = tuple(word for word in mirror._FETCH if word != "--update-shallow")
    monkeypatch.setattr(mirror, "_FETCH", without)
    for path in bench.mirrors():
        (path / "shallow").rename(path / "aside")  # so that nothing asks for more history

    message = refused(bench, Reason.CLONE_FAILED, copy.url)

    assert "did not bring these refs up to date with the remote: main" in message


def test_head_moves_to_another_branch_at_the_same_commit(bench, remote):
    assert bench.clone(remote.url).result.target_branch == "main"
    git(remote.path, "checkout", "-qb", "develop")
    assert bench.clone(remote.url).result.target_branch == "develop"


def test_a_head_on_no_branch(bench, remote, tmp_path):
    (tmp_path / "ci").mkdir()
    git(tmp_path / "ci", "init", "-q", "-b", "main")
    git(tmp_path / "ci", "fetch", "-q", remote.url, "+refs/heads/main:refs/remotes/pull/1/merge")
    git(tmp_path / "ci", "checkout", "-q", "--detach", "refs/remotes/pull/1/merge")
    before = remote.commit({"more": "1"})
    remote.commit({"more": "2"})
    git(remote.path, "checkout", "-q", "--detach", before)

    for _ in range(2):
        workspace = bench.clone(f"file://{tmp_path}/ci")
        assert workspace.result.target_branch is None
        assert workspace.base == git(tmp_path / "ci", "rev-parse", "HEAD")
        assert b"from a HEAD on no branch at" in b"".join(workspace.output)
        assert bench.clone(remote.url).base == before
    write(workspace.clone / "new")
    assert workspace.after("mine").committed


def test_a_fetch_leaves_the_node_s_floor_alone(bench, remote):
    bench.clone(remote.url)
    full = bench.with_settings(node_min_free_bytes=1 << 60)
    assert "RELAY_NODE_MIN_FREE_BYTES" in refused(full, Reason.DISK_LIMIT, remote.url)

    (remote.path / "big").write_bytes(os.urandom(3 << 20))
    remote.commit({})
    small = bench.with_settings(mirror_max_bytes=2 << 20)
    assert "RELAY_MIRROR_MAX_BYTES" in refused(small, Reason.CLONE_FAILED, remote.url)


def test_the_disk_that_fills_during_a_fetch_ends_it(bench, silent_server, monkeypatch):
    usage = shutil.disk_usage(bench.settings.data_dir.parent)
    free = iter([usage.free, usage.free])
    monkeypatch.setattr(
        "relay_workers.git.host.mirror.shutil.disk_usage", lambda _: usage._replace(free=next(free, 0))
    )  # a disk cannot be filled here without harm to others

    refused(bench, Reason.DISK_LIMIT, f"git://127.0.0.1:{silent_server.getsockname()[1]}/a")

    assert not git_children()


def test_a_killed_fetch_does_not_block_the_next(bench, remote):
    first = bench.clone(remote.url)
    assert first.result is not None
    left = first.result.mirror_path
    for name in ("relay-fetching", "packed-refs.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x"):
        (left / name).touch()
    (left.parent / f"{left.name}.partial-1").mkdir()
    commit = remote.commit({"later": "1"})

    assert bench.clone(remote.url).base == commit
    assert not list(left.glob("objects/pack/tmp_*"))
