"""A node keeps the work of an idle workspace in Postgres, and only then is the workspace deleted."""

import shutil
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_core.domain.expiry import Hours
from relay_core.domain.vocabulary import RunReason
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import by_hand, expiry, kept
from relay_core.store.workspaces.acknowledge import acknowledge
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.generation import generation
from relay_core.store.workspaces.step_request import StepRequest
from relay_workers.execution.assembly import make_git_watch
from relay_workers.maintenance.clocks import divergence_finder, make_expired_workspaces
from relay_workers.maintenance.divergence_sweep import repair
from tests.support.relay import git
from tests.support.worker_fixtures import ME

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

DEVELOPER = Principal("someone", frozenset({"runs:write"}))


def archived(node, hours: float = 100, command: str = "echo done >done.txt") -> UUID:
    """A workspace with a commit, whose project deletes archived ones after an hour."""
    workspace = node.submit(command=command)
    assert node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])["status"] == "completed"
    with node.db.begin() as connection:
        connection.execute(text("UPDATE projects SET idle_delete_hours = 1"))
        connection.execute(text("UPDATE workspaces SET archived = true"))
    quiet_for(node, hours)
    return workspace


def quiet_for(node, hours: float) -> None:
    ago = f"now() - interval '{hours} hours'"
    with node.db.begin() as connection:
        connection.execute(text(f"UPDATE workspaces SET updated_at = {ago}"))
        connection.execute(text(f"UPDATE execution_processes SET completed_at = {ago}"))


def clone(node, workspace: UUID) -> Path:
    return node.context.settings.data_dir / "workspaces" / str(workspace) / "repos" / node.repo.name


def remove(node) -> None:
    """The node's sweep of deleted workspaces."""
    for found in divergence_finder(node.context).find_all():
        if found.kind == "deleted_workspace":
            assert repair(found)


def test_uncommitted_work_is_kept_before_anything_is_removed(node, tmp_path):
    workspace = archived(node)
    place = clone(node, workspace)
    (place / "draft.txt").write_text("not committed\n")
    make_expired_workspaces(node.context).sweep()
    assert place.is_dir(), "the deletion is only marked"
    assert node.kinds(workspace)[-3:] == ["workspace.work_kept", "workspace.expired", "workspace.deleted"]
    remove(node)
    assert not place.exists()
    with node.db.connect() as connection:
        [state] = kept.of_workspace(connection, workspace)
        found = kept.bundle(connection, workspace, None)
        [(name, patch)] = kept.patch(connection, workspace)
    assert (state.dirty, name, state.bundle_bytes) == (True, node.repo.name, len(found.content))
    assert b"+not committed" in patch
    assert b"+done" in patch
    (tmp_path / "bundle").write_bytes(found.content)
    git("clone", "-q", str(node.repo), "again", cwd=tmp_path)
    git("fetch", "-q", str(tmp_path / "bundle"), "+refs/heads/*:refs/kept/*", cwd=tmp_path / "again")
    shown = git("show", f"{state.pinned_commit}:draft.txt", cwd=tmp_path / "again")
    assert shown == "not committed"


def test_a_clean_clone_is_kept_by_the_bundle_of_its_last_step(node):
    workspace = archived(node)
    make_expired_workspaces(node.context).sweep()
    with node.db.connect() as connection:
        [state] = kept.of_workspace(connection, workspace)
        assert kept.bundle(connection, workspace, None).content
        own = connection.scalar(text("SELECT bundle IS NULL FROM kept_states"))
    assert (own, state.dirty) == (True, False)
    assert state.bundle_bytes


def test_work_that_cannot_be_kept_keeps_its_workspace(node):
    workspace = archived(node)
    hidden = clone(node, workspace) / "hidden"
    hidden.mkdir()
    git("init", "-q", cwd=hidden)
    (hidden / "file").write_text("in a repository of its own\n")
    make_expired_workspaces(node.context).sweep()
    assert node.workspace(workspace)["deleted_at"] is None
    assert node.kinds(workspace)[-1] == "workspace.expiry_held"
    with node.db.connect() as connection:
        told = expiry.of_workspace(connection, workspace, Hours(), DEVELOPER)
    assert [one.code for one in told.blockers] == ["work_not_kept"]
    assert "hidden" in told.blockers[0].message


def test_work_that_begins_meanwhile_keeps_its_workspace(node, monkeypatch):
    workspace = archived(node)
    sweep = make_expired_workspaces(node.context)
    record = node.context.git.after_state

    def taken_out_of_the_archive(request):
        state = record(request)
        with node.db.begin() as connection:
            by_hand.change(connection, workspace, {"archived": False}, DEVELOPER)
        return state

    monkeypatch.setattr(node.context.git, "after_state", taken_out_of_the_archive)
    sweep.sweep()
    assert node.workspace(workspace)["deleted_at"] is None
    with node.db.connect() as connection:
        assert kept.of_workspace(connection, workspace) == []


