"""The state of a clone after a step is recorded, and committed where asked."""

import os
import shutil

import pytest

from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.logs.secret_forms import maskable
from tests.support.git_bench import BRANCH, Workspace, git, own, store_of, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


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


def test_the_diff_of_a_run_begins_at_head_before_it(bench, workspace, tmp_path):
    write(workspace.clone / "one", "1\n")
    before_run = workspace.after("of an earlier run").after_head
    write(workspace.clone / "two", "2\n")
    (workspace.clone / "README").write_bytes(b"\0binary\xff")
    agent = workspace.after("agent", before=before_run, run=before_run)
    assert (agent.run_base, agent.run_patch) == (before_run, None), "it is the patch of the step"
    (workspace.clone / "two").rename(workspace.clone / "three")
    write(workspace.clone / "four", "not committed\n")
    cleanup = workspace.after(None, before=agent.after_head, run=before_run)

    assert (cleanup.run_base, cleanup.run_patch.files) == (before_run, 3)
    assert (cleanup.patch.files, cleanup.step_patch.files) == (4, 2)
    store = store_of(bench, workspace)
    files, patch = tmp_path / "files", tmp_path / "run.patch"
    files.mkdir()
    patch.write_bytes(cleanup.run_patch.text)
    there = (f"--git-dir={store.path}", "--work-tree=.")
    git(files, *there, "read-tree", before_run)
    git(files, *there, "checkout-index", "--all", "--index")
    git(files, *there, "apply", "--index", str(patch))
    assert git(files, *there, "write-tree") == git(store.path, "rev-parse", f"{cleanup.pinned_commit}^{{tree}}")

    unknown = workspace.after(None, before=agent.after_head, run="1" * 40)
    assert (unknown.run_base, unknown.run_patch, unknown.problem) == (None, None, None)
    of_job = workspace.after(None, before=agent.after_head, run=workspace.base)
    assert (of_job.run_base, of_job.run_patch) == (None, None), "it is the patch of the workspace"


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


def test_files_become_directories_and_back(workspace):
    (workspace.clone / "README").unlink()
    write(workspace.clone / "README" / "inside")
    shutil.rmtree(workspace.clone / "src")
    write(workspace.clone / "src")

    state = workspace.after("swap")

    assert state.committed
    assert git(workspace.clone, "ls-files").split() == ["README/inside", "src"]


def test_what_is_too_large_is_said_and_head_is_pinned(bench, workspace):
    with write(workspace.clone / "giant").open("wb") as file:
        file.truncate(1 << 40)

    state = workspace.after("message")

    assert (state.committed, state.pinned_commit, state.dirty) == (None, workspace.base, True)
    assert "1099511627776 bytes" in str(state.problem)
    assert state.commit_problem


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


def test_ownership_of_what_a_commit_writes(workspace):
    own(write(workspace.clone / "new"))
    assert workspace.after("message").committed
    owners = {path.stat().st_uid for path in (workspace.clone / ".git").rglob("*")}
    assert owners == {workspace.clone.stat().st_uid}


def test_what_an_agents_git_hides_by_its_own_settings_is_committed(workspace):
    """Relay reads no configuration of a clone: `.gitignore` and `info/exclude` hide, `core.*` of the agent does not."""
    write(workspace.dir / "home/ignore", "*.tmp\n")
    git(workspace.clone, "config", "core.excludesFile", str(workspace.dir / "home/ignore"))
    git(workspace.clone, "config", "core.fileMode", "false")
    git(workspace.clone, "config", "core.autocrlf", "true")
    write(workspace.clone / "a.tmp")
    (workspace.clone / "README").chmod(0o755)
    (workspace.clone / "crlf").write_bytes(b"a\r\n")

    assert workspace.after("message").committed

    listed = git(workspace.clone, "ls-files", "-s", "README", "a.tmp", "crlf").split()
    assert listed[::4] == ["100755", "100644", "100644"]
    assert git(workspace.clone, "cat-file", "-s", "HEAD:crlf") == "3"


def test_a_patch_applies_whatever_it_is_of(bench, workspace, remote, tmp_path):
    (workspace.clone / "pic.png").write_bytes(bytes(range(256)) * 20)
    (workspace.clone / os.fsdecode(b"caf\xe9 \n")).write_bytes(b"odd\n")
    (workspace.clone / "src/a.py").rename(workspace.clone / "src/renamed.py")
    (workspace.clone / "src/b.py").unlink()
    (workspace.clone / "README").chmod(0o755)
    (workspace.clone / "link").symlink_to("README")
    write(workspace.clone / "empty", "")
    state = workspace.after("message")
    assert state.patch is not None
    assert state.patch.applies

    git(tmp_path, "clone", "-q", str(remote.path), "other")
    (tmp_path / "patch").write_bytes(state.patch.text)
    git(tmp_path / "other", "apply", "--index", str(tmp_path / "patch"))

    assert git(tmp_path / "other", "write-tree") == git(workspace.clone, "rev-parse", "HEAD^{tree}")


def test_a_patch_with_a_masked_place_says_so(workspace):
    write(workspace.clone / "conf.yml", "password: hunter2-hunter2\n")
    mask = SecretMask(maskable(["hunter2-hunter2"]))
    state = workspace.after("message", mask=mask)
    assert state.patch is not None
    assert b"hunter2" not in state.patch.text
    assert (state.patch.masked, state.patch.applies) == (("conf.yml",), False)


def test_a_clone_of_a_shallow_remote_is_recorded(bench, remote, tmp_path):
    remote.commit({"README": "second\n"})
    git(tmp_path, "clone", "-q", "--depth", "1", remote.url, "copy")
    workspace = bench.clone(f"file://{tmp_path}/copy")
    write(workspace.clone / "new")
    state = workspace.after("first")
    assert (state.problem, state.dirty, bool(state.committed)) == (None, False, True)
    write(workspace.clone / "newer")
    state = workspace.after("second", before=state.after_head)
    assert (state.problem, bool(state.committed)) == (None, True)
    assert state.patch is not None
    assert state.step_patch is not None
    assert (state.patch.files, state.step_patch.files) == (2, 1)
