"""The lane of a workspace: the queue that decides which step group may start. One group holds it at a time.

Every function works in the transaction of its caller.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select, text

from relay_core.domain import chain
from relay_core.domain.chain import Action
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import RunReason, Status, TaskStatus
from relay_core.store.executions.create import NewGroup, create_group
from relay_core.store.executions.end_statements import Ending
from relay_core.store.executions.execution_row import existing
from relay_core.store.schema.tables import ExecutionProcess, Lane

E = ExecutionProcess
_MOVE_TASK = text("SELECT move_task(:workspace, :status)")
_IN_LANE = E.run_reason != RunReason.DEV_SERVER


def lock(connection: Connection, workspace_id: UUID) -> UUID | None:
    """Lock the lane's row, before every other lock of the transaction.

    Returns:
        The step group that holds the lane; None if it is free.
    """
    return connection.execute(
        select(Lane.group_id).where(Lane.workspace_id == workspace_id).with_for_update()
    ).scalar_one_or_none()


def lock_of(connection: Connection, execution_id: UUID) -> None:
    """Lock the lane's row of an execution's workspace; nothing for the clone of a project, which has no lane."""
    workspace_id = connection.scalar(select(E.workspace_id).where(E.id == execution_id))
    if workspace_id is not None:
        lock(connection, workspace_id)


class AfterEnd(NamedTuple):
    """The consequences of the end of an execution for its lane."""

    releases: bool = False
    """Whether its step group has ended and leaves the lane."""
    setup_done: bool = False
    """Whether the last setup script has completed, and all of its group."""
    following: Sequence[Action] = ()
    """The actions of the next step group of the chain; empty: the chain is over, or the group goes on."""
    chain_over: bool = False
    """Whether the next chain in the queue may start."""
    moves_task: bool = False
    """Whether the status of the task becomes `inreview`; a git act does not change it."""


def after_end(ending: Ending, transition: Transition) -> AfterEnd:
    """Return the consequences of an end for the lane, which the caller has locked.

    Nothing happens while another execution of the group is queued or running, or if another group holds the lane: then
    this one ended while it was still queued. A dev server is not in the lane.
    """
    members = ending.group_after(transition)
    if not ending.run_reason.in_lane or not all(member.status.final for member in members):
        return AfterEnd()
    if ending.holder not in {None, ending.group_id}:
        return AfterEnd()
    actions = chain.next_group(ending.action)
    more_setup = bool(actions) and actions[0].step.run_reason is RunReason.SETUP_SCRIPT
    completed = all(member.status is Status.COMPLETED for member in members)
    setup_done = ending.run_reason is RunReason.SETUP_SCRIPT and completed and not more_setup
    killed = any(member.kill_asked for member in members)
    if actions and not killed and chain.goes_on([(member.run_reason, member.status) for member in members]):
        return AfterEnd(releases=True, setup_done=setup_done, following=actions)
    return AfterEnd(releases=True, setup_done=setup_done, chain_over=True, moves_task=ending.run_reason.moves_task)


def create_next(connection: Connection, ending: Ending, actions: Sequence[Action]) -> list[UUID]:
    """Create the next step group of a chain after the end of an execution of a workspace; return its executions."""
    group = NewGroup(
        existing(ending.session_id),
        existing(ending.subject.workspace_id),
        actions,
        ending.created_by,
        ending.run_id,
        lane_position=ending.lane_position,
        node_id=ending.node_id,
    )
    return create_group(connection, group)


def set_task_status(connection: Connection, workspace_id: UUID, status: TaskStatus) -> None:
    """Write the status of the workspace's task; append an event if it changes.

    A cancelled task stays cancelled.
    """
    connection.execute(_MOVE_TASK, {"workspace": workspace_id, "status": status})


def head(connection: Connection, workspace_id: UUID) -> list[UUID]:
    """Return the queued executions of the step group that is first in the queue; empty if nothing is queued."""
    queued = select(E.id, E.group_id).where(E.workspace_id == workspace_id, E.status == Status.QUEUED, _IN_LANE)
    rows = connection.execute(queued.order_by(E.lane_position, E.created_at, E.id)).all()
    return [row.id for row in rows if row.group_id == rows[0].group_id]
