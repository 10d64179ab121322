"""The closed sets of words used in code, tables and the API, one spelling each (docs/architecture.md)."""

from enum import StrEnum


class RunReason(StrEnum):
    """The kind of an execution; its Celery task is named ``relay.`` followed by this word."""

    CLONE = "clone"
    SETUP_SCRIPT = "setup_script"
    CODING_AGENT = "coding_agent"
    DEV_SERVER = "dev_server"
    CLEANUP_SCRIPT = "cleanup_script"
    ARCHIVE_SCRIPT = "archive_script"
    PUSH = "push"
    RESET = "reset"
    MERGE = "merge"
    REBASE = "rebase"

    @property
    def in_lane(self) -> bool:
        """Whether executions of this kind need the workspace's exclusive lane: all but dev servers do."""
        return self is not RunReason.DEV_SERVER

    @property
    def in_run(self) -> bool:
        """Whether executions of this kind are part of a run; dev servers and archive scripts are not."""
        return self not in {RunReason.DEV_SERVER, RunReason.ARCHIVE_SCRIPT}

    @property
    def moves_task(self) -> bool:
        """Whether start and end of such an execution change the status of the task.

        Git acts, dev servers and archive scripts do not; a merge that succeeds moves it by itself.
        """
        return self not in {RunReason.DEV_SERVER, RunReason.ARCHIVE_SCRIPT} and not self.is_git_act

    @property
    def is_git_act(self) -> bool:
        """Whether it is an act on the git repositories of a workspace, without a process in its container."""
        return self in {RunReason.PUSH, RunReason.RESET, RunReason.MERGE, RunReason.REBASE}

    @property
    def operation_class(self) -> "OperationClass":
        """The part of Relay that executions of this kind may change."""
        return _NOT_OF_FILES.get(self, OperationClass.WORKSPACE)


class OperationClass(StrEnum):
    """The part of Relay that an operation may change. Clients see it, and need not know the single kinds."""

    READ_ONLY = "read_only"
    """Nothing that Relay keeps of the workspace. A dev server counts here: it is not meant to change the clones."""
    REGISTRY = "registry"
    """Rows of Relay, mirrors, containers or branches of a remote; not the files of a workspace."""
    WORKSPACE = "workspace"
    """The files of a workspace, or whether they exist."""

    @property
    def mutates(self) -> bool:
        """Whether such an operation is refused while a workspace is diverged."""
        return self is not OperationClass.READ_ONLY


_NOT_OF_FILES = {
    RunReason.DEV_SERVER: OperationClass.READ_ONLY,
    RunReason.PUSH: OperationClass.REGISTRY,
    RunReason.MERGE: OperationClass.REGISTRY,
}


class GitState(StrEnum):
    """State of a clone: its HEAD compared with the commit that Relay recorded last."""

    CLEAN = "clean"
    DIRTY = "dirty"
    """HEAD is as recorded; the work tree had uncommitted changes when Relay last recorded it."""
    DIVERGED = "diverged"
    """HEAD has a commit that no execution recorded, or cannot be read any more."""
    MISSING = "missing"
    """The clone is not there."""


class QuarantineState(StrEnum):
    """State of the files of a deleted workspace that its node keeps for a while."""

    KEPT = "kept"
    """They are out of sight, and can be restored."""
    RESTORING = "restoring"
    """A client asked for the workspace; its node brings the files back."""
    PURGING = "purging"
    """The node removes them; they cannot be restored any more."""


class PurgeReason(StrEnum):
    """Why the files of a deleted workspace are removed for good."""

    REQUEST = "request"
    """A client asked for it."""
    PERIOD = "period"
    """They were kept for the whole period."""
    DISK = "disk"
    """Their node is short of disk space, and of all that it keeps, they were deleted first."""


