"""The exit code of a step and why it failed, decided from its exit record, the container engine and the supervisor."""

from typing import NamedTuple

from relay_core.domain.vocabulary import Reason
from relay_workers.host_files.run_dir import ExitRecord

_KILLED = 137


class ExitVerdict(NamedTuple):
    """The end of a step's process."""

    exit_code: int | None
    """None where it cannot be known."""
    reason: Reason | None
    """Why the step failed; None where it completed."""


def judge_end(record: ExitRecord | None, engine_exit: int | None, *, supervisor_alive: bool) -> ExitVerdict:
    """The end of a step.

    Args:
        record: the supervisor's exit record; the step could have written it too.
        engine_exit: the supervisor's exit code as the container engine has it, which equals the step's; None while the
            supervisor runs, or where the engine has forgotten it.
        supervisor_alive: whether the supervisor holds ``alive`` open. It outlives the step while a background child
            holds the log.

    Raises:
        ValueError: the step has not ended.
    """
    if record is None:
        if supervisor_alive:
            raise ValueError("a step whose supervisor lives and has written no record has not ended")
        return ExitVerdict(engine_exit, Reason.SUPERVISOR_LOST)
    code = record.code
    # A supervisor that was killed while it waited for its copiers says nothing about the step.
    if engine_exit is not None and not (engine_exit == _KILLED and not record.drained):
        code = engine_exit
    if record.code is None:
        return ExitVerdict(None, Reason.START_FAILED)
    if record.late:
        return ExitVerdict(code, Reason.TIMEOUT)
    if code == _KILLED and record.oom_killed:
        return ExitVerdict(code, Reason.OOM)
    return ExitVerdict(code, None if code == 0 else Reason.EXIT_CODE)
