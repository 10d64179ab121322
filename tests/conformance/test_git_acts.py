"""Push and reset of the git port, claimed by the fake and by real git alike."""

from pathlib import Path
from threading import Event
from uuid import uuid4

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.act_requests import Pushed, RestoreRequest
from tests.support.git_bench import BRANCH, Workspace, merge_request, push_request, reset_request, write

pytest_plugins = ["tests.support.git_port"]


@pytest.fixture
def workspace(port) -> Workspace:
    """A clone with one commit of the workspace on its branch."""
    made = port.bench.clone(port.url)
    write(made.clone / "README", "changed\n")
    made.commit = made.after("a change").committed
    assert made.commit is not None
    return made


def pushed_to(port, workspace, **changes):
    return workspace.service.push(push_request(workspace, port.url, **changes))


def test_a_push_makes_the_branch_and_a_second_one_changes_nothing(port, workspace):
    assert pushed_to(port, workspace) == Pushed(workspace.commit, BRANCH, changed=True)
    assert pushed_to(port, workspace) == Pushed(workspace.commit, BRANCH, changed=False)
    assert port.bench.clone(port.url, BRANCH).result.head_commit == workspace.commit


def test_a_push_adds_commits_to_a_branch_of_the_remote(port, workspace):
    assert pushed_to(port, workspace, branch="other", commit=port.head).changed
    assert pushed_to(port, workspace, branch="other") == Pushed(workspace.commit, "other", changed=True)


def test_other_commits_of_the_branch_are_kept_without_force(port, workspace):
    other = port.bench.clone(port.url)
    write(other.clone / "README", "something else\n")
    other.commit = other.after("another change").committed
    pushed_to(port, other)
    with pytest.raises(StepFailed) as caught:
        pushed_to(port, workspace)
    assert caught.value.reason == Reason.PUSH_REJECTED
    assert BRANCH in str(caught.value)
    assert port.bench.clone(port.url, BRANCH).result.head_commit == other.commit
    lease = workspace.service.branch_at(push_request(workspace, port.url))
    assert lease == other.commit
    with pytest.raises(StepFailed) as caught:
        pushed_to(port, workspace, lease=port.head)
    assert caught.value.reason == Reason.PUSH_REJECTED
    assert "the branch has moved since this push began" in str(caught.value)
    assert pushed_to(port, workspace, lease=lease) == Pushed(workspace.commit, BRANCH, changed=True, replaced=True)
    assert pushed_to(port, workspace, lease=lease) == Pushed(workspace.commit, BRANCH, changed=False)
    assert port.bench.clone(port.url, BRANCH).result.head_commit == workspace.commit


def test_a_branch_that_did_not_exist_is_not_replaced_once_it_does(port, workspace):
    assert workspace.service.branch_at(push_request(workspace, port.url)) == ""
    assert pushed_to(port, workspace, lease="", commit=port.head).changed
    with pytest.raises(StepFailed) as caught:
        pushed_to(port, workspace, lease="")
    assert caught.value.reason == Reason.PUSH_REJECTED
    assert "it did not exist then" in str(caught.value)


@pytest.mark.parametrize("verb", ["push", "branch_at"])
def test_a_remote_that_is_gone_is_a_failure(port, workspace, verb):
    with pytest.raises(StepFailed) as caught:
        getattr(workspace.service, verb)(push_request(workspace, f"{port.url}-gone"))
    assert caught.value.reason == Reason.PUSH_FAILED
    assert "cannot push to" in str(caught.value)


def test_a_cancelled_push_changes_nothing(port, workspace):
    cancelled = Event()
    cancelled.set()
    with pytest.raises(StepFailed) as caught:
        pushed_to(port, workspace, cancelled=cancelled)
    assert caught.value.reason == Reason.USER
    assert pushed_to(port, workspace).changed


def files(clone: Path) -> dict[str, str]:
    found = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.relative_to(clone).parts]
    return {str(path.relative_to(clone)): path.read_text() for path in found}


