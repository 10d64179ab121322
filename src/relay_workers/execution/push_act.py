"""Pushes the commits of one clone to its remote."""

from dataclasses import replace
from functools import partial

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.step import PushStep
from relay_core.domain.vocabulary import Reason
from relay_workers.execution.git_work import GitWork, States
from relay_workers.execution.repo_states import after_state_columns
from relay_workers.git.act_requests import Pushed, PushRequest


def push(work: GitWork, step: PushStep) -> States:
    """Record the commits of a clone in its store, push them from there, and return the recorded state.

    Raises:
        StepFailed: `push_rejected`, `push_failed`, `timeout` or `user`.
    """
    repo, branch = work.repo(step.repo), step.branch or work.workspace.row.branch
    state = work.record(repo)
    if state.after_head is None or state.pinned_commit is None:
        raise StepFailed(Reason.PUSH_FAILED, f"the commits of repos/{repo.name} cannot be read: {state.problem}")
    if state.dirty:
        work.log.say("the work tree has changes that are not committed; they are not pushed")
    work.check_wanted()
    work.log.say(f"pushing {state.after_head} to branch {branch} of {repo.url}")
    request = PushRequest(
        workspace_id=work.claimed.workspace_id,
        name=repo.name,
        url=repo.url,
        commit=state.after_head,
        base_commit=repo.base_commit or "",
        branch=branch,
        on_output=work.log.write,
        cancelled=work.control.stop,
        mask=work.mask,
    )
    try:
        if step.force:
            request = replace(request, lease=work.lease(partial(work.git.branch_at, request)))
            work.log.say(f"branch {branch} {_found(request.lease)}; nothing else is replaced")
            work.check_wanted()
        pushed = work.git.push(request)
    except InvalidInput as error:  # the settings of the node allow the remote no more
        raise StepFailed(Reason.PUSH_FAILED, str(error)) from error
    work.log.say(f"branch {branch}: {pushed.commit} {_how(pushed)}")
    return {repo.repo_id: after_state_columns(state, work.mask)}


def _found(lease: str | None) -> str:
    return f"was at {lease}" if lease else "did not exist"


def _how(pushed: Pushed) -> str:
    if pushed.replaced:
        return "has replaced other commits"
    return "is pushed" if pushed.changed else "was there already"
