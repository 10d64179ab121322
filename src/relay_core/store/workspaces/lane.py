"""The lane of a workspace: the queue that decides which step group may start. One group holds it at a time.

Every function works in the transaction of its caller.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, func, select, text, update

from relay_core.domain import chain
from relay_core.domain.chain import Action
from relay_core.domain.vocabulary import RunReason, Status, TaskStatus
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.executions.create import NewGroup, create_group
from relay_core.store.schema.tables import ExecutionProcess, Lane, Workspace

E = ExecutionProcess
_MOVE_TASK = text("SELECT move_task(:workspace, :status)")
_IN_LANE = E.run_reason != RunReason.DEV_SERVER


class Member(NamedTuple):
    """One execution of a step group, with the values that the lane needs."""

    id: UUID
    run_reason: RunReason
    status: Status
    session_id: UUID
    run_id: UUID | None
    action: Action
    lane_position: int
    created_by: str
    kill_asked: bool
    """Whether a kill was requested. The status may still be `failed`, if not all processes could be killed."""


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


def leave(connection: Connection, workspace_id: UUID, group_id: UUID) -> list[UUID]:
    """Pass the lane on after an execution of a step group has ended. The caller has locked the lane.

    Nothing happens while another execution of the group is queued or running. Once all have ended, the next group of
    the chain is created in this transaction. At the end of the chain the task's status becomes `inreview` (a git act
    does not change it), and the next chain in the queue may start.

    Args:
        connection: one transaction.
        workspace_id: the lane's workspace.
        group_id: the step group of the execution that has ended.

    Returns:
        Executions that may start now.
    """
    members = _members(connection, workspace_id, group_id)
    if any(not member.status.final for member in members):
        return []
    release = update(Lane).where(Lane.workspace_id == workspace_id, Lane.group_id == group_id).values(group_id=None)
    connection.execute(release)
    if lock(connection, workspace_id) is not None:
        return []  # another group holds it: this one ended while it was still queued
    first = members[0]
    if first.run_reason is RunReason.SETUP_SCRIPT:
        _note_setup(connection, workspace_id, members)
    actions = chain.next_group(first.action)
    killed = any(member.kill_asked for member in members)
    if actions and not killed and chain.goes_on([(member.run_reason, member.status) for member in members]):
        group = NewGroup(
            first.session_id,
            workspace_id,
            actions,
            first.created_by,
            first.run_id,
            lane_position=first.lane_position,
            node_id=connection.scalar(select(Workspace.node_id).where(Workspace.id == workspace_id)),
        )
        return create_group(connection, group)
    if first.run_reason.moves_task:
        set_task_status(connection, workspace_id, TaskStatus.INREVIEW)
    return head(connection, workspace_id)


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


def _members(connection: Connection, workspace_id: UUID, group_id: UUID) -> Sequence[Member]:
    asked = E.kill_requested_at.is_not(None).label("kill_asked")
    statement = (
        select(
            E.id,
            E.run_reason,
            E.status,
            E.session_id,
            E.run_id,
            E.executor_action,
            E.lane_position,
            E.created_by,
            asked,
        )
        .where(E.workspace_id == workspace_id, E.group_id == group_id)
        .order_by(E.created_at, E.id)
    )
    return [
        Member(
            row.id,
            RunReason(row.run_reason),
            Status(row.status),
            row.session_id,
            row.run_id,
            action_from_json(row.executor_action),
            row.lane_position,
            row.created_by,
            row.kill_asked,
        )
        for row in connection.execute(statement)
    ]


def _note_setup(connection: Connection, workspace_id: UUID, members: Sequence[Member]) -> None:
    following = chain.next_group(members[0].action)
    done = not following or following[0].step.run_reason is not RunReason.SETUP_SCRIPT
    if done and all(member.status is Status.COMPLETED for member in members):
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(setup_completed_at=func.now()))
