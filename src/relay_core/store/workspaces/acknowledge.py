"""A person accepts clones that are not as Relay recorded them; then executions go on from there."""

from uuid import UUID

from sqlalchemy import Connection, select, update

from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import GitState
from relay_core.store import operations
from relay_core.store.schema.tables import WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import condition, git_watch, lane
from relay_core.store.workspaces.generation import check_generation

R = WorkspaceRepo


def acknowledge(connection: Connection, workspace_id: UUID, generation: str, principal: Principal) -> None:
    """Let the commits that a node found count as recorded. No file is changed.

    Args:
        connection: one transaction of `Database`; messages of executions that may start now are sent after its commit.
        workspace_id: the workspace.
        generation: of the git state that the person has read.
        principal: the person.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        Conflict: `stale_generation`: something has happened in the workspace since. `not_diverged`: there is nothing
            to acknowledge. `workspace_duplicated`: its node has several directories of it.
    """
    condition.read_for(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    found = condition.lock(connection, workspace_id)
    check_generation(connection, workspace_id, generation)
    if found.directory_error is not None:
        raise Conflict(found.directory_error, code="workspace_duplicated")
    if not found.diverged:
        raise Conflict("every clone of the workspace is as it was recorded", code="not_diverged")
    mine = (R.workspace_id == workspace_id) & R.found_at.is_not(None)
    repos = connection.execute(select(R.repo_id, R.name, R.found_state, R.found_commit, R.found_from).where(mine)).all()
    group = git_watch.last_group(connection, workspace_id)
    for repo in repos:
        kept = repo.found_state if repo.found_state == GitState.MISSING else None
        accepted = {"accepted_group": group, "accepted_commit": repo.found_commit, "found_state": kept}
        one = (R.workspace_id == workspace_id) & (R.repo_id == repo.repo_id)
        connection.execute(update(R).where(one).values(**accepted, found_at=None))
    told = [{"repo": repo.name, "head_commit": repo.found_commit, "recorded_commit": repo.found_from} for repo in repos]
    payload = {"by": principal.owner, "clones": told}
    kind, subject = OperationKind.WORKSPACE_ACKNOWLEDGE, operations.of_workspace(workspace_id)
    operations.record(connection, kind, subject, EventKind.WORKSPACE_DIVERGENCE_ACKNOWLEDGED, payload)
    git_watch.mark(connection, found, diverged=False)
