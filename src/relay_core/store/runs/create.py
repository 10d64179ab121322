"""Creates the rows of runs; the executions of a run name it in `run_id`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Insert,
    Integer,
    String,
    bindparam,
    func,
    insert,
    select,
)

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


def _insert(level: ColumnElement[int]) -> Insert:
    values = {
        "id": bindparam("new_id", type_=Run.id.type),
        "workspace_id": Workspace.id,
        "session_id": bindparam("new_session", type_=Run.session_id.type),
        "project_id": Task.project_id,
        "owner": Workspace.created_by,
        "kind": bindparam("new_kind", type_=String),
        "title": bindparam("new_title", type_=String),
        "labels": bindparam("new_labels", type_=Run.labels.type),
        "metadata": bindparam("new_metadata", type_=Run.details.type),
        "priority": level,
        "rerun_of": bindparam("new_rerun_of", type_=Run.id.type),
        "created_by": bindparam("new_created_by", type_=String),
        "admission_group": func.concat_ws(
            " ", Workspace.pool, func.array_to_string(Workspace.needs, ","), Workspace.node_id
        ),
        "created_at": func.clock_timestamp(),
    }
    source = select(*values.values()).join(Task, Task.id == Workspace.task_id).where(Workspace.id == _WORKSPACE)
    return insert(Run).from_select(list(values), source)


_WORKSPACE: BindParameter[UUID] = bindparam("new_workspace", type_=Run.workspace_id.type)
_FIRST = select(Run.priority).where(Run.workspace_id == _WORKSPACE).order_by(Run.created_at, Run.id).limit(1)
# Built once: building these statements costs more than carrying them out.
_WITH_PRIORITY = _insert(bindparam("new_priority", type_=Integer))
_AS_FIRST = _insert(func.coalesce(_FIRST.scalar_subquery(), Priority.NORMAL.level))


def create_run(connection: Connection, new: NewRun) -> UUID:
    """Insert a run as `queued`, and return its id. The caller creates its first executions in the same transaction."""
    run_id = uuid4()
    values = {
        "new_id": run_id,
        "new_workspace": new.workspace_id,
        "new_session": new.session_id,
        "new_kind": new.kind.value,
        "new_title": new.title,
        "new_labels": dict(new.labels),
        "new_metadata": dict(new.metadata),
        "new_rerun_of": new.rerun_of,
        "new_created_by": new.created_by,
    }
    if new.priority is None:
        connection.execute(_AS_FIRST, values)
    else:
        connection.execute(_WITH_PRIORITY, {**values, "new_priority": new.priority.level})
    return run_id
