"""Carries out one execution from its claim to its end. `step_session` shows how a single step is carried out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import structlog

from relay_core.domain.errors import Stale
from relay_core.domain.execution import Transition
from relay_core.domain.vocabulary import RunReason
from relay_core.store.executions.claim import Claimed
from relay_core.store.outage import is_away
from relay_workers.execution import dev_server
from relay_workers.execution.broken_steps import BrokenSteps
from relay_workers.execution.end_writer import EndWriter
from relay_workers.execution.outcome import Changes, Outcome, changes_of
from relay_workers.metrics import Metrics
from relay_workers.ownership.claims import Claims
from relay_workers.ownership.live_executions import ExecutionControl, LiveExecutions, OwnershipLost

log = structlog.get_logger(__name__)

AWAY = "the database is away; the execution is adopted once it is back"

Step = Callable[[Claimed, ExecutionControl], Outcome]
"""A function that carries out a claimed execution of one kind and returns the outcome to be written."""


@dataclass(frozen=True)
class EndReport:
    """The end of an execution that was written, for a reporter."""

    execution_id: UUID
    run_id: UUID | None
    """None: the execution belongs to no run."""
    end: Transition
    changes: Changes | None
    """Changes of the workspace's branch in all repositories together; None if they were not recorded."""


class ExecutionReporter(Protocol):
    """The receiver of reports about an execution (`relay_workers.celery` implements it)."""

    def report_started(self, seconds_running: float) -> None:
        """Report that this worker now owns the execution.

        Args:
            seconds_running: how long ago an earlier worker started it; 0 if it has just been claimed for the first
                time.
        """

    def report_end(self, report: EndReport) -> None:
        """Report that this worker has written the end of the execution."""


class NoReporter:
    """An `ExecutionReporter` that ignores all reports."""

    def report_started(self, seconds_running: float) -> None:
        """Do nothing."""

    def report_end(self, report: EndReport) -> None:
        """Do nothing."""


class Runner:
    """Carries out executions. Each worker has one runner, which many threads call.

    Args:
        claims: makes this worker the owner of an execution.
        steps: the function that carries out an execution, for each kind of execution.
        broken: makes the outcome of a step that raised an error.
        ends: writes outcomes.
        live: the list of executions that this worker carries out now.
        metrics: counts claims and adoptions.
    """

    def __init__(
        self,
        claims: Claims,
        steps: Mapping[RunReason, Step],
        broken: BrokenSteps,
        ends: EndWriter,
        live: LiveExecutions,
        metrics: Metrics,
    ) -> None:
        self._claims = claims
        self._steps = steps
        self._broken = broken
        self._ends = ends
        self._live = live
        self._metrics = metrics

    def run(self, execution_id: UUID, attempt: int, reporter: ExecutionReporter | None = None) -> Transition | None:
        """Claim an execution, carry it out, and write its end.

        Args:
            execution_id: the execution, as named by the queue's message or by the adoption sweep.
            attempt: number of the attempt, from the same source.
            reporter: called once the claim has succeeded, and once the end is written.

        Returns:
            The end that was written. None for a dev server whose port answers: its thread goes on until the server
            ends.

        Raises:
            OwnershipLost: another worker owns the execution, or owned it before its end could be written; nothing was
                written.
        """
        with self._live.at_work(execution_id):
            claimed = self._claims.claim(execution_id, attempt)
            if isinstance(claimed, Transition):
                return claimed
            self._count(claimed)
            reporter = reporter or NoReporter()
            reporter.report_started(claimed.seconds_running)
            control = ExecutionControl.of(claimed)
            if claimed.run_reason is RunReason.DEV_SERVER:
                return dev_server.until_ready(control, lambda: self._carry_out(claimed, control, reporter))
            return self._carry_out(claimed, control, reporter)

    def _carry_out(self, claimed: Claimed, control: ExecutionControl, reporter: ExecutionReporter) -> Transition:
        with _log_context(claimed), self._live.holding(control), _leaving_to_others(control):
            outcome = self._step(claimed, control)
            ended = self._ends.write(claimed, control, outcome)
            reporter.report_end(EndReport(claimed.execution_id, claimed.run_id, ended, changes_of(outcome.evidence)))
            return ended

    def _step(self, claimed: Claimed, control: ExecutionControl) -> Outcome:
        log.info("started")
        try:
            return self._steps[claimed.run_reason](claimed, control)
        except (OwnershipLost, Stale):
            raise
        except Exception as error:
            if control.lost.is_set() or is_away(error):
                raise
            return self._broken.outcome(claimed, control, error)

    def _count(self, claimed: Claimed) -> None:
        if claimed.adopted:
            self._metrics.adopted()
        else:
            self._metrics.claimed(claimed.run_reason, claimed.seconds_queued)


@contextmanager
def _log_context(claimed: Claimed) -> Iterator[None]:
    """Add the execution's ids to every line that this thread logs within the block."""
    with structlog.contextvars.bound_contextvars(
        execution_id=str(claimed.execution_id),
        workspace_id=str(claimed.in_workspace or ""),
        run_reason=claimed.run_reason,
        fence=claimed.fence,
    ):
        yield


@contextmanager
def _leaving_to_others(control: ExecutionControl) -> Iterator[None]:
    """Convert errors after which this worker must leave the execution to another worker into `OwnershipLost`.

    These are all errors once another worker owns the execution or this worker shuts down, and errors that occur because
    Postgres is away, so that the end cannot be decided here. Other errors pass unchanged.
    """
    try:
        yield
    except OwnershipLost as error:
        log.info("left to others", why=str(error) or "asked to let go")
        raise
    except Exception as error:
        if isinstance(error, Stale) or control.lost.is_set():
            log.info("left to others", why=str(error) or "asked to let go")
            raise OwnershipLost(str(error)) from error
        if not is_away(error):
            raise
        log.warning(AWAY, error=type(error).__name__)
        raise OwnershipLost(AWAY) from error
