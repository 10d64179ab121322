"""Tables of projects, their repositories, secrets and tasks."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import CloneState, FirstState, TaskStatus
from relay_core.store.schema.base import Base, created, one_of


class Project(Base):
    """A group of repos and tasks, with a default image and agent profiles."""

    __tablename__ = "projects"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    default_agent_working_dir: Mapped[str | None]
    remote_project_id: Mapped[UUID | None]
    default_image: Mapped[str | None]
    agent_profiles: Mapped[dict[str, Any] | None]
    """Variants and fields that differ from the deployment's: {executor: {variant: {field: value}}}."""
    implicit_key: Mapped[str | None]
    """URL of the first repo of runs that name no project.

    All such runs of an owner share this project, and so its git mirror. Null for a project that runs must name.
    """
    state: Mapped[str] = mapped_column(server_default=CloneState.CLONING)
    """Follows from the mirrors of its repositories (`domain.project_state`)."""
    clone_error: Mapped[str | None]
    """Why its latest clone failed, without credentials; null unless the state is `failed`."""
    first_plan: Mapped[dict[str, Any] | None]
    """The run of its first workspace (`workspaces.planned_run`), until that is made; never shown."""
    first_state: Mapped[str | None]
    """A `FirstState`; null: no first workspace was asked for."""
    first_error: Mapped[str | None]
    """Why the first workspace could not be made."""
    first_workspace_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("workspaces.id", use_alter=True, name="projects_first_workspace_id_fkey")
    )
    idle_stop_hours: Mapped[float | None]
    """Hours after which its idle workspaces are stopped; null: the server's setting; 0: never. So are the next two."""
    idle_archive_hours: Mapped[float | None]
    idle_delete_hours: Mapped[float | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]
    restoring_from: Mapped[datetime | None]
    """While it is being restored, it takes along the workspaces that were deleted since then; else null."""
    restoring_until: Mapped[datetime | None]
    """And before then, when its restoration began."""

    __table_args__ = (
        one_of("state", CloneState, "projects_state"),
        one_of("first_state", FirstState, "projects_first_state"),
        CheckConstraint(
            "coalesce(first_state = 'waiting', false) = (first_plan IS NOT NULL)", name="projects_first_plan"
        ),
        CheckConstraint("(state = 'failed') = (clone_error IS NOT NULL)", name="projects_clone_error"),
        CheckConstraint(
            "idle_stop_hours >= 0 AND idle_archive_hours >= 0 AND idle_delete_hours >= 0", name="projects_idle_hours"
        ),
        CheckConstraint("(restoring_from IS NULL) = (restoring_until IS NULL)", name="projects_restoring"),
        Index(
            "projects_implicit_key",
            "created_by",
            "implicit_key",
            unique=True,
            postgresql_where=text("implicit_key IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index("projects_name", "created_by", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
    )


class ProjectSecret(Base):
    """A secret of a project. It decrypts only for this project and name (`relay_core.secret_box`)."""

    __tablename__ = "project_secrets"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    ciphertext: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the present value was stored."""

    __table_args__ = (UniqueConstraint("project_id", "name", name="project_secrets_name"),)


class ProjectFile(Base):
    """A file that clones of a repository of a project get, encrypted as secrets are; git does not have it."""

    __tablename__ = "project_files"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"))
    path: Mapped[str]
    """Relative to the root of the repository (`domain.copy_files.stored_path`)."""
    size_bytes: Mapped[int]
    """Of the content, before it was encrypted."""
    executable: Mapped[bool]
    ciphertext: Mapped[bytes]
    """The content in base64, encrypted for this project, repository and path."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the present content was stored."""

    __table_args__ = (UniqueConstraint("project_id", "repo_id", "path", name="project_files_path"),)


class Repo(Base):
    """A git remote of an owner, shared by all of the owner's projects, with defaults for workspaces that use it."""

    __tablename__ = "repos"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    path: Mapped[str]
    """The remote's URL, without credentials."""
    name: Mapped[str]
    display_name: Mapped[str]
    setup_script: Mapped[str | None]
    cleanup_script: Mapped[str | None]
    archive_script: Mapped[str | None]
    copy_files: Mapped[str | None]
    """Patterns of files that git does not have, one a line (`domain.copy_files`)."""
    parallel_setup_script: Mapped[bool] = mapped_column(server_default=text("false"))
    dev_server_script: Mapped[str | None]
    default_target_branch: Mapped[str | None]
    default_working_dir: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index("repos_path", "created_by", "path", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("repos_newest", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("repos_of_owner", "created_by", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
    )


class ProjectRepo(Base):
    """A repo in a project; `Mirror` tells what the nodes have of it. What is null here is left to the repo."""

    __tablename__ = "project_repos"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    setup_script: Mapped[str | None]
    cleanup_script: Mapped[str | None]
    copy_files: Mapped[str | None]
    parallel_setup_script: Mapped[bool | None]

    __table_args__ = (Index("project_repos_of_repo", "repo_id"),)


class Task(Base):
    """A unit of work within a project; each attempt at it has a workspace."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    title: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=TaskStatus.TODO)
    parent_workspace_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("workspaces.id", use_alter=True, name="tasks_parent_workspace")
    )
    """Makes the task a subtask; it stays when the workspace is deleted."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        one_of("status", TaskStatus, "tasks_status"),
        Index("tasks_newest", "created_at", "id"),
        Index("tasks_of_owner", "created_by", "created_at", "id"),
        Index("tasks_of_project", "project_id", "created_at", "id"),
        Index(
            "tasks_of_parent",
            "parent_workspace_id",
            "created_at",
            "id",
            postgresql_where=text("parent_workspace_id IS NOT NULL"),
        ),
        Index("tasks_of_status", "status", "created_at", "id", "created_by"),
    )
