"""Commits that a test makes in a clone as an execution would have made them."""

from uuid import UUID

from sqlalchemy import update

from relay_core.store.schema.tables import WorkspaceRepo
from relay_core.store.transaction import Database
from relay_core.store.workspaces import git_watch


def record_head(database: Database, workspace_id: UUID, commit: str) -> None:
    """Let a commit of a workspace with one repository count as recorded after the last step, so it is no divergence."""
    with database.begin() as connection:
        accepted = {"accepted_group": git_watch.last_group(connection, workspace_id), "accepted_commit": commit}
        connection.execute(update(WorkspaceRepo).where(WorkspaceRepo.workspace_id == workspace_id).values(**accepted))
