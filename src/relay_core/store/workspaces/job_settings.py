"""The settings that a run leaves to job files, and the writes that complete them while the run is cloned."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, select, update

from relay_core.domain import chain
from relay_core.domain.chain import RepoScripts
from relay_core.domain.errors import Stale
from relay_core.domain.job_settings import AGENT_WORKING_DIR, SCRIPT_FIELDS, JobSettings, JobTerms, prompt_of
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Status
from relay_core.store.executions.action_json import action_from_json, action_to_json, executor_from_json
from relay_core.store.nodes import placement
from relay_core.store.schema.tables import ExecutionProcess, Session, Workspace, WorkspaceRepo
from relay_core.store.workspaces import lane

E = ExecutionProcess


@dataclass(frozen=True)
class OpenSettings:
    """The settings of a run before its job files are read.

    Attributes:
        terms: what the run leaves to job files.
        settings: the settings as request and project give them.
        prompt: what the agent is asked for.
    """

    terms: JobTerms
    settings: JobSettings
    prompt: str


def read(connection: Connection, execution_id: UUID) -> OpenSettings | None:
    """Return what a run leaves to job files, for its clone.

    None: its clone has completed before, or it was posted before Relay had job files.
    """
    columns = (Workspace.id, Workspace.job_terms, Workspace.sources, Workspace.resolved_image, Workspace.limits)
    statement = select(*columns, Workspace.agent_working_dir, Session.executor_config, E.executor_action).where(
        E.id == execution_id
    )
    statement = statement.join(Workspace, Workspace.id == E.workspace_id).join(Session, Session.id == E.session_id)
    row = connection.execute(statement).one()
    if row.job_terms is None:
        return None
    settings = JobSettings(
        row.resolved_image,
        Limits.from_row(row.limits),
        executor_from_json(row.executor_config or {}),
        _scripts(connection, row.id),
        row.sources,
        row.agent_working_dir if AGENT_WORKING_DIR in row.sources else None,
    )
    return OpenSettings(JobTerms.from_json(row.job_terms), settings, prompt_of(action_from_json(row.executor_action)))


def take_limits(connection: Connection, execution_id: UUID, fence: int, limits: Limits) -> str | None:
    """Give a workspace that is being cloned other limits, if its node has room for them.

    Args:
        connection: one transaction.
        execution_id: the clone.
        fence: fence of the caller's claim.
        limits: the limits that its job file asks for.

    Returns:
        Why the node has no room; None if the limits are stored.

    Raises:
        Stale: the clone has ended, or another worker owns it.
    """
    workspace_id, node_id = _hold(connection, execution_id, fence)
    before = connection.scalar(select(Workspace.limits).where(Workspace.id == workspace_id).with_for_update())
    refused = placement.why_no_growth(connection, node_id, Limits.from_row(before or {}), limits)
    if refused is None:
        values = {"limits": vars(limits)}
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(values))
    return refused


def settle(connection: Connection, execution_id: UUID, fence: int, settings: JobSettings) -> None:
    """Store the completed settings of a run, and replace the plan that was made when it was posted.

    Called in the transaction that ends the clone, before the next step group is made from the plan.

    Args:
        connection: the transaction that ends the clone.
        execution_id: the clone.
        fence: fence of the caller's claim.
        settings: the completed settings.

    Raises:
        Stale: the clone has ended, or another worker owns it.
    """
    workspace_id, _ = _hold(connection, execution_id, fence)
    row = connection.execute(select(E.session_id, E.executor_action).where(E.id == execution_id)).one()
    planned = action_from_json(row.executor_action)
    if planned.following is not None or not settings.executor.name:
        action = action_to_json(settings.plan(planned))
        connection.execute(update(E).where(E.id == execution_id).values(executor_action=action))
    named = settings.executor.name
    executor = {"executor": named or None, "executor_config": settings.executor.as_json() if named else None}
    connection.execute(update(Session).where(Session.id == row.session_id).values(executor))
    chosen = settings.agent_working_dir or chain.agent_dir(settings.repos)
    workspace = {
        "agent_working_dir": chosen,
        "resolved_image": settings.image,
        "sources": dict(settings.sources),
        "job_terms": None,
    }
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(workspace))
    for repo in settings.repos:
        values = {name: getattr(repo, field) for name, field in SCRIPT_FIELDS.items()}
        mine = (WorkspaceRepo.workspace_id == workspace_id, WorkspaceRepo.name == repo.name)
        connection.execute(update(WorkspaceRepo).where(*mine).values(working_dir=repo.working_dir, **values))


def _hold(connection: Connection, execution_id: UUID, fence: int) -> tuple[UUID, str]:
    """Lock lane and execution, and return workspace and node of a clone that the caller owns."""
    workspace_id = connection.scalar(select(E.workspace_id).where(E.id == execution_id))
    if workspace_id is not None:
        lane.lock(connection, workspace_id)
    mine = (E.id == execution_id, E.status == Status.RUNNING, E.fence == fence)
    node_id = connection.scalar(select(E.node_id).where(*mine).with_for_update())
    if workspace_id is None or node_id is None:
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")
    return workspace_id, node_id


def _scripts(connection: Connection, workspace_id: UUID) -> list[RepoScripts]:
    statement = (
        select(*WorkspaceRepo.__table__.columns)
        .where(WorkspaceRepo.workspace_id == workspace_id)
        .order_by(WorkspaceRepo.position)
    )
    return [
        RepoScripts(
            name=row["name"],
            working_dir=row["working_dir"],
            parallel_setup_script=row["parallel_setup_script"],
            setup_as_root=row["setup_as_root"],
            **{field: row[name] for name, field in SCRIPT_FIELDS.items()},
        )
        for row in connection.execute(statement).mappings()
    ]
