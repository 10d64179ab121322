"""Writes the end of an execution: the terminal transaction, and all that follows its commit."""

import structlog

from relay_core.domain.errors import Stale
from relay_core.domain.execution import Transition
from relay_core.live_log.publisher import LiveLogPublisher
from relay_core.retry import Backoff, until_available
from relay_core.store.database import Connection
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence, finish
from relay_core.store.executions.kill import request_kill
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database
from relay_workers.containers.run_files import RunFiles
from relay_workers.execution import workspace_changes
from relay_workers.execution.outcome import Outcome, end_of
from relay_workers.execution.partial_evidence import PartialEvidence
from relay_workers.metrics import Metrics
from relay_workers.ownership.admission import Admission
from relay_workers.ownership.live_executions import ExecutionControl

log = structlog.get_logger(__name__)

BACKOFF = Backoff(first_seconds=0.2, last_seconds=5.0)


class EndPublisher:
    """Reports a committed end of an execution to the other parts of Relay.

    Args:
        live_logs: closes the live log, for clients that follow it.
        metrics: counts the end.
        admission: checks whether executions that found no free capacity on this node can start now.
    """

    def __init__(self, live_logs: LiveLogPublisher, metrics: Metrics, admission: Admission) -> None:
        self._live_logs = live_logs
        self._metrics = metrics
        self._admission = admission

    def publish(self, claimed: Claimed, ended: Transition) -> None:
        """Close the live log of an execution, count its end, and check whether refused executions can start now."""
        self._live_logs.end(claimed.execution_id)
        self._metrics.ended(claimed.run_reason, ended)
        self._admission.room_made()


class EndWriter:
    """Writes the outcomes of executions.

    Args:
        database: stores the end; after the commit it sends the messages of the executions that may start now.
        node_id: this worker's node; stored with an execution whose processes may still run here.
        evidence: makes minimal evidence (the log sizes) when the collected evidence cannot be stored.
        publisher: called after the commit.
    """

    def __init__(self, database: Database, node_id: str, evidence: PartialEvidence, publisher: EndPublisher) -> None:
        self._database = database
        self._node_id = node_id
        self._evidence = evidence
        self._publisher = publisher

    def write(self, claimed: Claimed, control: ExecutionControl, outcome: Outcome) -> Transition:
        """Write the end of an execution and return the transition that was written. If Postgres is away, wait for it.

        The transition differs from the outcome's if a kill was requested meanwhile, or if the evidence cannot be
        stored.

        Raises:
            Stale: another worker owns the execution now.
        """
        try:
            ended = self._commit(claimed, control, outcome)
        except Exception as error:
            if isinstance(error, Stale) or control.lost.is_set() or is_away(error):
                raise
            log.warning("the evidence of an execution cannot be stored; it ends as failed", error=type(error).__name__)
            bare = Evidence(log_ends=self._evidence.log_ends(claimed.execution_id, truncated=True))
            ended = self._commit(claimed, control, Outcome(end_of(error, kill_asked=False), bare, gone=outcome.gone))
        _remove(outcome.raw_files)
        self._publisher.publish(claimed, ended)
        log.info("ended", status=ended.target, reason=ended.reason, gone=outcome.gone)
        return ended

    def _commit(self, claimed: Claimed, control: ExecutionControl, outcome: Outcome) -> Transition:
        """Repeat the terminal transaction until Postgres answers.

        The fence makes that safe: only one of them takes effect.
        """

        def transaction() -> Transition:
            with self._database.begin() as connection:
                return self._finish(connection, claimed, control, outcome)

        def report(error: Exception, _pause: float) -> None:
            log.warning("the database is away; the end of the execution waits", error=str(error).splitlines()[0])

        return until_available(transaction, BACKOFF, is_retryable=is_away, report=report)

    def _finish(
        self, connection: Connection, claimed: Claimed, control: ExecutionControl, outcome: Outcome
    ) -> Transition:
        if control.kill.is_set():  # Celery's revoke sets the control first; the row may lack the kill
            request_kill(connection, claimed.execution_id, "the worker's control")
        if outcome.workspace is not None:
            workspace_changes.settle(connection, claimed, outcome.workspace)
        left_on = None if outcome.gone else self._node_id
        ended = finish(
            connection, claimed.execution_id, claimed.fence, outcome.transition, outcome.evidence, left_on=left_on
        )
        if outcome.workspace is not None:
            workspace_changes.store(connection, claimed, outcome.workspace)
        return ended


def _remove(raw_files: RunFiles | None) -> None:
    if raw_files is None:
        return
    try:
        raw_files.remove()
    except OSError as error:
        log.warning("raw files are left to a sweep", error=str(error))
