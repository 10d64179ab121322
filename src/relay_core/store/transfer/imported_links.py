"""Places of imported workspaces, their subtasks, and the states to which their clones are brought."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, select, update

from relay_core.domain.transfer import EntityType
from relay_core.settings import Settings
from relay_core.store.projects import task_changes
from relay_core.store.schema.tables import (
    ExecutionProcess,
    ExecutionProcessRepoState,
    ImportedEntity,
    Task,
    WorkspaceRepo,
)
from relay_core.store.tokens import Principal
from relay_core.store.transfer.imports import Origin

E, State = ExecutionProcess, ExecutionProcessRepoState


class Place(NamedTuple):
    """Where an import goes."""

    workspace_id: UUID
    task_id: UUID
    project_id: UUID
    origin: Origin
    principal: Principal
    settings: Settings


def make_subtasks(connection: Connection, place: Place, source_ids: Sequence[UUID]) -> None:
    """Make the imported tasks that were subtasks of the workspace in the source its subtasks here.

    A task that the workspace is below of stays where it is.
    """
    task_changes.hold_parents(connection, place.project_id)
    mine = select(ImportedEntity.local_id).where(
        ImportedEntity.created_by == place.principal.owner,
        ImportedEntity.origin_id == place.origin.id,
        ImportedEntity.entity_type == EntityType.TASK,
        ImportedEntity.source_id.in_(source_ids),
    )
    free = (Task.id.in_(mine), Task.parent_workspace_id.is_(None), Task.project_id == place.project_id)
    for task_id in connection.scalars(select(Task.id).where(*free).order_by(Task.id)).all():
        if not task_changes.is_below(connection, place.workspace_id, task_id):
            moved = update(Task).where(Task.id == task_id).values(parent_workspace_id=place.workspace_id)
            connection.execute(moved)


def note_states_to_restore(connection: Connection, workspace_id: UUID) -> None:
    """Note for each repo the commit of its latest recorded state, to which a clone is brought here."""
    mine = WorkspaceRepo.workspace_id == workspace_id
    for repo_id in connection.scalars(select(WorkspaceRepo.repo_id).where(mine)).all():
        latest = (
            select(State.pinned_commit)
            .join(E, E.id == State.execution_process_id)
            .where(E.workspace_id == workspace_id, State.repo_id == repo_id)
            .where(State.pinned_commit.is_not(None))
            .order_by(E.completed_at.desc(), E.id)
            .limit(1)
        )
        commit = connection.scalar(latest)
        one = update(WorkspaceRepo).where(mine, WorkspaceRepo.repo_id == repo_id)
        connection.execute(one.values(restore_commit=commit or WorkspaceRepo.base_commit))
