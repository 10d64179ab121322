"""The tables, and the rules that the database repeats (docs/architecture.md, "Data").

Names follow the domain model. Bytes are ``bytea``; every time is ``timestamptz`` on Postgres' own clock.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from relay_core.domain.vocabulary import (
    CloneState,
    Liveness,
    NodeHealth,
    Reason,
    RunReason,
    Status,
    Stream,
    TaskStatus,
    WorkspaceState,
)


class Base(DeclarativeBase):
    """Python types → column types."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's way
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
    }


def _one_of(column: str, words: type[Any], name: str) -> CheckConstraint:
    allowed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({allowed})", name=name)


def _created() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


class Token(Base):
    """A bearer token; only its SHA-256 is kept (it has 256 random bits, so no slow hash is needed)."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    owner: Mapped[str]
    scopes: Mapped[list[str]]
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = _created()
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """The answer once given to a creating POST, for the same key from the same owner."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_hash: Mapped[bytes]
    """SHA-256 of method, path and body: the same key with another request is refused."""
    status: Mapped[int | None]
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _created()

    __table_args__ = (Index("idempotency_keys_created", "created_at"),)


class Project(Base):
    """Groups repos and tasks."""

    __tablename__ = "projects"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    default_agent_working_dir: Mapped[str | None]
    remote_project_id: Mapped[UUID | None]
    default_image: Mapped[str | None]
    agent_profiles: Mapped[dict[str, Any] | None]
    """What differs from the deployment's: {executor: {variant: {field: value}}}."""
    implicit_key: Mapped[str | None]
    """Remote URL of runs posted without a project, so that they share a mirror."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "projects_implicit_key",
            "created_by",
            "implicit_key",
            unique=True,
            postgresql_where=text("implicit_key IS NOT NULL AND deleted_at IS NULL"),
        ),
    )


class ProjectSecret(Base):
    """A secret of a project; its ciphertext is bound to project and name (`relay_core.secret_box`)."""

    __tablename__ = "project_secrets"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str]
    ciphertext: Mapped[bytes]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When its value was stored."""

    __table_args__ = (UniqueConstraint("project_id", "name", name="project_secrets_name"),)


class Repo(Base):
    """A git remote; scripts here are the defaults of new projects and workspaces."""

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
    parallel_setup_script: Mapped[bool] = mapped_column(server_default=text("false"))
    dev_server_script: Mapped[str | None]
    default_target_branch: Mapped[str | None]
    default_working_dir: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _created()

    __table_args__ = (UniqueConstraint("created_by", "path", name="repos_path"),)


class ProjectRepo(Base):
    """A repo in a project, and the state of its mirror."""

    __tablename__ = "project_repos"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    setup_script: Mapped[str | None]
    cleanup_script: Mapped[str | None]
    copy_files: Mapped[str | None]
    parallel_setup_script: Mapped[bool] = mapped_column(server_default=text("false"))
    state: Mapped[str] = mapped_column(server_default=CloneState.CLONING)
    clone_error: Mapped[str | None]
    local_path: Mapped[str | None]

    __table_args__ = (_one_of("state", CloneState, "project_repos_state"),)


class Task(Base):
    """A unit of work within a project."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("projects.id"), index=True)
    title: Mapped[str]
    description: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default=TaskStatus.TODO)
    parent_workspace_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("workspaces.id", use_alter=True, name="tasks_parent_workspace")
    )
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    __table_args__ = (_one_of("status", TaskStatus, "tasks_status"),)


class Workspace(Base):
    """One attempt at a task: one branch, one clone per repo, one container, one node."""

    __tablename__ = "workspaces"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id"), index=True)
    container_ref: Mapped[str | None]
    """Path of the workspace directory on its node; null until placed."""
    branch: Mapped[str]
    agent_working_dir: Mapped[str | None]
    setup_completed_at: Mapped[datetime | None]
    archived: Mapped[bool] = mapped_column(server_default=text("false"))
    pinned: Mapped[bool] = mapped_column(server_default=text("false"))
    name: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=WorkspaceState.STARTING)
    requested_state: Mapped[str | None]
    """`stopped` or `running`: what its node was asked for and has not carried out; no step is claimed meanwhile."""
    error_reason: Mapped[str | None]
    work_dir: Mapped[str | None]
    """Where the clones are; stored before the first byte is written."""
    pool: Mapped[str]
    node_id: Mapped[str | None] = mapped_column(ForeignKey("runtime_nodes.node_id"), index=True)
    requested_image: Mapped[str | None]
    requested_uid: Mapped[int | None]
    secrets_in: Mapped[list[str]] = mapped_column(server_default=text("'{coding_agent}'"))
    """Run reasons of the executions that are given the workspace's secrets."""
    auto_commit: Mapped[bool] = mapped_column(server_default=text("true"))
    """Whether what a successful turn leaves in the work tree is committed."""
    resolved_image: Mapped[str | None]
    image_digest: Mapped[str | None]
    container_id: Mapped[str | None]
    uid: Mapped[int | None]
    next_gid: Mapped[int] = mapped_column(server_default=text("20000"))
    """Gid of the next execution: each has its own."""
    limits: Mapped[dict[str, Any]]
    event_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """Cursor of the workspace's events; raised last in a transaction, so commits are in its order."""
    created_by: Mapped[str]
    created_at: Mapped[datetime] = _created()
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        _one_of("state", WorkspaceState, "workspaces_state"),
        CheckConstraint("requested_state IN ('stopped', 'running')", name="workspaces_requested_state"),
        Index("workspaces_requested", "node_id", postgresql_where=text("requested_state IS NOT NULL")),
        Index("workspaces_of_owner", "created_by", "created_at", "id"),
        Index(
            "workspaces_there",
            "node_id",
            postgresql_where=text("container_ref IS NOT NULL AND (deleted_at IS NOT NULL OR state = 'running')"),
        ),
    )