def held(node, workspace: UUID) -> str:
    """Why the workspace is kept, also after a look has accepted where HEAD is."""
    make_git_watch(node.context).sweep()
    quiet_for(node, 100)
    make_expired_workspaces(node.context).sweep()
    assert node.workspace(workspace)["deleted_at"] is None
    assert node.kinds(workspace)[-1] == "workspace.expiry_held"
    with node.db.connect() as connection:
        [told] = expiry.of_workspace(connection, workspace, Hours(), DEVELOPER).blockers
    return str(told.message)


GONE = "rm -rf .git", "mv ../{name} ../elsewhere", "cd .. && mv {name} ~/x && ln -s ~/x {name}"


@pytest.mark.parametrize("command", GONE)
def test_a_clone_that_a_step_left_without_its_git_directory_keeps_its_workspace(node, command):
    workspace = archived(node, command=f"echo work >work.txt; {command.format(name=node.repo.name)}; true")
    assert "by hand" in held(node, workspace) or "not a directory" in held(node, workspace)


def test_clones_that_were_removed_after_their_state_was_recorded_keep_no_workspace(node):
    workspace = archived(node)
    shutil.rmtree(clone(node, workspace).parent)
    make_expired_workspaces(node.context).sweep()
    assert node.workspace(workspace)["deleted_at"] is not None


def test_a_directory_that_is_not_in_its_place_keeps_its_workspace(node):
    """It was moved by hand, or the disk with the directories is not mounted."""
    workspace = archived(node)
    workspaces = node.context.settings.data_dir / "workspaces"
    workspaces.rename(workspaces.with_name("away"))
    try:
        assert "there is no directory" in held(node, workspace)
    finally:
        workspaces.with_name("away").rename(workspaces)


def test_a_clone_that_a_dev_server_moved_after_the_last_step_keeps_its_workspace(node):
    """A person has acknowledged that it is gone."""
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    script = f"echo work >draft.txt; cd ..; mv {node.repo.name} ../home/app"
    with node.db.begin() as connection:
        step = StepRequest(RunReason.DEV_SERVER, script=script)
        server = add_step(connection, workspace, step, ME, {})
    node.run(server)
    assert not clone(node, workspace).exists()
    with node.db.begin() as connection:
        acknowledge(connection, workspace, generation(connection, workspace), ME)
        connection.execute(text("UPDATE projects SET idle_delete_hours = 1"))
        connection.execute(text("UPDATE workspaces SET archived = true"))
    quiet_for(node, 100)
    with node.db.begin() as connection:
        later = text("UPDATE execution_processes SET completed_at = completed_at + interval '1 hour' WHERE id = :id")
        connection.execute(later, {"id": server})
    make_expired_workspaces(node.context).sweep()
    assert node.workspace(workspace)["deleted_at"] is None
    assert node.kinds(workspace)[-1] == "workspace.expiry_held"


def test_clones_that_are_gone_without_a_recorded_state_keep_their_workspace(node):
    workspace = archived(node)
    shutil.rmtree(clone(node, workspace).parent)
    with node.db.begin() as connection:
        connection.execute(text("UPDATE execution_process_repo_states SET after_head_commit = NULL"))
    assert "recorded no state" in held(node, workspace)


def test_a_worker_with_an_old_list_touches_nothing_of_a_workspace_that_is_deleted(node):
    workspace = archived(node)
    late = make_expired_workspaces(node.context)
    with node.db.connect() as connection:
        [old] = expiry.due(connection, late._hours, late._node_id)
    make_expired_workspaces(node.context).sweep()
    stores = node.context.settings.data_dir / "stores" / str(workspace)
    shutil.rmtree(stores)
    before = node.kinds(workspace)
    late._act(old)
    assert not stores.exists()
    assert node.kinds(workspace) == before


def test_files_are_not_removed_while_they_are_recorded(node, monkeypatch):
    workspace = archived(node)
    place = clone(node, workspace)
    record = node.context.git.after_state
    there = []

    def deleted_meanwhile(request):
        with node.db.begin() as connection:
            delete_workspaces(connection, [workspace], "someone")
        remove(node)
        there.append(place.is_dir())
        return record(request)

    monkeypatch.setattr(node.context.git, "after_state", deleted_meanwhile)
    make_expired_workspaces(node.context).sweep()
    assert there == [True]
    assert "workspace.expiry_held" not in node.kinds(workspace)
    assert "workspace.work_kept" not in node.kinds(workspace)
    remove(node)
    assert not place.exists()
