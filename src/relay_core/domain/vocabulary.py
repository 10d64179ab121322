"""The closed sets of words used in code, tables and the API, one spelling each (docs/architecture.md)."""

from enum import StrEnum


class RunReason(StrEnum):
    """What an ExecutionProcess is for; also the name of its Celery task behind ``relay.``."""

    CLONE = "clone"
    SETUP_SCRIPT = "setup_script"
    CODING_AGENT = "coding_agent"
    DEV_SERVER = "dev_server"
    CLEANUP_SCRIPT = "cleanup_script"
    ARCHIVE_SCRIPT = "archive_script"

    @property
    def in_lane(self) -> bool:
        """Whether it takes the workspace's exclusive lane: all but dev servers do."""
        return self is not RunReason.DEV_SERVER


class Status(StrEnum):
    """Where an ExecutionProcess stands. *Why* it ended is a `Reason`, never a status."""

    QUEUED = "queued"
    """Entered by the API or by the end of the step before; left by a claim, a kill or a refusal."""
    RUNNING = "running"
    """Entered by a worker's claim; a crash leaves it here with an expiring lease."""
    COMPLETED = "completed"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def final(self) -> bool:
        """Whether nothing leads out of it."""
        return self in FINAL


ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})
FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.KILLED})


class Reason(StrEnum):
    """Why an execution ended as it did; null for one that completed."""

    # the step's own doing
    EXIT_CODE = "exit_code"
    AGENT_ERROR = "agent_error"
    CANNOT_RESUME = "cannot_resume"
    """The agent does not know the conversation that was to go on."""
    NO_PORT = "no_port"
    # what could not be prepared
    CLONE_FAILED = "clone_failed"
    CLONE_TIMEOUT = "clone_timeout"
    IMAGE_UNAVAILABLE = "image_unavailable"
    PROGRAM_MISSING = "program_missing"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a word, no secret
    """A secret that the run names is not there any more, or cannot be decrypted."""
    START_FAILED = "start_failed"
    WORKSPACE_GONE = "workspace_gone"
    # caps
    TIMEOUT = "timeout"
    NO_OUTPUT = "no_output"
    LOG_LIMIT = "log_limit"
    DISK_LIMIT = "disk_limit"
    OOM = "oom"
    DISK_PRESSURE = "disk_pressure"
    # somebody asked
    USER = "user"
    # infrastructure and evidence
    SUPERVISOR_LOST = "supervisor_lost"
    CONTAINER_MISSING = "container_missing"
    ENGINE_ERROR = "engine_error"
    NODE_LOST = "node_lost"
    LOG_TAMPERED = "log_tampered"
    INTERNAL_ERROR = "internal_error"


class TaskStatus(StrEnum):
    """Lifecycle of a Task (domain model); only `CANCELLED` is set by hand."""

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
    """What the server concludes from a node's silence; never what the node says."""

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class NodeHealth(StrEnum):
    """What a node says of itself; never that it is away."""

    OK = "ok"
    DRAINING = "draining"
    """It takes no new workspaces, as it was told."""
    DISK_PRESSURE = "disk_pressure"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    """Its container engine does not answer."""


class CloneState(StrEnum):
    """State of the mirror of a ProjectRepo."""

    CLONING = "cloning"
    READY = "ready"
    FAILED = "failed"


class Stream(StrEnum):
    """A log of an execution: the process's own two, and both in the order in which they were stored."""

    STDOUT = "stdout"
    STDERR = "stderr"
    ALL = "all"


class Scope(StrEnum):
    """What a token may do."""

    READ = "runs:read"
    WRITE = "runs:write"
    ADMIN = "admin"
    """Everything, for every owner, and tokens."""