def test_a_reset_brings_back_the_files_of_a_commit(port, workspace):
    write(workspace.clone / "src/a.py", "broken\n")
    write(workspace.clone / "new/file", "new\n")
    (workspace.clone / "src/b.py").unlink()
    request = reset_request(workspace, port.head[:12])
    assert workspace.service.resolve(request) == port.head
    assert (workspace.clone / "new/file").exists(), "to look changes nothing"
    assert workspace.service.reset(request) == port.head
    assert workspace.service.heads(workspace.dir, ["repo"])["repo"] == (port.head, BRANCH, None, False)
    assert files(workspace.clone) == {"README": "hello\n", "src/a.py": "print(1)\n", "src/b.py": "print(2)\n"}
    assert workspace.after().dirty is False
    assert workspace.service.reset(request) == port.head, "a second time it changes nothing"


def test_a_reset_can_go_forward_again(port, workspace):
    workspace.service.reset(reset_request(workspace, port.head))
    workspace.service.reset(reset_request(workspace, workspace.commit))
    assert files(workspace.clone)["README"] == "changed\n"
    assert workspace.after().after_head == workspace.commit


def test_a_commit_that_the_clone_lacks_is_refused(port, workspace):
    for ask in (workspace.service.resolve, workspace.service.reset):
        with pytest.raises(StepFailed) as caught:
            ask(reset_request(workspace, "0123456789abcdef"))
        assert caught.value.reason == Reason.RESET_FAILED
        assert "0123456789abcdef" in str(caught.value)
    assert files(workspace.clone)["README"] == "changed\n"


def fetched(port) -> None:
    port.bench.clone(port.url)


def theirs(port, name: str, content: str) -> str:
    """A commit that another workspace pushed to the target branch."""
    other = port.bench.clone(port.url)
    write(other.clone / name, content)
    other.commit = other.after("another change").committed
    pushed_to(port, other, branch="target")
    fetched(port)
    return other.commit


@pytest.mark.parametrize("verb", ["merge", "replay"])
def test_two_sides_become_one_commit_on_top_of_the_target(port, workspace, verb):
    target = theirs(port, "theirs", "1\n")
    made = getattr(workspace.service, verb)(merge_request(workspace, target))
    assert made.commit is not None
    assert workspace.service.contains(workspace.id, "repo", made.commit, target)
    assert pushed_to(port, workspace, branch="target", commit=made.commit, base_commit=target).changed
    found = port.bench.clone(port.url, "target")
    assert files(found.clone) == {
        "README": "changed\n",
        "src/a.py": "print(1)\n",
        "src/b.py": "print(2)\n",
        "theirs": "1\n",
    }
    assert files(workspace.clone)["README"] == "changed\n"
    workspace.service.reset(reset_request(workspace, made.commit, store_of=workspace.id))
    assert files(workspace.clone) == files(found.clone)


@pytest.mark.parametrize("verb", ["merge", "replay"])
def test_a_conflict_makes_no_commit(port, workspace, verb):
    target = theirs(port, "README", "theirs\n")
    made = getattr(workspace.service, verb)(merge_request(workspace, target))
    assert (made.commit, made.conflicts) == (None, ("README",))
    assert made.at == (workspace.commit if verb == "replay" else "")


def test_a_merge_that_would_change_nothing_makes_no_commit(port, workspace):
    assert workspace.service.merge(merge_request(workspace, workspace.commit)).commit is None
    assert not workspace.service.contains(workspace.id, "repo", port.head, workspace.commit)


def test_a_clone_is_restored_to_a_recorded_commit_and_to_no_unknown_one(port, workspace):
    fresh = port.bench.clone(port.url)
    pushed_to(port, workspace)
    again = port.bench.clone(port.url)

    def restored(made: Workspace, commit: str) -> str:
        return made.service.restore(RestoreRequest(made.id, reset_request(made, commit), None, uuid4()))

    assert restored(again, workspace.commit) == workspace.commit == restored(again, workspace.commit)
    assert (again.clone / "README").read_text() == "changed\n"
    assert again.service.heads(again.dir, [again.name])[again.name].commit == workspace.commit
    with pytest.raises(StepFailed, match="neither the bundle nor the remote has") as caught:
        restored(fresh, "1" * 40)
    assert caught.value.reason == Reason.CLONE_FAILED
