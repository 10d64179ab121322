"""Random acts of clients and workers on the store, and what must hold of the lanes after each of them."""

import random
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, select, text, update

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError, Stale
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import Reason, RunReason, Status, WorkspaceState
from relay_core.settings import Settings
from relay_core.store.executions import claim as claims
from relay_core.store.executions import finish as ends
from relay_core.store.executions import reap
from relay_core.store.executions.adopt import adopt
from relay_core.store.executions.claim import Claimant, Claimed
from relay_core.store.executions.kill import kill
from relay_core.store.executions.retry import retry_execution, retry_workspace
from relay_core.store.runs import change
from relay_core.store.runs.rerun import rerun
from relay_core.store.schema.tables import ExecutionProcess, Run, Session, Workspace
from relay_core.store.transaction import Database
from relay_core.store.workspaces import stop_resume
from relay_core.store.workspaces.add_step import add_step
from relay_core.store.workspaces.delete import delete_workspaces
from relay_core.store.workspaces.follow_up import add_follow_up
from relay_core.store.workspaces.git_acts import PushRequest, add_push
from relay_core.store.workspaces.step_request import StepRequest
from relay_core.store.workspaces.submit import RepoInput
from tests.support.presence_acts import BOUNDS, expire_leases
from tests.support.store_acts import ME, WORKER

E = ExecutionProcess
SECOND = Claimant("w2@node-1", "node-1", "default", 30)
ENDS: Sequence[Transition] = (
    *[machine.completed(0)] * 6,
    machine.failed(Reason.EXIT_CODE, "exit 7", 7),
    machine.failed(Reason.TIMEOUT, "late"),
    machine.failed(Reason.CONTAINER_MISSING, "gone"),
)
REPOS = [
    RepoInput(f"https://example.org/{name}.git", setup_script="s", cleanup_script="c", parallel_setup_script=True)
    for name in "ab"
]
MOST_STEPS = 200
"""Most steps that a drain carries out for each workspace."""
LANES = {
    "two groups hold one lane": """
        SELECT e.workspace_id FROM execution_processes e
        WHERE e.status = 'running' AND e.run_reason <> 'dev_server' AND e.workspace_id IS NOT NULL
        GROUP BY 1 HAVING count(DISTINCT e.group_id) > 1""",
    "a group runs without the lane": """
        SELECT e.workspace_id FROM execution_processes e LEFT JOIN lanes l ON l.workspace_id = e.workspace_id
        WHERE e.status = 'running' AND e.run_reason <> 'dev_server' AND e.workspace_id IS NOT NULL
          AND l.group_id IS DISTINCT FROM e.group_id""",
    "an ended group holds the lane": """
        SELECT l.workspace_id FROM lanes l WHERE l.group_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM execution_processes e WHERE e.group_id = l.group_id AND e.status IN ('queued', 'running'))""",
    "the first in a free lane has no message": """
        SELECT e.workspace_id FROM execution_processes e JOIN lanes l ON l.workspace_id = e.workspace_id
        JOIN workspaces w ON w.id = e.workspace_id JOIN runs r ON r.id = e.run_id
        WHERE e.status = 'queued' AND e.run_reason <> 'dev_server' AND e.published_at IS NULL
          AND l.group_id IS NULL AND r.admitted_at IS NOT NULL
          AND w.state <> 'stopped' AND w.requested_state IS NULL AND w.deleted_at IS NULL AND NOT EXISTS (
            SELECT 1 FROM execution_processes o WHERE o.workspace_id = e.workspace_id AND o.status = 'queued'
              AND o.run_reason <> 'dev_server' AND o.lane_position < e.lane_position)""",
}
"""Queries for lanes of which something is wrong, by what that is."""


def lane_problems(db: Database) -> list[tuple[str, list[Any]]]:
    """Return what is wrong with which lanes."""
    with db.connect() as connection:
        found = [(name, list(connection.scalars(text(query)))) for name, query in LANES.items()]
    return [(name, ids) for name, ids in found if ids]


