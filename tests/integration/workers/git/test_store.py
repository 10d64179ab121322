"""The store of a workspace takes only sound packs of limited size."""

import os
from uuid import uuid4

import pytest

from relay_core.domain.errors import StepFailed
from tests.support.git_bench import git, store_of, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def test_a_pack_over_the_limit_is_refused(bench, workspace):
    (workspace.clone / "noise").write_bytes(os.urandom(12 << 20))

    state = workspace.after()

    assert state.pinned_commit is None
    assert state.problem
    committed = workspace.after("message")
    assert committed.committed == committed.after_head
    assert "larger than 8388608 bytes" in str(committed.problem)
    assert not bench.left_overs()


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
