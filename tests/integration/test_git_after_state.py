import os
import shutil
from uuid import uuid4

import pytest
from git_bench import BRANCH, Bench, Remote, Workspace, git, own, write

from relay_core.domain.errors import StepFailed
from relay_workers.git.store import Store

pytest_plugins = ["git_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def workspace(bench: Bench, remote: Remote) -> Workspace:
    return bench.clone(remote.url)


def store_of(bench: Bench, workspace: Workspace) -> Store:
    return Store(bench.settings, workspace.id, workspace.name)


def test_a_clean_clone_is_pinned_at_its_head(workspace):
    state = workspace.after()

    assert (state.after_head, state.branch, state.pinned_commit) == (workspace.base, BRANCH, workspace.base)
    assert (state.dirty, state.committed, state.problem, state.commit_problem) == (False, None, None, None)
    assert state.patch is not None
    assert (state.patch.text, state.step_patch) == (b"", None)


def test_uncommitted_work_is_pinned_and_stays_uncommitted(bench, workspace):
    write(workspace.clone / "README", "changed\n")
    (workspace.clone / "src/a.py").unlink()
    write(workspace.clone / "new\nfile", "new\n")
    write(workspace.clone / "staged", "s\n")
    git(workspace.clone, "add", "staged")

    state = workspace.after()

    assert state.problem is None
    assert state.dirty
    assert state.after_head == workspace.base
    counts = {key: state.summary[key] for key in ("staged", "modified", "deleted", "untracked")}
    assert counts == {"staged": 1, "modified": 1, "deleted": 1, "untracked": 1}
    assert state.patch is not None
    assert (state.patch.files, state.patch.insertions, state.patch.deletions) == (4, 3, 2)
    assert git(workspace.clone, "rev-parse", "HEAD") == workspace.base
    shutil.rmtree(workspace.clone)  # the store needs neither the clone nor a container
    store = store_of(bench, workspace)
    assert store.patch(workspace.base, str(state.pinned_commit), 1 << 20) == state.patch
    listing = git(store.path, "ls-tree", "-r", "-z", "--name-only", str(state.pinned_commit)).split("\0")
    assert set(filter(None, listing)) == {"README", "src/b.py", "new\nfile", "staged"}
    assert git(store.path, "for-each-ref", "--format=%(objectname)", "refs/relay/") == state.pinned_commit
    git(store.path, "fsck", "--strict", "--no-dangling")


def test_a_commit_of_the_agent_s_work(bench, workspace):
    write(workspace.clone / "README", "changed\n")
    write(workspace.clone / "link target/x")
    (workspace.clone / "ln").symlink_to("link target")
    write(workspace.clone / "run").chmod(0o755)
    write(workspace.clone / ".gitignore", "*.log\n")
    write(workspace.clone / "noise.log")
    write(workspace.clone / ".git/info/exclude", "secret.env\n")
    write(workspace.clone / "secret.env")

    state = workspace.after("I changed things\n\nwith \"quotes\" and $(touch x) `y` 'z'\n")

    assert state.committed == state.after_head == state.pinned_commit
    assert (state.dirty, state.problem, state.commit_problem) == (False, None, None)
    assert git(workspace.clone, "log", "-1", "--format=%an <%ae>|%B").startswith(
        "Relay <relay@localhost>|I changed things\n\nwith \"quotes\" and $(touch x) `y` 'z'"
    )
    assert git(workspace.clone, "rev-parse", "HEAD", "HEAD^", BRANCH).split() == [
        state.committed,
        workspace.base,
        state.committed,
    ]
    assert git(workspace.clone, "status", "--porcelain") == ""
    assert git(workspace.clone, "ls-files", "-s", "ln", "run").split()[::4] == ["120000", "100755"]
    assert "noise.log" not in git(workspace.clone, "ls-files")
    assert "secret.env" not in git(workspace.clone, "ls-files")
    git(workspace.clone, "fsck", "--strict", "--no-dangling")
    assert workspace.service.heads(workspace.dir, ["repo"])["repo"].commit == state.committed


def test_the_next_step_is_compared_with_the_one_before(workspace):
    write(workspace.clone / "one", "1\n")
    first = workspace.after("one")
    write(workspace.clone / "two", "2\n")
    second = workspace.after("two", before=first.after_head)

    assert second.patch is not None
    assert second.step_patch is not None
    assert (second.patch.files, second.step_patch.files) == (2, 1)
    nothing = workspace.after("three", before=second.after_head)
    assert (nothing.committed, nothing.commit_problem, nothing.pinned_commit) == (None, None, second.after_head)


def test_the_agent_s_own_commits_are_kept(bench, workspace):
    for number in range(3):
        write(workspace.clone / f"f{number}")
        git(workspace.clone, "add", "-A")
        git(workspace.clone, "commit", "-qm", f"c{number}")
    git(workspace.clone, "gc", "-q")
    git(workspace.clone, "pack-refs", "--all")

    state = workspace.after("nothing to add")

    assert (state.problem, state.committed) == (None, None)
    assert state.pinned_commit == git(workspace.clone, "rev-parse", "HEAD")
    assert git(store_of(bench, workspace).path, "rev-list", "--count", str(state.pinned_commit)) == "4"
    write(workspace.clone / "more")
    assert workspace.after("on a packed branch").committed


def test_a_change_of_the_same_size_in_the_same_moment_is_seen(workspace):
    for number in range(4):
        write(workspace.clone / "README", f"h{number:04}\n")
        assert workspace.after(f"change {number}").committed


def test_a_merge_from_another_branch_of_the_remote(bench, remote):
    git(remote.path, "checkout", "-qb", "other")
    remote.commit({"other": "x\n" * 1000})
    git(remote.path, "checkout", "-q", "main")
    workspace = bench.clone(remote.url)
    git(workspace.clone, "merge", "-q", "--no-ff", "-m", "merge", "origin/other")

    state = workspace.after()

    assert state.problem is None
    assert state.pinned_commit == git(workspace.clone, "rev-parse", "HEAD")


@pytest.mark.parametrize("what", ["merge", "rebase"])
def test_no_commit_while_something_is_in_progress(workspace, what):
    git(workspace.clone, "checkout", "-qb", "side")
    write(workspace.clone / "README", "side\n")
    git(workspace.clone, "commit", "-qam", "side")
    git(workspace.clone, "checkout", "-q", BRANCH)
    write(workspace.clone / "README", "mine\n")
    git(workspace.clone, "commit", "-qam", "mine")
    with pytest.raises(AssertionError):
        git(workspace.clone, what, "side")

    state = workspace.after("message")

    assert state.committed is None
    if what == "merge":
        assert state.summary["unmerged"] == 1
        assert "in progress (MERGE_HEAD)" in str(state.commit_problem)
    else:
        assert "in progress" in str(state.commit_problem)
    assert state.pinned_commit
    assert state.patch is not None
    assert b"<<<<<<<" in state.patch.text


def test_no_commit_on_a_detached_head_or_beside_another_git(workspace):
    write(workspace.clone / "new")
    (workspace.clone / ".git/index.lock").touch()
    state = workspace.after("message")
    assert "lock" in str(state.commit_problem)
    assert state.dirty
    assert state.pinned_commit
    (workspace.clone / ".git/index.lock").unlink()

    git(workspace.clone, "checkout", "-q", "--detach")
    state = workspace.after("message")
    assert "no branch" in str(state.commit_problem)
    assert (state.after_head, state.branch) == (workspace.base, None)


def test_a_branch_without_a_commit_is_recorded_and_not_committed(workspace):
    git(workspace.clone, "checkout", "-q", "--orphan", "fresh")

    state = workspace.after("message")

    assert (state.after_head, state.branch, state.committed) == (None, "fresh", None)
    assert state.pinned_commit
    assert "no branch with a commit" in str(state.commit_problem)


def test_nested_repositories_are_named_and_not_entered(workspace):
    git(workspace.clone, "init", "-q", "nested")
    write(workspace.clone / "nested" / "inner")
    git(workspace.clone / "nested", "add", "-A")
    git(workspace.clone / "nested", "commit", "-qm", "inner")
    write(workspace.clone / "outer")

    state = workspace.after("message")

    assert state.committed
    assert state.dirty
    assert state.summary["nested"] == 1
    assert "?? nested/" in state.summary["paths"]
    assert "nested" not in git(workspace.clone, "ls-files")


def test_files_become_directories_and_back(workspace):
    (workspace.clone / "README").unlink()
    write(workspace.clone / "README" / "inside")
    shutil.rmtree(workspace.clone / "src")
    write(workspace.clone / "src")

    state = workspace.after("swap")

    assert state.committed
    assert git(workspace.clone, "ls-files").split() == ["README/inside", "src"]


def test_files_that_the_user_cannot_read_are_left_out(workspace):
    write(workspace.clone / "good")
    write(workspace.clone / "bad").chmod(0)

    state = workspace.after("message")

    assert state.committed
    assert state.dirty
    assert "1 changed files cannot be read" in str(state.problem)
    assert git(workspace.clone, "ls-files", "good", "bad") == "good"


def test_what_is_too_large_is_said_and_head_is_pinned(bench, workspace):
    with write(workspace.clone / "giant").open("wb") as file:
        file.truncate(1 << 40)

    state = workspace.after("message")

    assert (state.committed, state.pinned_commit, state.dirty) == (None, workspace.base, True)
    assert "1099511627776 bytes" in str(state.problem)
    assert state.commit_problem


def test_a_pack_over_the_limit_is_refused(bench, workspace):
    (workspace.clone / "noise").write_bytes(os.urandom(12 << 20))

    state = workspace.after()

    assert state.pinned_commit is None
    assert state.problem
    committed = workspace.after("message")
    assert committed.committed == committed.after_head
    assert "larger than 8388608 bytes" in str(committed.problem)
    assert not bench.left_overs()


def test_a_damaged_index_is_made_again(workspace):
    write(workspace.clone / "new")
    (workspace.clone / ".git/index").write_bytes(b"DIRCnonsense")

    state = workspace.after("message")

    assert state.committed
    assert git(workspace.clone, "status", "--porcelain") == ""
    (workspace.clone / ".git/index").unlink()
    write(workspace.clone / "newer")
    assert workspace.after("again").committed


def test_a_long_patch_is_cut(bench, workspace):
    write(workspace.clone / "long", "line\n" * 10000)
    small = Workspace(
        workspace.id, workspace.dir, bench.with_settings(patch_max_bytes=1024).service, result=workspace.result
    )

    state = small.after("message")

    assert state.patch is not None
    assert state.patch.truncated
    assert 0 < len(state.patch.text) <= 1024
    assert state.patch.text.endswith(b"\n")
    assert state.patch.insertions == 10000


def test_a_store_takes_only_sound_packs_and_commits_that_exist(bench, workspace, tmp_path):
    workspace.after()
    store = store_of(bench, workspace)
    pack = tmp_path / "pack"
    pack.write_bytes(b"PACK\0\0\0\2\0\0\0\1garbage")
    with pack.open("rb") as file, pytest.raises(StepFailed, match="refused"):
        store.import_pack(file.fileno())
    with pytest.raises(StepFailed, match="lacks its commit"):
        store.pin(uuid4(), "1" * 40)
    blob = git(workspace.clone, "rev-parse", "HEAD:README")
    with pytest.raises(StepFailed, match="lacks its commit"):
        store.pin(uuid4(), blob)
    assert not list(store.path.glob("objects/pack/tmp_*"))


def test_a_pack_with_loose_ends_is_refused(bench, workspace, tmp_path):
    workspace.after()
    write(workspace.clone / "new")
    git(workspace.clone, "add", "-A")
    git(workspace.clone, "commit", "-qm", "new")
    commit = git(workspace.clone, "rev-parse", "HEAD")
    name = git(workspace.clone, "pack-objects", "-q", str(tmp_path / "loose"), text=f"{commit}\n")

    with (tmp_path / f"loose-{name}.pack").open("rb") as file, pytest.raises(StepFailed, match="refused"):
        store_of(bench, workspace).import_pack(file.fileno())


def test_ownership_of_what_a_commit_writes(workspace):
    own(write(workspace.clone / "new"))
    assert workspace.after("message").committed
    owners = {path.stat().st_uid for path in (workspace.clone / ".git").rglob("*")}
    assert owners == {workspace.clone.stat().st_uid}
