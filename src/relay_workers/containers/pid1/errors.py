"""The errors of a request to relay-pid1, as subclasses of the errors that `containers.port` uses."""

import os

from relay_core.domain.errors import Conflict, InvalidInput, NotFound, RelayError, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.pid1.answers import Refusal
from relay_workers.containers.pid1.messages import Error, Stage
from relay_workers.containers.port import EngineUnavailable

_STAGES = {
    Stage.SUPERVISOR: "making its supervisor",
    Stage.STEP: "making its process",
    Stage.SESSION: "making its session or terminal",
    Stage.USER: "changing to its user and groups",
    Stage.CAPABILITIES: "setting its capabilities",
    Stage.DIRECTORY: "entering its working directory",
    Stage.PROGRAM: "executing its program",
}


class Pid1Silent(EngineUnavailable):
    """relay-pid1 did not answer in time: ask the engine whether the container is paused or gone.

    It is unknown whether the request was carried out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True, silent=True)


class Pid1Gone(StepFailed):
    """Nothing listens on the channel of a container, or another process does: relay-pid1 ended or was started again."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CONTAINER_MISSING, message)


class EventsLost(EngineUnavailable):
    """The connection that watched executions has ended: watch each of them again."""

    def __init__(self) -> None:
        super().__init__("The connection that watched executions in the container has ended", retryable=True)


class UnknownExecution(NotFound):
    """relay-pid1 does not know this start: it never got it, or the container was started again since."""

    code = "unknown_execution"


class AlreadyStarted(Conflict):
    """This start was carried out before, so it can be neither repeated nor forbidden."""


class StartForbidden(Conflict):
    """This start was forbidden before."""


class NotRunning(Conflict):
    """The step has ended, or has no terminal."""


class DialFailed(RelayError):  # noqa: N818 - reads as what it says
    """Nothing accepted a connection on the port.

    Attributes:
        errno: the errno of the last attempt, as `errno.ECONNREFUSED` or `errno.ETIMEDOUT`.
    """

    code = "dial_failed"

    def __init__(self, message: str, errno: int) -> None:
        super().__init__(message)
        self.errno = errno


class PidsLimitReached(StepFailed):
    """The container has as many processes as it may have. The start was not carried out and may be repeated."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.START_FAILED, message)


def refused(subject: str, refusal: Refusal) -> RelayError:
    """Return the error that stands for a refusal.

    Args:
        subject: the request in words, for the message: "the start of execution …".
        refusal: the answer of relay-pid1.
    """
    why = os.strerror(refusal.errno) if refusal.errno else ""
    described = {
        Error.UNKNOWN_EXECUTION: UnknownExecution(f"{subject}: the container's PID 1 does not know this start"),
        Error.EXISTS: AlreadyStarted(f"{subject}: it was started before", code="already_started"),
        Error.FORBIDDEN: StartForbidden(f"{subject}: it was declared as never started", code="start_forbidden"),
        Error.START_FAILED: StepFailed(Reason.START_FAILED, f"{subject} failed while {_stage(refusal)}: {why}"),
        Error.PIDS_LIMIT: PidsLimitReached(f"{subject}: no process could be made; raise limits.pids of the workspace"),
        Error.NOT_RUNNING: NotRunning(f"{subject}: the step has ended", code="not_running"),
        Error.NO_TERMINAL: NotRunning(f"{subject}: the step has no terminal", code="no_terminal"),
        Error.DIAL_FAILED: DialFailed(f"{subject}: {why}", refusal.errno),
        Error.RESERVED_USER: InvalidInput(f"{subject}: this uid or gid is reserved; choose another one", field="user"),
    }
    fallback = EngineUnavailable(
        f"{subject} was refused by the container's PID 1: {refusal.error.name.lower()} {why}".rstrip(),
        retryable=refusal.error in {Error.TOO_MANY, Error.NO_RESOURCES},
    )
    return described.get(refusal.error, fallback)


def _stage(refusal: Refusal) -> str:
    return _STAGES.get(refusal.stage, "starting")
