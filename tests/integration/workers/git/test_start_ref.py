"""A clone that starts from a branch, tag, commit or other ref instead of its target branch."""

import pytest

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from tests.support.git_bench import BRANCH, git

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def history(remote):
    """Commits by name: `tagged` is in no branch, `asked` only in refs/pull/7/head, `old` and `new` on main."""
    commits = {"old": git(remote.path, "rev-parse", "HEAD"), "new": remote.commit({"new": "1"})}
    git(remote.path, "checkout", "-q", "--detach")
    commits["tagged"] = remote.commit({"tagged": "1"})
    git(remote.path, "tag", "-a", "-m", "a tag object", "v1")
    commits["asked"] = remote.commit({"asked": "1"})
    git(remote.path, "update-ref", "refs/pull/7/head", "HEAD")
    git(remote.path, "tag", "tree", "HEAD^{tree}")
    git(remote.path, "checkout", "-q", "main")
    git(remote.path, "branch", "both", "main")
    git(remote.path, "tag", "both", "main")
    return commits


def test_each_kind_of_ref_is_where_the_work_starts(bench, remote, history):
    for ref, commit in (
        ("v1", "tagged"),
        ("refs/tags/v1", "tagged"),
        ("main", "new"),
        (history["old"], "old"),
        (history["old"][:9].upper(), "old"),
        ("refs/pull/7/head", "asked"),
        ("refs/heads/both", "new"),
    ):
        workspace = bench.clone(remote.url, ref=ref)
        assert (ref, workspace.base) == (ref, history[commit])
        assert workspace.result.target_branch == "main", "it stays the branch to merge into"
        assert f"from {ref} at {history[commit]}".encode() in b"".join(workspace.output)
        assert git(workspace.clone, "rev-parse", BRANCH) == history[commit]
    assert bench.clone(remote.url, "both", ref="v1").result.target_branch == "both"


def test_a_ref_that_moved_is_fetched_again_and_others_are_kept(bench, remote, history):
    assert bench.clone(remote.url, ref="refs/pull/7/head").base == history["asked"]
    git(remote.path, "update-ref", "refs/pull/7/head", history["old"])
    assert bench.clone(remote.url, ref="refs/pull/7/head").base == history["old"]
    state = bench.clone(remote.url, ref="refs/pull/7/head").after()
    assert (state.problem, state.pinned_commit) == (None, history["old"])


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nope", "has no branch or tag 'nope'"),
        ("refs/pull/8/head", "has no ref refs/pull/8/head"),
        ("refs/tags/nope", "has no ref refs/tags/nope"),
        ("0123456789", "no branch or tag of it is or contains '0123456789'"),
        ("both", "a branch and a tag 'both'; write refs/heads/both or refs/tags/both"),
        ("tree", "'tree' is no commit"),
    ],
)
def test_what_cannot_be_started_from_is_said(bench, remote, history, ref, words):
    with pytest.raises(StepFailed, match=words) as error:
        bench.clone(remote.url, ref=ref)
    assert error.value.reason == Reason.CLONE_FAILED
    assert bench.left_overs() == []


def test_an_expression_never_reaches_git(bench, remote):
    with pytest.raises(InvalidInput, match="no branch, tag"):
        bench.clone(remote.url, ref="main~1")