class WorkspaceEnvironment(Base):
    """Environment values given by a client: written here, read by the worker, shown nowhere."""

    __tablename__ = "workspace_environment"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    secret: Mapped[bool]
    """Masked in logs (values of at least 8 bytes)."""


class WorkspaceSecret(Base):
    """Which of its project's secrets a workspace uses, by name; the value is that of the moment of each start."""

    __tablename__ = "workspace_secrets"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    env_name: Mapped[str] = mapped_column(primary_key=True)
    secret_name: Mapped[str]


class GivenSecret(Base):
    """A value that an execution of a workspace was given: masked there ever after, though replaced or deleted since."""

    __tablename__ = "given_secrets"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    """SHA-256 of the ciphertext."""
    secret_name: Mapped[str]
    ciphertext: Mapped[bytes]


class WorkspaceRepo(Base):
    """A repo in a workspace, with the scripts and branch this attempt uses (the domain model's attempt_repos)."""

    __tablename__ = "workspace_repos"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    """Directory of the clone below ``repos/``; unique in the workspace."""
    url: Mapped[str]
    target_branch: Mapped[str | None]
    working_dir: Mapped[str | None]
    setup_script: Mapped[str | None]
    cleanup_script: Mapped[str | None]
    dev_server_script: Mapped[str | None]
    archive_script: Mapped[str | None]
    parallel_setup_script: Mapped[bool] = mapped_column(server_default=text("false"))
    setup_as_root: Mapped[bool] = mapped_column(server_default=text("false"))
    base_commit: Mapped[str | None]
    """Where the branch started; diffs of the workspace begin here."""
    mirror_path: Mapped[str | None]

    __table_args__ = (UniqueConstraint("workspace_id", "name", name="workspace_repos_name"),)


class Session(Base):
    """One agent thread inside a workspace."""

    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), index=True)
    executor: Mapped[str | None]
    executor_config: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = _created()


class Lane(Base):
    """The single-writer queue of one workspace: which step group holds it."""

    __tablename__ = "lanes"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    group_id: Mapped[UUID | None]

    __table_args__ = (UniqueConstraint("workspace_id", "group_id", name="lanes_holder"),)


