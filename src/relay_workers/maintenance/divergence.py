"""Where disk, engine and record of this node differ: found by looking, told first, mended by `mend`.

Each finder compares what Postgres says with what is there and returns `Finding`s; nothing is changed by looking, so
``relay doctor`` shows the same list that the sweep works through.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store import events
from relay_core.store.nodes import node_rows
from relay_core.store.nodes.node_rows import NodeWorkspace
from relay_core.store.projects import secrets
from relay_core.store.workspaces import workspace_rows
from relay_workers.containers.port import LABEL_WORKSPACE, OurContainer
from relay_workers.execution.context import WorkerContext
from relay_workers.host_files.run_dir import remove_runs
from relay_workers.host_files.safe_dir import SafeDir, TamperedFile
from relay_workers.ownership import node_lock

log = structlog.get_logger(__name__)

CONTAINER_GRACE_SECONDS = 600.0
"""Between telling of a container that nobody wants and removing it: somebody may want to look."""
VANISHED_GRACE_SECONDS = 10.0
"""How long a container must be missing before its workspace has failed."""


@dataclass(frozen=True)
class Finding:
    """One difference, and what mends it."""

    kind: str
    """`container_without_workspace`, `container_vanished`, `raw_files`, `deleted_workspace`."""
    subject: str
    """The id of what it is about."""
    message: str
    mend: Callable[[], None]
    grace_seconds: float = 0.0


def find_all(context: WorkerContext) -> list[Finding]:
    """Everything that differs on this node, at this moment."""
    containers = context.containers.list_ours(
        context.claimant.node_id
    )  # first: a row is always there before its container
    with context.database.connect() as connection:
        named = [_workspace_of(one) for one in containers]
        rows = node_rows.workspaces_of(connection, context.claimant.node_id, named)
    return [
        *unwanted_containers(context, containers, rows),
        *vanished_containers(context, containers, rows),
        *raw_files(context),
        *deleted_workspaces(context, rows),
    ]


def unwanted_containers(
    context: WorkerContext, containers: Iterable[OurContainer], rows: dict[UUID, NodeWorkspace]
) -> list[Finding]:
    """Containers with this node's label and no live workspace."""
    found = []
    for one in containers:
        row = rows.get(_workspace_of(one))
        if _is_unwanted(row):
            why = "there is no such workspace" if row is None else f"its workspace is {row.state}"
            message = f"container {one.name} carries this node's label, but {why}"
            found.append(
                Finding(
                    "container_without_workspace",
                    one.id,
                    message,
                    lambda one=one: _remove_unwanted(context, one),  # type: ignore[misc]
                    CONTAINER_GRACE_SECONDS,
                )
            )
    return found


def vanished_containers(
    context: WorkerContext, containers: Iterable[OurContainer], rows: dict[UUID, NodeWorkspace]
) -> list[Finding]:
    """Idle workspaces whose container is gone; where a step runs, its own end tells.

    An engine that has none of several is another one, or has lost its data: it gets time to be put right.
    """
    there = {one.id for one in containers}
    idle = [
        row
        for row in rows.values()
        if row.state is WorkspaceState.RUNNING and not (row.busy or row.deleted or row.asked)
    ]
    missing = [row for row in idle if row.container_id not in there]
    another = len(missing) > 1 and len(missing) == len(idle)
    why = "; this engine has no container of this node: is it the right one?" if another else ""
    return [
        Finding(
            "container_vanished",
            str(row.id),
            f"workspace {row.id} has lost its container{why}",
            lambda row=row: _give_up(context, row),  # type: ignore[misc]
            CONTAINER_GRACE_SECONDS if another else VANISHED_GRACE_SECONDS,
        )
        for row in missing
    ]


