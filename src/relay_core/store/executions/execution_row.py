"""A row of `execution_processes` as a value."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import RowMapping

from relay_core.domain.chain import Action
from relay_core.domain.message import task_id
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.store.events import Place
from relay_core.store.executions.action_json import action_from_json
from relay_core.store.executions.handle_json import handle_from_json


def existing(found: UUID | None) -> UUID:
    """Return the workspace or session of an execution that has one.

    Raises:
        RuntimeError: it has none: it is the clone of a project, which the caller must treat by itself.
    """
    if found is None:
        raise RuntimeError("this execution clones a project; it has no workspace and no session")
    return found


@dataclass(frozen=True)
class ExecutionRow:
    """One row of `execution_processes` as it was read; `from_row` makes it."""

    id: UUID
    in_workspace: UUID | None
    """None: it clones the project `project_id` without a workspace."""
    in_session: UUID | None
    """None if and only if `in_workspace` is."""
    project_id: UUID | None
    """The project that it clones; None for an execution of a workspace."""
    run_id: UUID | None
    """The run that it is part of; None for dev servers and archive scripts."""
    run_reason: RunReason
    action: Action
    """The step that the execution runs, and the step groups that follow it."""
    status: Status
    reason: Reason | None
    """Why the execution failed or was killed; None while it is active and after `completed`."""
    error_reason: str | None
    """Why the execution failed or was killed, as a sentence for people."""
    exit_code: int | None
    created_at: datetime
    started_at: datetime | None
    """Time of the first claim."""
    completed_at: datetime | None
    created_by: str
    """Owner of the token with which the execution was requested."""
    group_id: UUID
    """Step group of the execution; the executions of a group hold the lane together."""
    lane_position: int
    """Place in the queue of the workspace's lane; all steps of one chain share it."""
    attempt: int
    """Number of the attempt, from 1; part of the Celery task id."""
    fence: int
    """Number of claims and takeovers so far.

    A write of the owner names this number, so a former owner cannot write any more.
    """
    owner: str | None
    """Incarnation (one run of a worker process) that holds the execution."""
    node_id: str | None
    """Node that runs or ran the execution; while it is queued, the node that reserves capacity for it."""
    handle: ProcessHandle | None
    """Where to find the process of the execution; None before the claim."""
    kill_requested_at: datetime | None
    kill_requested_by: str | None
    retry_of: UUID | None
    dropped: bool
    """The failed or killed execution that this one repeats; None if it is no retry."""

    @classmethod
    def from_row(cls, row: RowMapping) -> "ExecutionRow":
        """Make the value from a row of `select(ExecutionProcess)`; additional columns of the row are ignored."""
        return cls(
            id=row["id"],
            in_workspace=row["workspace_id"],
            in_session=row["session_id"],
            project_id=row["project_id"],
            run_id=row["run_id"],
            run_reason=RunReason(row["run_reason"]),
            action=action_from_json(row["executor_action"]),
            status=Status(row["status"]),
            reason=None if row["reason"] is None else Reason(row["reason"]),
            error_reason=row["error_reason"],
            exit_code=row["exit_code"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            completed_at=row["completed_at"],
            created_by=row["created_by"],
            group_id=row["group_id"],
            lane_position=row["lane_position"],
            attempt=row["attempt"],
            fence=row["fence"],
            owner=row["owner"],
            node_id=row["node_id"],
            handle=handle_from_json(row["handle"]) if row["handle"] else None,
            kill_requested_at=row["kill_requested_at"],
            kill_requested_by=row["kill_requested_by"],
            retry_of=row["retry_of"],
            dropped=row["dropped"],
        )

    @property
    def place(self) -> Place:
        """Workspace or project that its events belong to."""
        return Place(self.in_workspace, self.project_id)

    @property
    def workspace_id(self) -> UUID:
        """Its workspace; only for an execution that has one."""
        return existing(self.in_workspace)

    @property
    def session_id(self) -> UUID:
        """Its session; only for an execution that has one."""
        return existing(self.in_session)

    @property
    def task_id(self) -> str:
        """Celery's task id of this attempt of the execution."""
        return task_id(self.id, self.attempt)

    @property
    def dev_server_url(self) -> str | None:
        """URL of a running dev server on its node; None while its port does not answer."""
        port = self.handle.forward_port if self.handle else None
        return f"http://127.0.0.1:{port}" if port and self.status is Status.RUNNING else None
