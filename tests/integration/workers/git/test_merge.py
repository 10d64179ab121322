"""Merges and replays in the git container: real conflicts, traps of the clone, and what reaches store and clone."""

from contextlib import suppress
from pathlib import Path

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.act_requests import Merged
from tests.support.git_bench import BRANCH, Bench, Remote, Workspace, git, reset_request, store_of, write
from tests.support.git_bench import merge_request as request

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def fetched(bench: Bench, remote: Remote) -> None:
    """As a merge does before it begins."""
    bench.clone(remote.url)


def committed(workspace: Workspace, **files: str) -> str:
    for name, content in files.items():
        write(workspace.clone / name, content)
    workspace.commit = workspace.after("a change").committed or ""
    assert workspace.commit
    return workspace.commit


def shown(bench: Bench, workspace: Workspace, what: str) -> str:
    return git(store_of(bench, workspace).path, "show", what)


def parents(bench: Bench, workspace: Workspace, commit: str) -> list[str]:
    return git(store_of(bench, workspace).path, "rev-list", "--parents", "-n", "1", commit).split()[1:]


def test_a_squash_has_the_target_as_its_only_parent(bench, remote, workspace):
    committed(workspace, README="mine\n")
    theirs = remote.commit({"theirs": "1\n"})
    fetched(bench, remote)
    made = workspace.service.merge(request(workspace, theirs, message="Title\n\nText"))
    assert made.commit
    assert parents(bench, workspace, made.commit) == [theirs]
    assert shown(bench, workspace, f"{made.commit}:README") == "mine"
    assert shown(bench, workspace, f"{made.commit}:theirs") == "1"
    assert git(store_of(bench, workspace).path, "log", "-1", "--format=%B", made.commit) == "Title\n\nText"
    assert git(workspace.clone, "rev-parse", "HEAD") == workspace.commit, "the clone is only read"


def test_a_merge_commit_has_two_parents(bench, remote, workspace):
    mine, theirs = committed(workspace, README="mine\n"), remote.commit({"theirs": "1\n"})
    fetched(bench, remote)
    made = workspace.service.merge(request(workspace, theirs, two_parents=True, base_commit=None))
    assert parents(bench, workspace, made.commit or "") == [theirs, mine]


@pytest.mark.parametrize("verb", ["merge", "replay"])
def test_a_conflict_names_the_files_and_changes_nothing(bench, remote, workspace, verb):
    mine = committed(workspace, **{"README": "mine\n", "src/a.py": "print('mine')\n"})
    theirs = remote.commit({"README": "theirs\n", "src/a.py": "print('theirs')\n"})
    fetched(bench, remote)
    refs = git(store_of(bench, workspace).path, "for-each-ref")
    made = getattr(workspace.service, verb)(request(workspace, theirs))
    assert made == Merged(None, ("README", "src/a.py"), at=mine if verb == "replay" else "")
    assert git(store_of(bench, workspace).path, "for-each-ref") == refs
    assert git(workspace.clone, "rev-parse", "HEAD") == mine


def test_work_that_was_squashed_before_is_not_merged_again(bench, remote, workspace):
    first = committed(workspace, README="one\n")
    squash = remote.commit({"README": "one\n"}, "squash of the first")
    second = committed(workspace, README="two\n")
    fetched(bench, remote)
    assert workspace.service.merge(request(workspace, squash)).conflicts == ("README",), "git alone does not know"
    made = workspace.service.merge(request(workspace, squash, base_commit=first))
    assert shown(bench, workspace, f"{made.commit}:README") == "two"
    assert workspace.service.merge(request(workspace, squash, source_commit=first, base_commit=first)) == Merged(None)
    moved = workspace.service.replay(request(workspace, squash, base_commit=first))
    assert (moved.replayed, parents(bench, workspace, moved.commit or "")) == (1, [squash])
    assert second == workspace.commit


def test_a_replay_keeps_authors_dates_and_messages(bench, remote, workspace):
    write(workspace.clone / "mine", "1\n")
    git(workspace.clone, "add", "mine")
    author = "--author=Ann <ann@example.org>"
    git(workspace.clone, "commit", "-q", author, "--date=2001-02-03T04:05:06+0700", "-m", "One\n\nBecause.")
    mine = committed(workspace, other="2\n")
    theirs = remote.commit({"theirs": "1\n"})
    fetched(bench, remote)
    made = workspace.service.replay(request(workspace, theirs))
    assert made.replayed == 2
    found = git(
        store_of(bench, workspace).path, "log", "--reverse", "--format=%an %ae %aI %s", f"{theirs}..{made.commit}"
    )
    assert found.splitlines()[0] == "Ann ann@example.org 2001-02-03T04:05:06+07:00 One"
    workspace.service.reset(reset_request(workspace, made.commit or "", store_of=workspace.id))
    assert git(workspace.clone, "rev-parse", BRANCH) == made.commit
    assert git(workspace.clone, "status", "--porcelain") == ""
    assert git(workspace.clone, "fsck", "--no-dangling") == ""
    workspace.service.reset(reset_request(workspace, mine))
    assert not (workspace.clone / "theirs").exists()


