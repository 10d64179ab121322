"""One execution from its claim to its end. Read on in `step_session`, which carries out one step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from relay_workers.execution.outcome import Outcome
from relay_workers.metrics import Metrics
from relay_workers.ownership.claims import Claims
from relay_workers.ownership.live_executions import ExecutionControl, LiveExecutions, OwnershipLost

log = structlog.get_logger(__name__)

AWAY = "the database is away; the execution is adopted once it is back"

Step = Callable[[Claimed, ExecutionControl], Outcome]
"""Carries out a claimed execution of one kind, up to the outcome that is to be written."""


class StartReporter(Protocol):
    """Receives the start of an execution (`relay_workers.celery` implements it)."""

    def report_started(self, seconds_running: float) -> None:
        """The execution is this worker's; another worker had started it ``seconds_running`` ago, or 0."""


class NoReporter:
    """Reports to no listener."""

    def report_started(self, seconds_running: float) -> None:
        """Do nothing."""


class Runner:
    """Carries out executions; one per worker, called from many threads.

    Args:
        claims: makes this worker the owner of an execution.
        steps: by kind of execution.
        broken: makes an outcome of a step that raised an error.
        ends: writes outcomes.
        live: lists the executions that are carried out here.
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

    def run(self, execution_id: UUID, attempt: int, reporter: StartReporter | None = None) -> Transition | None:
        """Claim an execution, carry it out, and write its end.

        Args:
            execution_id: from the message, or from the sweep that adopts.
            attempt: number of the attempt, from the same source.
            reporter: told once the claim is won.

        Returns:
            The end that was written; None for a dev server whose port answers: its thread goes on until it ends.

        Raises:
            OwnershipLost: another worker owns the execution, now or by the time it ended; nothing was written.
        """
        with self._live.at_work(execution_id):
            claimed = self._claims.claim(execution_id, attempt)
            if isinstance(claimed, Transition):
                return claimed
            self._count(claimed)
            (reporter or NoReporter()).report_started(claimed.seconds_running)
            control = ExecutionControl.of(claimed)
            if claimed.run_reason is RunReason.DEV_SERVER:
                return dev_server.until_ready(control, lambda: self._carry_out(claimed, control))
            return self._carry_out(claimed, control)

    def _carry_out(self, claimed: Claimed, control: ExecutionControl) -> Transition:
        with _log_context(claimed), self._live.holding(control), _leaving_to_others(control):
            outcome = self._step(claimed, control)
            return self._ends.write(claimed, control, outcome)

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
    """Add the execution's ids to every line that this thread logs in the block."""
    with structlog.contextvars.bound_contextvars(
        execution_id=str(claimed.execution_id),
        workspace_id=str(claimed.workspace_id),
        run_reason=claimed.run_reason,
        fence=claimed.fence,
    ):
        yield


@contextmanager
def _leaving_to_others(control: ExecutionControl) -> Iterator[None]:
    """Turn every error of an execution that this worker cannot go on with into `OwnershipLost`.

    That is an execution that was lost or let go, and one whose end cannot be decided because Postgres is away.
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
