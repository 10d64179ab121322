"""Turns revokes of Celery tasks into kill requests in Postgres.

A revoke is a request to Celery to cancel tasks; it comes from Flower's Terminate button or from ``celery control``.
Celery's own list of revoked ids exists only in one worker's memory and is not used. If the message of a killed
execution arrives later, its row in Postgres makes every worker refuse it.
"""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any
from uuid import UUID

import structlog
from celery.utils.functional import maybe_list
from celery.worker.control import control_command

from relay_core.domain.vocabulary import Status
from relay_core.store.executions.kill import executions_of_tasks, request_kill
from relay_core.store.outage import is_away
from relay_core.store.transaction import Database
from relay_workers.ownership.live_executions import LiveExecutions

log = structlog.get_logger(__name__)

BY = "Celery's control"
"""The actor that events name for a revoke; Flower and the command line give no user name."""
AGAIN_SECONDS = 1.0
"""Seconds between two tries to write a revoke to Postgres while it is away."""


@dataclass(frozen=True)
class _Revoke:
    task_ids: Sequence[str]
    terminate: bool
    event_dispatcher: Any
    """Celery's event dispatcher; None if there is none."""


class Revocations:
    """Writes revokes to Postgres on a separate thread, because the worker's main loop must not wait for a database.

    Every worker receives every revoke and writes it. The first one changes the row; the others find it changed.

    Args:
        database: the database of the executions.
        live: the executions that run in this process.
    """

    def __init__(self, database: Database, live: LiveExecutions) -> None:
        self._database = database
        self._live = live
        self._waiting: SimpleQueue[_Revoke] = SimpleQueue()

    def start(self) -> None:
        """Start the thread that writes revokes, including those that were queued before."""
        threading.Thread(target=self._work, name="revocations", daemon=True).start()

    def revoke(self, task_ids: Sequence[str], *, terminate: bool, event_dispatcher: Any = None) -> list[str]:
        """Kill queued executions and, with `terminate`, also running ones. Do not wait for the database.

        Args:
            task_ids: Celery's task ids.
            terminate: False lets an execution that has started go on, as Celery does.
            event_dispatcher: Celery's event dispatcher, which announces the end of queued executions; None announces
                nothing.

        Returns:
            The task ids of those executions that run in this process and are now asked to stop.
        """
        here = [task_id for task_id in task_ids if terminate and self._live.kill_task(task_id)]
        self._waiting.put(_Revoke(task_ids, terminate, event_dispatcher))
        return here

    def _work(self) -> None:
        away = threading.Event()  # never set: waiting on it is a sleep
        while True:
            revoke = self._waiting.get()
            while not self._carried_out(revoke):
                away.wait(AGAIN_SECONDS)

    def _carried_out(self, revoke: _Revoke) -> bool:
        try:
            self._carry_out(revoke)
        except Exception as error:  # a revoke that cannot be written must not stop the thread
            if is_away(error):
                log.warning("the database is away; a revoke waits", error=str(error).splitlines()[0])
                return False
            log.exception("a revoke broke", task_ids=revoke.task_ids)
        return True

    def _carry_out(self, revoke: _Revoke) -> None:
        affected = {Status.QUEUED, Status.RUNNING} if revoke.terminate else {Status.QUEUED}
        ids = [UUID(task_id) for task_id in revoke.task_ids if _is_uuid(task_id)]
        with self._database.connect() as connection:
            found = executions_of_tasks(connection, ids)
        for row in [row for row in found if row.status in affected]:
            with self._database.begin() as connection:
                before = request_kill(connection, row.execution_id, BY)
            log.info("revoked", execution_id=str(row.execution_id), status=before.status)
            if before.status is Status.QUEUED and row.status is Status.QUEUED:
                _announce(revoke.event_dispatcher, str(row.task_id))
        if revoke.terminate:  # for executions that were claimed after `revoke` searched for them
            for task_id in revoke.task_ids:
                self._live.kill_task(task_id)


def _announce(event_dispatcher: Any, task_id: str) -> None:
    """Send the event that a queued execution was revoked, because its message may stay in the queue for a long time."""
    if event_dispatcher and event_dispatcher.enabled:
        event_dispatcher.send("task-revoked", uuid=task_id, terminated=False, signum=None, expired=False)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def register_commands(revocations: Revocations) -> None:
    """Replace Celery's commands ``revoke``, ``terminate`` and ``shutdown`` in this process."""

    @control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
    def revoke(state: Any, task_id: Any, terminate: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002
        ids = [str(found) for found in maybe_list(task_id) or []]
        here = revocations.revoke(ids, terminate=bool(terminate), event_dispatcher=state.consumer.event_dispatcher)
        return {"ok": f"terminate: {', '.join(here)}" if here else f"tasks {', '.join(ids)} flagged as revoked"}

    @control_command(
        name="terminate",
        variadic="task_id",
        args=[("signal", str)],
        signature="<signal> [id1 [id2 [... [idN]]]]",
    )
    def terminate(state: Any, task_id: Any, **_: Any) -> Any:
        """Revoke with ``terminate``; ignore the signal, because Relay kills executions in its own way."""
        return revoke(state, task_id, terminate=True)

    @control_command(name="shutdown")
    def shutdown(state: Any, **_: Any) -> None:  # noqa: ARG001 - Celery's signature
        """Shut down as on TERM: give up all executions, which go on for other workers, and exit at once.

        Celery's own command would wait hours for the executions to end.
        """
        os.kill(os.getpid(), signal.SIGTERM)
