"""The contract of the git port, claimed by the fake and by real git alike."""

import shutil
from threading import Event

import pytest

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.port import FetchRequest
from tests.support.git_bench import BRANCH, start_of, write
from tests.support.git_port import FILES

pytest_plugins = ["tests.support.git_port"]


def head(workspace):
    return workspace.service.heads(workspace.dir, [workspace.name])[workspace.name]


def test_a_clone_stands_on_its_own_branch_at_the_remotes_head(port):
    workspace = port.bench.clone(port.url)
    result = workspace.result
    assert (result.head_commit, result.target_branch, result.submodules) == (port.head, "main", ())
    assert result.mirror_path == workspace.service.mirror_path(port.bench.project, port.url)
    assert result.mirror_path.is_dir()
    assert head(workspace) == (port.head, BRANCH, None, False)
    assert {name: (workspace.clone / name).read_bytes() for name in FILES} == FILES
    assert BRANCH.encode() in b"".join(workspace.output)


def test_a_clone_of_a_named_branch(port):
    assert port.bench.clone(port.url, "main").result.target_branch == "main"


def test_a_clone_that_starts_from_a_commit_keeps_its_target_branch(port):
    result = port.bench.clone(port.url, "main", ref=port.head).result
    assert (result.head_commit, result.target_branch) == (port.head, "main")


def test_a_complete_clone_is_left_as_it_is(port):
    workspace = port.bench.clone(port.url)
    write(workspace.clone / "README", "changed\n")
    again = port.bench.clone(port.url, into=workspace)
    assert again.result.head_commit == port.head
    assert (workspace.clone / "README").read_text() == "changed\n"


@pytest.mark.parametrize(("of_url", "target"), [("-gone", None), ("", "no-such-branch")])
def test_a_clone_that_fails_leaves_nothing_of_it(port, of_url, target):
    workspace = port.bench.workspace()
    with pytest.raises(StepFailed) as caught:
        port.bench.clone(port.url + of_url, target, into=workspace)
    assert caught.value.reason == Reason.CLONE_FAILED
    assert not workspace.clone.exists()
    assert head(workspace).commit is None


def test_a_cancelled_clone_ends_as_killed(port):
    cancelled = Event()
    cancelled.set()
    workspace = port.bench.workspace()
    with pytest.raises(StepFailed) as caught:
        port.bench.clone(port.url, into=workspace, cancelled=cancelled)
    assert caught.value.reason == Reason.USER
    assert not workspace.clone.exists()


@pytest.mark.parametrize(
    ("url", "target", "name"),
    [("ftp://example.org/x.git", None, "repo"), (None, None, "../repo"), (None, "..", "repo")],
)
def test_names_and_urls_that_are_not_usable_are_refused(port, url, target, name):
    with pytest.raises(InvalidInput):
        port.bench.clone(url or port.url, target, name)


def test_the_mirror_of_a_url_that_is_not_allowed_has_no_place(port):
    with pytest.raises(InvalidInput):
        port.bench.workspace().service.mirror_path(port.bench.project, "ftp://example.org/x.git")


def test_a_clone_that_is_not_there_has_no_head_and_a_problem(port):
    found = head(port.bench.workspace())
    assert (found.commit, found.branch) == (None, None)
    assert found.problem


def test_a_clean_clone_is_pinned_at_its_head(port):
    workspace = port.bench.clone(port.url)
    state = workspace.after("a message")
    assert (state.after_head, state.branch, state.pinned_commit) == (port.head, BRANCH, port.head)
    assert (state.dirty, state.committed, state.commit_problem, state.problem) == (False, None, None, None)
    assert (state.patch.text, state.patch.files) == (b"", 0)


def change(workspace) -> None:
    write(workspace.clone / "README", "changed\n")
    write(workspace.clone / "new", "new\n")
    (workspace.clone / "src/a.py").unlink()


CHANGES = {"modified": 1, "deleted": 1, "untracked": 1}


def test_work_without_a_message_is_pinned_and_stays_uncommitted(port):
    workspace = port.bench.clone(port.url)
    change(workspace)
    state = workspace.after()
    assert (state.after_head, state.committed, state.dirty, state.problem) == (port.head, None, True, None)
    assert state.pinned_commit not in {None, port.head}
    assert {kind: state.summary[kind] for kind in CHANGES} == CHANGES
    assert (state.patch.files, state.patch.insertions, state.patch.deletions) == (3, 2, 2)
    assert b"+changed" in state.patch.text
    assert head(workspace).commit == port.head


