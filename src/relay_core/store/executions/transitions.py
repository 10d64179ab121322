"""Executions in Postgres: every write of a status is one UPDATE guarded by the status (and fence) it expects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from sqlalchemy import Connection, Select, func, insert, select, text, update

from relay_core.domain.chain import Action
from relay_core.domain.errors import Stale
from relay_core.domain.events import TERMINAL, EventKind
from relay_core.domain.execution import Transition
from relay_core.domain.message import QueueMessage, task_id
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.step import AgentStep
from relay_core.domain.vocabulary import RunReason, Status
from relay_core.store import events
from relay_core.store.executions.action_json import action_to_json
from relay_core.store.executions.handle_json import handle_to_json
from relay_core.store.schema.tables import CodingAgentTurn, ExecutionProcess, ExecutionProcessRepoState, Workspace

E = ExecutionProcess
FIRST_ATTEMPT = 1


@dataclass(frozen=True)
class NewGroup:
    """Executions that hold the lane together, and the place they take in its queue."""

    session_id: UUID
    workspace_id: UUID
    actions: Sequence[Action]
    created_by: str
    lane_position: int | None = None
    """That of the chain they belong to; None: the end of the queue."""
    node_id: str | None = None
    """Of a chain that is going on: its node keeps room for them."""


def create_group(connection: Connection, group: NewGroup) -> list[UUID]:
    """Insert the group's executions as `queued`, each with its first event; returns their ids in order."""
    group_id = uuid4()
    position = group.lane_position or connection.scalar(text("SELECT nextval('lane_positions')"))
    ids = []
    for action in group.actions:
        step = action.step
        execution_id = uuid4()
        connection.execute(
            insert(E).values(
                id=execution_id,
                session_id=group.session_id,
                workspace_id=group.workspace_id,
                run_reason=step.run_reason,
                executor_action=action_to_json(action),
                created_by=group.created_by,
                attempt=FIRST_ATTEMPT,
                task_id=UUID(task_id(execution_id, FIRST_ATTEMPT)),
                created_at=func.clock_timestamp(),
                group_id=group_id,
                lane_position=position,
                node_id=group.node_id,
            )
        )
        if isinstance(step, AgentStep):
            connection.execute(insert(CodingAgentTurn).values(execution_process_id=execution_id, prompt=step.prompt))
        payload = {"run_reason": step.run_reason, "repo": step.repo}
        events.append(connection, group.workspace_id, EventKind.EXECUTION_QUEUED, payload, operation_id=execution_id)
        ids.append(execution_id)
    return ids


def messages(connection: Connection, ids: Sequence[UUID]) -> list[QueueMessage]:
    """The doorbells of some executions, in the order of creation."""
    statement = (
        select(E.id, E.attempt, E.run_reason, Workspace.pool, Workspace.node_id)
        .join(Workspace, Workspace.id == E.workspace_id)
        .where(E.id.in_(ids))
        .order_by(E.created_at, E.id)
    )
    return [
        QueueMessage(row.id, row.attempt, RunReason(row.run_reason), row.pool, row.node_id)
        for row in connection.execute(statement)
    ]


def write_transition(
    connection: Connection, execution_id: UUID, transition: Transition, *, fence: int | None, **fields: Any
) -> bool:
    """The guarded write of a status that ends an execution; False when the row is no longer as expected.

    Args:
        connection: the transaction that also writes what belongs to the end.
        execution_id: the row.
        transition: from `relay_core.domain.execution`.
        fence: the owner's fence; None for one that nobody owns yet.
        fields: further columns to set.
    """
    values: dict[str, Any] = {
        "status": transition.target,
        "reason": transition.reason,
        "exit_code": transition.exit_code,
        "error_reason": transition.error_reason,
        "completed_at": func.clock_timestamp() if transition.final else None,
        **fields,
    }
    statement = update(E).where(E.id == execution_id, E.status == transition.source).values(values)
    if fence is not None:
        statement = statement.where(E.fence == fence)
    return connection.execute(statement).rowcount == 1


