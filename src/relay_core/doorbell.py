"""Ringing: after commit, bounded in time, and allowed to fail, because a sweep rings again."""

from collections.abc import Iterable, Sequence
from typing import Protocol
from uuid import UUID

import structlog
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from relay_core.celery_app import declare
from relay_core.domain.doorbell import Ring, task_name
from relay_core.postgres import executions

BROKER_SECONDS = 2.0
"""For a connection to the broker."""

log = structlog.get_logger(__name__)


class Doorbell(Protocol):
    """Tells workers that there is something to do."""

    def ring(self, rings: Iterable[Ring]) -> None:
        """Send one message for each; never raises for a queue that is away."""

    def ring_again(self, rings: Sequence[Ring]) -> int:
        """Send those that seem to be lost; how many."""


class CeleryDoorbell:
    """Messages through Celery."""

    def __init__(self, app: Celery, engine: Engine) -> None:
        self._app = app
        self._engine = engine

    def ring_again(self, rings: Sequence[Ring]) -> int:
        """Ring for rows whose message may be lost, the oldest first: as many as there are messages too few.

        A full queue is no lost message: ringing for all that wait would double it with each sweep.
        """
        by_queue: dict[str, list[Ring]] = {}
        for ring in rings:
            by_queue.setdefault(ring.queue, []).append(ring)
        rung = 0
        for queue, due in by_queue.items():
            waiting = self._waiting(queue)
            if waiting is not None:
                lost = due[: max(0, len(due) - waiting)]
                self.ring(lost)
                rung += len(lost)
        return rung

    def _waiting(self, queue: str) -> int | None:
        """Messages in a queue; None while the broker is away."""
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
                return int(connection.default_channel.client.llen(queue))
        except (OperationalError, RedisError, OSError) as error:
            log.warning("the queue is away; a later sweep will ring", error=str(error))
            return None

    def ring(self, rings: Iterable[Ring]) -> None:
        """Send one message for each and note it; a failure is logged, and the sweep repairs it."""
        sent = []
        for ring in rings:
            queue = declare(ring.queue)
            try:
                self._app.send_task(
                    task_name(ring.run_reason),
                    args=(str(ring.execution_id), ring.attempt),
                    task_id=ring.task_id,
                    exchange=queue.exchange,
                    routing_key=queue.routing_key,
                    declare=[queue],
                    ignore_result=True,
                )
            except (OperationalError, RedisError, OSError) as error:
                log.warning(
                    "the queue is away; a sweep will ring again", execution_id=ring.execution_id, error=str(error)
                )
                break
            sent.append(ring.execution_id)
        if sent:
            self._note(sent)

    def _note(self, sent: Sequence[UUID]) -> None:
        try:
            with self._engine.begin() as connection:
                executions.mark_published(connection, sent)
        except SQLAlchemyError as error:
            log.warning("could not note that messages were sent", error=str(error))
