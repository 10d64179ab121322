"""Decides the exit code of a step and why it failed, from its exit record, the container engine and the supervisor."""

from typing import NamedTuple

from relay_core.domain.vocabulary import Reason
from relay_workers.host_files.run_dir import ExitRecord

_KILLED = 137


class ExitVerdict(NamedTuple):
    """The exit code of a step's process, and why the step failed."""

    exit_code: int | None
    """The step's exit code; None if it cannot be known."""
    reason: Reason | None
    """Why the step failed; None if it completed."""


def judge_end(record: ExitRecord | None, engine_exit: int | None, *, supervisor_alive: bool) -> ExitVerdict:
    """Decide the exit code of a step that has ended, and why it failed.

    Args:
        record: the exit record that the supervisor wrote; the step could have forged it. None if there is none.
        engine_exit: the supervisor's exit code as the container engine reports it, which equals the step's. None while
            the supervisor runs, or if the engine has forgotten it.
        supervisor_alive: whether the supervisor still runs, as its open end of the FIFO ``alive`` shows. It outlives
            the step while a background child of the step holds the log open.

    Raises:
        ValueError: the step has not ended.
    """
    if record is None:
        if supervisor_alive:
            raise ValueError("a step whose supervisor lives and has written no record has not ended")
        return ExitVerdict(engine_exit, Reason.SUPERVISOR_LOST)
    code = record.code
    # If the supervisor was killed while it waited for its copiers, its exit code is not the step's.
    if engine_exit is not None and not (engine_exit == _KILLED and not record.drained):
        code = engine_exit
    if record.code is None:
        return ExitVerdict(None, Reason.START_FAILED)
    if record.late:
        return ExitVerdict(code, Reason.TIMEOUT)
    if code == _KILLED and record.oom_killed:
        return ExitVerdict(code, Reason.OOM)
    return ExitVerdict(code, None if code == 0 else Reason.EXIT_CODE)
