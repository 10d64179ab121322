"""The outcome of a step that raised an error: its processes are ended, and its row does not stay `running`."""

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
    """Makes outcomes of errors.

    Args:
        leases: confirm that the execution is this worker's before its processes are touched.
        ender: ends the processes.
        retry: switched off here: a container engine that is away is not waited for, as a sweep
            (`maintenance.leftovers`) ends the processes once it is back.
        evidence: collects the log and the heads.
    """

    def __init__(self, leases: Leases, ender: ProcessEnder, retry: RetryWhileSilent, evidence: PartialEvidence) -> None:
        self._leases = leases
        self._ender = ender
        self._retry = retry
        self._evidence = evidence

    def outcome(self, claimed: Claimed, control: ExecutionControl, error: Exception) -> Outcome:
        """End the processes of the step and say why it failed.

        Raises:
            OwnershipLost: another worker owns the execution by now.
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
    """A kill whose processes may still run is a failure; a failure stays as it is."""
    if transition.target is not Status.KILLED:
        return transition
    return machine.failed(Reason.ENGINE_ERROR, f"{transition.error_reason}; its processes could not be ended")
