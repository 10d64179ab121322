"""Clones that start from a state that was recorded of another workspace: only the two bare stores take part."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from tests.support.git_bench import BRANCH, Bench, Remote, Workspace, git, own, push_request, start_of, store_of, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


@pytest.fixture
def source(bench: Bench, remote: Remote) -> Workspace:
    """A workspace with a commit of its own and a change that is not committed, both recorded as `commit`."""
    remote.commit({"README": "hello\n"})
    made = bench.clone(remote.url)
    write(made.clone / "own", "committed\n")
    first = made.after("mine")
    assert first.committed, first.problem
    write(made.clone / "draft", "not committed\n")
    state = made.after(before=first.committed)
    assert state.pinned_commit not in {None, first.committed}, state.problem
    made.commit = str(state.pinned_commit)
    return made


class CancellingOutput(list[bytes]):
    """The output of a clone, which is cancelled when it is about to copy the recorded state."""

    def __init__(self, cancelled: Event) -> None:
        super().__init__()
        self._cancelled = cancelled

    def append(self, line: bytes) -> None:
        super().append(line)
        if b"Taking the recorded state" in line:
            self._cancelled.set()


def listing(root: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in root.rglob("*"))


def test_the_fork_has_the_work_and_the_source_is_as_it_was(bench: Bench, remote: Remote, source: Workspace) -> None:
    before = listing(source.dir), listing(store_of(bench, source).path)
    fork = bench.clone(remote.url, start=start_of(source, source.commit))
    assert fork.result is not None
    assert git(fork.clone, "log", "-2", "--format=%s") == "Work tree after the step\nmine"
    assert (git(fork.clone, "status", "--porcelain"), (fork.clone / "draft").read_text()) == ("", "not committed\n")
    assert git(fork.clone, "symbolic-ref", "--short", "HEAD") == BRANCH
    assert git(fork.clone, "rev-parse", "origin/main") == fork.result.base_commit == source.base
    assert git(fork.clone, "fsck", "--strict", "--connectivity-only") == ""
    assert (listing(source.dir), listing(store_of(bench, source).path)) == before
    assert not bench.left_overs()


def test_only_the_store_of_the_source_is_needed(bench: Bench, remote: Remote, source: Workspace) -> None:
    """Its clone is a trap, or gone; of a second generation, the first one may be gone altogether."""
    shutil.rmtree(source.clone)
    source.clone.symlink_to("/etc")
    fork = bench.clone(remote.url, start=start_of(source, source.commit))
    source.clone.unlink()
    shutil.rmtree(source.dir)
    source.service.remove_workspace(source.id, source.dir)
    again = bench.clone(remote.url, start=start_of(fork, source.commit))
    assert (again.clone / "draft").read_text() == "not committed\n"


def test_a_base_that_the_state_does_not_have_is_replaced_by_where_it_left_the_target_branch(
    bench: Bench, remote: Remote, source: Workspace
) -> None:
    """For example that of a rebase which came after the state was recorded."""
    newer = remote.commit({"other": "x\n"})
    moved = replace(start_of(source, source.commit), base_commit=newer)
    fork = bench.clone(remote.url, start=moved)
    assert fork.base == source.base
    with_itself = replace(start_of(fork, source.commit), base_commit=source.commit)
    again = bench.clone(remote.url, start=with_itself)
    assert (again.clone / "draft").read_text() == "not committed\n"


def test_links_of_the_recorded_tree_are_written_and_not_followed(
    bench: Bench, remote: Remote, source: Workspace, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    (source.clone / "way").symlink_to(outside)
    (source.clone / "loop").symlink_to("loop")
    write(source.clone / ".gitattributes", "* filter=x\n")
    state = source.after(before=source.commit)
    assert state.pinned_commit, state.problem
    fork = bench.clone(remote.url, start=start_of(source, state.pinned_commit))
    assert (fork.clone / "way").readlink() == outside
    assert (fork.clone / "loop").readlink() == Path("loop")
    assert list(outside.iterdir()) == []


def test_traps_of_the_source_stay_there(bench: Bench, remote: Remote, source: Workspace, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    trap = f"#!/bin/sh\ntouch {mark} /workspace/ran\n"
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        write(source.clone / ".git/hooks" / name, trap).chmod(0o755)
    config = source.clone / ".git/config"
    config.write_text(
        config.read_text() + "[uploadpack]\n\tpackObjectsHook = /workspace/home/x\n[core]\n\tfsmonitor = x\n"
    )
    write(source.clone / ".git/objects/info/alternates", f"{tmp_path}\n")
    fork = bench.clone(remote.url, start=start_of(source, source.commit))
    assert not mark.exists()
    assert not (fork.dir / "ran").exists()
    assert not (fork.clone / ".git/hooks").exists()
    assert "fsmonitor" not in (fork.clone / ".git/config").read_text()
    assert str(source.id) not in (fork.clone / ".git/objects/info/alternates").read_text()


def test_two_forks_at_once_are_two_workspaces(bench: Bench, remote: Remote, source: Workspace) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: bench.clone(remote.url, start=start_of(source, source.commit)), range(2)))
    for fork in made:
        write(fork.clone / "draft", f"of {fork.id}\n")
        state = fork.after("changed", before=source.commit)
        assert state.committed, state.problem
        assert state.step_patch is not None
        assert state.step_patch.files == 1
        assert state.patch is not None
        assert (state.patch.files, state.problem) == (2, None)
    assert {(fork.clone / "draft").read_text() for fork in made} == {f"of {fork.id}\n" for fork in made}


def test_a_copy_that_was_interrupted_is_done_again(bench: Bench, remote: Remote, source: Workspace) -> None:
    fork = bench.workspace()
    left = store_of(bench, fork).path / "objects/pack"
    left.mkdir(parents=True)
    (left / "tmp_pack_x").write_bytes(b"half")
    write(fork.dir / "repos" / f"{fork.name}.partial-12345678" / "half")
    own(fork.dir / "repos")
    bench.clone(remote.url, into=fork, start=start_of(source, source.commit))
    assert (fork.clone / "draft").read_text() == "not committed\n"
    assert not bench.left_overs()


def test_a_cancelled_fork_leaves_no_clone(bench: Bench, remote: Remote, source: Workspace) -> None:
    cancelled, fork = Event(), bench.workspace()
    fork.output = CancellingOutput(cancelled)
    with pytest.raises(StepFailed) as caught:
        bench.clone(remote.url, into=fork, cancelled=cancelled, start=start_of(source, source.commit))
    assert caught.value.reason == Reason.USER
    assert not fork.clone.exists()


def test_a_state_that_is_too_large_is_refused(bench: Bench, remote: Remote, source: Workspace) -> None:
    small = bench.with_settings(checkout_max_bytes=1 << 10, node_min_free_bytes=0)
    write(source.clone / "large", "x\n" * 5000)
    state = source.after(before=source.commit)
    fork = bench.workspace()
    with pytest.raises(StepFailed) as caught:
        small.clone(remote.url, into=fork, start=start_of(source, str(state.pinned_commit)))
    assert caught.value.reason in {Reason.DISK_LIMIT, Reason.CLONE_FAILED, Reason.INTERNAL_ERROR}
    assert not fork.clone.exists()


def test_the_work_of_a_fork_can_be_pushed(bench: Bench, remote: Remote, source: Workspace) -> None:
    fork = bench.clone(remote.url, start=start_of(source, source.commit))
    write(fork.clone / "more", "of the fork\n")
    state = fork.after("more", before=source.commit)
    fork.commit = str(state.committed)
    fork.service.push(push_request(fork, remote.url))
    assert git(remote.path, "ls-tree", "--name-only", BRANCH) == "README\ndraft\nmore\nown\nsrc"
