"""Anchors on a node: real files and rows, a fake engine. A directory is moved, copied, or of no workspace."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, func, select, text, update

from relay_core.domain.chain import Action, RepoScripts, script_step
from relay_core.domain.errors import Conflict
from relay_core.domain.vocabulary import RunReason, Scope
from relay_core.store.nodes import adopt_directory, directories, node_workspaces
from relay_core.store.schema.tables import Event, ExecutionProcess, NodeDirectory, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views.paging import PageRequest
from relay_core.store.workspaces import condition
from relay_core.store.workspaces.acknowledge import acknowledge
from relay_core.store.workspaces.add_step import queue_step
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.generation import generation
from relay_workers.containers.port import container_name
from relay_workers.execution.assembly import make_anchors, make_git_watch, make_remade_containers
from relay_workers.host_files import anchors
from relay_workers.host_files.kept_dirs import place_of
from relay_workers.maintenance.clocks import make_quarantine
from relay_workers.maintenance.remakes import Remakes
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import ME, FakeNode
from tests.support.trees import tree_hash

pytest_plugins = ["tests.support.fake_node"]

ADMIN = Principal("root", frozenset({Scope.ADMIN}))


@pytest.fixture
def node(fake_node: FakeNode) -> Iterator[FakeNode]:
    yield fake_node
    shutil.rmtree(fake_node.settings.data_dir / "workspaces")
    with fake_node.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET container_ref = NULL, deleted_at = now()"))
        connection.execute(delete(NodeDirectory))


def idle(node: FakeNode) -> UUID:
    workspace = node.submit(ScriptedStep())
    node.workers[0].run(node.newest(workspace, RunReason.CODING_AGENT)["id"])
    sweep(node)
    return workspace


def sweep(node: FakeNode) -> None:
    """As the clock `anchors` does."""
    make_anchors(node.workers[0].context).sweep()


def remake(node: FakeNode) -> None:
    """As the clock `remakes` does."""
    context = node.workers[0].context
    containers = make_remade_containers(context)
    Remakes("node", node.settings.data_dir, node.database, containers, context.metrics).sweep()


def workspaces_dir(node: FakeNode) -> Path:
    return node.settings.data_dir / "workspaces"


def row(node: FakeNode, workspace: UUID) -> Any:
    with node.database.connect() as connection:
        return connection.execute(select(Workspace.__table__).where(Workspace.id == workspace)).mappings().one()


def count(node: FakeNode) -> int:
    with node.database.connect() as connection:
        return connection.scalar(select(func.count()).select_from(Workspace)) or 0


def found(node: FakeNode) -> list[dict[str, Any]]:
    with node.database.connect() as connection:
        return list(directories.listed(connection, PageRequest(100)).items)


def of_directories(node: FakeNode) -> list[str]:
    with node.database.connect() as connection:
        told = select(Event.kind).where(Event.kind.startswith("directory.")).order_by(Event.id)
        return list(connection.scalars(told))


def queue(node: FakeNode, workspace: UUID, reason: RunReason = RunReason.SETUP_SCRIPT) -> UUID:
    step = script_step(reason, RepoScripts("remote"), ScriptedStep().script())
    with node.database.begin() as connection:
        return queue_step(connection, workspace, Action(step), ME)


@pytest.mark.proves("T002-13")
def test_a_moved_directory_is_the_same_workspace_in_another_place(node: FakeNode) -> None:
    workspace = idle(node)
    before, rows = tree_hash(place_of(node.settings.data_dir, workspace) / "repos"), count(node)
    container = row(node, workspace)["container_id"]
    moved = workspaces_dir(node) / "moved by hand"
    place_of(node.settings.data_dir, workspace).rename(moved)
    sweep(node)
    now = row(node, workspace)
    assert (now["container_ref"], now["work_dir"]) == (str(moved), str(moved / "repos"))
    assert (count(node), now["state"], now["requested_state"]) == (rows, "stopped", "running")
    assert place_of(node.settings.data_dir, workspace) == moved
    with node.database.connect() as connection:
        told = select(Event.payload).where(Event.workspace_id == workspace, Event.kind == "workspace.moved")
        [payload] = connection.scalars(told)
    assert payload == {"node_id": "node", "from": str(moved.parent / str(workspace)), "place": str(moved)}
    remake(node)
    assert row(node, workspace)["state"] == "running"
    assert tree_hash(moved / "repos") == before
    step = queue(node, workspace)
    node.workers[0].run(step)
    assert node.row(step)["status"] == "completed"
    assert node.containers.inspect(container_name(str(workspace))).running, container
    sweep(node)
    assert node.kinds(workspace).count("workspace.moved") == 1
    moved.rename(moved.parent / str(workspace))
    sweep(node)
    assert row(node, workspace)["container_ref"] == str(moved.parent / str(workspace)), "and back"


def test_a_step_that_comes_before_the_look_does_not_fail_a_moved_workspace(node: FakeNode) -> None:
    workspace = idle(node)
    place_of(node.settings.data_dir, workspace).rename(workspaces_dir(node) / "elsewhere")
    step = node.add(workspace, ScriptedStep())
    node.workers[0].run(step)
    assert (node.row(step)["status"], row(node, workspace)["state"]) == ("queued", "stopped")
    remake(node)
    node.workers[0].run(step)
    assert node.row(step)["status"] == "completed"


def test_a_look_at_many_workspaces_without_directories_searches_for_them_once(node: FakeNode, tmp_path: Path) -> None:
    for workspace in [idle(node) for _ in range(3)]:
        place_of(node.settings.data_dir, workspace).rename(tmp_path / str(workspace))
    searches: list[None] = []
    watch = make_git_watch(node.workers[0].context)
    replace(watch, on_missing=lambda: searches.append(None)).sweep()
    assert len(searches) == 1


def test_a_moved_workspace_is_put_away_and_comes_back_under_its_own_name(node: FakeNode) -> None:
    workspace = idle(node)
    place_of(node.settings.data_dir, workspace).rename(workspaces_dir(node) / "elsewhere")
    sweep(node)
    with node.database.begin() as connection:
        delete_workspaces(connection, [workspace], "someone")
    with node.database.connect() as connection:
        [leaving] = node_workspaces.differing(connection, "node", {}).deleted
    make_quarantine(node.workers[0].context).take(leaving)
    assert not (workspaces_dir(node) / "elsewhere").exists()
    sweep(node)
    assert (row(node, workspace)["quarantine"], found(node)) == ("kept", [])


@pytest.mark.proves("T002-14")
def test_a_directory_that_no_row_claims_is_listed_and_adopted_by_a_call_only(node: FakeNode) -> None:
    """Its row is lost, as after a restoration of an older database."""
    other = idle(node)
    workspace, uid = uuid4(), 23456
    strange = workspaces_dir(node) / "strange"
    shutil.copytree(place_of(node.settings.data_dir, other), strange, symlinks=True)
    with node.database.connect() as connection:
        facts = directories.facts(connection, "node", other)
        project = connection.scalar(select(Task.project_id).where(Task.id == row(node, other)["task_id"]))
    anchors.write(
        strange, anchors.load_key(node.settings.data_dir), {**facts, "workspace_id": str(workspace), "uid": uid}
    )
    before, rows = tree_hash(strange), count(node)
    for _ in range(2):
        sweep(node)
    [listed] = found(node)
    assert (listed["finding"], listed["workspace_id"], listed["path"]) == ("unregistered", workspace, str(strange))
    assert of_directories(node) == ["directory.found"]
    assert (count(node), tree_hash(strange)) == (rows, before)
    with node.database.connect() as connection:
        assert connection.scalar(select(ExecutionProcess.id).where(ExecutionProcess.workspace_id == workspace)) is None
    with node.database.begin() as connection:
        assert adopt_directory.adopt(connection, listed["id"], project, "again", ADMIN) == workspace
    sweep(node)
    assert (found(node), of_directories(node)) == ([], ["directory.found", "directory.settled"])
    adopted = row(node, workspace)
    assert (adopted["state"], adopted["container_ref"], adopted["uid"]) == ("stopped", str(strange), uid)
    step = queue(node, workspace)
    remake(node)
    node.workers[0].run(step)
    assert node.row(step)["status"] == "completed"


def test_what_was_removed_for_good_and_put_back_by_hand_comes_back_by_a_call(node: FakeNode, tmp_path: Path) -> None:
    workspace = idle(node)
    copy = tmp_path / "backup"
    shutil.copytree(place_of(node.settings.data_dir, workspace), copy, symlinks=True)
    shutil.rmtree(place_of(node.settings.data_dir, workspace))
    with node.database.begin() as connection:
        gone = update(Workspace).where(Workspace.id == workspace)
        connection.execute(gone.values(deleted_at=func.now(), container_ref=None, container_id=None))
    shutil.copytree(copy, workspaces_dir(node) / str(workspace), symlinks=True)
    sweep(node)
    [listed] = found(node)
    with node.database.begin() as connection:
        adopt_directory.adopt(connection, listed["id"], uuid4(), "again", ADMIN)
    sweep(node)
    assert (found(node), row(node, workspace)["deleted_at"]) == ([], None)


@pytest.mark.proves("T002-15")
def test_two_directories_of_one_workspace_are_both_refused_until_one_is_gone(node: FakeNode) -> None:
    workspace = idle(node)
    waiting = node.add(workspace, ScriptedStep())
    copy = workspaces_dir(node) / "a copy"
    shutil.copytree(place_of(node.settings.data_dir, workspace), copy, symlinks=True)
    for _ in range(2):
        sweep(node)
    assert {(one["finding"], one["path"]) for one in found(node)} == {
        ("duplicate", str(copy)),
        ("duplicate", str(place_of(node.settings.data_dir, workspace))),
    }
    assert node.kinds(workspace).count("workspace.duplicated") == 1
    for reason in (RunReason.SETUP_SCRIPT, RunReason.DEV_SERVER):
        with node.database.connect() as connection, pytest.raises(Conflict) as refused:
            condition.read(connection, workspace).refuse_if_diverged(reason)
        assert refused.value.code == "workspace_duplicated"
        assert str(copy) in str(refused.value)
    with pytest.raises(Conflict):
        queue(node, workspace)
    node.workers[0].run(waiting)
    assert (node.row(waiting)["status"], row(node, workspace)["container_ref"]) == (
        "queued",
        str(place_of(node.settings.data_dir, workspace)),
    )
    with node.database.begin() as connection, pytest.raises(Conflict) as refused:
        acknowledge(connection, workspace, generation(connection, workspace), ME)
    assert refused.value.code == "workspace_duplicated", "no acknowledgement says which of them is right"
    for listed in found(node):
        with node.database.begin() as connection, pytest.raises(Conflict) as refused:
            adopt_directory.adopt(connection, listed["id"], uuid4(), "no", ADMIN)
        assert refused.value.code == "directory_duplicated"
    shutil.rmtree(copy)
    sweep(node)
    assert (found(node), row(node, workspace)["directory_error"]) == ([], None)
    node.workers[0].run(waiting)
    assert node.row(waiting)["status"] == "completed"
    assert node.kinds(workspace).count("workspace.not_duplicated") == 1


def test_only_what_the_node_has_signed_is_an_anchor(node: FakeNode, tmp_path: Path) -> None:
    """A forged one, one of another node, a link, a FIFO, no JSON, something huge: they name nothing."""
    workspace = idle(node)
    victim = place_of(node.settings.data_dir, workspace)
    genuine = anchors.read(victim, anchors.load_key(node.settings.data_dir))
    assert genuine is not None
    assert genuine["workspace_id"] == str(workspace)
    forged = workspaces_dir(node) / "forged"
    (forged / ".relay").mkdir(parents=True)
    file = forged / ".relay" / "workspace.json"
    anchors.write(forged, b"another key", dict(genuine))
    texts = [
        file.read_text(),
        json.dumps({**genuine, "mac": 7}),
        json.dumps({**genuine, "mac": "\u00e9"}),
        json.dumps({**genuine, "mac": "\ud800"}),
        json.dumps([]),
        "no JSON",
        "[" * 100_000,
        "x" * (2 << 20),
    ]
    for content in texts:
        file.write_text(content)
        sweep(node)
        assert (found(node), row(node, workspace)["directory_error"]) == ([], None), content[:80]
    file.unlink()
    file.symlink_to(victim / ".relay" / "workspace.json")
    sweep(node)
    assert found(node) == []
    shutil.rmtree(forged / ".relay")
    (forged / ".relay").symlink_to(victim / ".relay")
    sweep(node)
    assert found(node) == []
    assert anchors.read(victim, anchors.load_key(node.settings.data_dir)) == genuine