def test_a_branch_without_commits_of_its_own_moves_to_the_target(bench, remote, workspace):
    workspace.after()
    theirs = remote.commit({"theirs": "1\n"})
    fetched(bench, remote)
    made = workspace.service.replay(request(workspace, theirs, source_commit=workspace.base))
    assert made == Merged(theirs, replayed=0)


def test_histories_without_a_common_commit_are_refused(bench, remote, workspace):
    committed(workspace, README="mine\n")
    git(remote.path, "checkout", "-q", "--orphan", "other")
    theirs = remote.commit({"README": "theirs\n"})
    fetched(bench, remote)
    with pytest.raises(StepFailed) as caught:
        workspace.service.merge(request(workspace, theirs, base_commit=None))
    assert caught.value.reason == Reason.MERGE_FAILED
    assert "unrelated histories" in str(caught.value)


def test_a_commit_that_is_missing_is_named(workspace):
    committed(workspace, README="mine\n")
    missing = "1" * 40
    with pytest.raises(StepFailed, match=f"the commit {missing} is missing"):
        workspace.service.merge(request(workspace, missing))


def test_ancestors_are_found_in_store_and_mirror(bench, remote, workspace):
    mine = committed(workspace, README="mine\n")
    contains = workspace.service.contains
    assert contains(workspace.id, "repo", mine, workspace.base)
    assert contains(workspace.id, "repo", mine, mine)
    assert not contains(workspace.id, "repo", workspace.base, mine)
    assert not contains(workspace.id, "repo", mine, "1" * 40)


TRAPS = (
    "post-checkout",
    "post-index-change",
    "reference-transaction",
    "pre-merge-commit",
    "post-merge",
    "post-rewrite",
)


def armed(workspace: Workspace, mark: Path) -> None:
    """Fill a clone with programs, drivers, filters, links and alternates that leave a mark if they are used."""
    trap = f"sh -c 'touch {mark} /workspace/ran; cat'"
    for hook in TRAPS:
        write(workspace.clone / ".git/hooks" / hook, f"#!/bin/sh\n{trap}\n").chmod(0o755)
    config = workspace.clone / ".git/config"
    text = f'[core]\n\tfsmonitor = "{trap}"\n\talternateRefsCommand = "{trap}"\n[merge "x"]\n\tdriver = "{trap}"\n'
    text += f'[filter "x"]\n\tsmudge = "{trap}"\n\tclean = "{trap}"\n\tprocess = "{trap}"\n[sequence]\n\teditor = "{trap}"\n'
    text += f'[merge]\n\tdefault = x\n[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = "{trap}"\n'
    config.write_text(config.read_text() + text)
    write(workspace.clone / ".git/info/attributes", "* filter=x merge=x diff=x\n")
    write(workspace.clone / ".git/refs/replace" / workspace.base, f"{workspace.base}\n")


@pytest.mark.parametrize("verb", ["merge", "replay"])
def test_nothing_that_a_hostile_repository_names_runs_or_is_followed(bench, remote, workspace, tmp_path, verb):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret of the host\n")
    theirs = remote.commit({".gitattributes": "* filter=x merge=x\n", "theirs": "1\n", "README": "hello\nmore\n"})
    fetched(bench, remote)
    armed(workspace, tmp_path / "ran")
    (workspace.clone / "link").symlink_to(outside)
    write(workspace.clone / ".gitmodules", f'[submodule "s"]\n\tpath = s\n\turl = file://{outside}\n')
    write(workspace.clone / "mine", "1\n")
    mine = workspace.after("a change").committed or ""
    workspace.commit = mine
    made = getattr(workspace.service, verb)(request(workspace, theirs))
    assert made.commit, made
    workspace.service.reset(reset_request(workspace, made.commit, store_of=workspace.id))
    assert (workspace.clone / "link").is_symlink()
    assert (workspace.clone / "theirs").read_text() == "1\n"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert not (tmp_path / "ran").exists()
    assert not (workspace.dir / "ran").exists()


@pytest.mark.parametrize("place", ["objects", "objects/info"])
def test_objects_that_are_a_link_of_the_agents_are_not_written_through(bench, remote, workspace, tmp_path, place):
    """A clone whose objects lead elsewhere is refused, or stays within the container, which has only the workspace."""
    theirs = remote.commit({"theirs": "1\n"})
    fetched(bench, remote)
    committed(workspace, mine="1\n")
    made = workspace.service.replay(request(workspace, theirs))
    outside = tmp_path / "outside"
    git_dir = workspace.clone / ".git"
    (git_dir / place).rename(git_dir / "moved")
    (git_dir / "moved").rename(outside)
    (git_dir / place).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    with suppress(StepFailed):
        workspace.service.reset(reset_request(workspace, made.commit or "", store_of=workspace.id))
    assert sorted(outside.rglob("*")) == before


def test_a_commit_that_names_a_program_for_a_submodule_does_not_get_into_the_store(bench, remote, workspace, tmp_path):
    text = f'[submodule "s"]\n\tpath = s\n\turl = file://{tmp_path}\n\tupdate = !touch {tmp_path}/ran\n'
    write(workspace.clone / ".gitmodules", text)
    state = workspace.after("a change")
    assert state.pinned_commit is None
    assert "gitmodulesUpdate" in (state.problem or "")
    with pytest.raises(StepFailed, match="is missing"):
        workspace.service.merge(request(workspace, workspace.base, source_commit=state.committed))
