"""Goes back to an execution: the clones return to their state before it, and it and all later ones are dropped.

A dropped execution stays as it is, with log and events. Only the conversation of its session does not count it: the
next turn continues where the agent was before it, if the agent can do that; else it begins anew.
"""

from uuid import UUID

from sqlalchemy import Connection, select

from relay_core.domain.agents.executors import EXECUTORS
from relay_core.domain.chain import Action
from relay_core.domain.errors import Conflict, NotFound
from relay_core.domain.step import ResetStep, ResetTarget
from relay_core.domain.vocabulary import ACTIVE, RunReason
from relay_core.store.schema.tables import ExecutionProcess, Session
from relay_core.store.tokens import Principal
from relay_core.store.workspaces import condition, git_acts, lane
from relay_core.store.workspaces.add_step import queue_step
from relay_core.store.workspaces.generation import check_generation

E = ExecutionProcess


def resume_at(
    connection: Connection,
    workspace_id: UUID,
    execution_id: UUID,
    generation: str,
    principal: Principal,
    *,
    discard_changes: bool,
) -> UUID:
    """Queue the reset that goes back to an execution; its end drops the executions. Return the id of the reset.

    Before it changes anything, the reset keeps the present work trees on the node, as every reset does.

    Raises:
        NotFound: the workspace or the execution does not exist, or belongs to another owner.
        Conflict: `stale_generation`, `workspace_busy`, `execution_dropped`, `before_state_unknown`, or the workspace
            accepts no step now (`add_step.queue_step`).
    """
    condition.read_for(connection, workspace_id, principal)
    lane.lock(connection, workspace_id)
    check_generation(connection, workspace_id, generation)
    wanted = targets(connection, workspace_id, execution_id)
    step = ResetStep(wanted, discard_changes, drop_from=execution_id)
    return queue_step(connection, workspace_id, Action(step), principal)


def targets(connection: Connection, workspace_id: UUID, execution_id: UUID) -> tuple[ResetTarget, ...]:
    """Return the commits of the clones before an execution.

    Raises:
        NotFound: the workspace has no such execution.
        Conflict: `workspace_busy`: steps are queued or running. `execution_dropped`: it was dropped before.
            `before_state_unknown`: the commits were not recorded.
    """
    mine = (E.workspace_id == workspace_id) & (E.run_reason != RunReason.DEV_SERVER)
    found = connection.execute(select(E.dropped).where(mine, E.id == execution_id)).one_or_none()
    if found is None:
        raise NotFound(f"the workspace has no execution {execution_id}")
    if found.dropped:
        raise Conflict("the execution was dropped already; go back to one before it", code="execution_dropped")
    if connection.scalar(select(E.id).where(mine, E.status.in_(ACTIVE)).limit(1)) is not None:
        message = "steps of the workspace are queued or running; wait for their end, or kill them"
        raise Conflict(message, code="workspace_busy")
    return git_acts.targets_before(connection, workspace_id, execution_id, None)


def why_anew(connection: Connection, workspace_id: UUID) -> str | None:
    """Return which agents of the workspace cannot continue at an earlier message, as a sentence; None if all can."""
    used = connection.scalars(select(Session.executor).where(Session.workspace_id == workspace_id).distinct())
    kinds = [EXECUTORS[name] for name in used if name is not None and name in EXECUTORS]
    cannot = sorted(kind.name for kind in kinds if kind.resumes and not kind.rewinds)
    if not cannot:
        return None
    return f"{', '.join(cannot)} cannot go back to an earlier message: the next turn begins a new conversation"
