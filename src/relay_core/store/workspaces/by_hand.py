"""Changes of a workspace by hand: its name, the directory of its agents, whether it is pinned, and its archive."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update

from relay_core.domain import chain
from relay_core.domain.errors import Conflict
from relay_core.domain.events import EventKind
from relay_core.domain.vocabulary import ACTIVE, RunReason, WorkspaceState
from relay_core.domain.working_dir import check_agent_dir
from relay_core.store import events
from relay_core.store.schema.tables import ExecutionProcess, Workspace
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import condition, imported, lane
from relay_core.store.workspaces.add_step import queue_step, repo_scripts
from relay_core.store.workspaces.dev_servers import kill_dev_servers

E = ExecutionProcess
_BESIDE = (RunReason.DEV_SERVER, RunReason.ARCHIVE_SCRIPT)
"""Kinds of executions that do not keep a workspace from being archived."""


def change(connection: Connection, workspace_id: UUID, patch: Mapping[str, Any], principal: Principal) -> None:
    """Change a workspace by a merge patch (RFC 7396), with an event.

    To archive it also asks its dev servers to end and queues the archive scripts of its repos, one after another. They
    are left out if a client stopped it; one that was stopped because it was idle is started for them.

    To take an imported one out of the archive for the first time queues its clone.

    Args:
        connection: one transaction of `Database`; the message of the first archive script is sent after its commit.
        workspace_id: the workspace.
        patch: new values of `name`, `agent_working_dir`, `pinned` and `archived`; None clears the first two, and leaves
            the others as they are.
        principal: who asks.

    Raises:
        NotFound: the workspace does not exist, is deleted, or belongs to another owner.
        InvalidInput: the directory is in none of the clones.
        Conflict: `workspace_busy`: it is to be archived while steps are queued or running in it; or it takes no archive
            script now (see `add_step.queue_step`).
    """
    lane.lock(connection, workspace_id)
    found = condition.read_for(connection, workspace_id, principal)
    flags = {"pinned", "archived"}
    wanted = {key: value for key, value in patch.items() if value is not None or key not in flags}
    if wanted.get("agent_working_dir") is not None:
        names = [repo.name for repo in repo_scripts(connection, workspace_id)]
        check_agent_dir(wanted["agent_working_dir"], names, "agent_working_dir")
    before = connection.execute(select(Workspace.__table__).where(Workspace.id == workspace_id)).mappings().one()
    values = {key: value for key, value in wanted.items() if before[key] != value}
    if not values:
        return
    if values.get("archived"):
        _refuse_busy(connection, workspace_id)
    connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(**values))
    payload = {"fields": sorted(values), "by": principal.owner}
    events.append(connection, workspace_id, EventKind.WORKSPACE_CHANGED, payload)
    if values.get("archived") is False:
        imported.bring_back(connection, workspace_id, principal)
    if values.get("archived"):
        kill_dev_servers(connection, workspace_id, principal.owner)
        idle = found.idle_stopped and found.stopped
        if idle or (found.requested_state or found.state) is WorkspaceState.RUNNING:
            _queue_archive_scripts(connection, workspace_id, principal)


def _refuse_busy(connection: Connection, workspace_id: UUID) -> None:
    busy = select(E.id, E.status).where(E.workspace_id == workspace_id, E.status.in_(ACTIVE))
    step = connection.execute(busy.where(E.run_reason.not_in(_BESIDE)).order_by(E.created_at).limit(1)).one_or_none()
    if step is not None:
        message = (
            f"execution {step.id} is {step.status}; cancel its run or wait for its end, then archive the workspace"
        )
        raise Conflict(message, code="workspace_busy")


def _queue_archive_scripts(connection: Connection, workspace_id: UUID, principal: Principal) -> None:
    action = chain.plan_archive(repo_scripts(connection, workspace_id))
    if action is not None:
        queue_step(connection, workspace_id, action, principal)
