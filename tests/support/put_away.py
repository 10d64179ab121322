"""Deletes, puts away and restores workspaces of a fake node, as its clocks do."""

from typing import Any
from uuid import UUID

from sqlalchemy import select

from relay_core.domain.vocabulary import RunReason
from relay_core.store.nodes import node_workspaces
from relay_core.store.schema.tables import Event, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import quarantine
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.quarantine import Due
from relay_core.store.workspaces.restore import request_restore
from relay_core.store.workspaces.stop_resume import request_resume
from relay_workers.execution.assembly import make_remade_containers
from relay_workers.host_files.kept_dirs import kept_place_of, place_of
from relay_workers.maintenance.clocks import divergence_finder, make_quarantine
from relay_workers.maintenance.divergence_sweep import repair
from relay_workers.maintenance.remakes import Remakes
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import ME, FakeNode


class DiedError(Exception):
    """The worker is gone at this point."""


def die(*_: Any, **__: Any) -> None:
    """Take the place of a part in which the worker dies."""
    raise DiedError


def idle(node: FakeNode) -> UUID:
    workspace = node.submit(ScriptedStep())
    node.workers[0].run(node.newest(workspace, RunReason.CODING_AGENT)["id"])
    return workspace


def delete(node: FakeNode, *ids: UUID) -> None:
    with node.database.begin() as connection:
        delete_workspaces(connection, ids, "someone")


def restore(node: FakeNode, workspace: UUID, principal: Principal = ME) -> None:
    with node.database.begin() as connection:
        request_restore(connection, workspace, principal)


def put_away(node: FakeNode, worker: int = 0) -> None:
    """As the clock `divergence` does."""
    for one in divergence_finder(node.workers[worker].context).find_all():
        if one.kind == "deleted_workspace":
            repair(one)


def sweep(node: FakeNode, worker: int = 0, **settings: Any) -> None:
    """As the clock `quarantine` does."""
    context = node.workers[worker].context
    part = make_quarantine(context)
    for name, value in settings.items():
        setattr(part, name, value)
    part.sweep()


def row(node: FakeNode, workspace: UUID) -> Any:
    with node.database.connect() as connection:
        return connection.execute(select(Workspace.__table__).where(Workspace.id == workspace)).mappings().one()


def payloads(node: FakeNode, workspace: UUID, kind: str) -> list[dict[str, Any]]:
    with node.database.connect() as connection:
        found = select(Event.payload).where(Event.workspace_id == workspace, Event.kind == kind)
        return list(connection.scalars(found))


def places(node: FakeNode, workspace: UUID) -> tuple[bool, bool]:
    """Whether its directory is in use, and whether it is in quarantine."""
    data_dir = node.settings.data_dir
    return place_of(data_dir, workspace).exists(), kept_place_of(data_dir, workspace).exists()


def due(node: FakeNode, workspace: UUID) -> Due:
    with node.database.connect() as connection:
        return next(one for one in quarantine.due(connection, "node") if one.workspace_id == workspace)


def rows_of(node: FakeNode, workspace: UUID) -> list[Any]:
    with node.database.connect() as connection:
        return [one for one in node_workspaces.differing(connection, "node", {}).deleted if one.id == workspace]


def remake(node: FakeNode) -> None:
    """As the clock `remakes` does."""
    context = node.workers[0].context
    containers = make_remade_containers(context)
    Remakes("node", node.settings.data_dir, node.database, containers, context.metrics).sweep()


def resume(node: FakeNode, workspace: UUID) -> None:
    """Give a restored workspace its new container."""
    with node.database.begin() as connection:
        request_resume(connection, workspace, "someone")
    remake(node)