class ExecutionProcess(Base):
    """One run of one process; its id is the operation id of its events."""

    __tablename__ = "execution_processes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("sessions.id"))
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    run_reason: Mapped[str]
    executor_action: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default=Status.QUEUED)
    reason: Mapped[str | None]
    error_reason: Mapped[str | None]
    exit_code: Mapped[int | None]
    dropped: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = _created()
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    created_by: Mapped[str]
    # lane
    group_id: Mapped[UUID] = mapped_column(default=uuid4)
    lane_position: Mapped[int] = mapped_column(server_default=text("nextval('lane_positions')"))
    """Place in the lane's queue; the steps of one chain share it, so that no other step comes between."""
    lane_group_id: Mapped[UUID | None] = mapped_column(
        Computed("CASE WHEN status = 'running' AND run_reason <> 'dev_server' THEN group_id END", persisted=True)
    )
    """Set while it runs in the lane; must then name the lane's holder (foreign key)."""
    # ownership
    attempt: Mapped[int] = mapped_column(server_default=text("1"))
    task_id: Mapped[UUID]
    """Celery's id of this attempt: a revoke names nothing else, and it is a hash."""
    fence: Mapped[int] = mapped_column(server_default=text("0"))
    """Grows with each claim; every write of an owner is conditional on it."""
    owner: Mapped[str | None]
    node_id: Mapped[str | None] = mapped_column(ForeignKey("runtime_nodes.node_id"))
    """Where it runs or ran; while it is queued: the node that keeps room for it, as its chain is going on there."""
    lease_until: Mapped[datetime | None]
    handle: Mapped[dict[str, Any] | None]
    """A `ProcessHandle` (domain/process_handle.py): {version, gid, fence, run_dir, exec_id, port, forward_port}."""
    kill_requested_at: Mapped[datetime | None]
    kill_requested_by: Mapped[str | None]
    deadline_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    published_at: Mapped[datetime | None]
    publish_count: Mapped[int] = mapped_column(server_default=text("0"))
    event_sequence: Mapped[int] = mapped_column(server_default=text("0"))
    retry_of: Mapped[UUID | None] = mapped_column(ForeignKey("execution_processes.id"))
    """The execution that this one repeats; each is repeated once, then its repetition is."""
    leftover_on: Mapped[str | None]
    """Node that lost it and whose container may still hold its processes; null once they are ended."""

    __table_args__ = (
        _one_of("status", Status, "execution_status"),
        _one_of("run_reason", RunReason, "execution_run_reason"),
        _one_of("reason", Reason, "execution_reason"),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'killed')) = (completed_at IS NOT NULL)", name="execution_final"
        ),
        CheckConstraint("status <> 'queued' OR started_at IS NULL", name="execution_queued_not_started"),
        CheckConstraint("status NOT IN ('running', 'completed') OR started_at IS NOT NULL", name="execution_started"),
        CheckConstraint("(status IN ('failed', 'killed')) = (reason IS NOT NULL)", name="execution_has_reason"),
        CheckConstraint(
            "status <> 'running' OR (owner IS NOT NULL AND lease_until IS NOT NULL)", name="execution_owned"
        ),
        ForeignKeyConstraint(
            ["workspace_id", "lane_group_id"], ["lanes.workspace_id", "lanes.group_id"], name="execution_holds_lane"
        ),
        Index("execution_workspace", "workspace_id", "created_at", "id"),
        Index("execution_session", "session_id"),
        Index("execution_active", "status", "node_id", postgresql_where=text("status IN ('queued', 'running')")),
        Index("execution_newest", "created_at", "id"),
        Index("execution_retry", "retry_of", unique=True, postgresql_where=text("retry_of IS NOT NULL")),
        Index("execution_leftover", "leftover_on", postgresql_where=text("leftover_on IS NOT NULL")),
        Index("execution_task", "task_id", unique=True),
        Index(
            "execution_one_follow_up",
            "session_id",
            unique=True,
            postgresql_where=text(
                "status = 'queued' AND run_reason = 'coding_agent' AND (executor_action #> '{step,follow_up}') = 'true'"
            ),
        ),
    )


class ExecutionProcessRepoState(Base):
    """Git evidence of one repo before and after one execution."""

    __tablename__ = "execution_process_repo_states"

    execution_process_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    repo_id: Mapped[UUID] = mapped_column(ForeignKey("repos.id"), primary_key=True)
    before_head_commit: Mapped[str | None]
    after_head_commit: Mapped[str | None]
    merge_commit: Mapped[str | None]
    branch: Mapped[str | None]
    """Branch that HEAD was on afterwards; null when detached."""
    dirty: Mapped[bool | None]
    summary: Mapped[dict[str, Any] | None]
    """Counts and first paths of what is modified and untracked."""
    pinned_commit: Mapped[str | None]
    """The whole work tree as a commit, kept in the workspace's store under refs/relay/<execution id>."""
    committed: Mapped[str | None]
    """The commit that Relay itself made, if it made one."""
    problem: Mapped[str | None]
    """Why a part of the evidence could not be taken."""
    patch: Mapped[bytes | None]
    """zstd of the diff of the pinned state against the workspace's base commit."""
    step_patch: Mapped[bytes | None]
    """The same against before_head_commit; null when it equals `patch`."""
    stat: Mapped[dict[str, Any] | None]
    """{files, insertions, deletions, truncated} of `patch`; `step` the same of `step_patch`."""


class CodingAgentTurn(Base):
    """One prompt and its answer."""

    __tablename__ = "coding_agent_turns"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    execution_process_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), unique=True)
    agent_session_id: Mapped[str | None]
    agent_message_id: Mapped[str | None]
    prompt: Mapped[str | None]
    summary: Mapped[str | None]
    usage: Mapped[dict[str, Any] | None]
    seen: Mapped[bool] = mapped_column(server_default=text("false"))


class ConversationEntry(Base):
    """One entry of a turn's conversation as it stands; `sequence` is the number of its last change."""

    __tablename__ = "conversation_entries"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    entry: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    kind: Mapped[str]
    content: Mapped[dict[str, Any]]
    """{text, tool, usage, truncated} (relay_core.domain.agents.conversation)."""
    created_at: Mapped[datetime] = _created()

    __table_args__ = (Index("conversation_sequence", "execution_id", "sequence", unique=True),)


