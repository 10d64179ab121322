"""The quarantine of a node while others act: what a worker has found is old by the time of its act."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_core.domain.errors import Conflict
from relay_core.store.workspaces import quarantine as rows
from relay_workers.host_files.kept_dirs import place_of
from relay_workers.maintenance.clocks import make_quarantine
from tests.support.fake_node import FakeNode
from tests.support.put_away import (
    DiedError,
    delete,
    die,
    due,
    idle,
    payloads,
    places,
    put_away,
    restore,
    resume,
    row,
    rows_of,
    sweep,
)
from tests.support.trees import tree_hash

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture
def node(fake_node: FakeNode) -> Iterator[FakeNode]:
    yield fake_node
    with fake_node.database.begin() as connection:  # the next test begins with nothing that is kept
        connection.execute(
            text("UPDATE workspaces SET quarantine = NULL, container_ref = NULL WHERE deleted_at IS NOT NULL")
        )


def test_what_is_removed_at_once_cannot_be_restored_from_its_first_file_on(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies when the stores are gone and the directory is not."""
    workspace = idle(node)
    delete(node, workspace)
    part = make_quarantine(node.workers[0].context)
    part._keep_seconds = 0.0
    [found] = rows_of(node, workspace)
    with monkeypatch.context() as dying:
        dying.setattr(node.git, "remove_workspace", die)
        with pytest.raises(DiedError):
            part.take(found)
    with pytest.raises(Conflict) as refused:
        restore(node, workspace)
    assert refused.value.code == "not_restorable"
    put_away(node, worker=1)  # also if it keeps files by now
    assert places(node, workspace) == (False, False)
    left = row(node, workspace)
    assert (left["container_ref"], left["purge_why"]) == (None, None)
    assert payloads(node, workspace, "workspace.removed") == [{"node_id": "node", "kept_until": None}]


def test_what_was_asked_for_while_its_container_went_is_not_removed(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = idle(node)
    before = tree_hash(place_of(node.settings.data_dir, workspace))
    delete(node, workspace)
    part = make_quarantine(node.workers[0].context)
    part._keep_seconds = 0.0
    [found] = rows_of(node, workspace)
    remove = part._remove_container

    def asked(*of_container: Any) -> None:
        remove(*of_container)
        restore(node, workspace)

    monkeypatch.setattr(part, "_remove_container", asked)
    part.take(found)
    sweep(node)
    assert row(node, workspace)["deleted_at"] is None
    assert tree_hash(place_of(node.settings.data_dir, workspace)) == before


def test_a_slow_worker_does_not_touch_the_container_of_a_workspace_that_was_restored(node: FakeNode) -> None:
    workspace = idle(node)
    delete(node, workspace)
    put_away(node)
    restore(node, workspace)
    found = due(node, workspace)
    sweep(node)
    resume(node, workspace)
    channel = node.settings.data_dir / "channels" / node.container(workspace)
    channel.mkdir(parents=True, exist_ok=True)
    make_quarantine(node.workers[1].context)._act(found)
    assert channel.is_dir()
    assert node.containers.inspect(node.container(workspace)).running


def test_a_slow_worker_does_not_remove_what_was_deleted_again(node: FakeNode) -> None:
    """It found the files when their first period was over."""
    workspace = idle(node)
    delete(node, workspace)
    put_away(node)
    with node.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET kept_until = now() WHERE id = :id"), {"id": workspace})
    found = due(node, workspace)
    restore(node, workspace)
    sweep(node)
    delete(node, workspace)
    put_away(node)
    make_quarantine(node.workers[1].context)._act(found)
    assert (places(node, workspace), row(node, workspace)["quarantine"]) == ((False, True), "kept")


def test_a_slow_worker_removes_the_container_that_a_workspace_has_now(node: FakeNode) -> None:
    """It found the first deletion; the workspace came back, got another container, and was deleted again."""
    workspace = idle(node)
    delete(node, workspace)
    [found] = rows_of(node, workspace)
    put_away(node)
    restore(node, workspace)
    sweep(node)
    resume(node, workspace)
    delete(node, workspace)
    make_quarantine(node.workers[1].context).take(found)
    assert places(node, workspace) == (False, True)
    assert not node.containers.inspect(node.container(workspace)).exists


def test_what_comes_back_does_not_wait_for_what_is_removed(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look has room for one, and what is to be removed was due before; the clock of restorations removes nothing."""
    over, wanted = idle(node), idle(node)
    delete(node, over, wanted)
    put_away(node)
    with node.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET kept_until = now() WHERE id = :id"), {"id": over})
    restore(node, wanted)
    monkeypatch.setattr(rows, "MOST_AT_ONCE", 1)
    make_quarantine(node.workers[0].context).sweep_restores()
    assert (row(node, wanted)["deleted_at"], places(node, over)) == (None, (False, True))


def test_removals_that_fail_hold_up_no_other_one(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, over = idle(node), idle(node)
    delete(node, broken, over)
    put_away(node)
    with node.database.begin() as connection:
        past = text("UPDATE workspaces SET kept_until = now() - make_interval(hours => :hours) WHERE id = :id")
        connection.execute(past, [{"id": broken, "hours": 2}, {"id": over, "hours": 1}])
    remove = node.git.remove_workspace

    def broken_one(workspace: UUID, directory: Path) -> None:
        if workspace == broken:
            raise DiedError
        remove(workspace, directory)

    monkeypatch.setattr(node.git, "remove_workspace", broken_one)
    monkeypatch.setattr(rows, "MOST_AT_ONCE", 1)
    for _ in range(100):  # each look takes one of the two
        sweep(node)
        if places(node, over) == (False, False):
            break
    assert places(node, over) == (False, False)
