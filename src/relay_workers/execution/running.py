"""A step's process while it is watched, and what is known of it once it has ended."""

import time
from dataclasses import dataclass, field

from relay_core.domain import execution as machine
from relay_core.domain.execution import Transition
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.store.executions.lifecycle import Claimed
from relay_workers.capture.pump import Capture, CaptureEnd
from relay_workers.execution.agent_turn import Turn
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.ending import Processes
from relay_workers.execution.outcome import CAP_MESSAGES
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.host_files.run_dir import RunDir

CRLF_HINT = "; its lines end with carriage returns (CRLF), which a shell takes for a part of its words: save it with LF"
IN_BACKGROUND = "its script ended and left the server in the background, which ends with it: start it in the foreground"
NEVER_SERVED = "it ended with code 0 before anything listened on $PORT; the script has to stay as long as the server"


@dataclass
class Running:
    """A started process and what watches it."""

    workspace: WorkspaceHandle
    run_dir: RunDir
    capture: Capture
    exec_id: str | None
    """None where the worker that started it could not note it any more."""
    mask: SecretMask
    """For what is stored of it."""
    processes: Processes
    turn: Turn | None = None
    """Of a coding agent."""
    began: float = field(default_factory=time.monotonic)
    answered: bool = False
    """A dev server's port has answered."""

    def leave(self, context: WorkerContext) -> None:
        """Watch it no longer; the process goes on, if it still runs."""
        if self.turn is not None:
            self.turn.close()
        context.pump.detach(self.capture)


@dataclass(frozen=True)
class Ended:
    """What is known of a process after its log is drained."""

    exit_code: int | None
    reason: Reason | None
    """Null when it ended by itself with code 0."""
    log: CaptureEnd
    lost_output: bool
    """A copier in the container could not write everything."""
    left: tuple[str, ...] = ()
    """Names of the processes that it left running, and that were ended."""


def transition_of(claimed: Claimed, running: Running, ended: Ended) -> Transition:
    """The end state of a script; an agent's verdict is made from its own protocol (`evidence`)."""
    if ended.reason is Reason.USER:
        return machine.killed("killed on request", ended.exit_code)
    if ended.reason in CAP_MESSAGES:
        message = CAP_MESSAGES[ended.reason].format(limits=running.workspace.row.limits)
        return machine.failed(ended.reason, message, ended.exit_code)
    if ended.reason is not None or ended.exit_code != 0:
        name = claimed.run_reason.replace("_", " ")
        hint = CRLF_HINT if "\r\n" in getattr(claimed.step, "script", "") else ""
        message = f"the {name} exited with {ended.exit_code}{hint}"
        return machine.failed(ended.reason or Reason.EXIT_CODE, message, ended.exit_code)
    if claimed.run_reason is RunReason.DEV_SERVER and (ended.left or not running.answered):
        return machine.failed(Reason.NO_PORT, IN_BACKGROUND if ended.left else NEVER_SERVED, ended.exit_code)
    return machine.completed(0)