class Event(Base):
    """What happened, in order; the terminal one of an operation is its last."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    xid: Mapped[int] = mapped_column(server_default=text("pg_current_xact_id()::text::bigint"))
    """Transaction that wrote it: readers across workspaces stop below the oldest one still open."""
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"))
    workspace_seq: Mapped[int]
    operation_id: Mapped[UUID | None]
    sequence: Mapped[int | None]
    kind: Mapped[str]
    terminal: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    payload: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())

    __table_args__ = (
        UniqueConstraint("workspace_id", "workspace_seq", name="events_workspace_seq"),
        UniqueConstraint("operation_id", "sequence", name="events_operation_sequence"),
        Index("events_one_terminal", "operation_id", unique=True, postgresql_where=text("terminal")),
        Index("events_global", "xid", "id"),
    )


class LogStream(Base):
    """How much of a stream is stored; the row that a chunk's guarded UPDATE moves."""

    __tablename__ = "log_streams"

    execution_id: Mapped[UUID] = mapped_column(ForeignKey("execution_processes.id"), primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    fence: Mapped[int] = mapped_column(server_default=text("0"))
    """The execution's fence, repeated so that one UPDATE can check fence and offset."""
    bytes: Mapped[int] = mapped_column(server_default=text("0"))
    sha256: Mapped[str | None]
    """Of the stored bytes, once the log is complete."""
    truncated: Mapped[bool] = mapped_column(server_default=text("false"))
    """The process wrote more than is stored."""
    closed: Mapped[bool] = mapped_column(server_default=text("false"))
    compacted_to: Mapped[int | None] = mapped_column(server_default=text("0"))
    """Of `all`: up to which offset its chunks were put together; null when they all were."""

    __table_args__ = (
        _one_of("stream", Stream, "log_streams_stream"),
        Index(
            "log_streams_to_compact",
            "execution_id",
            postgresql_where=text("stream = 'all' AND closed AND compacted_to IS NOT NULL"),
        ),
    )


class LogChunk(Base):
    """A piece of stdout or stderr; together they are also the stream `all`, in the order of `all_offset`."""

    __tablename__ = "log_chunks"

    execution_id: Mapped[UUID] = mapped_column(primary_key=True)
    stream: Mapped[str] = mapped_column(primary_key=True)
    start_offset: Mapped[int] = mapped_column(primary_key=True)
    all_offset: Mapped[int]
    byte_length: Mapped[int]
    """Length of the bytes themselves, before compression."""
    codec: Mapped[int] = mapped_column(SmallInteger)
    """0: as they are, 1: one zstd frame."""
    data: Mapped[bytes]

    __table_args__ = (
        Index("log_chunks_all", "execution_id", "all_offset", unique=True),
        CheckConstraint("byte_length > 0 AND codec IN (0, 1)", name="log_chunks_shape"),
    )


class RuntimeNode(Base):
    """A host with a container engine and one or more workers."""

    __tablename__ = "runtime_nodes"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    pool: Mapped[str]
    reported_health: Mapped[str] = mapped_column(server_default=NodeHealth.OK)
    """Written by the node's heartbeat only."""
    liveness: Mapped[str] = mapped_column(server_default=Liveness.ONLINE)
    """Lowered by the presence sweep only, raised by a heartbeat only."""
    last_heartbeat_at: Mapped[datetime | None]
    client_version: Mapped[str | None]
    capabilities: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    draining: Mapped[bool] = mapped_column(server_default=text("false"))
    max_workspaces: Mapped[int | None]
    """What it may promise, said by its worker at each start; null: no limit is known."""
    memory_bytes: Mapped[int | None]
    """The same for the sum of memory limits."""
    pids: Mapped[int | None]
    """Sum of the limits of processes and threads that it may promise."""
    epoch: Mapped[int] = mapped_column(server_default=text("1"))
    """Grows each time the node was offline and its runs were ended for it."""
    reaped_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = _created()

    __table_args__ = (
        _one_of("reported_health", NodeHealth, "runtime_nodes_reported_health"),
        _one_of("liveness", Liveness, "runtime_nodes_liveness"),
    )


class PresenceSweep(Base):
    """One row: when anybody last looked at the nodes' heartbeats, and the end of the last outage of ours."""

    __tablename__ = "presence_sweeps"

    single: Mapped[bool] = mapped_column(primary_key=True, server_default=text("true"))
    swept_at: Mapped[datetime] = mapped_column(server_default=func.now())
    resumed_at: Mapped[datetime] = mapped_column(server_default=func.now())

    __table_args__ = (CheckConstraint("single", name="presence_sweeps_single"),)
