"""Changes of a workspace's row that are stored in the terminal transaction of its `clone` execution."""

from relay_core.domain.vocabulary import WorkspaceState
from relay_core.store.database import Connection
from relay_core.store.executions.claim import Claimed
from relay_core.store.workspaces import job_settings, preparation
from relay_workers.execution.outcome import PreparedWorkspace, RemovedWorkspace


def settle(connection: Connection, claimed: Claimed, change: PreparedWorkspace | RemovedWorkspace) -> None:
    """Store the completed settings of a run and its new plan, before the end of the `clone` creates the next step.

    Raises:
        Stale: another worker owns the execution.
    """
    if isinstance(change, PreparedWorkspace) and change.settings is not None:
        job_settings.settle(connection, claimed.execution_id, claimed.fence, change.settings)


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
        if clone.copied:
            preparation.record_copied(connection, change.row.id, clone.repo_id, clone.copied)
    preparation.set_fields(
        connection,
        claimed.workspace_id,
        container_id=change.container_id,
        uid=change.uid,
        image_digest=change.image_digest,
        remake_container=False,
    )
    if preparation.clone_completed(connection, claimed.execution_id):
        preparation.set_state(connection, claimed.workspace_id, WorkspaceState.RUNNING)
