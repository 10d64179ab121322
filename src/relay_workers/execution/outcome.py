"""The end of an execution as a value: the transition to write, and the evidence that is stored with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from relay_core.domain import execution as machine
from relay_core.domain.errors import StepFailed
from relay_core.domain.execution import Transition
from relay_core.domain.job_settings import JobSettings
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.finish import Evidence
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.containers.port import EngineUnavailable
from relay_workers.containers.run_files import RunFiles

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class CloneRecord:
    """One clone of a prepared workspace, with the values that its row stores."""

    repo_id: UUID
    mirror_path: str
    base_commit: str
    """The commit at which the workspace's branch began."""
    target_branch: str | None
    copied: tuple[str, ...] = ()
    """Paths of files that git does not have and that were copied into the clone."""


@dataclass(frozen=True)
class PreparedWorkspace:
    """The results of a `clone` execution that are stored in the workspace's row."""

    row: WorkspaceRow
    """The workspace's row as it was before the execution."""
    container_id: str
    uid: int
    image_digest: str
    """``repository@sha256:…``, or the image's id if it came from no registry."""
    clones: Sequence[CloneRecord]
    settings: JobSettings | None = None
    """The settings of the run, completed from job files; None if they are stored already."""


@dataclass(frozen=True)
class RemovedWorkspace:
    """Result of a `clone` execution that failed and removed all files of its workspace.

    The end of the execution clears the workspace's Unix user id, which another workspace can then get.
    """


@dataclass(frozen=True)
class Outcome:
    """The end of an execution, before it is stored."""

    transition: Transition
    evidence: Evidence = field(default_factory=Evidence)
    gone: bool = field(kw_only=True)
    """Whether no process of the execution runs any more: this was verified, or none was started."""
    workspace: PreparedWorkspace | RemovedWorkspace | None = field(default=None, kw_only=True)
    """Change of the workspace's row that is stored in the same transaction as the end; None for no change."""
    raw_files: RunFiles | None = field(default=None, kw_only=True)
    """Log files to remove once the terminal transaction is committed; None if there is none."""


@dataclass(frozen=True)
class Changes:
    """Numbers of changed files and lines."""

    files: int
    insertions: int
    deletions: int


def changes_of(evidence: Evidence) -> Changes | None:
    """Return what the recorded diffs of all repositories change together; None if no diff was recorded."""
    stats = [state.get("stat") or {} for state in evidence.repo_states.values()]
    counted = [stat for stat in stats if "files" in stat]
    if not counted:
        return None
    return Changes(*(sum(stat[name] for stat in counted) for name in ("files", "insertions", "deletions")))


def end_of(error: Exception, *, kill_asked: bool) -> Transition:
    """Return the transition that ends a step which raised ``error``. An unexpected error is logged with its traceback.

    Args:
        error: the error that the step raised.
        kill_asked: whether a kill was requested. A `StepFailed` then counts as the kill, not as a failure.
    """
    failure = as_failure(error)
    if isinstance(error, StepFailed) and (kill_asked or failure.reason == Reason.USER):
        return machine.killed(str(failure))
    return machine.failed(Reason(failure.reason), str(failure))


def as_failure(error: Exception) -> StepFailed:
    """Return any error of a step as a `StepFailed`, with the reason and message that clients see."""
    if isinstance(error, StepFailed):
        return error
    if isinstance(error, EngineUnavailable):
        return StepFailed(Reason.ENGINE_ERROR, str(error))
    log.error("a step broke", exc_info=error)
    message = f"Relay itself failed ({type(error).__name__}); the worker's log has the details"
    return StepFailed(Reason.INTERNAL_ERROR, message)


CAP_MESSAGES = {
    Reason.TIMEOUT: "it ran longer than limits.timeout_seconds ({limits.timeout_seconds} s)",
    Reason.NO_OUTPUT: "it wrote nothing for limits.no_output_seconds ({limits.no_output_seconds} s)",
    Reason.LOG_LIMIT: "it wrote more than limits.log_bytes ({limits.log_bytes} bytes)",
    Reason.DISK_LIMIT: "its workspace took more than limits.disk_bytes ({limits.disk_bytes} bytes), or more than the "
    "{limits.disk_files} files that go with it",
    Reason.DISK_PRESSURE: "the node's disk was nearly full; free space there",
    Reason.OOM: "it used more than limits.memory_bytes ({limits.memory_bytes} bytes) and the kernel ended it",
    Reason.LOG_TAMPERED: "its log was changed behind Relay's back; what was stored before is kept",
    Reason.SUPERVISOR_LOST: "its supervisor in the container was ended, so its exit code is not known",
    Reason.CONTAINER_MISSING: "the workspace's container was ended or removed outside of Relay while it ran",
    Reason.START_FAILED: "its first process could not be started; its log says why",
    Reason.NO_PORT: "nothing listened on $PORT in time; bind the server to $HOST:$PORT",
}
"""Message for clients, for each reason; ``{limits…}`` is replaced by the workspace's limits."""