class Status(StrEnum):
    """The status of an execution. *Why* it ended is a `Reason`, never a status."""

    QUEUED = "queued"
    """Waits for a worker. Set by the API or by the end of the step before; a claim, a kill or a refusal ends it."""
    RUNNING = "running"
    """A worker has claimed it. If that worker crashes, the status stays and the lease expires."""
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
    """Why an execution failed or was killed; null for a completed one. docs/state-machine.md says how to fix each."""

    # the step itself failed
    EXIT_CODE = "exit_code"
    AGENT_ERROR = "agent_error"
    CANNOT_RESUME = "cannot_resume"
    """The agent does not know the conversation that the follow-up should continue."""
    NO_PORT = "no_port"
    PUSH_REJECTED = "push_rejected"
    """The remote was reached and refused the branch, for example because it has other commits."""
    PUSH_FAILED = "push_failed"
    RESET_FAILED = "reset_failed"
    """A clone has uncommitted changes that the request did not allow to discard, or cannot be reset to the commit."""
    MERGE_CONFLICT = "merge_conflict"
    """The workspace and the target branch changed the same lines; the text names the files, and nothing has changed."""
    MERGE_FAILED = "merge_failed"
    REBASE_FAILED = "rebase_failed"
    # the preparation failed
    CLONE_FAILED = "clone_failed"
    CLONE_TIMEOUT = "clone_timeout"
    IMAGE_UNAVAILABLE = "image_unavailable"
    PROGRAM_MISSING = "program_missing"
    SECRET_MISSING = "secret_missing"  # noqa: S105 - a word, no secret
    """A secret that the run names was deleted, or cannot be decrypted."""
    JOB_FILE_INVALID = "job_file_invalid"
    """`relay.toml` of the repository has a fault, or asks for what the server or node does not allow."""
    START_FAILED = "start_failed"
    WORKSPACE_GONE = "workspace_gone"
    DELEGATION_CORRUPT = "delegation_corrupt"
    """A record of a delegation of the workspace cannot be read, so Relay does not know what may be written."""
    # a limit was exceeded
    TIMEOUT = "timeout"
    NO_OUTPUT = "no_output"
    LOG_LIMIT = "log_limit"
    DISK_LIMIT = "disk_limit"
    OOM = "oom"
    DISK_PRESSURE = "disk_pressure"
    # a kill was requested
    USER = "user"
    # infrastructure failed, or a file was tampered with
    SUPERVISOR_LOST = "supervisor_lost"
    CONTAINER_MISSING = "container_missing"
    ENGINE_ERROR = "engine_error"
    NODE_LOST = "node_lost"
    LOG_TAMPERED = "log_tampered"
    INTERNAL_ERROR = "internal_error"


class Priority(StrEnum):
    """How urgent a run is. A waiting run of a higher priority is admitted before all others that could start."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def level(self) -> int:
        """The number that stands for it in the database; a higher one comes first."""
        return list(Priority).index(self)


class RunStatus(StrEnum):
    """The status of a run, the chain of executions that one request started."""

    QUEUED = "queued"
    """No worker has claimed an execution of it yet."""
    RUNNING = "running"
    COMPLETED = "completed"
    """None of its executions is queued or running; its `Conclusion` says how it ended."""


class Conclusion(StrEnum):
    """How a run ended; null until it is completed. The first execution that did not complete decides."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    """A kill was requested, or the workspace was stopped or deleted."""
    TIMED_OUT = "timed_out"
    LOST = "lost"
    """The node, or the workspace's container, was gone."""


class RunKind(StrEnum):
    """The request that started a run."""

    JOB = "job"
    """A run in a new workspace: clone, setup scripts, agent, cleanup scripts."""
    FOLLOW_UP = "follow_up"
    """The next turn of a session."""
    STEP = "step"
    """A further step in a workspace."""


class TaskStatus(StrEnum):
    """Status of a Task. It follows from executions and merges, and a person can close or reopen it (`domain.task`)."""

    TODO = "todo"
    INPROGRESS = "inprogress"
    INREVIEW = "inreview"
    DONE = "done"
    CANCELLED = "cancelled"


class MergeKind(StrEnum):
    """The way in which the work of a workspace gets into its target branch."""

    DIRECT = "direct"
    """Relay makes a commit and pushes it to the target branch."""
    PR = "pr"
    """Relay pushes the workspace's branch and opens a pull request, which others merge or close."""


class MergeMethod(StrEnum):
    """The commit that a direct merge makes."""

    SQUASH = "squash"
    """One commit with all changes, whose only parent is the target branch."""
    MERGE = "merge"
    """A commit with two parents, so that the workspace's commits are in the target branch, too."""


