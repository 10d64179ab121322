"""Containers of restored workspaces that are made anew: whatever happens meanwhile, a stop or a deletion ends them."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.store.executions.retry import retry_workspace
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces import preparation
from relay_core.store.workspaces.stop_resume import due_remakes, is_due, request_resume, request_stop
from relay_workers.execution.remade_container import RemadeContainers
from relay_workers.host_files.kept_dirs import kept_place_of, place_of
from relay_workers.maintenance.workspace_requests import WorkspaceRequests
from tests.support.fake_node import FakeNode
from tests.support.put_away import delete, die, idle, put_away, remake, restore, sweep

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture
def restored(fake_node: FakeNode) -> UUID:
    """A workspace that was deleted and has come back; it has no container."""
    workspace = idle(fake_node)
    delete(fake_node, workspace)
    put_away(fake_node)
    restore(fake_node, workspace)
    sweep(fake_node)
    return workspace


def ask(node: FakeNode, workspace: UUID, request: Any) -> None:
    with node.database.begin() as connection:
        request(connection, workspace, "someone")


def carry_out(node: FakeNode) -> None:
    """As the clocks `engine` and `remakes` do."""
    context = node.workers[0].context
    of_node = ("node", node.settings.data_dir, node.database)
    WorkspaceRequests(*of_node, context.containers, context.metrics).sweep()
    remake(node)


def state(node: FakeNode, workspace: UUID) -> tuple[str, bool]:
    """The state of a workspace in its row, and whether its container runs."""
    with node.database.connect() as connection:
        shown = connection.scalar(select(Workspace.state).where(Workspace.id == workspace))
    return str(shown), node.containers.inspect(node.container(workspace)).running


def test_a_stop_after_a_new_preparation_stops_its_container(
    fake_node: FakeNode, restored: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image could not be pulled, so the container was not made anew; a retry has prepared the workspace."""
    node = fake_node

    def no_image(*_: Any) -> str:
        raise StepFailed(Reason.IMAGE_UNAVAILABLE, "no such image")

    ask(node, restored, request_resume)
    with monkeypatch.context() as away:
        away.setattr(RemadeContainers, "make", no_image)
        carry_out(node)
    assert state(node, restored) == ("failed", False)
    ask(node, restored, retry_workspace)
    node.workers[0].run(node.newest(restored, RunReason.CLONE)["id"])
    assert state(node, restored) == ("running", True)
    ask(node, restored, request_stop)
    carry_out(node)
    assert state(node, restored) == ("stopped", False)
    ask(node, restored, request_resume)
    carry_out(node)
    assert state(node, restored) == ("running", True), "it is the same container"


def test_a_stop_ends_a_container_whose_worker_died_before_its_row_was_written(
    fake_node: FakeNode, restored: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = fake_node
    ask(node, restored, request_resume)
    with monkeypatch.context() as dying:
        dying.setattr(preparation, "set_fields", die)
        carry_out(node)
    assert state(node, restored) == ("stopped", True)
    ask(node, restored, request_stop)
    carry_out(node)
    assert state(node, restored) == ("stopped", False)


def test_a_deletion_waits_for_the_container_that_is_being_made(
    fake_node: FakeNode, restored: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the new container would stay, with the directory that is out of sight."""
    node, make = fake_node, RemadeContainers.make
    places = place_of(node.settings.data_dir, restored), kept_place_of(node.settings.data_dir, restored)
    seen = []

    def deleted_meanwhile(self: RemadeContainers, workspace: UUID) -> str:
        delete(node, workspace)
        put_away(node, worker=1)
        seen.append([place.exists() for place in places])
        return make(self, workspace)

    ask(node, restored, request_resume)
    with monkeypatch.context() as slow:
        slow.setattr(RemadeContainers, "make", deleted_meanwhile)
        carry_out(node)
    assert seen == [[True, False]]
    put_away(node, worker=1)
    assert [place.exists() for place in places] == [False, True]
    assert not node.containers.inspect(node.container(restored)).exists


def test_a_slow_worker_makes_no_second_container(fake_node: FakeNode, restored: UUID) -> None:
    node = fake_node
    ask(node, restored, request_resume)
    with node.database.connect() as connection:
        found = due_remakes(connection, "node")
    delete(node, restored)
    put_away(node)
    restore(node, restored)
    sweep(node)
    ask(node, restored, request_resume)
    carry_out(node)
    ask(node, restored, request_stop)
    carry_out(node)
    ask(node, restored, request_resume)
    with node.database.connect() as connection:
        assert not any(is_due(connection, one) for one in found), "its container is not to be made anew"
