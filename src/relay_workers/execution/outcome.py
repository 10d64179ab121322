"""How an execution ended, as a value: the transition to write and the evidence that goes with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from relay_core.domain import execution as machine
from relay_core.domain.errors import StepFailed
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.lifecycle import Evidence
from relay_workers.containers.port import EngineUnavailable

log = structlog.get_logger(__name__)


class LetGo(Exception):  # noqa: N818 - not an error
    """The execution is not ours any more, or this worker goes away: write nothing, touch nothing."""


@dataclass(frozen=True)
class Outcome:
    """The end of an execution."""

    transition: Transition
    evidence: Evidence = field(default_factory=Evidence)
    also: Callable[[Connection], None] | None = None
    """Further writes that belong into the terminal transaction."""
    afterwards: Callable[[], None] | None = None
    """What may go once that transaction is committed."""
    gone: bool = field(kw_only=True)
    """No process of it runs any more: that is verified, or none was started."""


def from_failure(error: StepFailed, *, kill_asked: bool) -> Transition:
    """A preparation that failed; one that failed because somebody asked for its end was killed."""
    if kill_asked or error.reason == Reason.USER:
        return machine.killed(str(error))
    return machine.failed(Reason(error.reason), str(error))


def as_failure(error: Exception) -> StepFailed:
    """Anything that ended a step, as what is told of it; what nobody foresaw goes to the worker's log in full."""
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
    Reason.DISK_PRESSURE: "the node's disk was nearly full, and of all workspaces its own grew most; free space there",
    Reason.OOM: "it used more than limits.memory_bytes ({limits.memory_bytes} bytes) and the kernel ended it",
    Reason.LOG_TAMPERED: "its log was changed behind Relay's back; what was stored before is kept",
    Reason.SUPERVISOR_LOST: "its supervisor in the container was ended from inside, so its exit code is not known",
    Reason.CONTAINER_MISSING: "the workspace's container was ended or removed outside of Relay while it ran",
    Reason.START_FAILED: "its first process could not be started; its log says why",
    Reason.NO_PORT: "nothing listened on $PORT in time; bind the server to $HOST:$PORT",
}
"""What a person is told, by reason."""
