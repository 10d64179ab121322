"""The closed sets of words used in code, tables and the API, one spelling each (docs/architecture.md)."""

from enum import StrEnum


class RunReason(StrEnum):
    """The kind of an execution; its Celery task is named ``relay.`` and this word."""

    CLONE = "clone"
    SETUP_SCRIPT = "setup_script"
    CODING_AGENT = "coding_agent"
    DEV_SERVER = "dev_server"
    CLEANUP_SCRIPT = "cleanup_script"
    ARCHIVE_SCRIPT = "archive_script"

    @property
    def in_lane(self) -> bool:
        """Whether executions of this kind take the workspace's exclusive lane: all but dev servers do."""
        return self is not RunReason.DEV_SERVER


class Status(StrEnum):
    """The status of an execution. *Why* it ended is a `Reason`, never a status."""

    QUEUED = "queued"
    """Set by the API or by the end of the step before; left by a claim, a kill or a refusal."""
    RUNNING = "running"
    """Set by a worker's claim; when the worker crashes, the status stays and the lease expires."""
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def final(self) -> bool:
        """Whether the execution has ended."""
        return self in FINAL


ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})
FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.KILLED})


class Reason(StrEnum):
    """Why an execution failed or was killed; null for a completed one. docs/state-machine.md has a fix for each."""

    # the step's own doing
    EXIT_CODE = "exit_code"
    AGENT_ERROR = "agent_error"
    CANNOT_RESUME = "cannot_resume"
    """The agent does not know the conversation that the follow-up was to continue."""
    NO_PORT = "no_port"
    # what could not be prepared
    CLONE_FAILED = "clone_failed"
    CLONE_TIMEOUT = "clone_timeout"
    IMAGE_UNAVAILABLE = "image_unavailable"
    PROGRAM_MISSING = "program_missing"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a word, no secret
    """A secret that the run names was deleted, or cannot be decrypted."""
    START_FAILED = "start_failed"
    WORKSPACE_GONE = "workspace_gone"
    # caps
    TIMEOUT = "timeout"
    NO_OUTPUT = "no_output"
    LOG_LIMIT = "log_limit"
    DISK_LIMIT = "disk_limit"
    OOM = "oom"
    DISK_PRESSURE = "disk_pressure"
    # a kill was requested
    USER = "user"
    # infrastructure and evidence
    SUPERVISOR_LOST = "supervisor_lost"
    CONTAINER_MISSING = "container_missing"
    ENGINE_ERROR = "engine_error"
    NODE_LOST = "node_lost"
    LOG_TAMPERED = "log_tampered"
    INTERNAL_ERROR = "internal_error"


class TaskStatus(StrEnum):
    """Status of a Task, which follows its executions; only `CANCELLED` is set by a person."""

    TODO = "todo"
    INPROGRESS = "inprogress"
    INREVIEW = "inreview"
    DONE = "done"
    CANCELLED = "cancelled"


class WorkspaceState(StrEnum):
    """State of a Workspace's container and clones."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


class Liveness(StrEnum):
    """The conclusion of Relay from the age of a node's last heartbeat; a node never reports it."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class NodeHealth(StrEnum):
    """The report of a node on itself."""

    OK = "ok"
    DRAINING = "draining"
    """An operator told the node to take no new workspaces."""
    DISK_PRESSURE = "disk_pressure"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    """Its container engine does not answer."""


class CloneState(StrEnum):
    """State of the mirror of a ProjectRepo."""

    CLONING = "cloning"
    READY = "ready"
    FAILED = "failed"


class Stream(StrEnum):
    """A log of an execution: the two of its process, and `ALL` with both in the order in which they were stored."""

    STDOUT = "stdout"
    STDERR = "stderr"
    ALL = "all"


class Scope(StrEnum):
    """A permission of a token."""

    READ = "runs:read"
    WRITE = "runs:write"
    ADMIN = "admin"
    """All requests, on things of every owner, and the management of tokens."""
