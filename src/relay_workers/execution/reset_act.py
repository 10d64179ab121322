"""Resets clones of a workspace, each to one commit, after a check that all of them can be reset."""

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID, uuid5

from relay_core.domain.errors import StepFailed
from relay_core.domain.step import ResetStep
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import owned
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.clone_reset import reset_clone
from relay_workers.execution.git_work import GitWork, States
from relay_workers.execution.repo_states import after_state_columns
from relay_workers.git.act_requests import ResetRequest
from relay_workers.git.port import AfterState
from relay_workers.ownership.leases import Leases

_PATHS_NAMED = 5


def reset(work: GitWork, step: ResetStep, leases: Leases) -> States:
    """Check that every clone can be reset, then reset them, and return their recorded states.

    Raises:
        StepFailed: `reset_failed`, `user`, or a reason of the git container.
        OwnershipLost: another worker owns the execution, or this worker shuts down.
    """
    wanted = [(work.repo(target.repo), target.commit) for target in step.targets]
    requests = {repo.repo_id: _request(work, repo, commit) for repo, commit in wanted}
    commits = {repo_id: work.git.resolve(request) for repo_id, request in requests.items()}
    if not _begun(work, commits):
        for repo, _ in wanted:
            _refuse_changes(work, repo, discard=step.discard_changes)
    states: States = {}
    for repo, _ in wanted:
        work.check_wanted()
        leases.confirm(work.control)  # another worker may own the execution now, and steps may follow it
        reset_clone(work, requests[repo.repo_id])
        work.log.say(f"{repo.name} is reset to {commits[repo.repo_id]} on branch {work.workspace.row.branch}")
        state = work.record(repo)
        if state.dirty:
            work.log.say(f"{repo.name}: changes stay that a reset does not touch: {_why(work, state)}")
        states[repo.repo_id] = after_state_columns(state, work.mask)
    return states


def _request(work: GitWork, repo: WorkspaceRepoRow, commit: str) -> ResetRequest:
    return ResetRequest(
        workspace_dir=work.workspace.directory,
        name=repo.name,
        mirror_path=Path(repo.mirror_path or ""),
        branch=work.workspace.row.branch,
        commit=commit,
        uid=work.workspace.uid,
        gid=work.claimed.gid,
        cancelled=work.control.stop,
    )


def _begun(work: GitWork, commits: Mapping[UUID, str]) -> bool:
    """Return whether an earlier owner has begun to reset a clone, and so had found that it may.

    HEAD is then at the commit and was not before. If that is true of no clone, nothing was changed.
    """
    if not work.claimed.adopted:
        return False
    heads = work.heads()
    with work.database.connect() as connection:
        return any(
            heads[repo_id].commit == commit != owned.before_head(connection, work.claimed.execution_id, repo_id)
            for repo_id, commit in commits.items()
        )


def _refuse_changes(work: GitWork, repo: WorkspaceRepoRow, *, discard: bool) -> None:
    """Raise an error if a clone has uncommitted changes that may not be lost; else keep them in the store.

    Raises:
        StepFailed: `reset_failed`: there are changes, or it is not known, and ``discard`` is false.
    """
    state = work.record(repo, uuid5(work.claimed.execution_id, "before"))
    if state.dirty is False:
        return
    if not discard:
        named = _paths(work, state)
        found = f"has changes ({named})" if named else "may have changes"
        message = f"repos/{repo.name} {found} that are not committed; commit them, or reset with discard_changes"
        raise StepFailed(Reason.RESET_FAILED, message)
    if state.pinned_commit is None or state.problem is not None:
        work.log.say(f"{repo.name}: not all discarded changes are kept: {_why(work, state)}")
    else:
        work.log.say(f"{repo.name}: the discarded changes are kept on the node as commit {state.pinned_commit}")


def _why(work: GitWork, state: AfterState) -> str:
    """Return why a state could not be recorded completely, or else the paths that were changed."""
    return work.mask.text(state.problem) if state.problem else _paths(work, state) or "their paths are not known"


def _paths(work: GitWork, state: AfterState) -> str:
    """Return the first changed paths of a state; an empty text if they are not known."""
    paths = [work.mask.text(path) for path in state.summary.get("paths", [])]
    return ", ".join(paths[:_PATHS_NAMED]) + (" and more" if len(paths) > _PATHS_NAMED else "")