class MergeStatus(StrEnum):
    """The status of a merge of one repository of a workspace."""

    PENDING = "pending"
    """Its execution is queued or running."""
    OPEN = "open"
    """The pull request is open."""
    MERGED = "merged"
    CLOSED = "closed"
    """The pull request was closed without a merge."""
    FAILED = "failed"
    """Its execution failed or was killed before the target branch, or a pull request, had the work."""


class FirstState(StrEnum):
    """State of the first workspace that was asked for together with its project."""

    WAITING = "waiting"
    """It is made when the project is ready."""
    MADE = "made"
    FAILED = "failed"
    """It could not be made when the project was ready, or the project was deleted before."""


class WorkspaceState(StrEnum):
    """State of a Workspace's container and clones."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"


class StopReason(StrEnum):
    """Why a Workspace is stopped, or about to be."""

    CLIENT = "client"
    """A client asked for it, so a client has to resume it."""
    IDLE = "idle"
    """Relay did it because nothing happened in the workspace; the next step starts it again."""


class Liveness(StrEnum):
    """Relay's judgement of a node, from the age of the node's last heartbeat.

    A heartbeat sets it to online; the presence sweep, a periodic check by the workers, lowers it.
    """

    ONLINE = "online"
    DEGRADED = "degraded"
    OFFLINE = "offline"


class NodeHealth(StrEnum):
    """The state that a node reports about itself."""

    OK = "ok"
    DRAINING = "draining"
    """An operator told the node to take no new workspaces."""
    DISK_PRESSURE = "disk_pressure"
    DISK_UNAVAILABLE = "disk_unavailable"
    """The disk of the node's data directory does not answer."""
    ENGINE_UNAVAILABLE = "engine_unavailable"
    """The node's container engine does not answer."""
    IMPAIRED = "impaired"
    """The node says that it is degraded, and not why."""


class SelfReport(StrEnum):
    """The words that a node may say about itself: everything else is for the server to say."""

    ONLINE = "online"
    DEGRADED = "degraded"


class AttachmentState(StrEnum):
    """State of the attachment of a node to a pool."""

    REGISTERING = "registering"
    """It was attached; its first heartbeat that says `online` makes it online."""
    ONLINE = "online"
    DEGRADED = "degraded"
    """Its declaration is not valid, or it said itself that it is degraded: it gets no new workspace."""
    OFFLINE = "offline"
    """It was detached."""
    REVOKED = "revoked"
    """An operator revoked the node."""

    @property
    def active(self) -> bool:
        """Whether the node takes part in the pool; a node has at most one such attachment."""
        return self in ACTIVE_ATTACHMENTS


ACTIVE_ATTACHMENTS = (AttachmentState.REGISTERING, AttachmentState.ONLINE, AttachmentState.DEGRADED)


class CloneState(StrEnum):
    """State of the git mirror of a repository in a project."""

    CLONING = "cloning"
    READY = "ready"
    FAILED = "failed"


class Stream(StrEnum):
    """A log of an execution: stdout or stderr of its process, or `ALL`, which has both in the order of storing."""

    STDOUT = "stdout"
    STDERR = "stderr"
    ALL = "all"


class EvidenceState(StrEnum):
    """Whether the git state of a repository after an execution is known."""

    PENDING = "pending"
    """The execution has not ended."""
    RECORDED = "recorded"
    UNAVAILABLE = "unavailable"
    """The repository could not be read at the execution's end, or processes of the execution may have changed it since:
    its node was lost, for example.
    """
    RECORDED_LATE = "recorded_late"
    """It was unavailable at the end and recorded when the node returned, before any other step of the workspace."""


class ScratchType(StrEnum):
    """The type of a draft, a note or a preference; it decides which payload there is."""

    DRAFT_TASK = "draft_task"
    DRAFT_FOLLOW_UP = "draft_follow_up"
    DRAFT_WORKSPACE = "draft_workspace"
    PREVIEW_SETTINGS = "preview_settings"
    WORKSPACE_NOTES = "workspace_notes"
    UI_PREFERENCES = "ui_preferences"


class Scope(StrEnum):
    """A permission that a token can have."""

    READ = "runs:read"
    WRITE = "runs:write"
    ADMIN = "admin"
    """All requests, for things of every owner, and the management of tokens."""
    NODE = "node"
    """The operations of one node about itself; only `POST /v1/nodes/{node_id}/credentials` makes such a token."""
