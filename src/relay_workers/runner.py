"""One execution from claim to next step; every kind of run passes through `Runner.run`."""

import threading
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog
from celery.exceptions import Ignore
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from relay_core.domain import execution as machine
from relay_core.domain.doorbell import Ring, task_id
from relay_core.domain.errors import Stale, StepFailed
from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.postgres import adoption, lifecycle
from relay_core.postgres.lifecycle import Claimed, Evidence, NotClaimed
from relay_core.postgres.outage import is_away
from relay_workers import dev_server, evidence, process, provision
from relay_workers.context import WorkerContext
from relay_workers.engine.port import EngineUnavailable
from relay_workers.hostfs import Tampered
from relay_workers.live import Control
from relay_workers.node import is_dead
from relay_workers.outcome import LetGo, Outcome, from_failure
from relay_workers.steplog import stored_ends
from relay_workers.tasks import RunRequest
from relay_workers.telling import Beside, RunFailed, RunKilled, announce_started

log = structlog.get_logger(__name__)

FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.2, 5.0

STEPS = dict.fromkeys(RunReason, process.run) | {
    RunReason.CLONE: provision.run,
    RunReason.DEV_SERVER: dev_server.run,
}
"""What carries out each kind of run, between claim and finish: ``(context, claimed, control) -> Outcome``."""


