"""Imports of entities of another Relay: each once, by its origin and its id there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects.postgresql import insert

from relay_core.domain.errors import Conflict, InvalidInput, NotFound
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.transfer import EntityType, id_there
from relay_core.domain.vocabulary import MergeKind, TaskStatus
from relay_core.store.projects import projects, repos, task_changes
from relay_core.store.projects.projects import ProjectInput
from relay_core.store.projects.task_changes import NewTask
from relay_core.store.schema.tables import (
    ExecutionProcess,
    ImportedEntity,
    Merge,
    Project,
    Repo,
    Task,
    Workspace,
    WorkspaceRepo,
)
from relay_core.store.shared import images
from relay_core.store.tokens import Principal


@dataclass(frozen=True)
class Origin:
    """An entity in the Relay that it comes from.

    Attributes:
        id: id of that Relay's installation.
        source_id: the entity's id there.
    """

    id: UUID
    source_id: UUID


@dataclass(frozen=True)
class Imported:
    """An entity that is here now.

    Attributes:
        created: whether this import made it; if not, an earlier one did.
    """

    entity_type: EntityType
    id: UUID
    created: bool


@dataclass(frozen=True)
class ImportedProject:
    """A project to import, and the defaults of its repos by URL, for those that are not here yet."""

    project: ProjectInput
    defaults: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class ImportedTask:
    """A task to import into a project that is here."""

    project_id: UUID
    title: str
    description: str | None
    status: TaskStatus
    created_at: datetime
    image_ids: Sequence[UUID] = ()


@dataclass(frozen=True)
class ImportedMerge:
    """A pull request to import into a workspace that is here."""

    workspace_id: UUID
    repo_url: str
    execution_id: UUID | None
    """The execution in the source that made it."""
    fields: dict[str, Any]
    """The other columns."""


def once(
    connection: Connection, kind: EntityType, origin: Origin, owner: str, make: Callable[[UUID], UUID]
) -> Imported:
    """Return the entity that was imported from an origin, or let ``make`` import it.

    A concurrent import of the same waits here, and then finds the first one's.

    Args:
        connection: one transaction.
        kind: the kind of entity.
        origin: where it comes from.
        owner: owner of the import.
        make: gets an id that is free; returns the id of the entity.

    Raises:
        Conflict: `import_deleted`: it was imported, and deleted here since.
    """
    key = {"created_by": owner, "origin_id": origin.id, "entity_type": kind, "source_id": origin.source_id}
    made = (
        insert(ImportedEntity)
        .values(**key, local_id=uuid4())
        .on_conflict_do_nothing()
        .returning(ImportedEntity.local_id)
    )
    proposed: UUID | None = connection.scalar(made)
    if proposed is not None:
        entity_id = make(proposed)
        if entity_id != proposed:
            connection.execute(update(ImportedEntity).filter_by(**key).values(local_id=entity_id))
        return Imported(kind, entity_id, created=True)
    found = connection.execute(select(ImportedEntity.local_id).filter_by(**key)).scalar_one()
    table = _TABLES[kind]
    live = select(table.id).where(table.id == found)
    if table is not Merge:
        live = live.where(table.deleted_at.is_(None))
    if connection.scalar(live) is None:
        message = f"the {kind} was imported as {found}, and deleted in the target since; it is not imported again"
        raise Conflict(message, code="import_deleted")
    return Imported(kind, found, created=False)


_TABLES: dict[EntityType, Any] = {
    EntityType.PROJECT: Project,
    EntityType.TASK: Task,
    EntityType.WORKSPACE: Workspace,
    EntityType.PR_MERGE: Merge,
}


def import_project(connection: Connection, origin: Origin, wanted: ImportedProject, principal: Principal) -> Imported:
    """Import a project with its repos; a repo that the principal has keeps its defaults.

    Raises:
        Conflict: `project_name_taken`, `default_project_exists`, `import_deleted`.
        InvalidInput: a repo is named twice.
    """

    def make(_free: UUID) -> UUID:
        urls = [repo.url for repo in wanted.project.repos]
        known = select(Repo.path).where(Repo.created_by == principal.owner, Repo.path.in_(urls))
        before = set(connection.scalars(known.where(Repo.deleted_at.is_(None))))
        project_id = projects.create(connection, wanted.project, principal)
        for url, repo_id in repos.ensure(connection, urls, principal.owner).items():
            if url not in before and (fields := wanted.defaults.get(url)):
                connection.execute(update(Repo).where(Repo.id == repo_id).values(**fields))
        return project_id

    return once(connection, EntityType.PROJECT, origin, principal.owner, make)


def import_task(connection: Connection, origin: Origin, wanted: ImportedTask, principal: Principal) -> Imported:
    """Import a task.

    Raises:
        NotFound: there is no such project, or it belongs to another owner.
        InvalidInput: it is in progress, or an image is unknown.
        Conflict: `import_deleted`.
    """
    if wanted.status is TaskStatus.INPROGRESS:
        message = "a task that is in progress is not imported; wait for the end of its run"
        raise InvalidInput(message, code="task_in_progress", field="task.status")

    def make(_free: UUID) -> UUID:
        projects.get(connection, wanted.project_id, principal)
        task_id = task_changes.create(
            connection, wanted.project_id, NewTask(wanted.title, wanted.description), principal
        )
        values = {"status": wanted.status, "created_at": wanted.created_at}
        connection.execute(update(Task).where(Task.id == task_id).values(values))
        images.link(connection, task_id, wanted.image_ids, principal, "task.image_ids")
        return task_id

    return once(connection, EntityType.TASK, origin, principal.owner, make)


def import_merge(connection: Connection, origin: Origin, wanted: ImportedMerge, principal: Principal) -> Imported:
    """Import a pull request; if it is open, its host is asked for its status from now on.

    Raises:
        NotFound: there is no such workspace, or it belongs to another owner.
        InvalidInput: the workspace has no such repo, or the branch is none.
        Conflict: `import_deleted`.
    """
    if not is_valid_branch(wanted.fields["target_branch_name"]):
        message = "target_branch_name is not a name that git takes for a branch"
        raise InvalidInput(message, code="branch_invalid", field="pr_merge.target_branch_name")

    def make(_free: UUID) -> UUID:
        workspace = select(Workspace.id).where(Workspace.id == wanted.workspace_id, Workspace.deleted_at.is_(None))
        if principal.only is not None:
            workspace = workspace.where(Workspace.created_by == principal.only)
        if connection.scalar(workspace) is None:
            raise NotFound(f"there is no workspace {wanted.workspace_id}")
        of_it = select(WorkspaceRepo.repo_id).where(
            WorkspaceRepo.workspace_id == wanted.workspace_id, WorkspaceRepo.url == wanted.repo_url
        )
        repo_id = connection.scalar(of_it)
        if repo_id is None:
            message = f"the workspace has no repository {wanted.repo_url}"
            raise InvalidInput(message, code="repo_unknown", field="pr_merge.repo_url")
        values = {
            **wanted.fields,
            "id": (merge_id := id_there(wanted.workspace_id, origin.source_id)),
            "workspace_id": wanted.workspace_id,
            "repo_id": repo_id,
            "execution_id": _execution(connection, wanted),
            "kind": MergeKind.PR,
            "created_by": principal.owner,
        }
        connection.execute(plain_insert(Merge).values(values))
        return merge_id

    return once(connection, EntityType.PR_MERGE, origin, principal.owner, make)


def _execution(connection: Connection, wanted: ImportedMerge) -> UUID | None:
    if wanted.execution_id is None:
        return None
    there = id_there(wanted.workspace_id, wanted.execution_id)
    found: UUID | None = connection.scalar(select(ExecutionProcess.id).where(ExecutionProcess.id == there))
    return found
