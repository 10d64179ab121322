"""Previews of acts that destroy something: what would change, what speaks against it, and the generation it is true of.

A preview writes nothing. An act that is given the generation of its preview is refused if anything happened since.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, func, select

from relay_core.domain.errors import Conflict
from relay_core.domain.operations import OperationKind
from relay_core.domain.vocabulary import (
    ACTIVE,
    GitState,
    OperationClass,
    QuarantineState,
    RunReason,
    Status,
    WorkspaceState,
)
from relay_core.store.executions.drop import to_drop
from relay_core.store.projects import clean_up, projects, restore
from relay_core.store.schema.tables import ExecutionProcess, Task, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.views import git_states
from relay_core.store.views.access import require_workspace
from relay_core.store.workspaces import condition, git_acts, resume_at
from relay_core.store.workspaces.blockers import Note, unmerged
from relay_core.store.workspaces.condition import WorkspaceCondition
from relay_core.store.workspaces.generation import generation, project_generation
from relay_core.store.workspaces.git_acts import ResetRequest
from relay_core.store.workspaces.restore import refuse_unless_kept

E = ExecutionProcess
MOST_NAMED = 100
"""Most workspaces that a preview names one by one."""


@dataclass(frozen=True)
class Mutation:
    """One change that the act would make."""

    operation_class: OperationClass
    change: str
    """The change as a clause for people."""
    repo: str | None = None
    from_commit: str | None = None
    to_commit: str | None = None


@dataclass(frozen=True)
class Preview:
    """The consequences of an act, if nothing happens before it."""

    act: str
    generation: str
    blockers: Sequence[Note]
    """Reasons for which the act would be refused now."""
    warnings: Sequence[Note]
    mutations: Sequence[Mutation]


def of_reset(connection: Connection, workspace_id: UUID, request: ResetRequest, principal: Principal) -> Preview:
    """Return the preview of a reset.

    Raises:
        NotFound, InvalidInput, Conflict: as `git_acts.reset_targets`.
    """
    found = condition.read_for(connection, workspace_id, principal)
    targets = git_acts.reset_targets(connection, workspace_id, request)
    heads = _heads(connection, workspace_id)
    mutations = [_move(target.repo, heads.get(target.repo), target.commit) for target in targets]
    notes = _changes(connection, workspace_id, discard=request.discard_changes)
    return Preview(RunReason.RESET, generation(connection, workspace_id), _blockers(found), notes, mutations)


def of_resume(
    connection: Connection, workspace_id: UUID, execution_id: UUID, principal: Principal, *, discard_changes: bool
) -> Preview:
    """Return the preview of going back to an execution.

    Raises:
        NotFound: the workspace or the execution does not exist, or belongs to another owner.
    """
    found = condition.read_for(connection, workspace_id, principal)
    blockers = [*_blockers(found)]
    mutations: list[Mutation] = []
    try:
        targets = resume_at.targets(connection, workspace_id, execution_id)
    except Conflict as error:
        blockers.append(Note(error.code, str(error)))
    else:
        heads = _heads(connection, workspace_id)
        mutations += [_move(target.repo, heads.get(target.repo), target.commit) for target in targets]
    dropped = len(to_drop(connection, workspace_id, execution_id))
    mutations.append(Mutation(OperationClass.REGISTRY, f"{dropped} executions are marked as dropped"))
    notes = _changes(connection, workspace_id, discard=discard_changes)
    if note := resume_at.why_anew(connection, workspace_id):
        notes.append(Note("conversation_begins_anew", note))
    return Preview("resume_at", generation(connection, workspace_id), blockers, notes, mutations)


def of_deletion(connection: Connection, workspace_id: UUID, principal: Principal, keep_hours: float) -> Preview:
    """Return the preview of the deletion of a workspace.

    Args:
        connection: any transaction.
        workspace_id: the workspace.
        principal: the client.
        keep_hours: for how long its node keeps the files.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
    """
    condition.read_for(connection, workspace_id, principal)
    notes = [*_killed(connection, [workspace_id]), *_lost(connection, [workspace_id])]
    told = generation(connection, workspace_id)
    return Preview(OperationKind.WORKSPACE_DELETE, told, (), notes, _removal(1, keep_hours))


def of_purge(connection: Connection, workspace_id: UUID, principal: Principal) -> Preview:
    """Return the preview of the removal of a workspace for good, which may be deleted already.

    Raises:
        NotFound: the workspace does not exist, or belongs to another owner.
    """
    require_workspace(connection, workspace_id, principal, deleted_too=True)
    notes = [*_killed(connection, [workspace_id]), *_lost(connection, [workspace_id])]
    told = generation(connection, workspace_id)
    return Preview(OperationKind.WORKSPACE_PURGE, told, _unless_kept(connection, workspace_id), notes, _removal(1, 0))


def of_project_deletion(connection: Connection, project_id: UUID, principal: Principal, keep_hours: float) -> Preview:
    """Return the preview of the deletion of a project; ``keep_hours`` as in `of_deletion`.

    Raises:
        NotFound: the project does not exist, is deleted, or belongs to another owner.
    """
    projects.get(connection, project_id, principal)
    ids = _live(connection, project_id)
    notes = [*_killed(connection, ids), *_lost(connection, ids)]
    gone = Mutation(OperationClass.REGISTRY, "the project and its secrets are deleted")
    told = project_generation(connection, project_id)
    return Preview(OperationKind.PROJECT_DELETE, told, (), notes, [gone, *_removal(len(ids), keep_hours)])


def of_project_purge(connection: Connection, project_id: UUID, principal: Principal) -> Preview:
    """Return the preview of the removal of a project's workspaces for good, also of those that are deleted and kept.

    Raises:
        NotFound: the project does not exist, or belongs to another owner.
    """
    projects.require(connection, project_id, principal)
    ids = [*_live(connection, project_id), *restore.unpurged_ids(connection, project_id)]
    notes = [*_killed(connection, ids), *_lost(connection, ids)]
    gone = Mutation(OperationClass.REGISTRY, "the project and its secrets are deleted")
    told = project_generation(connection, project_id)
    return Preview("project.purge", told, (), notes, [gone, *_removal(len(ids), 0)])


def of_clean_up(
    connection: Connection, project_id: UUID, principal: Principal, unchanged_seconds: float, keep_hours: float
) -> Preview:
    """Return the preview of the clean-up of a project's archive (`clean_up.clean_up`).

    Raises:
        NotFound: the project does not exist, is deleted, or belongs to another owner.
    """
    projects.get(connection, project_id, principal)
    ids = clean_up.archived(connection, project_id, unchanged_seconds)
    told = project_generation(connection, project_id)
    blockers = () if ids else [Note("nothing_archived", "the project has no archived workspace of that age")]
    notes = _lost(connection, ids) if ids else []
    each = [Mutation(OperationClass.REGISTRY, f"workspace {one} is marked as deleted") for one in ids[:MOST_NAMED]]
    return Preview("project.clean_up", told, blockers, notes, [*each, *_removal(len(ids), keep_hours)])


def _live(connection: Connection, project_id: UUID) -> list[UUID]:
    of_project = select(Workspace.id).join(Task, Task.id == Workspace.task_id)
    return list(connection.scalars(of_project.where(Task.project_id == project_id, Workspace.deleted_at.is_(None))))


def _unless_kept(connection: Connection, workspace_id: UUID) -> list[Note]:
    found = select(Workspace.deleted_at, Workspace.quarantine, Workspace.container_ref, Workspace.purge_why)
    row = connection.execute(found.where(Workspace.id == workspace_id)).one()
    if row.quarantine == QuarantineState.RESTORING:
        return [Note("workspace_restoring", "the workspace is being restored")]
    if row.deleted_at is None:
        return []
    try:
        refuse_unless_kept(row)
    except Conflict as error:
        return [Note(error.code, str(error))]
    return []


def _blockers(found: WorkspaceCondition) -> list[Note]:
    if found.state is WorkspaceState.FAILED:
        return [Note("workspace_failed", f"the workspace could not be prepared: {found.error_reason}")]
    if found.archived:
        return [Note("workspace_archived", "the workspace is archived; start a new run")]
    try:
        found.refuse_if_diverged(RunReason.RESET)
    except Conflict as error:
        return [Note(error.code, str(error))]
    return []


def _heads(connection: Connection, workspace_id: UUID) -> dict[str, str | None]:
    states = git_states.states_of(connection, [workspace_id]).get(workspace_id, [])
    return {state["name"]: state["head_commit"] for state in states}


def _move(repo: str, before: str | None, after: str) -> Mutation:
    change = f"HEAD, index and files of repos/{repo} are those of {after}"
    return Mutation(OperationClass.WORKSPACE, change, repo, before, after)


def _changes(connection: Connection, workspace_id: UUID, *, discard: bool) -> list[Note]:
    changed = _in_state(connection, [workspace_id], GitState.DIRTY)
    if not changed:
        return []
    then = "they are discarded; the node keeps them as a commit" if discard else "without discard_changes it fails"
    return [Note("uncommitted_changes", f"{', '.join(changed)} had changes that are not committed: {then}")]


def _killed(connection: Connection, ids: Sequence[UUID]) -> list[Note]:
    active = select(E.status, func.count()).where(E.workspace_id.in_(ids), E.status.in_(ACTIVE)).group_by(E.status)
    counts: dict[str, int] = {row.status: row[1] for row in connection.execute(active)}
    told = [(status, counts[status]) for status in (Status.RUNNING, Status.QUEUED) if status in counts]
    return [Note(f"executions_{status}", f"{count} {status} executions are killed") for status, count in told]


def _lost(connection: Connection, ids: Sequence[UUID]) -> list[Note]:
    notes = unmerged(connection, ids)
    if dirty := _in_state(connection, ids, GitState.DIRTY):
        notes.append(Note("uncommitted_changes", f"{', '.join(dirty)} had changes that are not committed"))
    if moved := _in_state(connection, ids, GitState.DIVERGED):
        notes.append(Note("diverged", f"{', '.join(moved)} has commits that no execution recorded"))
    pushed = select(E.workspace_id).where(E.run_reason == RunReason.PUSH, E.status == Status.COMPLETED)
    unpushed = set(ids) - set(connection.scalars(pushed.where(E.workspace_id.in_(ids))))
    if unpushed:
        notes.append(Note("never_pushed", f"the commits of {len(unpushed)} workspaces were never pushed"))
    return notes


def _in_state(connection: Connection, ids: Sequence[UUID], wanted: GitState) -> list[str]:
    found = git_states.states_of(connection, ids)
    return sorted({f"repos/{one['name']}" for states in found.values() for one in states if one["git_state"] is wanted})


def _removal(workspaces: int, keep_hours: float) -> list[Mutation]:
    removed = "their containers, clones, homes and recorded git states leave the node"
    if keep_hours:
        removed = (
            "their containers leave the node; it keeps clones, homes and recorded git states for "
            f"{keep_hours:g} hours, in which they can be restored"
        )
    return [
        Mutation(OperationClass.REGISTRY, f"{workspaces} workspaces are marked as deleted"),
        Mutation(OperationClass.WORKSPACE, removed),
    ]
