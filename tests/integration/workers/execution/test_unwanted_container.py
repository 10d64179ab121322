"""A container that nothing needs is removed; one that a retry of the preparation is about to use is not."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from uuid import UUID

import pytest
from sqlalchemy import text

from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.executions import retry
from relay_core.store.workspaces import preparation, workspace_row
from relay_workers.execution.workspace_container import ContainerPlan, WorkspaceContainers
from relay_workers.maintenance.divergence_repairs import DivergenceRepairs
from relay_workers.ownership.node_lock import container_creation
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import FakeNode

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
def test_it_stays_when_a_retry_has_begun(node: FakeNode, failed: UUID, remove: Callable[[FakeNode, UUID], None]):
    with node.database.begin() as connection:
        retry.retry_workspace(connection, failed, "someone")
    remove(node, failed)
    assert node.containers.inspect(node.container(failed)).exists


@both
def test_a_retry_makes_it_anew_when_it_is_being_removed(
    node: FakeNode, failed: UUID, remove: Callable[[FakeNode, UUID], None], monkeypatch: pytest.MonkeyPatch
):
    """The removal has read the state, and the engine is slow; the retry waits without a connection to Postgres."""
    begun, go_on = threading.Event(), threading.Event()
    engine_removes = node.containers.remove

    def slowly(container_id: str) -> None:
        begun.set()
        assert go_on.wait(30)
        engine_removes(container_id)

    monkeypatch.setattr(node.containers, "remove", slowly)
    with ThreadPoolExecutor(2) as pool:
        removal = pool.submit(remove, node, failed)
        assert begun.wait(30)
        with node.database.begin() as connection:  # does not wait: no transaction is open over the removal
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            retry.retry_workspace(connection, failed, "someone")
        creation = pool.submit(create, node, failed)
        assert wait([creation], timeout=0.3).not_done
        go_on.set()
        removal.result(30)
        creation.result(30)
    assert node.containers.inspect(node.container(failed)).exists


@both
def test_a_worker_that_stopped_while_it_made_the_container_holds_up_nothing(
    node: FakeNode, failed: UUID, remove: Callable[[FakeNode, UUID], None]
):
    """Found by faults/test_worker_dies.py: the successor of a stopped worker waited for its lock for ever."""
    with container_creation(node.settings.data_dir, failed):
        remove(node, failed)  # does not wait
        create(node, failed)
        assert node.containers.inspect(node.container(failed)).exists


def create(node: FakeNode, workspace_id: UUID) -> str:
    """As the retried preparation does."""
    with node.database.connect() as connection:
        row = workspace_row.load(connection, workspace_id)
    directory = node.settings.data_dir / "workspaces" / str(workspace_id)
    plan = ContainerPlan(row, directory, node.containers.ensure_image("base"), row.uid or 1000)
    return WorkspaceContainers(node.settings, node.containers, node.database, "node").create(plan, [])
