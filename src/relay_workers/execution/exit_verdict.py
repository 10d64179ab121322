"""How a step ended, from the three that can know: its exit record, the engine, and the supervisor's life. Pure."""

from typing import NamedTuple

from relay_core.domain.vocabulary import Reason
from relay_workers.host_files.run_dir import ExitRecord

_KILLED = 137


class End(NamedTuple):
    """An exit code, where there is one, and why the step failed, or None when it completed."""

    exit_code: int | None
    reason: Reason | None


def judge_end(record: ExitRecord | None, engine_exit: int | None, *, supervisor_alive: bool) -> End:
    """The end of a step.

    Args:
        record: what the supervisor wrote; the step could have written it too.
        engine_exit: the supervisor's exit code as the engine knows it (it is the step's); None while it
            runs, or when the engine has forgotten.
        supervisor_alive: whether ``alive`` is still held open: while a background child holds the log,
            it outlives the step.

    Raises:
        ValueError: the step has not ended.
    """
    if record is None:
        if supervisor_alive:
            raise ValueError("a step whose supervisor lives and has written no record has not ended")
        return End(engine_exit, Reason.SUPERVISOR_LOST)
    code = record.code
    # A supervisor that was killed while it waited for its copiers says nothing about the step.
    if engine_exit is not None and not (engine_exit == _KILLED and not record.drained):
        code = engine_exit
    if record.code is None:
        return End(None, Reason.START_FAILED)
    if record.late:
        return End(code, Reason.TIMEOUT)
    if code == _KILLED and record.oom_killed:
        return End(code, Reason.OOM)
    return End(code, None if code == 0 else Reason.EXIT_CODE)
