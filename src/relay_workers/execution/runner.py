"""One execution from claim to next step; every kind of run passes through `Runner.run`."""

import threading
from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog
from celery.exceptions import Ignore
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from relay_core.domain import execution as machine
from relay_core.domain.errors import RelayError, Stale, StepFailed
from relay_core.domain.message import task_id
from relay_core.domain.vocabulary import Reason, RunReason, Status
from relay_core.retry import Backoff, until_available
from relay_core.store.executions import lifecycle, takeover
from relay_core.store.executions.lifecycle import Claimed, Evidence, Finished, NotClaimed
from relay_core.store.logs.log_store import StreamEnd
from relay_core.store.outage import is_away
from relay_workers.celery.reporting import Beside, RunFailed, RunKilled, announce_started
from relay_workers.celery.tasks import RunRequest
from relay_workers.containers.port import EngineUnavailable
from relay_workers.execution import clone, dev_server, evidence, process
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.ending import are_gone
from relay_workers.execution.outcome import LetGo, Outcome, from_failure
from relay_workers.execution.step_log import stored_ends
from relay_workers.host_files.safe_dir import TamperedFile
from relay_workers.ownership import leases
from relay_workers.ownership.admission import why_disk_full
from relay_workers.ownership.live_executions import Control
from relay_workers.ownership.node_identity import is_dead

log = structlog.get_logger(__name__)

_AT_ONCE = threading.Event()
_AT_ONCE.set()

BACKOFF = Backoff(first_seconds=0.2, last_seconds=5.0)

STEPS = dict.fromkeys(RunReason, process.run) | {
    RunReason.CLONE: clone.run,
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
        with self._context.live.at_work(execution_id):
            self._run(execution_id, attempt)

    def _run(self, execution_id: UUID, attempt: int) -> None:
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
            full = why_disk_full(context.settings)
            claimed = lifecycle.claim(connection, execution_id, attempt, context.claimant, full=full)
        if isinstance(claimed, NotClaimed) and claimed.waits is not None:
            context.admission.refused(claimed.waits)
            log.info("not claimed", execution_id=str(execution_id), why=claimed.why)
            raise Ignore
        if isinstance(claimed, NotClaimed) and claimed.ended is None:
            claimed = self._take_over(execution_id, attempt, claimed)
        if isinstance(claimed, NotClaimed):
            self._context.dispatcher.dispatch(claimed.messages)
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
            left = self._context.live.is_left(execution_id, but=1)  # but this thread

            def is_gone(owner: str) -> bool:
                return left if owner == by.owner else is_dead(data_dir, owner)

            taken = takeover.adopt(connection, execution_id, attempt, by, is_gone)
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
                return self._finish(claimed, control, self._step(claimed, control))
            except (LetGo, Stale) as error:
                log.info("left to others", why=str(error) or "asked to let go")
                raise Ignore from error
            except Exception as error:
                if not (control.lost.is_set() or is_away(error)):
                    raise
                log.warning("the database is away; the run is adopted once it is back", error=type(error).__name__)
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
        """Whatever it was, the row must not stay `running`, nor a process of it."""
        if isinstance(error, StepFailed):
            transition = from_failure(error, kill_asked=control.kill.is_set())
        elif isinstance(error, EngineUnavailable):
            transition = machine.failed(Reason.ENGINE_ERROR, str(error))
        else:
            log.error("a step broke", exc_info=error)
            transition = _relay_failed(error)
        started = control.processes
        leases.confirm(self._context, control)
        # An engine that is away is not waited for: the leftovers sweep ends these processes once it is back.
        with self._context.retry_while_silent.until(_AT_ONCE):
            gone = are_gone(self._context, started)
        if not gone and transition.target is Status.KILLED:
            message = f"{transition.error_reason}; its processes could not be ended"
            transition = machine.failed(Reason.ENGINE_ERROR, message)
        return Outcome(transition, self._what_is_there(claimed, truncated=started is not None), gone=gone)

    def _what_is_there(self, claimed: Claimed, *, truncated: bool) -> Evidence:
        """Evidence of a step that could not go on: the log as stored, and where every repo stands."""
        try:
            heads = evidence.after_heads(self._context, claimed.workspace_id)
        except (OSError, RelayError) as error:
            log.warning("the repositories cannot be read", error=str(error))
            heads = {}
        return Evidence(heads, self._stored_ends(claimed.execution_id, truncated=truncated))

    def _stored_ends(self, execution_id: UUID, *, truncated: bool) -> dict[str, StreamEnd]:
        ends = stored_ends(self._context.logs, execution_id)
        return {name: end._replace(truncated=end.truncated or truncated) for name, end in ends.items()}

    def _finish(self, claimed: Claimed, control: Control, outcome: Outcome) -> machine.Transition:
        try:
            ended = self._write_end(claimed, control, outcome)
        except Exception as error:
            if isinstance(error, Stale) or control.lost.is_set() or is_away(error):
                raise
            log.exception("the end of a run cannot be stored as it is")  # nor could it be the next time
            ends = self._stored_ends(claimed.execution_id, truncated=True)
            bare = Outcome(_relay_failed(error), Evidence(log_ends=ends), gone=outcome.gone)
            ended = self._write_end(claimed, control, bare)
        if outcome.afterwards is not None:
            try:
                outcome.afterwards()
            except (OSError, TamperedFile) as error:
                log.warning("raw files are left to a sweep", error=str(error))
        self._context.live_logs.end(claimed.execution_id)
        self._context.dispatcher.dispatch(ended.messages)
        self._context.metrics.ended(claimed.run_reason, ended.transition)
        self._context.admission.room_made()
        log.info("ended", status=ended.transition.target, reason=ended.transition.reason, gone=outcome.gone)
        return ended.transition

    def _write_end(self, claimed: Claimed, control: Control, outcome: Outcome) -> Finished:
        """The terminal transaction; it heeds a kill that came while the end was prepared."""
        left_on = None if outcome.gone else self._context.claimant.node_id

        def write(connection: Connection) -> Finished:
            if control.kill.is_set():  # Celery's revoke comes without a row that says so
                lifecycle.request_kill(connection, claimed.execution_id, "the worker's control")
            ended = lifecycle.finish(
                connection,
                claimed.execution_id,
                claimed.fence,
                outcome.transition,
                outcome.evidence,
                left_on=left_on,
            )
            if outcome.also is not None:
                outcome.also(connection)
            return ended

        return self._patiently(write)

    def _patiently(self, write: Callable[[Connection], Finished]) -> Finished:
        """The terminal transaction, through an outage of any length: it is idempotent by the fence."""

        def transaction() -> Finished:
            with self._context.database.begin() as connection:
                return write(connection)

        def report(error: Exception, _pause: float) -> None:
            log.warning("the database is away; the end of the run waits", error=str(error).splitlines()[0])

        return until_available(transaction, BACKOFF, is_retryable=is_away, report=report)


def _relay_failed(error: Exception) -> machine.Transition:
    message = f"Relay itself failed ({type(error).__name__}); the worker's log has the details"
    return machine.failed(Reason.INTERNAL_ERROR, message)


def _tell_celery(transition: machine.Transition) -> None:
    if transition.target is Status.KILLED:
        raise RunKilled(transition.error_reason)
    if transition.target is Status.FAILED:
        raise RunFailed(f"{transition.reason}: {transition.error_reason}")
