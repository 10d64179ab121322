"""A request to stop is carried out by one worker, without a transaction while the engine is at it."""

from unittest.mock import Mock

import pytest
from sqlalchemy import text

from relay_core.domain.vocabulary import RunReason
from relay_core.store.workspaces import stop_resume as requests
from relay_core.store.workspaces.delete import delete_workspaces
from relay_workers.maintenance.clocks import divergence_finder
from relay_workers.maintenance.divergence_sweep import DivergenceSweep
from relay_workers.maintenance.workspace_requests import WorkspaceRequests
from relay_workers.metrics import Metrics
from relay_workers.ownership.node_lock import try_lock

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

OPEN = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND state LIKE 'idle in transaction%'"
)


def requests_of(context, containers) -> WorkspaceRequests:
    data_dir = context.settings.data_dir
    return WorkspaceRequests(context.claimant.node_id, data_dir, context.database, containers, context.metrics)


def test_a_stop_holds_no_transaction_and_its_lock_goes_with_the_workspace(node):
    made = node.submit()
    node.run(node.chain(made, RunReason.CODING_AGENT)["id"])
    with node.db.begin() as connection:
        requests.request_stop(connection, made, "me")
    context, locks = node.context, node.context.settings.data_dir / "locks"
    with try_lock(context.settings.data_dir, f"{made}.state") as mine:  # another worker of this node is at it
        assert mine
        requests_of(context, context.containers).sweep()
        assert node.workspace(made)["requested_state"] == "stopped"
    seen = []

    def stop(container_id: str) -> None:
        with node.db.connect() as connection:
            seen.append(connection.scalar(OPEN))
        context.containers.stop(container_id)

    requests_of(context, Mock(wraps=context.containers, stop=stop)).sweep()
    assert seen == [0]
    assert (node.workspace(made)["state"], node.workspace(made)["requested_state"]) == ("stopped", None)
    assert [path for path in locks.iterdir() if str(made) in path.name]
    with node.db.begin() as connection:
        delete_workspaces(connection, [made], "me")
    DivergenceSweep(divergence_finder(context), Metrics()).sweep()
    assert [path for path in locks.iterdir() if str(made) in path.name] == []
