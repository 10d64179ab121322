"""Creates executions: inserts a step group as `queued`, with the first event of each execution."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from sqlalchemy import Connection, func, insert, text

from relay_core.domain.chain import Action
from relay_core.domain.events import EventKind
from relay_core.domain.message import task_id
from relay_core.domain.step import AgentStep
from relay_core.store import events
from relay_core.store.executions.action_json import action_to_json
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess

FIRST_ATTEMPT = 1


@dataclass(frozen=True)
class NewGroup:
    """Executions to create that will hold the lane together, and their place in the lane's queue."""

    session_id: UUID
    workspace_id: UUID
    actions: Sequence[Action]
    created_by: str
    run_id: UUID | None
    """The run that they are part of; None for dev servers and archive scripts."""
    lane_position: int | None = None
    """Place of the chain that the group belongs to; None: the end of the queue."""
    node_id: str | None = None
    """Node of the chain that the group continues; it keeps capacity reserved for the group. None: a new chain."""


_AT_A_PLACE = insert(ExecutionProcess).values(created_at=func.clock_timestamp())
_AT_THE_END = _AT_A_PLACE.values(lane_position=text("DEFAULT"))


def create_group(connection: Connection, group: NewGroup) -> list[UUID]:
    """Insert a group's executions as `queued`, each with its first event.

    Sends no message, as only the caller knows whether the group may start now.

    Returns:
        Ids of the executions, in the order of the actions.
    """
    group_id = uuid4()
    position = group.lane_position
    if position is None and len(group.actions) > 1:
        position = connection.scalar(text("SELECT nextval('lane_positions')"))
    ids = []
    for action in group.actions:
        step = action.step
        execution_id = uuid4()
        values = {
            "id": execution_id,
            "session_id": group.session_id,
            "workspace_id": group.workspace_id,
            "run_id": group.run_id,
            "run_reason": step.run_reason,
            "executor_action": action_to_json(action),
            "created_by": group.created_by,
            "attempt": FIRST_ATTEMPT,
            "task_id": UUID(task_id(execution_id, FIRST_ATTEMPT)),
            "group_id": group_id,
            "node_id": group.node_id,
        }
        if position is None:
            connection.execute(_AT_THE_END, values)
        else:
            connection.execute(_AT_A_PLACE, {**values, "lane_position": position})
        if isinstance(step, AgentStep):
            connection.execute(insert(CodingAgentTurn), {"execution_process_id": execution_id, "prompt": step.prompt})
        payload = {"run_reason": step.run_reason, "repo": step.repo}
        events.append(connection, group.workspace_id, EventKind.EXECUTION_QUEUED, payload, operation_id=execution_id)
        ids.append(execution_id)
    return ids
