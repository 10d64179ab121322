import hashlib
import os
import shutil
from uuid import uuid4

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.logs.secret_forms import maskable
from relay_workers.git.host.store import Store
from relay_workers.git.sandbox.file_owners import give_back
from relay_workers.git.sandbox.locks import remove_dead_locks
from tests.support.git_bench import BRANCH, GID, UID, Bench, Remote, Workspace, git, own, write

pytest_plugins = ["tests.support.git_fixtures"]
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


def reasons(state) -> dict[str, str]:
    return dict(state.omitted)


def test_a_repository_inside_of_the_clone_is_said_to_be_left_out(workspace):
    git(workspace.clone, "init", "-q", "web")
    write(workspace.clone / "web/package.json")
    git(workspace.clone / "web", "add", "-A")
    git(workspace.clone / "web", "commit", "-qm", "inner")
    write(workspace.clone / "outer")

    state = workspace.after("message")

    assert state.committed
    assert state.dirty
    assert "a git repository of its own" in reasons(state)["web/"]
    assert "web/: a git repository of its own" in str(state.problem)

    git(workspace.clone, "add", "web")
    git(workspace.clone, "commit", "-qm", "a link to nothing")
    state = workspace.after("message")
    assert state.dirty is False
    assert "the diff has its id" in reasons(state)["web"]
    assert state.problem


@pytest.fixture
def with_submodule(bench: Bench, remote: Remote) -> Workspace:
    """A clone with a submodule, as Relay leaves it: an empty directory."""
    git(remote.path, "init", "-q", "lib")
    write(remote.path / "lib/f", "1\n")
    git(remote.path / "lib", "add", "-A")
    git(remote.path / "lib", "commit", "-qm", "sub")
    git(remote.path, "add", "lib")
    git(remote.path, "commit", "-qm", "with a submodule")
    return bench.clone(remote.url)


def fetched(workspace: Workspace, remote: Remote) -> None:
    shutil.copytree(remote.path / "lib", workspace.clone / "lib", dirs_exist_ok=True)
    for path in (workspace.clone / "lib", *(workspace.clone / "lib").rglob("*")):
        own(path)


def test_a_submodule_that_nobody_touched_is_clean(with_submodule):
    state = with_submodule.after("message")
    assert (state.dirty, state.problem, state.omitted, state.committed) == (False, None, (), None)


def test_changes_of_submodules_are_told(with_submodule, remote):
    lib = with_submodule.clone / "lib"
    write(lib / "stray")
    state = with_submodule.after("message")
    assert state.dirty
    assert "not checked out" in reasons(state)["lib"]
    (lib / "stray").unlink()

    fetched(with_submodule, remote)
    state = with_submodule.after("message")
    assert (state.dirty, state.omitted) == (False, ())

    write(lib / "f", "2\n")
    state = with_submodule.after("message")
    assert state.dirty
    assert "files of the submodule" in reasons(state)["lib"]

    git(lib, "commit", "-qam", "bump")
    state = with_submodule.after("message")
    assert state.dirty
    assert git(lib, "rev-parse", "HEAD") in reasons(state)["lib"]
    assert "lib: the submodule is at another commit" in str(state.problem)

    shutil.rmtree(lib)
    state = with_submodule.after("message")
    assert state.dirty
    assert "removed" in reasons(state)["lib"]
    assert state.committed is None


def test_a_submodule_is_read_without_running_what_its_configuration_says(with_submodule, remote):
    lib = with_submodule.clone / "lib"
    lib.rmdir()
    fetched(with_submodule, remote)
    git(lib, "config", "core.fsmonitor", "touch /workspace/ran; false")
    git(lib, "config", "filter.x.clean", "touch /workspace/ran; cat")
    write(lib / ".gitattributes", "* filter=x\n")
    write(lib / "f", "22\n")

    state = with_submodule.after()

    assert "files of the submodule" in reasons(state)["lib"]
    assert not (with_submodule.dir / "ran").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the test's user may read all that is its own")
@pytest.mark.parametrize("what", ["removed", "a file", "closed"])
def test_dirty_is_unknown_where_nothing_could_be_seen(workspace, what):
    if what == "closed":
        workspace.clone.chmod(0)
    else:
        shutil.rmtree(workspace.clone / ".git")
        if what == "a file":
            write(workspace.clone / ".git", "gitdir: elsewhere\n")

    state = workspace.after("message")

    assert state.problem
    assert state.dirty is None


def test_a_directory_that_may_not_be_read_is_told(workspace):
    write(workspace.clone / "dd" / "f")
    (workspace.clone / "dd").chmod(0)

    state = workspace.after("message")

    assert state.dirty is None, "there may be changes in it"
    assert "cannot read this directory" in reasons(state)["dd/"]
    assert "dd/" in str(state.problem)
    write(workspace.clone / "more")
    assert workspace.after().dirty
    (workspace.clone / "dd").chmod(0o755)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


def pointer(content: str) -> str:
    return LFS.format(hashlib.sha256(content.encode()).hexdigest(), len(content))


@pytest.fixture
def with_lfs(bench: Bench, remote: Remote) -> Workspace:
    remote.commit({".gitattributes": "*.bin filter=lfs -text\n", "big.bin": pointer("big\n"), "b.bin": pointer("b\n")})
    return bench.clone(remote.url)


def test_a_pointer_of_git_lfs_that_was_filled_in_is_no_change(with_lfs):
    """As `git lfs pull` leaves it: the content in the work tree, the pointer in the index, in the same second."""
    write(with_lfs.clone / "big.bin", "big\n")
    write(with_lfs.clone / "c.txt")

    state = with_lfs.after("message")

    assert (state.dirty, state.problem, state.omitted) == (False, None, ())
    assert state.summary["modified"] == 0
    assert git(with_lfs.clone, "show", "--name-only", "--format=", "HEAD") == "c.txt"
    assert with_lfs.after("message").committed is None


def test_a_file_of_git_lfs_that_was_changed_is_in_the_diff_and_in_no_commit(with_lfs):
    write(with_lfs.clone / "big.bin", "other\n")
    write(with_lfs.clone / "new.bin", "new\n")
    write(with_lfs.clone / "pointed.bin", pointer("elsewhere\n"))
    (with_lfs.clone / "b.bin").unlink()
    write(with_lfs.clone / "c.txt")

    state = with_lfs.after("message")

    changed = git(with_lfs.clone, "show", "--name-only", "--format=", "HEAD").split()
    assert changed == ["b.bin", "c.txt", "pointed.bin"]
    assert set(reasons(state)) == {"big.bin", "new.bin"}
    assert "the filter lfs" in reasons(state)["big.bin"]
    assert state.dirty
    assert state.problem
    assert state.pinned_commit != state.after_head
    assert state.patch is not None
    assert b"+other\n" in state.patch.text
    assert b"+new\n" in state.patch.text


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


def test_other_filters_are_as_where_they_are_not_configured(workspace):
    write(workspace.clone / ".gitattributes", "*.ipynb filter=nbstripout\n")
    write(workspace.clone / "a.ipynb")
    state = workspace.after("message")
    assert (state.committed is not None, state.omitted, state.dirty) == (True, (), False)


def remove_locks(workspace: Workspace, ended: int = GID, running: tuple[int, ...] = ()) -> list[str]:
    return remove_dead_locks(workspace.dir, workspace.name, BRANCH, ended=ended, running=running)


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
