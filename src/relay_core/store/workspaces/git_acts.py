"""Adds the git acts `push` and `reset` to a workspace: executions that are queued behind the steps of its lane."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.step import PushStep, ResetStep, ResetTarget
from relay_core.store.schema.tables import ExecutionProcess, ExecutionProcessRepoState, Workspace, WorkspaceRepo
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import condition, lane
from relay_core.store.workspaces.add_step import queue_step, repo_scripts
from relay_core.store.workspaces.generation import check_generation
from relay_core.store.workspaces.step_request import pick_repo


@dataclass(frozen=True)
class PushRequest:
    """A client's request to push the commits of a repository to its remote."""

    repo: str | None = None
    """Name of the repository; None: the workspace's only one."""
    branch: str | None = None
    """Branch of the remote; None: one with the name of the workspace's branch."""
    force: bool = False
    """Whether other commits of that branch may be replaced."""


@dataclass(frozen=True)
class ResetRequest:
    """A client's request to reset the clones of a workspace to the state before an execution, or one to a commit."""

    before: UUID | None = None
    """The execution before which the clones had the wanted commits."""
    commit: str | None = None
    """Id of the wanted commit, or its beginning."""
    repo: str | None = None
    """Name of the repository; None: all for `before`, the workspace's only one for `commit`."""
    discard_changes: bool = False
    """Whether uncommitted changes may be thrown away."""
    generation: str | None = None
    """Of the preview that the client has read; None: none."""


def add_push(connection: Connection, workspace_id: UUID, request: PushRequest, principal: Principal) -> UUID:
    """Queue a push; return the id of its execution.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: there is no such repository, the branch is no name for one, or force is given with a branch that
            is not the workspace's own.
        Conflict: the workspace accepts no step now (`add_step.queue_step`).
    """
    condition.read_for(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    repo = pick_repo(request.repo, repo_scripts(connection, workspace_id))
    if request.branch is not None:
        _check_branch(request.branch)
    own = connection.scalar(select(Workspace.branch).where(Workspace.id == workspace_id))
    if request.force and request.branch not in (None, own):
        message = f"force is for the workspace's own branch, {own}; without it, commits can be added to any branch"
        raise InvalidInput(message, code="force_not_allowed", field="force")
    return queue_step(connection, workspace_id, Action(PushStep(repo.name, request.branch, request.force)), principal)


def _check_branch(branch: str) -> None:
    if branch.startswith("refs/"):
        message = "branch is the full name of a ref; give the name of the branch without refs/heads/"
        raise InvalidInput(message, code="branch_invalid", field="branch")
    if not is_valid_branch(branch):
        raise InvalidInput("branch is not a name that git takes for a branch", code="branch_invalid", field="branch")


def add_reset(connection: Connection, workspace_id: UUID, request: ResetRequest, principal: Principal) -> UUID:
    """Queue a reset; return the id of its execution.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner; or it has no such execution.
        InvalidInput: not exactly one of `before` and `commit` is given, or there is no such repository.
        Conflict: `stale_generation`; `before_state_unknown`: the commits before the execution were not recorded. Or the
            workspace accepts no step now (`add_step.queue_step`).
    """
    condition.read_for(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    check_generation(connection, workspace_id, request.generation)
    targets = reset_targets(connection, workspace_id, request)
    return queue_step(connection, workspace_id, Action(ResetStep(targets, request.discard_changes)), principal)


def reset_targets(connection: Connection, workspace_id: UUID, request: ResetRequest) -> tuple[ResetTarget, ...]:
    """Return the clones that a reset is about, each with its commit.

    Raises:
        NotFound: the workspace has no such execution.
        InvalidInput: not exactly one of `before` and `commit` is given, or there is no such repository.
        Conflict: `before_state_unknown`.
    """
    if (request.before is None) == (request.commit is None):
        raise InvalidInput("give either before_execution or commit", code="target_ambiguous", field="commit")
    if request.before is not None:
        return targets_before(connection, workspace_id, request.before, request.repo)
    repo = pick_repo(request.repo, repo_scripts(connection, workspace_id))
    return (ResetTarget(repo.name, request.commit or ""),)


def targets_before(
    connection: Connection, workspace_id: UUID, execution_id: UUID, repo: str | None
) -> tuple[ResetTarget, ...]:
    """Return the recorded commits before an execution, of all repositories or of one."""
    execution = ExecutionProcess
    found = select(execution.id).where(execution.id == execution_id, execution.workspace_id == workspace_id)
    if connection.scalar(found) is None:
        raise NotFound(f"the workspace has no execution {execution_id}")
    wanted = [each.name for each in repo_scripts(connection, workspace_id)]
    if repo is not None:
        wanted = [pick_repo(repo, repo_scripts(connection, workspace_id)).name]
    state = ExecutionProcessRepoState
    recorded = (
        select(WorkspaceRepo.name, state.before_head_commit)
        .join(state, state.repo_id == WorkspaceRepo.repo_id)
        .where(WorkspaceRepo.workspace_id == workspace_id, state.execution_process_id == execution_id)
    )
    commits = {row.name: row.before_head_commit for row in connection.execute(recorded)}
    if unknown := [name for name in wanted if not commits.get(name)]:
        message = f"the commit of {', '.join(unknown)} before execution {execution_id} was not recorded; give a commit"
        raise Conflict(message, code="before_state_unknown")
    return tuple(ResetTarget(name, commits[name]) for name in wanted)
