"""A look for differences reads what differs only, and finds each kind of them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, text

from relay_core.domain.vocabulary import RunReason
from relay_core.store.workspaces.delete import delete_workspaces
from relay_workers.containers.port import LABEL_WORKSPACE
from relay_workers.maintenance import divergence
from relay_workers.maintenance.clocks import divergence_finder
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import FakeNode

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture
def node(fake_node: FakeNode) -> FakeNode:
    return fake_node


def idle(node: FakeNode):
    workspace = node.submit(ScriptedStep())
    node.workers[0].run(node.newest(workspace, RunReason.CODING_AGENT)["id"])
    return workspace


@contextmanager
def rows_read(node: FakeNode) -> Iterator[list[int]]:
    read: list[int] = []

    def note(_connection, cursor, *_rest) -> None:
        read.append(cursor.rowcount)

    engine = node.database.engine
    event.listen(engine, "after_cursor_execute", note)
    yield read
    event.remove(engine, "after_cursor_execute", note)


def kinds(node: FakeNode, workspace) -> set[str]:
    context = node.workers[0].context
    names = {str(workspace)} | {
        one.id for one in context.containers.list_ours(context.claimant.node_id) if str(workspace) in str(one.labels)
    }
    return {one.kind for one in divergence_finder(context).find_all() if one.subject in names}


def test_a_look_reads_no_row_where_nothing_differs(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        idle(node)
    finder = divergence_finder(node.workers[0].context)
    assert not [one for one in finder.find_all() if one.kind != "raw_files"]
    looks: list[object] = []
    monkeypatch.setattr(divergence, "runs_of_first_edition", lambda place: looks.append(place) or iter(()))
    monkeypatch.setattr(divergence, "executions_with_files", lambda _: [])
    with rows_read(node) as read:
        finder.find_all()
    assert (sum(read), len(read)) == (0, 1)
    assert not looks, "workspaces are opened once a minute"
    monkeypatch.setattr(divergence.time, "monotonic", lambda: float("inf"))
    finder.find_all()
    assert len(looks) == 1


def test_each_kind_of_difference_is_found(node: FakeNode) -> None:
    vanished, deleted, failed, other = (idle(node) for _ in range(4))
    context = node.workers[0].context
    containers = {one.labels[LABEL_WORKSPACE]: one.id for one in context.containers.list_ours(context.claimant.node_id)}
    context.containers.remove(containers[str(vanished)])
    with node.database.begin() as connection:
        delete_workspaces(connection, [deleted], "someone")
        connection.execute(text("UPDATE workspaces SET state = 'failed' WHERE id = :id"), {"id": failed})
    assert kinds(node, vanished) == {"container_vanished"}
    assert kinds(node, deleted) == {"deleted_workspace"}
    assert kinds(node, failed) == {"container_without_workspace"}
    assert kinds(node, other) == set()
    node.add(vanished, ScriptedStep())
    assert kinds(node, vanished) == set(), "its step will tell"
