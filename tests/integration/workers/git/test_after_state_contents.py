"""Contents of a clone that are recorded in part: nested repositories, submodules, Git LFS, unreadable files."""

import hashlib
import os
import shutil

import pytest

from tests.support.git_bench import Bench, Remote, Workspace, git, own, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


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


def test_files_that_the_user_cannot_read_are_left_out(workspace):
    write(workspace.clone / "good")
    write(workspace.clone / "bad").chmod(0)

    state = workspace.after("message")

    assert state.committed
    assert state.dirty
    assert "1 changed files cannot be read" in str(state.problem)
    assert git(workspace.clone, "ls-files", "good", "bad") == "good"


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


def test_other_filters_are_as_where_they_are_not_configured(workspace):
    write(workspace.clone / ".gitattributes", "*.ipynb filter=nbstripout\n")
    write(workspace.clone / "a.ipynb")
    state = workspace.after("message")
    assert (state.committed is not None, state.omitted, state.dirty) == (True, (), False)
