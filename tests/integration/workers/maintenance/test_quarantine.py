"""The quarantine of a node: real files and rows, a fake engine; a worker that dies is an error at that point."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from relay_core.store.workspaces import quarantine as rows
from relay_workers.host_files.kept_dirs import kept_place_of, move, place_of
from relay_workers.maintenance import quarantine as of_node
from relay_workers.maintenance.clocks import divergence_finder, make_quarantine
from relay_workers.maintenance.divergence_sweep import repair
from tests.support.fake_node import FakeNode
from tests.support.put_away import delete, die, idle, payloads, places, put_away, restore, row, rows_of, sweep
from tests.support.trees import tree_hash

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture
def node(fake_node: FakeNode) -> Iterator[FakeNode]:
    yield fake_node
    with fake_node.database.begin() as connection:  # the next test begins with nothing that is kept
        connection.execute(
            text("UPDATE workspaces SET quarantine = NULL, container_ref = NULL WHERE deleted_at IS NOT NULL")
        )


def fill(directory: Path) -> None:
    """Leave what an agent may leave: links out of the tree, files of others, names that no path can hold."""
    outside = directory.parent.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "precious").write_text("not of the workspace")
    (directory / "home" / "out").symlink_to(outside)
    (directory / "home" / "loop").symlink_to("loop")
    (directory / "home" / "null").symlink_to("/dev/null")
    os.mkfifo(directory / "home" / "fifo")
    (directory / "tmp" / "of another").write_text("x")
    if os.geteuid() == 0:
        os.chown(directory / "tmp" / "of another", 54321, 54321)
        (directory / "tmp" / "of another").chmod(0o000)
    fd = os.open(directory / "cache", os.O_RDONLY)
    for _ in range(300):  # 60,000 bytes of path
        os.mkdir("d" * 200, dir_fd=fd)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)


def test_a_hostile_workspace_is_kept_and_comes_back_as_it_was(node: FakeNode) -> None:
    workspace = idle(node)
    directory = place_of(node.settings.data_dir, workspace)
    fill(directory)
    before, uid = tree_hash(directory), row(node, workspace)["uid"]
    delete(node, workspace)
    put_away(node)
    assert places(node, workspace) == (False, True)
    assert not node.containers.inspect(node.container(workspace)).exists, "its container is gone at once"
    kept = row(node, workspace)
    assert (kept["quarantine"], kept["uid"], kept["container_ref"]) == (
        "kept",
        uid,
        str(kept_place_of(node.settings.data_dir, workspace)),
    )
    assert payloads(node, workspace, "workspace.removed")[0]["kept_until"] == kept["kept_until"].isoformat()
    sweep(node)
    put_away(node)
    assert places(node, workspace) == (False, True)
    restore(node, workspace)
    sweep(node)
    assert places(node, workspace) == (True, False)
    assert tree_hash(directory) == before
    assert (directory.parent.parent / "outside" / "precious").read_text() == "not of the workspace"
    assert row(node, workspace)["deleted_at"] is None


def test_what_was_kept_for_the_whole_period_is_removed_with_its_store(node: FakeNode) -> None:
    workspace = idle(node)
    fill(place_of(node.settings.data_dir, workspace))
    delete(node, workspace)
    put_away(node)
    with node.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET kept_until = now() WHERE id = :id"), {"id": workspace})
    sweep(node)
    assert places(node, workspace) == (False, False)
    assert row(node, workspace)["container_ref"] is None
    assert payloads(node, workspace, "workspace.purged") == [{"node_id": "node", "why": "period"}]
    assert (node.settings.data_dir / "outside" / "precious").exists()
    assert not list((node.settings.data_dir / "locks").glob(f"{workspace}*"))


@pytest.mark.parametrize("boundary", ["left", "move"])
def test_a_worker_that_dies_while_it_puts_files_away_is_followed_by_another_one(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    """`move`: the container is gone, the files are not moved; `left`: they are moved, and the row does not know."""
    workspace = idle(node)
    delete(node, workspace)
    with monkeypatch.context() as dying:
        dying.setattr(of_node if boundary == "move" else rows, boundary, die)
        put_away(node)
    assert places(node, workspace) == ((True, False) if boundary == "move" else (False, True))
    assert row(node, workspace)["quarantine"] is None
    put_away(node, worker=1)
    assert (places(node, workspace), row(node, workspace)["quarantine"]) == ((False, True), "kept")
    assert len(payloads(node, workspace, "workspace.removed")) == 1


@pytest.mark.parametrize("boundary", ["restored", "move"])
def test_a_worker_that_dies_while_it_restores_is_followed_by_another_one(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    workspace = idle(node)
    delete(node, workspace)
    put_away(node)
    restore(node, workspace)
    with monkeypatch.context() as dying:
        dying.setattr(of_node if boundary == "move" else rows, boundary, die)
        sweep(node)
    assert row(node, workspace)["quarantine"] == "restoring"
    sweep(node, worker=1)
    assert (places(node, workspace), row(node, workspace)["deleted_at"]) == ((True, False), None)
    assert len(payloads(node, workspace, "workspace.restored")) == 1


@pytest.mark.parametrize("boundary", ["begin_purge", "purged"])
def test_a_worker_that_dies_while_it_removes_is_followed_by_another_one(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, boundary: str
) -> None:
    workspace = idle(node)
    delete(node, workspace)
    put_away(node)
    with node.database.begin() as connection:
        connection.execute(text("UPDATE workspaces SET kept_until = now() WHERE id = :id"), {"id": workspace})
    with monkeypatch.context() as dying:
        dying.setattr(rows, boundary, die)
        sweep(node)
    assert row(node, workspace)["quarantine"] == ("kept" if boundary == "begin_purge" else "purging")
    sweep(node, worker=1)
    assert (places(node, workspace), row(node, workspace)["quarantine"]) == ((False, False), None)
    assert len(payloads(node, workspace, "workspace.purged")) == 1


def test_a_restoration_before_the_files_are_put_away_only_changes_rows(node: FakeNode) -> None:
    workspace = idle(node)
    before = tree_hash(place_of(node.settings.data_dir, workspace))
    delete(node, workspace)
    restore(node, workspace)
    put_away(node)
    assert places(node, workspace) == (True, False), "a client wants it back"
    sweep(node)
    assert tree_hash(place_of(node.settings.data_dir, workspace)) == before
    assert row(node, workspace)["deleted_at"] is None


def test_a_slow_worker_does_not_put_a_restored_workspace_away(node: FakeNode) -> None:
    """It found the deletion before another worker had carried it out, and a client had taken it back."""
    workspace = idle(node)
    delete(node, workspace)
    finder = divergence_finder(node.workers[1].context)
    [found] = [one for one in finder.find_all() if one.subject == str(workspace)]
    put_away(node)
    restore(node, workspace)
    sweep(node)
    repair(found)
    assert (places(node, workspace), row(node, workspace)["deleted_at"]) == ((True, False), None)


def test_a_directory_in_both_places_is_not_touched(node: FakeNode, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "kept" / "one"
    for place in (one, other):
        place.mkdir(parents=True)
        (place / "file").write_text(str(place))
    with pytest.raises(FileExistsError, match="both exist"):
        move(one, other)
    assert (one / "file").read_text() == str(one)
    assert (other / "file").read_text() == str(other)


def test_a_node_short_of_disk_removes_what_was_deleted_first(node: FakeNode) -> None:
    first, second, live = (idle(node) for _ in range(3))
    for workspace in (first, second):
        delete(node, workspace)
    put_away(node)
    sweep(node, _min_free_bytes=0)
    assert places(node, first) == (False, True)
    short = iter([True, False])
    sweep(node, _is_short=lambda: next(short))
    assert [places(node, one) for one in (first, second, live)] == [(False, False), (False, True), (True, False)]
    assert payloads(node, first, "workspace.purged") == [{"node_id": "node", "why": "disk"}]


def test_a_node_that_keeps_nothing_removes_at_once(node: FakeNode) -> None:
    workspace = idle(node)
    delete(node, workspace)
    part = make_quarantine(node.workers[0].context)
    part._keep_seconds = 0.0
    [found] = rows_of(node, workspace)
    part.take(found)
    assert places(node, workspace) == (False, False)
    assert payloads(node, workspace, "workspace.removed") == [{"node_id": "node", "kept_until": None}]


def test_a_disk_counts_as_full_by_its_free_bytes(node: FakeNode) -> None:
    part = make_quarantine(node.workers[0].context)
    part._min_free_bytes = 1 << 62
    assert part._is_short()
    part._min_free_bytes = 0
    assert not part._is_short()


def test_files_that_were_removed_by_hand_end_the_restoration(node: FakeNode) -> None:
    workspace = idle(node)
    delete(node, workspace)
    put_away(node)
    shutil.rmtree(kept_place_of(node.settings.data_dir, workspace))
    restore(node, workspace)
    sweep(node)
    told = payloads(node, workspace, "workspace.not_restored")
    assert told == [{"node_id": "node", "reason": "workspace_gone"}]
    assert row(node, workspace)["container_ref"] is None