def append_end(connection: Connection, workspace_id: UUID, execution_id: UUID, transition: Transition) -> None:
    """The one terminal event, last of its operation, in the transaction that wrote the status."""
    payload = {
        "status": transition.target,
        "reason": transition.reason,
        "exit_code": transition.exit_code,
        "error_reason": transition.error_reason,
    }
    kind = TERMINAL[transition.target]
    events.append(connection, workspace_id, kind, payload, operation_id=execution_id, terminal=True)


def update_owned(connection: Connection, execution_id: UUID, fence: int, **fields: Any) -> None:
    """Write fields of an execution that is still ours.

    Raises:
        Stale: it is not.
    """
    statement = update(E).where(E.id == execution_id, E.fence == fence, E.status == Status.RUNNING).values(**fields)
    if connection.execute(statement).rowcount == 0:
        raise Stale(f"execution {execution_id} is no longer owned with fence {fence}")


def store_handle(connection: Connection, execution_id: UUID, fence: int, handle: ProcessHandle) -> None:
    """Write where the process of an execution is found again.

    Raises:
        Stale: the execution is no longer ours.
    """
    update_owned(connection, execution_id, fence, handle=handle_to_json(handle))


def record_before_heads(
    connection: Connection, execution_id: UUID, fence: int, heads: Mapping[UUID, str | None], handle: ProcessHandle
) -> None:
    """Store HEAD of every repo before the step starts, once: an adopter finds them and keeps them.

    With them goes the ``handle`` of the process that is about to be started.

    Raises:
        Stale: the execution is no longer ours.
    """
    store_handle(connection, execution_id, fence, handle)
    for repo_id, commit in heads.items():
        connection.execute(
            text(
                "INSERT INTO execution_process_repo_states (execution_process_id, repo_id, before_head_commit) "
                "VALUES (:execution, :repo, :commit) ON CONFLICT DO NOTHING"
            ),
            {"execution": execution_id, "repo": repo_id, "commit": commit},
        )


def before_head(connection: Connection, execution_id: UUID, repo_id: UUID) -> str | None:
    """HEAD of a repo as it was stored before the step."""
    state = ExecutionProcessRepoState
    return connection.scalar(
        select(state.before_head_commit).where(state.execution_process_id == execution_id, state.repo_id == repo_id)
    )


def running_gids(connection: Connection, workspace_id: UUID, *, but: UUID) -> list[int]:
    """The gids of a workspace's other running executions."""
    statement = select(E.handle["gid"].as_integer()).where(
        E.workspace_id == workspace_id, E.status == Status.RUNNING, E.id != but
    )
    return [gid for gid in connection.scalars(statement) if gid is not None]


def record_after_state(connection: Connection, execution_id: UUID, repo_id: UUID, fields: Mapping[str, Any]) -> None:
    """Store a repo's evidence within the terminal transaction."""
    state = ExecutionProcessRepoState
    done = connection.execute(
        update(state).where(state.execution_process_id == execution_id, state.repo_id == repo_id).values(**fields)
    )
    if done.rowcount == 0:
        connection.execute(insert(state).values(execution_process_id=execution_id, repo_id=repo_id, **fields))


def lock(connection: Connection, ids: Select[Any]) -> list[UUID]:
    """Lock executions in the order of their ids, which keeps transactions that lock several from a deadlock."""
    return list(connection.scalars(ids.order_by(E.id).with_for_update(key_share=True)))


@dataclass(frozen=True)
class Lease:
    """What the renewal of a lease answers."""

    execution_id: UUID
    fence: int
    kill_requested: bool


def renew_leases(connection: Connection, owner: str, ids: Sequence[UUID], lease_seconds: float) -> list[Lease]:
    """Prolong what a worker really runs, all at once on Postgres' clock; the answer carries kills.

    By id, because a new worker takes the name of a dead one: its runs must not seem alive for that.
    """
    mine = lock(connection, select(E.id).where(E.owner == owner, E.id.in_(ids), E.status == Status.RUNNING))
    statement = (
        update(E)
        .where(E.id.in_(mine))
        .values(lease_until=func.now() + text(f"interval '{float(lease_seconds)} seconds'"))
        .returning(E.id, E.fence, E.kill_requested_at)
    )
    return [Lease(row.id, row.fence, row.kill_requested_at is not None) for row in connection.execute(statement)]


