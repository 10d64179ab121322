"""Decides the transition that ends a step with a process: by its exit, and for an agent also by its protocol."""

from dataclasses import replace

from relay_core.domain import execution as machine
from relay_core.domain.execution import Transition
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.store.executions.claim import Claimed
from relay_workers.agents.port import Verdict
from relay_workers.execution.outcome import CAP_MESSAGES
from relay_workers.execution.running_step import RunningStep
from relay_workers.execution.step_finisher import StepEnd

CRLF_HINT = "; its lines end with carriage returns (CRLF), which a shell takes for a part of its words: save it with LF"
IN_BACKGROUND = "its script ended and left the server in the background, which ends with it: start it in the foreground"
NEVER_SERVED = "it ended with code 0 before anything listened on $PORT; the script has to stay as long as the server"


def transition_of(claimed: Claimed, step: RunningStep, end: StepEnd) -> Transition:
    """Return the transition by exit code and reason alone. `agent_transition` refines that of an agent."""
    if end.reason is Reason.USER:
        return machine.killed("killed on request", end.exit_code)
    if end.reason in CAP_MESSAGES:
        message = end.message or CAP_MESSAGES[end.reason].format(limits=step.place.workspace.row.limits)
        return machine.failed(end.reason, message, end.exit_code)
    if end.reason is not None or end.exit_code != 0:
        name = claimed.run_reason.replace("_", " ")
        hint = CRLF_HINT if "\r\n" in getattr(claimed.step, "script", "") else ""
        message = f"the {name} exited with {end.exit_code}{hint}"
        return machine.failed(end.reason or Reason.EXIT_CODE, message, end.exit_code)
    if claimed.run_reason is RunReason.DEV_SERVER and (end.left or not step.answered):
        return machine.failed(Reason.NO_PORT, IN_BACKGROUND if end.left else NEVER_SERVED, end.exit_code)
    return machine.completed(0)


def was_stopped(transition: Transition) -> bool:
    """Return whether Relay stopped the process, for a kill or a limit; its protocol then cannot show how it ended."""
    return transition.target is Status.KILLED or transition.reason not in {None, Reason.EXIT_CODE}


def agent_transition(mask: SecretMask, verdict: Verdict, transition: Transition, exit_code: int | None) -> Transition:
    """Return the transition of an agent: its protocol may report a failure although the exit code is 0, or the reverse.

    Kills and exceeded limits stay as they are. If the agent was silent or ran too long, its last error is added to the
    message: it may have repeated one failing request all the time.

    Args:
        mask: masks the texts that come from the agent.
        verdict: the result by the agent's protocol.
        transition: the result by exit code and reason.
        exit_code: the agent's exit code; None if it is not known.
    """
    if transition.reason in {Reason.TIMEOUT, Reason.NO_OUTPUT} and verdict.last_error:
        message = f"{transition.error_reason}; the agent's last error: {mask.text(verdict.last_error)}"
        return replace(transition, error_reason=message)
    if was_stopped(transition):
        return transition
    if verdict.success:
        return machine.completed(exit_code)
    reason = Reason(verdict.reason or Reason.AGENT_ERROR)
    message = mask.text(verdict.message or f"the agent exited with {exit_code}")
    return machine.failed(reason, message, exit_code)
