"""Changes of a workspace's row that are stored in the terminal transaction of its `clone` execution."""

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.database import Connection
from relay_core.store.executions.claim import Claimed
from relay_core.store.workspaces import preparation
from relay_workers.execution.outcome import PreparedWorkspace, RemovedWorkspace


def store(connection: Connection, claimed: Claimed, change: PreparedWorkspace | RemovedWorkspace) -> None:
    """Store the results of a `clone` execution in the workspace's row.

    A prepared workspace becomes `running`, unless the execution was killed in the same transaction.
    """
    if isinstance(change, RemovedWorkspace):
        preparation.set_fields(connection, claimed.workspace_id, uid=None)
        return
    for clone in sorted(change.clones, key=lambda clone: clone.repo_id):
        preparation.record_clone(
            connection,
            change.row,
            clone.repo_id,
            mirror_path=clone.mirror_path,
            base_commit=clone.base_commit,
            branch=clone.target_branch,
        )
    preparation.set_fields(
        connection,
        claimed.workspace_id,
        container_id=change.container_id,
        uid=change.uid,
        image_digest=change.image_digest,
    )
    if preparation.clone_completed(connection, claimed.execution_id):
        preparation.set_state(connection, claimed.workspace_id, WorkspaceState.RUNNING)
