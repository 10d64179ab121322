"""Ends a step that raised an error: kills its processes, and makes the outcome that takes its row out of `running`."""

import threading

from relay_core.domain import execution as machine
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import Reason, Status
from relay_core.store.executions.claim import Claimed
from relay_workers.containers.retry_while_silent import RetryWhileSilent
from relay_workers.execution.ending import ProcessEnder
from relay_workers.execution.outcome import Outcome, end_of
from relay_workers.execution.partial_evidence import PartialEvidence
from relay_workers.ownership.leases import Leases
from relay_workers.ownership.live_executions import ExecutionControl

_AT_ONCE = threading.Event()
_AT_ONCE.set()


class BrokenSteps:
    """Turns the error that a step raised into an outcome.

    Args:
        leases: confirm that this worker still owns the execution, before its processes are killed.
        ender: kills the processes.
        retry: the retries of engine calls, which are switched off here: if the container engine does not answer, the
            `Leftovers` sweep (`maintenance.leftovers`) kills the processes later.
        evidence: collects the log sizes and the HEAD commits.
    """

    def __init__(self, leases: Leases, ender: ProcessEnder, retry: RetryWhileSilent, evidence: PartialEvidence) -> None:
        self._leases = leases
        self._ender = ender
        self._retry = retry
        self._evidence = evidence

    def outcome(self, claimed: Claimed, control: ExecutionControl, error: Exception) -> Outcome:
        """Kill the processes of the step and return a failure (or kill) with the reason of the error.

        Raises:
            OwnershipLost: another worker owns the execution now.
        """
        transition = end_of(error, kill_asked=control.kill.is_set())
        started = control.processes
        self._leases.confirm(control)
        with self._retry.until(_AT_ONCE):
            gone = started is None or self._ender.try_to_end(started)
        if not gone:
            transition = _not_ended(transition)
        return Outcome(transition, self._evidence.collect(claimed, truncated=started is not None), gone=gone)


def _not_ended(transition: Transition) -> Transition:
    """Turn a kill whose processes may still run into a failure. A failure is returned unchanged."""
    if transition.target is not Status.KILLED:
        return transition
    return machine.failed(Reason.ENGINE_ERROR, f"{transition.error_reason}; its processes could not be ended")
