"""HEAD of every repository is recorded before and after a step, however the step ended."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_core.store import events
from relay_core.store.schema.tables import Event, ExecutionProcessRepoState
from relay_workers.maintenance.clocks import make_leftovers
from relay_workers.maintenance.disk_limits import DiskLimits
from relay_workers.maintenance.disk_meter import DiskMeter
from relay_workers.maintenance.disk_pressure import DiskPressure
from tests.support.presence_acts import silent, sweep_and_reap, watched
from tests.support.worker_fixtures import Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

COMMIT = "git -c user.name=a -c user.email=a@example.org commit -q --allow-empty -m more; echo begun; "


def at_once(**limits: Any) -> Limits:
    return Limits(kill_grace_seconds=0, **limits)


def state(node: Node, execution_id: UUID) -> dict[str, Any]:
    table = ExecutionProcessRepoState
    with node.db.connect() as connection:
        found = connection.execute(select(table.__table__).where(table.execution_process_id == execution_id))
        return dict(found.mappings().one())


def begun(node: Node, workspace_id: UUID) -> UUID:
    """Begin the agent's execution; return its id once its commit is made."""
    agent: UUID = node.chain(workspace_id, RunReason.CODING_AGENT)["id"]
    node.begin(agent)
    node.until(lambda: node.log(agent).startswith(b"begun\n"), "the agent has made its commit")
    return agent


def over_its_disk_limit(node: Node) -> None:
    """Measure the workspace until its limit is exceeded, as the worker's clock does."""
    context = node.context
    limits = DiskLimits(context.live, DiskMeter(context.containers), context.metrics)

    def ended() -> bool:
        limits.sweep()
        return all(control.ended_by is not None for control in context.live.all())

    node.until(ended, "the measurement that is over the limit")


def under_disk_pressure(node: Node) -> None:
    """Look at the disk as a node does that has to keep more free than there is."""
    context = node.context
    settings = context.settings.model_copy(update={"node_pressure_bytes": 1 << 62})
    pressure = DiskPressure(settings, context.live, DiskMeter(context.containers), context.pump, context.metrics)

    def ended() -> bool:
        pressure.sweep()
        return all(control.ended_by is not None for control in context.live.all())

    node.until(ended, "the choice of the workspace")


ACTS: dict[str, Callable[[Node], None]] = {
    "disk_limit": over_its_disk_limit,
    "disk_pressure": under_disk_pressure,
}
"""Sweeps that the clocks of a worker start; the worker of these tests has no clocks."""


@pytest.mark.parametrize(
    ("command", "limits", "reason"),
    [
        ("exec tail /dev/zero", at_once(memory_bytes=100_000_000), "oom"),
        ("head -c 200M /dev/zero >~/large; sleep 987", at_once(disk_bytes=100_000_000), "disk_limit"),
        ("sleep 987", at_once(), "disk_pressure"),
        ("sleep 987", at_once(), "user"),
        ("sleep 987", at_once(timeout_seconds=3), "timeout"),
        ("sleep 987", at_once(no_output_seconds=2), "no_output"),
        ("while :; do echo more; done", at_once(log_bytes=65536), "log_limit"),
        ("exit 3", at_once(), "exit_code"),
    ],
    ids=["oom", "disk_limit", "disk_pressure", "kill", "timeout", "no_output", "log_limit", "exit_code"],
)
def test_the_commit_of_a_step_that_was_ended_is_recorded(node: Node, command: str, limits: Limits, reason: str) -> None:
    agent = begun(node, node.submit(command=COMMIT + command, limits=limits))
    if reason == "user":
        node.kill(agent)
    elif reason in ACTS:
        ACTS[reason](node)
    assert node.wait_final(agent)["reason"] == reason
    seen = state(node, agent)
    assert seen["after_state"] == "recorded"
    assert seen["before_head_commit"] is not None
    assert seen["after_head_commit"] not in {None, seen["before_head_commit"]}
    assert (seen["dirty"], seen["pinned_commit"]) == (False, seen["after_head_commit"])


def test_a_lost_node_tells_the_commit_once_when_it_returns(node: Node) -> None:
    workspace = node.submit(command=COMMIT + "sleep 987")
    agent = begun(node, workspace)
    node.context.live.let_all_go()  # its worker goes, the process stays
    watched(node.db)
    silent(node.db, node.context.claimant.node_id, 61)
    sweep_and_reap(node.context)
    assert node.row(agent)["reason"] == "node_lost"
    lost = state(node, agent)
    assert (lost["after_state"], lost["after_head_commit"]) == ("unavailable", None)
    for _ in range(2):
        make_leftovers(node.context).sweep()
    assert "sleep 987" not in node.processes(workspace)
    late = state(node, agent)
    assert late["after_state"] == "recorded_late"
    assert late["after_head_commit"] not in {None, late["before_head_commit"]}
    with node.db.connect() as connection:
        assert events.of_operation(connection, agent)[-1].terminal, "nothing follows the terminal event"
        told = connection.scalars(select(Event.payload).where(Event.kind == "workspace.evidence_recorded")).all()
    (payload,) = told
    assert (payload["execution_id"], payload["repos"]) == (str(agent), [str(late["repo_id"])])
