"""A container that nothing needs is removed; one that a retry of the preparation is about to use is not."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.executions import retry
from relay_core.store.workspaces import preparation
from relay_workers.execution.workspace_container import WorkspaceContainers
from relay_workers.maintenance.divergence_repairs import DivergenceRepairs
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import FakeNode
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture(scope="module")
def node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    made = FakeNode.make(module_database_url, tmp_path_factory.mktemp("node"))
    made.add_worker("first")
    yield made
    made.close()


def discard_late(node: FakeNode, workspace_id: UUID) -> None:
    """As the preparation does with a container that the engine made after it had failed."""
    made: Future[str] = Future()
    made.set_result(node.container(workspace_id))
    containers = WorkspaceContainers(node.settings, node.containers, node.database, "node")
    containers.discard(workspace_id, made, late=True)


def repair(node: FakeNode, workspace_id: UUID) -> None:
    """As the divergence sweep does."""
    repairs = DivergenceRepairs("node", node.settings.data_dir, node.database, node.containers, node.git)
    repairs.remove_unwanted_container(node.container(workspace_id), workspace_id)


both = pytest.mark.parametrize("remove", [discard_late, repair])


@pytest.fixture
def failed(node: FakeNode) -> UUID:
    """A workspace that could not be prepared, with a container."""
    workspace_id = node.submit(ScriptedStep())
    node.workers[0].run(node.newest(workspace_id, RunReason.CODING_AGENT)["id"])
    with node.database.begin() as connection:
        preparation.set_state(connection, workspace_id, WorkspaceState.FAILED, "for a test")
    return workspace_id


@both
def test_it_is_removed(node: FakeNode, failed: UUID, remove: Callable[[FakeNode, UUID], None]):
    remove(node, failed)
    assert not node.containers.inspect(node.container(failed)).exists


@both
def test_it_stays_when_a_retry_begins_at_the_same_time(
    node: FakeNode, failed: UUID, remove: Callable[[FakeNode, UUID], None]
):
    with ThreadPoolExecutor(1) as pool:
        with node.database.begin() as connection:
            retry.retry_workspace(connection, failed, "someone")
            removal = pool.submit(remove, node, failed)
            eventually(lambda: waits_for_a_lock(node))
        removal.result(30)
    assert node.containers.inspect(node.container(failed)).exists


def waits_for_a_lock(node: FakeNode) -> bool:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with node.database.connect() as connection:
        return bool(connection.scalar(text(asked)))