def raw_files(context: WorkerContext) -> list[Finding]:
    """Run directories of executions whose log is complete in Postgres: they are unmasked, and nobody needs them."""
    left: dict[UUID, UUID] = {}
    root = context.settings.data_dir / "workspaces"
    for directory in root.iterdir() if root.is_dir() else ():
        with suppress(FileNotFoundError, NotADirectoryError, TamperedFile), SafeDir.open(directory, "runs") as runs:
            left.update((_uuid(name), _uuid(directory.name)) for name in runs.names())
    with context.database.connect() as connection:
        done = node_rows.finished(connection, left)
    return [
        Finding(
            "raw_files",
            str(one),
            f"raw log files of execution {one} are stored and still on disk",
            lambda one=one: remove_runs(context.workspace_dir(left[one]), str(one)),  # type: ignore[misc]
        )
        for one in sorted(done)
    ]


def deleted_workspaces(context: WorkerContext, rows: dict[UUID, NodeWorkspace]) -> list[Finding]:
    """Containers, clones and stores of deleted workspaces, once nothing runs in them."""
    return [
        Finding(
            "deleted_workspace",
            str(row.id),
            f"workspace {row.id} was deleted and is still on this node",
            lambda row=row: _remove(context, row),  # type: ignore[misc]
        )
        for row in rows.values()
        if row.deleted and not row.busy and row.there
    ]


class Sweep:
    """Mends what was found, each thing once its grace is over; a thing that cannot be mended keeps no other from it."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._seen: dict[tuple[str, str], float] = {}

    def __call__(self) -> None:
        """One round."""
        now = time.monotonic()
        found = find_all(self._context)
        before, self._seen = self._seen, {}
        for one in found:
            key = (one.kind, one.subject)
            self._seen[key] = before.get(key, now)
            if key not in before and one.grace_seconds:
                log.warning("found a divergence", kind=one.kind, subject=one.subject, message=one.message)
            if now - self._seen[key] >= one.grace_seconds and mend(one):
                self._context.metrics.swept(one.kind)


def mend(finding: Finding) -> bool:
    """Carry out what a finding asks for; what cannot be done is logged, and found again."""
    try:
        finding.mend()
    except Exception:  # a sweep's top: whatever it is, the next thing must have its turn
        log.exception("cannot mend", kind=finding.kind, subject=finding.subject)
        return False
    log.info("mended", kind=finding.kind, subject=finding.subject, message=finding.message)
    return True


def _give_up(context: WorkerContext, row: NodeWorkspace) -> None:
    """Row and container are looked at again: the workspace may have been prepared, stopped or deleted meanwhile."""
    if row.container_id is not None and context.containers.inspect(row.container_id).exists:
        return
    with context.database.begin() as connection:
        if node_rows.is_still(connection, row, context.claimant.node_id):
            why = "its container was removed outside of Relay"
            workspace_rows.set_state(connection, row.id, WorkspaceState.FAILED, why)


def _remove_unwanted(context: WorkerContext, one: OurContainer) -> None:
    with context.database.connect() as connection:
        row = node_rows.workspace_of(connection, context.claimant.node_id, _workspace_of(one))
    if _is_unwanted(row):
        context.containers.remove(one.id)


def _is_unwanted(row: NodeWorkspace | None) -> bool:
    going = row is not None and row.deleted and row.there  # `deleted_workspaces` has it
    return row is None or not (row.live or going)


def _remove(context: WorkerContext, row: NodeWorkspace) -> None:
    if row.container_id is not None:
        context.containers.remove(row.container_id)
    context.git.remove_workspace(row.id, context.workspace_dir(row.id))
    node_lock.forget(context.settings.data_dir, str(row.id))
    with context.database.begin() as connection:
        workspace_rows.set_fields(connection, row.id, container_ref=None, container_id=None, work_dir=None)
        workspace_rows.set_state(connection, row.id, WorkspaceState.STOPPED)
        secrets.forget_given(connection, row.id)
        events.append(connection, row.id, "workspace.removed", {"node_id": context.claimant.node_id})


def _workspace_of(one: OurContainer) -> UUID:
    return _uuid(one.labels.get(LABEL_WORKSPACE, ""))


def _uuid(text: str) -> UUID:
    """Nobody's id where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