class Acts:
    """Random acts of clients and workers. An act that the present state does not allow is refused, as for a client."""

    def __init__(self, db: Database, seed: int) -> None:
        self._db = db
        self._dice = random.Random(seed)
        self._weighted: Sequence[Callable[[Connection], object]] = (
            *[self.claim] * 8,
            *[self.finish] * 8,
            *[self.retry] * 2,
            *[self.add] * 2,
            *[self.die] * 2,
            self.git_act,
            self.kill,
            self.cancel,
            self.rerun,
            self.follow_up,
            self.stop,
            self.resume,
            self.settle,
            self.lose_node,
            self.repair,
            self.delete,
        )

    def drain(self) -> None:
        """Resume each workspace, and let workers carry out every step, until nothing is queued or runs.

        Raises:
            AssertionError: steps still wait, so the lane has lost them.
        """
        for _ in range(MOST_STEPS):
            self._db.transact(self._let_all_run)
            if not any([self._carry_out(Status.QUEUED), self._carry_out(Status.RUNNING)]):
                break
        with self._db.connect() as connection:
            left = connection.execute(
                select(E.workspace_id, E.run_reason, E.status, E.published_at).where(
                    E.status.in_((Status.QUEUED, Status.RUNNING))
                )
            ).all()
        assert left == []

    def _let_all_run(self, connection: Connection) -> None:
        self.settle(connection)
        connection.execute(update(Workspace).values(requested_state=None))
        ready = update(Workspace).where(Workspace.state.in_((WorkspaceState.STOPPED, WorkspaceState.FAILED)))
        connection.execute(ready.values(state=WorkspaceState.RUNNING, container_id="c"))
        for workspace_id in connection.scalars(select(Workspace.id)).all():
            stop_resume.send_due_steps(connection, workspace_id)

    def _carry_out(self, status: Status) -> bool:
        """Claim each queued execution that can be claimed, or complete each that runs; return whether one was."""
        with self._db.connect() as connection:
            found = connection.execute(select(E.id, E.fence).where(E.status == status).order_by(E.lane_position)).all()
        done = []
        for row in found:
            if status is Status.QUEUED:
                claimed = self._db.transact(lambda connection, id_=row.id: claims.claim(connection, id_, 1, WORKER))
                done += [row.id] * isinstance(claimed, Claimed)
            else:
                self._db.transact(
                    lambda connection, row=row: ends.finish(connection, row.id, row.fence, machine.completed(0))
                )
                done.append(row.id)
        return bool(done)

    def one(self) -> str:
        """Carry out one act, and return its name."""
        act = self._dice.choice(self._weighted)
        try:
            self._db.transact(act)
        except RelayError as error:
            return f"{act.__name__} refused: {error}"
        return act.__name__

    def _any(self, connection: Connection, statement: Any) -> Any:
        rows = connection.scalars(statement).all()
        return self._dice.choice(rows) if rows else None

    def _execution(self, connection: Connection, *status: Status) -> UUID | None:
        return self._any(connection, select(E.id).where(E.status.in_(status)).order_by(E.created_at, E.id))

    def _workspace(self, connection: Connection) -> UUID:
        return self._any(connection, select(Workspace.id).order_by(Workspace.created_at, Workspace.id))

    def claim(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.QUEUED):
            claims.claim(connection, found, 1, WORKER)

    def finish(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.RUNNING):
            row = connection.execute(select(E.fence, E.workspace_id, E.run_reason).where(E.id == found)).one()
            end = self._dice.choice(ENDS)
            if row.run_reason == RunReason.CLONE and end.target is Status.COMPLETED:
                ready = update(Workspace).where(Workspace.id == row.workspace_id, Workspace.state == "starting")
                ends.finish(connection, found, row.fence, end)
                connection.execute(ready.values(state=WorkspaceState.RUNNING, container_id="c"))
            else:
                ends.finish(connection, found, row.fence, end)

    def die(self, connection: Connection) -> None:
        """The worker of an execution dies, another takes it over, and the dead one's late end is refused."""
        if found := self._execution(connection, Status.RUNNING):
            fence = connection.scalar(select(E.fence).where(E.id == found))
            taken = adopt(connection, found, 1, SECOND, lambda _: True)
            if isinstance(taken, Claimed):
                assert taken.fence > fence
                with pytest.raises(Stale), connection.begin_nested():
                    ends.finish(connection, found, fence, machine.completed(0))

    def git_act(self, connection: Connection) -> None:
        add_push(connection, self._workspace(connection), PushRequest("a"), ME)

    def kill(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.QUEUED, Status.RUNNING):
            kill(connection, [found], "someone")

    def retry(self, connection: Connection) -> None:
        if found := self._execution(connection, Status.FAILED, Status.KILLED):
            retry_execution(connection, found, "someone", run_agent_again=True)

    def cancel(self, connection: Connection) -> None:
        change.cancel(connection, self._any(connection, select(Run.id).order_by(Run.created_at, Run.id)), "someone")

    def rerun(self, connection: Connection) -> None:
        old = self._any(connection, select(Run.id).order_by(Run.created_at, Run.id))
        rerun(connection, old, self._dice.choice(("start", "failed_step")), ME, Settings())

    def add(self, connection: Connection) -> None:
        reason = self._dice.choice(("setup_script", "coding_agent", "dev_server", "archive_script"))
        request = StepRequest(RunReason(reason), repo="a", script="s")
        if reason == "coding_agent":
            request = StepRequest(RunReason(reason), prompt="more")
        add_step(connection, self._workspace(connection), request, ME, {})

    def follow_up(self, connection: Connection) -> None:
        connection.execute(update(Session).values(executor="claude-code"))
        add_follow_up(connection, self._any(connection, select(Session.id).order_by(Session.id)), "and now?", ME)

    def stop(self, connection: Connection) -> None:
        stop_resume.request_stop(connection, self._workspace(connection), "someone")

    def resume(self, connection: Connection) -> None:
        stop_resume.request_resume(connection, self._workspace(connection), "someone")

    def settle(self, connection: Connection) -> None:
        for request in stop_resume.due_requests(connection, "node-1"):
            stop_resume.settle(connection, request)

    def lose_node(self, connection: Connection) -> None:
        connection.execute(
            text(
                "UPDATE runtime_nodes SET liveness = 'offline', last_heartbeat_at = now() - interval '120 seconds' "
                "WHERE node_id = 'node-1'"
            )
        )
        connection.execute(text("UPDATE presence_sweeps SET resumed_at = now() - interval '1 hour'"))
        expire_leases(connection)
        for lost in reap.take_over(connection, "node-1", "w2", 30, BOUNDS):
            reap.end(connection, lost, {})
        connection.execute(update(E).where(E.leftover_on.is_not(None)).values(leftover_on=None))
        connection.execute(text("UPDATE runtime_nodes SET liveness = 'online', last_heartbeat_at = now()"))

    def repair(self, connection: Connection) -> None:
        workspace_id = self._workspace(connection)
        connection.execute(update(Workspace).where(Workspace.id == workspace_id).values(state=WorkspaceState.FAILED))
        retry_workspace(connection, workspace_id, "someone")

    def delete(self, connection: Connection) -> None:
        if self._dice.random() < 0.3:
            delete_workspaces(connection, [self._workspace(connection)], "someone")
