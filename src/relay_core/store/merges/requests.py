"""Requests of clients: the preview of a merge, a merge, and a rebase."""

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, select, update

from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict, InvalidInput
from relay_core.domain.forges import Forges
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.merging import message_of
from relay_core.domain.step import MergeStep, RebaseStep
from relay_core.domain.vocabulary import ACTIVE, MergeKind, MergeMethod, MergeStatus, RunReason, Status, TaskStatus
from relay_core.store.merges.views import status_column
from relay_core.store.schema.tables import (
    ExecutionProcess,
    ExecutionProcessRepoState,
    Merge,
    Task,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import condition, lane
from relay_core.store.workspaces.add_step import queue_step, repo_scripts
from relay_core.store.workspaces.step_request import pick_repo

E, M, W = ExecutionProcess, Merge, WorkspaceRepo


@dataclass(frozen=True)
class MergeRequest:
    """A client's request to merge one repository of a workspace."""

    repo: str | None = None
    """Name of the repository; None: the workspace's only one."""
    target_branch: str | None = None
    """Branch of the remote; None: the target branch of the workspace."""
    kind: MergeKind = MergeKind.DIRECT
    method: MergeMethod = MergeMethod.SQUASH
    message: str | None = None
    """None: made of the task's title and description."""
    generation: str | None = None
    """Text that a preview told; None: the client has not looked."""
    token_secret: str | None = None
    """Of a pull request: name of the project's secret with the token; None: the usual one of the host."""


class Blocker(NamedTuple):
    """A reason, known in Postgres, why a merge cannot be asked for."""

    code: str
    message: str


@dataclass(frozen=True)
class MergePreview:
    """The changes that a merge would make, and what stands in its way."""

    generation: str
    """A text that changes whenever something changes that the preview tells."""
    repo: str
    target_branch: str | None
    source_commit: str | None
    """HEAD after the latest recorded step; what is merged is HEAD when the merge's turn comes."""
    message: str
    blockers: list[Blocker]
    warnings: list[str]
    mutations: list[str]


@dataclass(frozen=True)
class _Place:
    """The repository of a workspace that a request means, with its task."""

    workspace_id: UUID
    repo_id: UUID
    name: str
    url: str
    target_branch: str | None
    branch: str
    title: str
    description: str | None
    task_status: TaskStatus


def preview(
    connection: Connection, workspace_id: UUID, request: MergeRequest, principal: Principal, forges: Forges
) -> MergePreview:
    """Return what a merge would do now. Nothing changes.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: there is no such repository, the branch is no name for one, or a pull request is asked for and
            the API of the remote's host is not known.
    """
    found = condition.read_for(connection, workspace_id, principal)
    place = _place(connection, workspace_id, request)
    if request.kind is MergeKind.PR:
        forges.place_of(place.url)
    state = _latest_state(connection, place)
    waits = _lane(connection, workspace_id)
    blockers = _blockers(connection, place, request)
    if found.archived:
        blockers.append(Blocker("workspace_archived", "the workspace is archived; start a new run"))
    warnings = [f"{waits} queued or running steps come first"] if waits else []
    if found.stopped:
        warnings.append("the workspace is stopped: the merge waits until it is resumed")
    if state and state["dirty"]:
        warnings.append("the work tree had changes that are not committed after the latest step; they are not merged")
    if place.task_status is TaskStatus.CANCELLED:
        warnings.append("the task is cancelled and stays so")
    return MergePreview(
        _generation(connection, place),
        place.name,
        place.target_branch,
        state["after_head_commit"] if state else None,
        request.message or message_of(place.title, place.description, workspace_id),
        blockers,
        warnings,
        _mutations(place, request),
    )


def add_merge(
    connection: Connection, workspace_id: UUID, request: MergeRequest, principal: Principal, forges: Forges
) -> UUID:
    """Queue a merge; return its id.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: as `preview`.
        Conflict: `stale_generation`: something has changed since the preview. `target_branch_missing`,
            `merge_pending`, `pull_request_open`: what stands in the way. Or the workspace accepts no step now
            (`add_step.queue_step`).
    """
    condition.read_for(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    place = _place(connection, workspace_id, request)
    if request.kind is MergeKind.PR:
        forges.place_of(place.url)
    if request.generation is not None and request.generation != _generation(connection, place):
        message = "the workspace or its merges have changed since the preview; ask for a new one, and look at it"
        raise Conflict(message, code="stale_generation")
    for blocker in _blockers(connection, place, request):
        raise Conflict(blocker.message, code=blocker.code)
    merge_id, target = uuid4(), place.target_branch or ""
    text = request.message or message_of(place.title, place.description, workspace_id)
    step = MergeStep(merge_id, place.name, target, request.kind, request.method, text)
    values = {
        "id": merge_id,
        "workspace_id": workspace_id,
        "repo_id": place.repo_id,
        "kind": request.kind,
        "method": request.method,
        "target_branch_name": target,
        "message": text,
        "pr_token_secret": request.token_secret,
        "created_by": principal.owner,
    }
    connection.execute(insert(M).values(**values))
    execution_id = queue_step(connection, workspace_id, Action(step), principal)
    set_execution(connection, merge_id, execution_id)
    return merge_id


def refuse_beside_another(connection: Connection, workspace_id: UUID, merge_id: UUID) -> None:
    """Raise an error if a merge cannot be repeated: it is merged, or another one stands in the way.

    The caller holds the lane.

    Raises:
        Conflict: `already_merged`, `merge_pending`, `pull_request_open`.
    """
    repo_id, merged_at = connection.execute(select(M.repo_id, M.merged_at).where(M.id == merge_id)).one()
    if merged_at is not None:
        message = f"merge {merge_id} is merged already; to merge what has been committed since, ask for another merge"
        raise Conflict(message, code="already_merged")
    for blocker in _in_the_way(connection, workspace_id, repo_id, but=merge_id):
        raise Conflict(blocker.message, code=blocker.code)


def set_execution(connection: Connection, merge_id: UUID, execution_id: UUID) -> None:
    """Store which execution carries a merge out from now on; the merge is pending again."""
    connection.execute(update(M).where(M.id == merge_id).values(execution_id=execution_id))


def add_rebase(
    connection: Connection, workspace_id: UUID, repo: str | None, target_branch: str | None, principal: Principal
) -> UUID:
    """Queue a rebase onto the present commit of the target branch; return the id of its execution.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: there is no such repository, or the branch is no name for one.
        Conflict: `target_branch_missing`, or the workspace accepts no step now (`add_step.queue_step`).
    """
    condition.read_for(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    place = _place(connection, workspace_id, MergeRequest(repo, target_branch))
    if place.target_branch is None:
        raise Conflict(_NO_TARGET, code="target_branch_missing")
    return queue_step(connection, workspace_id, Action(RebaseStep(place.name, place.target_branch)), principal)


_NO_TARGET = "it is not known into which branch the work is to be merged; give target_branch"


def _place(connection: Connection, workspace_id: UUID, request: MergeRequest) -> _Place:
    name = pick_repo(request.repo, repo_scripts(connection, workspace_id)).name
    branch = request.target_branch
    if branch is not None and (branch.startswith("refs/") or not is_valid_branch(branch)):
        message = "target_branch is not a name that git takes for a branch; give it without refs/heads/"
        raise InvalidInput(message, code="branch_invalid", field="target_branch")
    columns: list[Any] = [W.repo_id, W.url, W.target_branch, Workspace.branch]
    statement = (
        select(*columns, Task.title, Task.description, Task.status)
        .join(Workspace, Workspace.id == W.workspace_id)
        .join(Task, Task.id == Workspace.task_id)
        .where(W.workspace_id == workspace_id, W.name == name)
    )
    row = connection.execute(statement).one()
    target = branch or row.target_branch
    task = (row.title, row.description, TaskStatus(row.status))
    return _Place(workspace_id, row.repo_id, name, row.url, target, row.branch, *task)


def _blockers(connection: Connection, place: _Place, request: MergeRequest) -> list[Blocker]:
    found = []
    if place.target_branch is None:
        found.append(Blocker("target_branch_missing", _NO_TARGET))
    if request.kind is MergeKind.PR and place.target_branch == place.branch:
        found.append(Blocker("target_is_own_branch", "the target is the workspace's own branch; give another one"))
    return found + _in_the_way(connection, place.workspace_id, place.repo_id)


def _in_the_way(connection: Connection, workspace_id: UUID, repo_id: UUID, but: UUID | None = None) -> list[Blocker]:
    """Return what stands in the way of a merge because of other merges of the repository, without ``but``."""
    found = []
    merges = connection.execute(
        select(M.id, M.pr_url, status_column().label("status"))
        .outerjoin(E, E.id == M.execution_id)
        .where(M.workspace_id == workspace_id, M.repo_id == repo_id, M.id.is_distinct_from(but))
    ).all()
    if pending := [row for row in merges if row.status == MergeStatus.PENDING]:
        message = f"merge {pending[0].id} of this repository has not ended; wait for it, or kill its execution"
        found.append(Blocker("merge_pending", message))
    if opened := [row for row in merges if row.status == MergeStatus.OPEN]:
        message = f"the pull request {opened[0].pr_url} of this repository is open; merge or close it there"
        found.append(Blocker("pull_request_open", message))
    return found


def _mutations(place: _Place, request: MergeRequest) -> list[str]:
    if request.kind is MergeKind.PR:
        made = f"pull request from {place.branch} into {place.target_branch} of {place.url}"
        return [f"push: branch {place.branch} of {place.url}", f"new: {made}", "when it is merged: task → done"]
    what = "one commit with all changes" if request.method is MergeMethod.SQUASH else "a commit with two parents"
    moved = [] if place.task_status in {TaskStatus.DONE, TaskStatus.CANCELLED} else ["task → done"]
    return [f"push: {what} to branch {place.target_branch} of {place.url}", *moved]


def _latest_state(connection: Connection, place: _Place) -> Any:
    state = ExecutionProcessRepoState
    statement = (
        select(state.after_head_commit, state.dirty)
        .join(E, E.id == state.execution_process_id)
        .where(E.workspace_id == place.workspace_id, state.repo_id == place.repo_id)
        .where(state.after_head_commit.is_not(None))
        .order_by(E.completed_at.desc(), E.id)
        .limit(1)
    )
    return connection.execute(statement).mappings().one_or_none()


def _lane(connection: Connection, workspace_id: UUID) -> int:
    in_lane = E.run_reason != RunReason.DEV_SERVER
    count = select(func.count()).where(E.workspace_id == workspace_id, E.status.in_(list(ACTIVE)), in_lane)
    return connection.scalar(count) or 0


def _generation(connection: Connection, place: _Place) -> str:
    """Return a text made of all that the preview depends on: target, steps of the lane, merges, the task's status."""
    in_lane = E.run_reason != RunReason.DEV_SERVER
    steps = connection.execute(
        select(
            func.count(), func.count().filter(E.status.in_([Status.QUEUED, Status.RUNNING])), func.max(E.created_at)
        ).where(E.workspace_id == place.workspace_id, in_lane)
    ).one()
    merges = connection.execute(
        select(func.count(), func.max(M.updated_at)).where(M.workspace_id == place.workspace_id)
    ).one()
    facts = [place.repo_id, place.target_branch, place.task_status, *steps, *merges]
    return sha256(json.dumps([str(fact) for fact in facts]).encode()).hexdigest()[:16]