_STARTABLE = """
    FROM execution_processes e LEFT JOIN lanes l ON l.workspace_id = e.workspace_id
    JOIN workspaces w ON w.id = e.workspace_id LEFT JOIN runtime_nodes n ON n.node_id = w.node_id
    WHERE e.status = 'queued' AND (e.not_before IS NULL OR e.not_before <= now())
      AND w.state <> 'stopped' AND w.requested_state IS NULL AND n.liveness IS DISTINCT FROM 'offline'
      AND (e.run_reason = 'dev_server' OR (
        (l.group_id IS NULL OR l.group_id = e.group_id) AND NOT EXISTS (
          SELECT 1 FROM execution_processes o WHERE o.workspace_id = e.workspace_id AND o.status = 'queued'
            AND o.run_reason <> 'dev_server' AND o.lane_position < e.lane_position)))
    """


def startable(connection: Connection, older_than_seconds: float, limit: int = 200) -> list[UUID]:
    """Queued rows of that age which nothing but a worker, or room on a node, keeps from starting.

    Rows that wait behind another group are none of them, nor are those of a stopped workspace or of a node that is
    offline (no worker would take its messages away).
    """
    statement = text(
        f"SELECT e.id {_STARTABLE} AND coalesce(e.not_before, e.created_at) < now() - make_interval(secs => :age) "
        "ORDER BY e.created_at LIMIT :limit"
    )
    return list(connection.scalars(statement, {"age": older_than_seconds, "limit": limit}))


@dataclass(frozen=True)
class Undispatched:
    """Rows of one queue that could start and whose message is old: some of them may have none."""

    queue: str
    startable: int
    """All rows that this queue should hold a message of, old or new."""
    messages: Sequence[QueueMessage]
    """The old ones, the oldest first, and no more than the limit."""


def undispatched(connection: Connection, older_than_seconds: float, limit_per_queue: int = 200) -> list[Undispatched]:
    """Rows that could start and have not been rung for so long, by queue: a long queue hides no other."""
    statement = text(
        f"""
        SELECT id, queue, startable FROM (
          SELECT id, queue, old, count(*) OVER (PARTITION BY queue) AS startable,
            row_number() OVER (PARTITION BY queue, old ORDER BY created_at, id) AS place
          FROM (
            SELECT e.id, e.created_at, coalesce('node ' || w.node_id, 'pool ' || w.pool) AS queue,
              coalesce(e.published_at, e.created_at) < now() - make_interval(secs => :age) AS old
            {_STARTABLE}) AS could_start) AS placed
        WHERE old AND place <= :limit
        """  # noqa: S608 - nothing of a client's
    )
    rows = connection.execute(statement, {"age": older_than_seconds, "limit": limit_per_queue}).all()
    totals = {row.queue: row.startable for row in rows}
    of_row = {row.id: row.queue for row in rows}
    by_queue: dict[str, list[QueueMessage]] = {}
    for message in messages(connection, list(of_row)):
        by_queue.setdefault(of_row[message.execution_id], []).append(message)
    return [Undispatched(due[0].queue, totals[queue], due) for queue, due in by_queue.items()]


class OfTask(NamedTuple):
    """The execution behind a Celery task."""

    task_id: UUID
    execution_id: UUID
    status: Status


def of_tasks(connection: Connection, task_ids: Sequence[UUID]) -> list[OfTask]:
    """The executions that Celery knows by these ids; unknown ids are left out."""
    found = connection.execute(select(E.task_id, E.id, E.status).where(E.task_id.in_(task_ids)))
    return [OfTask(row.task_id, row.id, Status(row.status)) for row in found]


def mark_published(connection: Connection, ids: Sequence[UUID]) -> None:
    """Note that a message was sent; not a promise that it arrived."""
    connection.execute(
        update(E).where(E.id.in_(ids)).values(published_at=func.now(), publish_count=E.publish_count + 1)
    )
