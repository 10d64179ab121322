"""The place of a workspace is in its row before its directory is made, so that a cleanup always finds it."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.store.schema.tables import Workspace
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.maintenance.clocks import divergence_finder
from relay_workers.maintenance.divergence_sweep import repair
from relay_workers.ownership.live_executions import OwnershipLost
from tests.support.fake_node import ME, FakeNode

pytest_plugins = ["tests.support.fake_node"]


@pytest.fixture(scope="module")
def node(fake_node: FakeNode) -> FakeNode:
    return fake_node


@pytest.mark.proves("T000-07")
def test_a_worker_that_dies_while_it_prepares_leaves_a_place_that_is_found(node: FakeNode) -> None:
    """T000-07: the directory exists, and nothing of the workspace is prepared."""
    run = RunInput((RepoInput(node.url),), "go", ExecutorChoice("shell", "true"), Limits())
    with node.database.begin() as connection:
        made = submit_run(connection, run, ME, node.settings)
    stored: list[Any] = []
    real = node.git.clone

    def die(_request: Any) -> Any:
        node.git.clone = real  # type: ignore[method-assign]
        columns = (Workspace.work_dir, Workspace.container_ref, Workspace.container_id)
        with node.database.connect() as connection:
            stored.append(connection.execute(select(*columns).where(Workspace.id == made.workspace_id)).one())
        raise OwnershipLost

    node.git.clone = die  # type: ignore[method-assign]
    node.workers[0].run(made.execution_id)
    (place,) = stored
    directory = Path(place.container_ref)
    assert (place.work_dir, place.container_id) == (str(directory / "repos"), None)
    assert (directory / "repos").is_dir()
    assert node.row(made.execution_id)["status"] == "running"

    with node.database.begin() as connection:
        delete_workspaces(connection, [made.workspace_id], "someone")
    node.expire(made.execution_id)
    node.workers[1].run(made.execution_id)
    assert node.row(made.execution_id)["status"] == "killed"
    for divergence in divergence_finder(node.workers[0].context).find_all():
        repair(divergence)
    assert not directory.exists()
