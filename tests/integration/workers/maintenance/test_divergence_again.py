"""A divergence is looked at again before it is acted on, and an engine that lost everything gets time."""

import docker
import pytest

from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.executions import retry
from relay_core.store.workspaces import preparation
from relay_workers.containers.port import container_name
from relay_workers.maintenance import divergence
from relay_workers.maintenance.clocks import divergence_finder
from relay_workers.maintenance.divergence_sweep import DivergenceSweep, repair
from relay_workers.metrics import Metrics

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def idle(node):
    workspace = node.submit()
    node.run(node.chain(workspace, RunReason.CODING_AGENT)["id"])
    return workspace


def remove(node, workspace) -> None:
    client = docker.from_env()
    client.api.remove_container(container_name(str(workspace)), force=True)
    client.close()


def vanished(node):
    return [one for one in divergence_finder(node.context).find_all() if one.kind == "container_vanished"]


def test_what_was_found_is_looked_at_again(node):
    first, second = idle(node), idle(node)
    remove(node, first)
    (found,) = vanished(node)
    assert found.grace_seconds == divergence.VANISHED_GRACE_SECONDS
    step = node.add(first, "echo next")  # so it is not idle any more: the step's own end tells
    assert repair(found)
    assert node.workspace(first)["state"] == "running"
    assert node.run(step)["reason"] == "container_missing"
    assert node.workspace(first)["state"] == "failed"
    assert node.workspace(second)["state"] == "running"


def test_an_engine_without_any_container_of_the_node_is_given_time(node):
    both = [idle(node), idle(node)]
    for workspace in both:
        remove(node, workspace)
    DivergenceSweep(divergence_finder(node.context), Metrics()).sweep()
    assert [one.grace_seconds for one in vanished(node)] == [divergence.CONTAINER_GRACE_SECONDS] * 2
    assert {node.workspace(workspace)["state"] for workspace in both} == {"running"}


def test_an_unwanted_container_whose_workspace_is_prepared_again_stays(node):
    workspace = idle(node)
    with node.db.begin() as connection:
        preparation.set_state(connection, workspace, WorkspaceState.FAILED, "for a test")
    (found,) = [one for one in divergence_finder(node.context).find_all() if one.kind == "container_without_workspace"]
    with node.db.begin() as connection:
        retry.retry_workspace(connection, workspace, "someone")
    assert repair(found)
    assert node.context.containers.inspect(found.subject).running
