"""Moves the commits of one clone onto the present commit of its target branch: branch, files and base together.

The new commits are made outside of the clone. Then Postgres learns that the rebase begins, and only then is the clone
changed. A worker that takes such a rebase over brings the clone back to the commit before, and does all of it again.
"""

from dataclasses import replace
from pathlib import Path
from uuid import uuid5

from relay_core.domain.errors import StepFailed
from relay_core.domain.process_handle import REBASE_BEGUN, REBASE_DONE
from relay_core.domain.step import RebaseStep
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions import owned
from relay_core.store.merges import acts
from relay_core.store.workspaces.workspace_row import WorkspaceRepoRow
from relay_workers.execution.clone_reset import reset_clone
from relay_workers.execution.git_work import GitWork, States
from relay_workers.execution.merge_act import named
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.execution.repo_states import after_state_columns
from relay_workers.execution.target_branch import Target
from relay_workers.git.act_requests import MergeRequest, ResetRequest
from relay_workers.git.port import AfterState
from relay_workers.ownership.leases import Leases


def rebase(work: GitWork, step: RebaseStep, mirrors: MirrorFetches, leases: Leases) -> States:
    """Rebase a clone, and return its recorded state.

    Raises:
        StepFailed: `merge_conflict`, `rebase_failed`, `user`, or a reason of the git container.
        OwnershipLost: another worker owns the execution, or this worker shuts down.
    """
    repo = work.repo(step.repo)
    if work.claimed.handle.rebase == REBASE_DONE:
        return _states(work, repo, repo.base_commit or "")
    if work.claimed.handle.rebase == REBASE_BEGUN:
        _restore(work, repo, leases)
    target = Target(work, mirrors, repo, step.target_branch, Reason.REBASE_FAILED)
    state, source = target.source()
    if state.dirty is not False:
        _refuse_changes(work, repo, state)
    if state.branch != work.workspace.row.branch:
        message = f"HEAD of repos/{repo.name} is not on the workspace's branch; switch to it, or reset the clone"
        raise StepFailed(Reason.REBASE_FAILED, message)
    tip = target.fetch()
    base = repo.base_commit or ""
    if target.has(source, tip) and target.has(tip, base):
        work.log.say(f"{repo.name} has {tip} of branch {step.target_branch} already")
        return _moved(work, repo, tip)
    up_to = target.merged_up_to(tip, source, None) or base
    made = work.git.replay(_replay(work, repo, tip, source, up_to))
    if made.commit is None:
        files = named([work.mask.text(path) for path in made.conflicts])
        where = f"the workspace's commit {made.at} and branch {step.target_branch} (at {tip})"
        message = f"{repo.name}: {where} changed the same lines of {files}; nothing was changed"
        raise StepFailed(Reason.MERGE_CONFLICT, message)
    work.check_wanted()
    leases.confirm(work.control)
    with work.database.begin() as connection:
        handle = replace(work.claimed.handle, rebase=REBASE_BEGUN)
        owned.store_handle(connection, work.claimed.execution_id, work.claimed.fence, handle)
    try:
        reset_clone(work, _reset(work, repo, made.commit, stored=True))
    except Exception:
        _restore(work, repo, leases)
        raise
    work.log.say(f"{repo.name}: {made.replayed} commits are on top of {tip} of branch {step.target_branch} now")
    return _moved(work, repo, tip)


def _moved(work: GitWork, repo: WorkspaceRepoRow, tip: str) -> States:
    """Store the new base, and return the recorded state of the clone, which begins there."""
    done = replace(work.claimed, handle=replace(work.claimed.handle, rebase=REBASE_DONE))
    with work.database.begin() as connection:
        acts.move_base(connection, done, repo.repo_id, tip)
    return _states(work, repo, tip)


def _states(work: GitWork, repo: WorkspaceRepoRow, base: str) -> States:
    state = work.record(replace(repo, base_commit=base))
    return {repo.repo_id: after_state_columns(state, work.mask)}


def _restore(work: GitWork, repo: WorkspaceRepoRow, leases: Leases) -> None:
    """Bring the clone back to the commit that was stored before the rebase; it had no uncommitted changes then."""
    with work.database.connect() as connection:
        before = owned.before_head(connection, work.claimed.execution_id, repo.repo_id)
    if before is None:
        return
    leases.confirm(work.control)
    reset_clone(work, _reset(work, repo, before, stored=False))
    work.log.say(f"{repo.name}: an interrupted rebase is undone; the clone is at {before} again")


def _refuse_changes(work: GitWork, repo: WorkspaceRepoRow, state: AfterState) -> None:
    paths = [work.mask.text(path) for path in state.summary.get("paths", [])]
    found = f"has changes ({named(paths)})" if paths else "may have changes"
    message = f"repos/{repo.name} {found} that are not committed; commit them, or discard them with a reset"
    raise StepFailed(Reason.REBASE_FAILED, message)


def _replay(work: GitWork, repo: WorkspaceRepoRow, tip: str, source: str, base: str) -> MergeRequest:
    return MergeRequest(
        workspace_id=work.claimed.workspace_id,
        workspace_dir=work.workspace.directory,
        name=repo.name,
        mirror_path=Path(repo.mirror_path or ""),
        target_commit=tip,
        source_commit=source,
        base_commit=base,
        pin=uuid5(work.claimed.execution_id, f"rebase {tip}"),
        uid=work.workspace.uid,
        gid=work.claimed.gid,
        cancelled=work.control.stop,
    )


def _reset(work: GitWork, repo: WorkspaceRepoRow, commit: str, *, stored: bool) -> ResetRequest:
    return ResetRequest(
        workspace_dir=work.workspace.directory,
        name=repo.name,
        mirror_path=Path(repo.mirror_path or ""),
        branch=work.workspace.row.branch,
        commit=commit,
        uid=work.workspace.uid,
        gid=work.claimed.gid,
        cancelled=work.control.lost,
        store_of=work.claimed.workspace_id if stored else None,
    )