def test_work_with_a_message_is_committed_on_its_branch(port):
    workspace = port.bench.clone(port.url)
    change(workspace)
    state = workspace.after("what was done")
    assert state.committed == state.after_head == state.pinned_commit == head(workspace).commit
    assert state.committed not in {None, port.head}
    assert (state.dirty, state.commit_problem, state.problem) == (False, None, None)
    assert (state.branch, state.patch.files) == (BRANCH, 3)
    again = workspace.after("once more")
    assert (again.committed, again.after_head) == (None, state.committed)


def test_the_paths_that_a_step_changed_are_told_whether_committed_or_not(port):
    workspace = port.bench.clone(port.url)
    change(workspace)
    (workspace.clone / "src/b.py").rename(workspace.clone / "moved.py")
    wanted = ["README", "moved.py", "new", "src/a.py", "src/b.py"]
    state = workspace.after()
    assert sorted(workspace.changed(state.pinned_commit)) == wanted
    assert sorted(workspace.changed(workspace.after("a message").after_head)) == wanted
    assert workspace.changed(port.head) == []


def test_what_a_step_did_to_its_clone_is_a_problem_and_no_error(port):
    workspace = port.bench.clone(port.url)
    shutil.rmtree(workspace.clone)
    state = workspace.after("a message")
    assert (state.after_head, state.pinned_commit, state.committed) == (None, None, None)
    assert state.problem


def test_a_workspace_is_removed_once_and_for_all(port):
    workspace = port.bench.clone(port.url)
    for _ in range(2):
        workspace.service.remove_workspace(workspace.id, workspace.dir)
        assert not workspace.dir.exists()


def fetch(port, target: str | None = None, ref: str | None = None):
    request = FetchRequest(port.bench.project, port.url, target, lambda _: None, Event(), ref)
    return port.bench.workspace().service.fetch(request)


def test_a_fetch_tells_where_a_clone_starts(port):
    remote = fetch(port)
    assert (remote.target_branch, remote.default_branch) == ("main", "main")
    assert remote.target_commit == remote.start_commit == port.head
    assert remote.mirror_path == port.bench.workspace().service.mirror_path(port.bench.project, port.url)
    with pytest.raises(StepFailed):
        fetch(port, "no-such-branch")


def test_files_of_the_target_branch_are_read_without_a_checkout(port):
    name, content = next(iter(FILES.items()))
    found = port.bench.workspace().service.files_of_target(fetch(port), ["no/such", name], 3)
    assert [(file.path, file.content) for file in found] == [(name, content[:4])]


def test_a_mirror_is_removed_if_it_is_still_wanted_and_made_anew_by_the_next_fetch(port):
    service, project = port.bench.workspace().service, port.bench.project
    mirror = fetch(port).mirror_path
    assert not service.remove_mirror(project, port.url, lambda: False)
    assert mirror.is_dir()
    for _ in range(2):
        assert service.remove_mirror(project, port.url, lambda: True)
        assert not mirror.exists()
    assert fetch(port).mirror_path == mirror
    assert mirror.is_dir()


def pinned(workspace, **files):
    """The recorded state of a clone with changes that are not committed."""
    for name, content in files.items():
        write(workspace.clone / name, content)
    state = workspace.after()
    assert state.pinned_commit, state.problem
    return state.pinned_commit


def test_a_clone_starts_from_what_was_recorded_of_another_workspace(port):
    source = port.bench.clone(port.url)
    commit = pinned(source, draft="not committed\n")
    fork = port.bench.clone(port.url, start=start_of(source, commit))
    assert (fork.result.head_commit, fork.result.base_commit, fork.result.target_branch) == (commit, port.head, "main")
    assert head(fork) == (commit, BRANCH, None, False)
    assert (fork.clone / "draft").read_text() == "not committed\n"
    assert {name: (fork.clone / name).read_bytes() for name in FILES} == FILES
    again = port.bench.clone(port.url, into=fork, start=start_of(source, commit))
    assert (again.result.head_commit, again.result.base_commit) == (commit, port.head), "a complete clone stays"


def test_a_recorded_state_that_is_not_there_is_no_start(port):
    source = port.bench.clone(port.url)
    commit = pinned(source, draft="x\n")
    source.service.remove_workspace(source.id, source.dir)
    workspace = port.bench.workspace()
    with pytest.raises(StepFailed) as caught:
        port.bench.clone(port.url, into=workspace, start=start_of(source, commit))
    assert caught.value.reason == Reason.CLONE_FAILED
    assert "does not have the recorded state" in str(caught.value)
    assert not workspace.clone.exists()
