"""The one way to a workspace on which something can run: made by provisioning, opened by everything else.

`open_workspace` compares rows, container and disk first and shows what differs; nothing runs on a workspace that was
not reconciled (docs/architecture.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, WorkspaceState
from relay_core.store import events
from relay_core.store.workspaces import workspace_rows
from relay_core.store.workspaces.workspace_rows import WorkspaceRow
from relay_workers.execution.context import WorkerContext
from relay_workers.git.sandbox.head_reader import Head


@dataclass(frozen=True)
class WorkspaceHandle:
    """A workspace whose container runs and whose directory is there."""

    row: WorkspaceRow
    container_id: str
    directory: Path
    uid: int

    @property
    def repo_names(self) -> list[str]:
        """Names of the clones below ``repos/``."""
        return [repo.name for repo in self.row.repos]

    def by_repo_id(self, heads: Mapping[str, Head]) -> dict[UUID, Head]:
        """HEADs keyed as the database has them."""
        return {repo.repo_id: heads[repo.name] for repo in self.row.repos}


def open_workspace(context: WorkerContext, workspace_id: UUID, *, attending: bool = False) -> WorkspaceHandle:
    """The handle of a prepared workspace; starts a container that was stopped.

    Args:
        context: of this worker.
        workspace_id: which.
        attending: only to look after what was started in it before: its container is left as it is, gone perhaps,
            for its log and its repositories are on this node's disk.

    Raises:
        StepFailed: the container or the directory is gone (`container_missing`, `workspace_gone`); the workspace is
            then marked as failed, and evented.
    """
    with context.database.connect() as connection:
        row = workspace_rows.load(connection, workspace_id)
    directory = context.workspace_dir(workspace_id)
    if row.container_id is None or row.uid is None:
        raise StepFailed(Reason.WORKSPACE_GONE, "the workspace was never prepared; start a new run")
    if not directory.is_dir():
        _give_up(context, workspace_id, f"its directory is gone from node {row.node_id}")
        raise StepFailed(Reason.WORKSPACE_GONE, "the workspace's directory is gone; start a new run")
    if attending:
        return WorkspaceHandle(row, row.container_id, directory, row.uid)
    state = context.containers.inspect(row.container_id)
    if not state.exists:
        _give_up(context, workspace_id, "its container was removed outside of Relay")
        raise StepFailed(Reason.CONTAINER_MISSING, "the workspace's container was removed; start a new run")
    if not state.running:
        context.containers.restart(row.container_id)
        with context.database.begin() as connection:
            workspace_rows.set_state(connection, workspace_id, WorkspaceState.RUNNING)
            events.append(connection, workspace_id, "workspace.container_restarted", {"found": "stopped"})
    return WorkspaceHandle(row, row.container_id, directory, row.uid)


def _give_up(context: WorkerContext, workspace_id: UUID, why: str) -> None:
    with context.database.begin() as connection:
        workspace_rows.set_state(connection, workspace_id, WorkspaceState.FAILED, why)
