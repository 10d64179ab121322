"""Creates the rows of runs; the executions of a run name it in `run_id`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select

from relay_core.domain.run import title_of
from relay_core.domain.run_notes import RunNotes
from relay_core.domain.step import AgentStep, Step
from relay_core.domain.vocabulary import Priority, RunKind
from relay_core.store.schema.tables import Run, Task, Workspace


@dataclass(frozen=True)
class NewRun:
    """A run to create in a workspace that exists."""

    workspace_id: UUID
    session_id: UUID
    kind: RunKind
    title: str
    created_by: str
    labels: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rerun_of: UUID | None = None
    priority: Priority | None = None
    """None: that of the first run of the workspace."""


def run_of_step(step: Step, workspace_id: UUID, session_id: UUID, by: str, notes: RunNotes) -> NewRun | None:
    """Return the run of a further step of a workspace; None if such a step belongs to no run.

    Without a title in the notes, the run is named after the prompt, or after the kind of script and its repo.
    """
    if not step.run_reason.in_run:
        return None
    kind = RunKind.FOLLOW_UP if isinstance(step, AgentStep) and step.follow_up else RunKind.STEP
    return NewRun(
        workspace_id, session_id, kind, notes.title or _title(step), by, labels=notes.labels, metadata=notes.metadata
    )


def _title(step: Step) -> str:
    if isinstance(step, AgentStep):
        return title_of(step.prompt)
    return step.run_reason if step.repo is None else f"{step.run_reason} {step.repo}"


def _level(new: NewRun) -> ColumnElement[int]:
    if new.priority is not None:
        return literal(new.priority.level)
    first = select(Run.priority).where(Run.workspace_id == new.workspace_id).order_by(Run.created_at, Run.id).limit(1)
    return func.coalesce(first.scalar_subquery(), Priority.NORMAL.level)


def create_run(connection: Connection, new: NewRun) -> UUID:
    """Insert a run as `queued`, and return its id. The caller creates its first executions in the same transaction."""
    run_id = uuid4()
    values = {
        "id": literal(run_id),
        "workspace_id": Workspace.id,
        "session_id": literal(new.session_id),
        "project_id": Task.project_id,
        "owner": Workspace.created_by,
        "kind": literal(new.kind.value),
        "title": literal(new.title),
        "labels": literal(dict(new.labels), Run.labels.type),
        "metadata": literal(dict(new.metadata), Run.details.type),
        "priority": _level(new),
        "rerun_of": literal(new.rerun_of, Run.id.type),
        "created_by": literal(new.created_by),
        "admission_group": func.concat_ws(
            " ", Workspace.pool, func.array_to_string(Workspace.needs, ","), Workspace.node_id
        ),
        "created_at": func.clock_timestamp(),
    }
    source = select(*values.values()).join(Task, Task.id == Workspace.task_id).where(Workspace.id == new.workspace_id)
    connection.execute(insert(Run).from_select(list(values), source))
    return run_id
