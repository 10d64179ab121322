"""Tables of workspaces, their clones, secrets, sessions and lanes."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from relay_core.domain.vocabulary import PurgeReason, QuarantineState, WorkspaceState
from relay_core.store.schema.base import Base, created, one_of


class Workspace(Base):
    """One attempt at a task: one branch, one clone per repo, one container, one node."""

    __tablename__ = "workspaces"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"), index=True)
    container_ref: Mapped[str | None]
    """Path of the workspace directory on its node; null while there is no directory."""
    branch: Mapped[str]
    agent_working_dir: Mapped[str | None]
    setup_completed_at: Mapped[datetime | None]
    archived: Mapped[bool] = mapped_column(server_default=text("false"))
    pinned: Mapped[bool] = mapped_column(server_default=text("false"))
    name: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=WorkspaceState.STARTING)
    requested_state: Mapped[str | None]
    """`stopped` or `running`: the state that its node has to bring about; until then no step is claimed."""
    idle_stopped: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether Relay stopped it because nothing happened in it, so that the next step starts it again."""
    error_reason: Mapped[str | None]
    work_dir: Mapped[str | None]
    """Path of the directory with the clones; stored before the first byte is written there."""
    pool: Mapped[str]
    node_id: Mapped[str | None] = mapped_column(ForeignKey("runtime_nodes.node_id"), index=True)
    needs: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """Capabilities that its node has to declare."""
    requested_image: Mapped[str | None]
    requested_uid: Mapped[int | None]
    secrets_in: Mapped[list[str]] = mapped_column(server_default=text("'{coding_agent}'"))
    """Run reasons of the executions that get the workspace's secrets."""
    auto_commit: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether Relay commits the work tree after a successful turn of an agent."""
    resolved_image: Mapped[str | None]
    image_digest: Mapped[str | None]
    container_id: Mapped[str | None]
    uid: Mapped[int | None]
    next_gid: Mapped[int] = mapped_column(server_default=text("20000"))
    """Group id for the next execution; each execution has its own."""
    limits: Mapped[dict[str, Any]]
    job_terms: Mapped[dict[str, Any] | None]
    """The settings that the run leaves to the job files of its repositories (`domain.job_settings.JobTerms`).

    Null once the clone has completed.
    """
    sources: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Where image, executor, limits and scripts came from, by name (`domain.job_settings`)."""
    event_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """Cursor of the newest event. It is raised last in a transaction, so commits are in the order of cursors."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]
    forked_from: Mapped[UUID | None] = mapped_column(ForeignKey("workspaces.id"))
    """The workspace from whose recorded states it starts, on the same node; null: it starts from the remote."""
    expiry_problem: Mapped[str | None]
    """Why its work could not be kept when it was to be deleted because nothing happens in it; null: it could be."""
    expiry_tried_at: Mapped[datetime | None]
    """When that was found out."""
    diverged_at: Mapped[datetime | None]
    """When a node found that a clone is not as it was recorded; null: none is, or the difference is acknowledged.

    While it is set, no execution that may change the workspace is accepted or claimed.
    """
    imported_from: Mapped[UUID | None]
    """Id of the Relay from which it was imported; null: it was made here."""

    directory_error: Mapped[str | None]
    """Why nothing starts in it: its node has several directories of it. `diverged_at` is then set, too."""
    quarantine: Mapped[str | None]
    """The state of the kept files of a deleted workspace; null: it is not deleted, or its files are not (or not yet,
    or no more) in quarantine."""
    quarantined_at: Mapped[datetime | None]
    kept_until: Mapped[datetime | None]
    """When its node removes the kept files."""
    purge_why: Mapped[str | None]
    """Why its files are to be removed for good; null: they are to be kept until `kept_until`."""
    remake_container: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether its next resume makes its container anew: it was restored, or its directory was moved."""

    __table_args__ = (
        one_of("state", WorkspaceState, "workspaces_state"),
        one_of("quarantine", QuarantineState, "workspaces_quarantine"),
        one_of("purge_why", PurgeReason, "workspaces_purge_why"),
        CheckConstraint("quarantine IS NULL OR deleted_at IS NOT NULL", name="workspaces_quarantine_deleted"),
        Index("workspaces_quarantined", "created_at", "id", postgresql_where=text("quarantine IS NOT NULL")),
        Index("workspaces_kept", "node_id", "kept_until", postgresql_where=text("quarantine IS NOT NULL")),
        CheckConstraint("requested_state IN ('stopped', 'running')", name="workspaces_requested_state"),
        Index("workspaces_requested", "node_id", postgresql_where=text("requested_state IS NOT NULL")),
        Index("workspaces_of_owner", "created_by", "created_at", "id"),
        Index("workspaces_newest", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
        Index(
            "workspaces_of_state",
            "state",
            "created_at",
            "id",
            "created_by",
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("workspaces_of_archive", "archived", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("workspaces_expiring", "updated_at", postgresql_where=text("deleted_at IS NULL AND NOT pinned")),
        Index(
            "workspaces_expiring_there",
            "node_id",
            "updated_at",
            postgresql_where=text("deleted_at IS NULL AND NOT pinned AND archived AND container_ref IS NOT NULL"),
        ),
        Index(
            "workspaces_there",
            "node_id",
            postgresql_where=text("container_ref IS NOT NULL AND (deleted_at IS NOT NULL OR state = 'running')"),
        ),
    )


class KeptState(Base):
    """The work tree of one clone as it was before Relay deleted the workspace, in which nothing happened any more."""

    __tablename__ = "kept_states"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    head_commit: Mapped[str | None]
    branch: Mapped[str | None]
    dirty: Mapped[bool | None]
    pinned_commit: Mapped[str]
    """The whole work tree as a commit."""
    patch: Mapped[bytes]
    """The diff from the workspace's base commit to `pinned_commit`, compressed with zstd."""
    stat: Mapped[dict[str, Any] | None]
    """{files, insertions, deletions, truncated, masked} of the patch."""
    bundle: Mapped[bytes | None]
    """Git bundle from the base commit to `pinned_commit`; null if there is nothing, or an execution's state has it."""
    kept_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WorkspaceEnvironment(Base):
    """An environment variable that a client gave: written by the API, read by the worker, never shown."""

    __tablename__ = "workspace_environment"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    secret: Mapped[bool]
    """Whether the value is masked in logs; values of fewer than 8 bytes never are."""


class WorkspaceSecret(Base):
    """A secret of the project that a workspace uses, by name.

    An execution gets the value that the secret has when the execution starts.
    """

    __tablename__ = "workspace_secrets"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    env_name: Mapped[str] = mapped_column(primary_key=True)
    secret_name: Mapped[str]


class GivenSecret(Base):
    """A value of a secret that an execution of a workspace got.

    It stays masked in this workspace even after the secret has been replaced or deleted.
    """

    __tablename__ = "given_secrets"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256 of the ciphertext."""
    secret_name: Mapped[str]
    ciphertext: Mapped[bytes]


class WorkspaceRepo(Base):
    """A repo in a workspace, with its branch and scripts there (`attempt_repos` in the domain model)."""

    __tablename__ = "workspace_repos"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    """Directory of the clone below ``repos/``; unique in the workspace."""
    url: Mapped[str]
    target_branch: Mapped[str | None]
    ref: Mapped[str | None]
    """Branch, tag, commit id or full ref name from which the branch starts; null: it starts from the target branch."""
    working_dir: Mapped[str | None]
    setup_script: Mapped[str | None]
    cleanup_script: Mapped[str | None]
    dev_server_script: Mapped[str | None]
    archive_script: Mapped[str | None]
    parallel_setup_script: Mapped[bool] = mapped_column(server_default=text("false"))
    setup_as_root: Mapped[bool] = mapped_column(server_default=text("false"))
    copy_files: Mapped[str | None]
    """Patterns of files that git does not have and that the clone gets (`domain.copy_files`)."""
    copied_files: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    """Paths of the files that it got so; Relay commits none of them."""
    base_commit: Mapped[str | None]
    """Commit at which the workspace's branch started; diffs of the workspace begin here."""
    restore_commit: Mapped[str | None]
    """Of an imported workspace: the commit to which its clone is brought here; null: the clone starts afresh."""
    mirror_path: Mapped[str | None]
    start_commit: Mapped[str | None]
    """The recorded state of the workspace `forked_from` from which the branch starts; null: it starts from the remote.
    """
    start_base_commit: Mapped[str | None]
    """The base commit that that workspace had there."""
    start_store: Mapped[str | None]
    """Name of its clone, and so of its store."""
    # what its node found in the clone (relay_core.store.workspaces.git_watch)
    found_state: Mapped[str | None]
    """`diverged` or `missing`; null: the clone is as it was recorded."""
    found_commit: Mapped[str | None]
    """Commit of HEAD when the difference was found; null if it has none."""
    found_from: Mapped[str | None]
    """The recorded commit from which it differs."""
    found_problem: Mapped[str | None]
    """Why the commit of HEAD is not known."""
    found_at: Mapped[datetime | None]
    """When the difference was found; null: there is none, or it is acknowledged."""
    accepted_group: Mapped[UUID | None]
    """The step group after which `accepted_commit` counts instead of the commits that the group recorded."""
    accepted_commit: Mapped[str | None]
    """The commit that was acknowledged, or found after a group that recorded none; null: no commit."""

    __table_args__ = (
        CheckConstraint("found_state IN ('diverged', 'missing')", name="workspace_repos_found"),
        UniqueConstraint("workspace_id", "name", name="workspace_repos_name"),
        Index("workspace_repos_of_repo", "repo_id"),
    )


class Session(Base):
    """One conversation with an agent inside a workspace."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), index=True)
    executor: Mapped[str | None]
    executor_config: Mapped[dict[str, Any] | None]
    profile: Mapped[str | None]
    """Name of the session profile that it was made from; null: none."""
    created_at: Mapped[datetime] = created()


class Lane(Base):
    """The lane of a workspace, its exclusive queue: `group_id` is the step group that holds it, null if it is free."""

    __tablename__ = "lanes"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    group_id: Mapped[UUID | None]

    __table_args__ = (UniqueConstraint("workspace_id", "group_id", name="lanes_holder"),)
