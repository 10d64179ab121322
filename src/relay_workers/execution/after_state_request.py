"""Makes the request to record the state of a clone after an execution."""

from pathlib import Path

from relay_core.domain.logs.masking import SecretMask
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.transaction import Database
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.git.port import AfterStateRequest


def after_state_request(
    database: Database,
    claimed: Claimed,
    workspace: WorkspaceHandle,
    repo: WorkspaceRepoRow,
    mask: SecretMask,
    message: str | None = None,
) -> AfterStateRequest:
    """Return the request to record the state of one clone after an execution.

    Args:
        database: knows the commits before the execution and its run, and the bundles that are stored.
        claimed: the execution.
        workspace: its workspace.
        repo: the repository of the clone.
        mask: masks the secrets of the workspace.
        message: message of the commit that Relay makes of the changes first; None for no commit.
    """
    with database.connect() as connection:
        before = owned.before_head(connection, claimed.execution_id, repo.repo_id)
        begun = owned.before_run(connection, claimed.execution_id, repo.repo_id)
        bundled = owned.bundled_commits(connection, claimed.workspace_id, repo.repo_id)
    return AfterStateRequest(
        workspace_id=claimed.workspace_id,
        workspace_dir=workspace.directory,
        name=repo.name,
        mirror_path=Path(repo.mirror_path or ""),
        base_commit=repo.base_commit or "",
        before_commit=before,
        run_commit=begun,
        uid=workspace.uid,
        gid=claimed.gid,
        execution_id=claimed.execution_id,
        commit_message=message,
        mask=mask,
        bundle_branch=workspace.row.branch,
        bundled=bundled,
        copied=tuple(repo.copied_files),
    )
