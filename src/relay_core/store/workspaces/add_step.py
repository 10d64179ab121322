"""Adds an execution to a workspace: a script, a coding agent or a dev server.

It is queued behind the steps that hold or wait for the workspace's lane.
"""

from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.agents import profiles as agent_profiles
from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.chain import Action, RepoScripts
from relay_core.domain.errors import Conflict, InvalidInput
from relay_core.domain.run_notes import NO_NOTES, RunNotes
from relay_core.domain.step import AgentStep, DevServerStep
from relay_core.domain.vocabulary import RunReason, WorkspaceState
from relay_core.store.executions.create import NewGroup, create_group
from relay_core.store.projects import projects
from relay_core.store.runs.create import create_run, run_of_step
from relay_core.store.schema.tables import Session, Workspace, WorkspaceRepo
from relay_core.store.shared import tags
from relay_core.store.tokens import Principal
from relay_core.store.transaction import send_after_commit
from relay_core.store.workspaces import condition, dev_servers, idle, lane, sessions
from relay_core.store.workspaces.condition import WorkspaceCondition
from relay_core.store.workspaces.step_request import StepRequest, plan


def add_step(
    connection: Connection, workspace_id: UUID, request: StepRequest, principal: Principal, deployment: Profiles
) -> UUID:
    """Queue the step that a client asks for. A coding agent gets a new session.

    Args:
        connection: one transaction of `Database`; if the step may start, its message is sent after the commit.
        workspace_id: the workspace.
        request: the step, with the fields of its executor and its notes on the run as the client gave them.
        principal: owner of the new execution.
        deployment: agent profiles of the server; those of the workspace's project take precedence.

    Returns:
        Id of the new execution.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: the executor is unknown, a field does not belong to the run reason, the notes cannot be stored,
            or no script can be chosen.
        Conflict: the workspace accepts no such step now (see `queue_step`), or `dev_server_running`.
    """
    lane.lock(connection, workspace_id)
    found = condition.read_for(connection, workspace_id, principal)
    if request.executor is None:
        executor = sessions.latest_executor(connection, workspace_id)
        if request.run_reason is RunReason.CODING_AGENT and not executor.name:
            raise InvalidInput("the workspace has no executor yet; name one", field="executor")
    else:
        layers = projects.profiles_over(connection, deployment, projects.of_workspace(connection, workspace_id))
        executor = agent_profiles.choose(layers, request.executor)
    if request.prompt is not None:
        request = replace(request, prompt=tags.expand(connection, request.prompt, principal.owner))
    step = plan(request, repo_scripts(connection, workspace_id), executor, agent_dir(connection, workspace_id))
    if isinstance(step, DevServerStep):
        dev_servers.refuse_second_server(connection, workspace_id, step)
    if isinstance(step, AgentStep):  # a follow-up (follow_up.py) keeps its session
        sessions.open_session(connection, workspace_id, executor)
    return _queue(connection, found, NewStep(Action(step), principal, notes=request.notes))


def queue_step(
    connection: Connection,
    workspace_id: UUID,
    action: Action,
    principal: Principal,
    *,
    session_id: UUID | None = None,
    notes: RunNotes = NO_NOTES,
) -> UUID:
    """Queue a planned step behind the steps that hold or wait for the workspace's lane.

    A dev server is not in the lane and waits for no other step.

    Args:
        connection: one transaction of `Database`; if the step may start, its message is sent after the commit.
        workspace_id: the workspace.
        action: the step, and the groups that follow it.
        principal: owner of the new execution.
        session_id: session of the new execution; None: the workspace's latest.
        notes: notes on the run that the step makes; checked.

    Returns:
        Id of the new execution.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        Conflict: `workspace_failed`, `workspace_archived`, `workspace_diverged`; for a dev server also
            `workspace_stopped` and, while the workspace is being prepared, `conflict`; for an archive script
            `workspace_stopped`, if the workspace is archived and a client stopped it.
    """
    found = condition.read_for(connection, workspace_id, principal)
    return _queue(connection, found, NewStep(action, principal, session_id, notes))


class NewStep(NamedTuple):
    """A planned step to queue; the fields are the arguments of `queue_step`."""

    action: Action
    principal: Principal
    session_id: UUID | None = None
    notes: RunNotes = NO_NOTES


def _queue(connection: Connection, found: WorkspaceCondition, new: NewStep) -> UUID:
    action, principal, session_id, notes = new
    workspace_id = found.id
    if found.state is WorkspaceState.FAILED:
        raise Conflict(f"the workspace could not be prepared: {found.error_reason}", code="workspace_failed")
    if found.archived and action.step.run_reason is not RunReason.ARCHIVE_SCRIPT:
        raise Conflict("the workspace is archived; start a new run", code="workspace_archived")
    found.refuse_if_diverged(action.step.run_reason)
    woken = idle.wake(connection, found, principal.owner, action.step.run_reason)
    if found.stopped and not woken and isinstance(action.step, DevServerStep):
        raise Conflict("the workspace is stopped; resume it, then start the dev server", code="workspace_stopped")
    if found.state is WorkspaceState.STARTING and isinstance(action.step, DevServerStep):
        raise Conflict("the workspace is still being prepared; start the dev server when its state is running")
    if session_id is None:
        newest = select(Session.id).where(Session.workspace_id == workspace_id)
        session_id = connection.execute(newest.order_by(Session.created_at.desc()).limit(1)).scalar_one()
    run = run_of_step(action.step, workspace_id, session_id, principal.owner, notes)
    run_id = None if run is None else create_run(connection, run)
    ids = create_group(connection, NewGroup(session_id, workspace_id, [action], principal.owner, run_id))
    ready = found.state is WorkspaceState.RUNNING and not found.stopped
    send_after_commit(connection, ids if ready else [])
    return ids[0]


def agent_dir(connection: Connection, workspace_id: UUID) -> str | None:
    """Return the working directory of a workspace's agents, relative to that of the clones, as it is stored."""
    return connection.scalar(select(Workspace.agent_working_dir).where(Workspace.id == workspace_id))


def repo_scripts(connection: Connection, workspace_id: UUID) -> list[RepoScripts]:
    """Return the repos of a workspace with their scripts, in the order of the request that created it."""
    statement = select(WorkspaceRepo).where(WorkspaceRepo.workspace_id == workspace_id).order_by(WorkspaceRepo.position)
    return [
        RepoScripts(
            name=row["name"],
            working_dir=row["working_dir"],
            setup_script=row["setup_script"],
            cleanup_script=row["cleanup_script"],
            dev_server=row["dev_server_script"],
            archive_script=row["archive_script"],
            parallel_setup_script=row["parallel_setup_script"],
            setup_as_root=row["setup_as_root"],
        )
        for row in connection.execute(statement).mappings()
    ]
