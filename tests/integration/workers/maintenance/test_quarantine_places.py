"""The quarantine of a node whose directories of workspaces are not where they usually are: it touches no other one."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_workers.execution.assembly import make_anchors
from relay_workers.host_files.kept_dirs import kept_place_of, note_place, place_of
from relay_workers.maintenance.clocks import make_quarantine
from tests.support.fake_node import FakeNode
from tests.support.put_away import delete, idle, payloads, places, put_away, restore, row, rows_of, sweep
from tests.support.trees import tree_hash

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture
def node(fake_node: FakeNode) -> Iterator[FakeNode]:
    yield fake_node
    with fake_node.database.begin() as connection:  # the next test begins with nothing that is kept
        connection.execute(
            text(
                "UPDATE workspaces SET quarantine = NULL, container_ref = NULL, deleted_at = coalesce(deleted_at, now())"
            )
        )


def find(node: FakeNode) -> None:
    """As the clock `anchors` does."""
    make_anchors(node.workers[0].context).sweep()


def rename(node: FakeNode, workspace: UUID, name: str) -> Path:
    """Rename the directory of a workspace by hand; the node finds it."""
    find(node)  # it gets its anchor
    place = node.settings.data_dir / "workspaces" / name
    place_of(node.settings.data_dir, workspace).rename(place)
    find(node)
    assert place_of(node.settings.data_dir, workspace) == place
    return place


def put_away_from(node: FakeNode, name: str) -> UUID:
    """Delete a workspace whose directory has another name."""
    workspace = idle(node)
    rename(node, workspace, name)
    delete(node, workspace)
    put_away(node)
    assert kept_place_of(node.settings.data_dir, workspace).is_dir()
    return workspace


def test_a_directory_that_gets_the_former_name_of_a_deleted_one_is_not_removed_with_it(node: FakeNode) -> None:
    deleted = put_away_from(node, "same")
    place = rename(node, idle(node), "same")
    before = tree_hash(place)
    assert place_of(node.settings.data_dir, deleted) != place, "the note is gone with the directory"
    note_place(node.settings.data_dir, deleted, place)  # an earlier edition left it
    with node.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET kept_until = now() WHERE id = :id"), {"id": deleted})
    sweep(node)
    assert row(node, deleted)["quarantine"] is None
    assert not kept_place_of(node.settings.data_dir, deleted).exists()
    assert tree_hash(place) == before


def test_a_workspace_comes_back_though_its_former_name_is_taken(node: FakeNode) -> None:
    deleted = put_away_from(node, "taken")
    place = rename(node, idle(node), "taken")
    before = tree_hash(place)
    note_place(node.settings.data_dir, deleted, place)  # an earlier edition left it
    restore(node, deleted)
    sweep(node)
    assert (row(node, deleted)["deleted_at"], places(node, deleted)) == (None, (True, False))
    assert tree_hash(place) == before


@pytest.mark.parametrize("keep_seconds", [0.0, 3600.0])
def test_a_deleted_workspace_whose_directory_is_not_there_keeps_its_store(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, keep_seconds: float
) -> None:
    """Its directory was moved, or is on a disk that is not mounted: nothing shows that its work is gone."""
    workspace = idle(node)
    place = place_of(node.settings.data_dir, workspace)
    place.rename(node.settings.data_dir / f"away-{keep_seconds}")
    removed: list[UUID] = []
    monkeypatch.setattr(node.git, "remove_workspace", lambda one, _: removed.append(one))
    delete(node, workspace)
    part = make_quarantine(node.workers[0].context)
    part._keep_seconds = keep_seconds
    [found] = rows_of(node, workspace)
    part.take(found)
    assert removed == []
    assert row(node, workspace)["container_ref"] is None
    assert payloads(node, workspace, "workspace.removed") == [{"node_id": "node", "kept_until": None}]
