"""Decides the exit code of a step and why it failed, from the record that relay-pid1 wrote."""

from typing import NamedTuple

from relay_core.domain.vocabulary import Reason
from relay_workers.containers.pid1.answers import EndFlag, How
from relay_workers.containers.pid1.record import Ended, Record

_SIGNALLED = 128
"""A shell reports the end by a signal as this number plus the signal's, and so does Relay."""
_KILLED = 137


class ExitVerdict(NamedTuple):
    """The exit code of a step's process, and why the step failed."""

    exit_code: int | None
    """The step's exit code; None if it cannot be known."""
    reason: Reason | None
    """Why the step failed; None if it completed."""


def judge_end(record: Record | None, *, over: bool) -> ExitVerdict:
    """Decide the exit code of a step that has ended, and why it failed.

    Args:
        record: the record of the step; None if it is gone. Without an end in it, the container ended before the step
            did, because relay-pid1 records every end.
        over: whether relay-pid1 writes nothing more to the record. If it does not get to write (a blocked disk), the
            end of the step is not known.
    """
    if record is None or record.ended is None:
        return ExitVerdict(None, Reason.CONTAINER_MISSING if over else Reason.INTERNAL_ERROR)
    ended = record.ended
    if ended.how is How.SUPERVISOR_LOST:
        return ExitVerdict(None, Reason.SUPERVISOR_LOST)
    if ended.how is How.START_FAILED:
        return ExitVerdict(None, Reason.START_FAILED)
    code = _SIGNALLED + ended.value if ended.how is How.SIGNALLED else ended.value
    if ended.flags & EndFlag.DEADLINE_PASSED:
        return ExitVerdict(code, Reason.TIMEOUT)
    if code == _KILLED and not ended.flags & EndFlag.KILL_SENT and _memory_ran_out(record, ended):
        return ExitVerdict(code, Reason.OOM)
    return ExitVerdict(code, None if code == 0 else Reason.EXIT_CODE)


def lost_output(record: Record | None) -> bool:
    """Return whether some output of the step is missing from its log files, because the disk was full."""
    drained = record.drained if record else None
    return drained is not None and bool(drained.stdout.dropped or drained.stderr.dropped)


def _memory_ran_out(record: Record, ended: Ended) -> bool:
    """Return whether the kernel killed a process of the container for lack of memory while the step ran.

    False if that is not known.
    """
    before = record.started.oom_kills if record.started else None
    return before is not None and ended.oom_kills is not None and ended.oom_kills > before