class Runner:
    """Carries executions out; one per worker, called from its task threads."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._adopting: set[UUID] = set()
        """What a thread beside the slots is at."""

    def run(self, execution_id: UUID, attempt: int) -> None:
        """Claim → before-heads → start → capture → wait → drain → evidence → finish → next.

        A dev server's task ends once its port answers; its thread goes on until the server ends.

        Raises:
            Ignore: the message was not for us, or the run was left to another worker; nothing to show.
            RunFailed, RunKilled: how the run ended, for Flower.
        """
        try:
            claimed = self._claim(execution_id, attempt)
        except SQLAlchemyError as error:
            if not is_away(error):
                raise
            log.warning("the database is away; a sweep will ring again", execution_id=str(execution_id))
            raise Ignore from error
        if not claimed.adopted:
            self._context.metrics.claimed(claimed.run_reason, claimed.seconds_queued)
        announce_started(claimed.seconds_running)
        if claimed.run_reason is RunReason.DEV_SERVER:
            dev_server.in_background(claimed, self._carry_out)
            return
        _tell_celery(self._carry_out(claimed))

    def _claim(self, execution_id: UUID, attempt: int) -> Claimed:
        with self._context.database.begin() as connection:
            context = self._context
            full = context.admission.full
            claimed = lifecycle.claim(connection, execution_id, attempt, context.claimant, full=full)
        if isinstance(claimed, NotClaimed) and claimed.ended is None:
            claimed = self._take_over(execution_id, attempt, claimed)
        if isinstance(claimed, NotClaimed):
            self._context.doorbell.ring(claimed.rings)
            log.info("not claimed", execution_id=str(execution_id), why=claimed.why)
            if claimed.ended is not None:
                _tell_celery(claimed.ended)
            raise Ignore
        return claimed

    def _take_over(self, execution_id: UUID, attempt: int, refusal: NotClaimed) -> Claimed | NotClaimed:
        """It is not queued: perhaps it runs, and its worker is gone."""
        if execution_id in {control.execution_id for control in self._context.live.all()}:
            return NotClaimed("it runs here already")
        data_dir = self._context.settings.data_dir
        with self._context.database.begin() as connection:
            by = self._context.claimant
            taken = adoption.adopt(connection, execution_id, attempt, by, partial(is_dead, data_dir))
        if isinstance(taken, NotClaimed):
            return NotClaimed(f"{refusal.why}; {taken.why}")
        self._context.metrics.adopted()
        run = {"workspace_id": str(taken.workspace_id), "run_reason": taken.run_reason, "fence": taken.fence}
        log.info("adopted", execution_id=str(execution_id), **run)
        return taken

    def adopt(self, execution_id: UUID, attempt: int) -> None:
        """Take over an execution beside Celery's slots, on a thread of its own, if it is to be had."""
        if execution_id in self._adopting:
            return
        self._adopting.add(execution_id)
        beside = Beside(task_id(execution_id, attempt), lambda: RunRequest.dispatcher)

        def body() -> None:
            try:
                beside.carry_out(partial(self.run, execution_id, attempt))
            finally:
                self._adopting.discard(execution_id)

        threading.Thread(target=body, name=f"adopted-{execution_id}", daemon=True).start()

    def _carry_out(self, claimed: Claimed, control: Control | None = None) -> machine.Transition:
        control = control or Control(claimed.execution_id, claimed.fence, claimed.task_id)
        if claimed.kill_requested:
            control.ask_kill()
        with (
            structlog.contextvars.bound_contextvars(
                execution_id=str(claimed.execution_id),
                workspace_id=str(claimed.workspace_id),
                run_reason=claimed.run_reason,
                fence=claimed.fence,
            ),
            self._context.live.holding(control),
        ):
            try:
                return self._finish(claimed, self._step(claimed, control))
            except (LetGo, Stale) as error:
                log.info("left to others", why=str(error) or "asked to let go")
                raise Ignore from error

    def _step(self, claimed: Claimed, control: Control) -> Outcome:
        log.info("started")
        try:
            return STEPS[claimed.run_reason](self._context, claimed, control)
        except (LetGo, Stale):
            raise
        except Exception as error:
            if control.lost.is_set():  # whatever else is wrong, it is no longer ours to say
                raise LetGo from error
            if is_away(error):
                raise LetGo("the database is away; the run is adopted once it is back") from error
            return self._broken(claimed, control, error)

    def _broken(self, claimed: Claimed, control: Control, error: Exception) -> Outcome:
        """Whatever it was, the row must not stay `running`."""
        if isinstance(error, StepFailed):
            return Outcome(from_failure(error, kill_asked=control.kill.is_set()), self._what_is_there(claimed))
        if isinstance(error, EngineUnavailable):
            return Outcome(machine.failed(Reason.ENGINE_ERROR, str(error)), self._what_is_there(claimed))
        log.error("a step broke", exc_info=error)
        message = f"Relay itself failed ({type(error).__name__}); the worker's log has the details"
        return Outcome(machine.failed(Reason.INTERNAL_ERROR, message), self._what_is_there(claimed))

    def _what_is_there(self, claimed: Claimed) -> Evidence:
        """Evidence of a step that could not go on: the log as stored, and where every repo stands."""
        ends = stored_ends(self._context.logs, claimed.execution_id)
        return Evidence(evidence.after_heads(self._context, claimed.workspace_id), ends)

    def _finish(self, claimed: Claimed, outcome: Outcome) -> machine.Transition:
        def write(connection: Connection) -> list[Ring]:
            due = lifecycle.finish(
                connection, claimed.execution_id, claimed.fence, outcome.transition, outcome.evidence
            )
            if outcome.also is not None:
                outcome.also(connection)
            return due

        due = self._patiently(write)
        if outcome.afterwards is not None:
            try:
                outcome.afterwards()
            except (OSError, Tampered) as error:
                log.warning("raw files are left to a sweep", error=str(error))
        self._context.live_logs.end(claimed.execution_id)
        self._context.doorbell.ring(due)
        self._context.metrics.ended(claimed.run_reason, outcome.transition)
        log.info("ended", status=outcome.transition.target, reason=outcome.transition.reason)
        return outcome.transition

    def _patiently(self, write: Callable[[Connection], list[Ring]]) -> list[Ring]:
        """The terminal transaction, through an outage of any length: it is idempotent by the fence."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                with self._context.database.begin() as connection:
                    return write(connection)
            except SQLAlchemyError as error:
                if not is_away(error):
                    raise
                log.warning("the database is away; the end of the run waits", error=str(error).splitlines()[0])
            time.sleep(backoff)
            backoff = min(LAST_BACKOFF_SECONDS, backoff * 2)


def _tell_celery(transition: machine.Transition) -> None:
    if transition.target is Status.KILLED:
        raise RunKilled(transition.error_reason)
    if transition.target is Status.FAILED:
        raise RunFailed(f"{transition.reason}: {transition.error_reason}")
