"""A new clone is brought to a state that another node recorded, from its bundle."""

from pathlib import Path
from uuid import uuid4

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.act_requests import RestoreRequest
from relay_workers.git.host.store import Store
from tests.support.git_bench import BRANCH, Bench, Remote, Workspace, git, reset_request, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def recorded(workspace: Workspace) -> tuple[str, bytes]:
    """A commit of the workspace with uncommitted work on top of it, and its bundle."""
    write(workspace.clone / "README", "changed\n")
    git(workspace.clone, "commit", "-qam", "The agent's own")
    write(workspace.clone / "half", "done\n")
    state = workspace.after()
    assert state.pinned_commit is not None
    assert state.bundle is not None
    assert state.bundle.content is not None
    return state.pinned_commit, state.bundle.content


def other_node(bench: Bench, remote: Remote, folder: Path) -> Workspace:
    """A clone on a node that has nothing of the first one."""
    return bench.with_settings(data_dir=folder / "other").clone(remote.url)


def restore(workspace: Workspace, commit: str, bundle: bytes | None) -> str:
    request = RestoreRequest(workspace.id, reset_request(workspace, commit), bundle, uuid4())
    return workspace.service.restore(request)


def test_the_clone_has_commits_and_files_of_the_recorded_state(workspace, bench, remote, tmp_path):
    commit, bundle = recorded(workspace)
    there = other_node(bench, remote, tmp_path)
    assert restore(there, commit, bundle) == commit == restore(there, commit, bundle)
    assert git(there.clone, "log", "--format=%s", f"{there.base}..{BRANCH}").split("\n")[-1] == "The agent's own"
    assert (there.clone / "half").read_text() == "done\n"
    assert git(there.clone, "status", "--porcelain") == ""
    assert git(there.clone, "rev-parse", "--abbrev-ref", "HEAD") == BRANCH
    after = there.after()
    assert (after.pinned_commit, after.problem) == (commit, None)


def test_without_a_bundle_the_remote_has_to_have_the_commit(workspace, bench, remote, tmp_path):
    commit, bundle = recorded(workspace)
    there = other_node(bench, remote, tmp_path)
    with pytest.raises(StepFailed, match="neither the bundle nor the remote has the commit") as caught:
        restore(there, commit, None)
    assert caught.value.reason == Reason.CLONE_FAILED
    path = tmp_path / "a.bundle"
    path.write_bytes(bundle)
    git(remote.path, "fetch", "-q", str(path), f"refs/heads/{BRANCH}:refs/heads/{BRANCH}")
    assert restore(other_node(bench, remote, tmp_path / "third"), commit, None) == commit


@pytest.mark.parametrize("kind", ["no bundle", "cut", "a changed object", "another version", "a larger one"])
def test_a_bundle_is_not_trusted(kind, workspace, bench, remote, tmp_path):
    commit, bundle = recorded(workspace)
    begin = bundle.index(b"\n\n") + 2
    changed = bytearray(bundle)
    changed[begin + 40] ^= 0xFF
    hostile = {
        "no bundle": b"#!/bin/sh\ntouch /tmp/owned\n",
        "cut": bundle[:-30],
        "a changed object": bytes(changed),
        "another version": bundle.replace(b"# v2", b"# v3"),
        "a larger one": bundle,
    }[kind]
    if kind == "a larger one":
        bench = bench.with_settings(evidence_pack_max_bytes=16)
    there = other_node(bench, remote, tmp_path)
    with pytest.raises(StepFailed, match="the state of repos/repo cannot be brought back") as caught:
        restore(there, commit, hostile)
    assert caught.value.reason == Reason.CLONE_FAILED
    store = Store(bench.settings.model_copy(update={"data_dir": tmp_path / "other"}), there.id, "repo")
    assert not store.has(commit)
    assert list(store.path.glob("objects/pack/*")) == []
    assert git(there.clone, "rev-parse", "HEAD") == there.base
