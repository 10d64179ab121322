"""Revokes, from Flower's Terminate and from ``celery control``: a kill of the execution, recorded in Postgres.

Celery's own list of revoked ids is a worker's memory and is not used: a message that comes later, to whomever, is
refused by the row.
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
from sqlalchemy import Engine

from relay_core.domain.vocabulary import Status
from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.executions import lifecycle, transitions
from relay_core.store.outage import is_away
from relay_workers.ownership.live_executions import LiveRuns

log = structlog.get_logger(__name__)

BY = "Celery's control"
"""Who asked, as far as is known: Flower and the command line say no more."""
AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class _Revoke:
    task_ids: Sequence[str]
    terminate: bool
    dispatcher: Any
    """Celery's event dispatcher."""


class Revocations:
    """Writes revokes down on a thread of its own: the worker's main loop must not wait for a database.

    Every worker hears every revoke and does the same; the first one changes the row, and the others find it changed.
    """

    def __init__(self, database: Engine, dispatcher: Dispatcher, live: LiveRuns) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._live = live
        self._waiting: SimpleQueue[_Revoke] = SimpleQueue()

    def start(self) -> None:
        """From now on revokes are written down; those that came before too."""
        threading.Thread(target=self._work, name="revocations", daemon=True).start()

    def revoke(self, task_ids: Sequence[str], *, terminate: bool, dispatcher: Any = None) -> list[str]:
        """End what waits, and with `terminate` also what runs; returns at once the ids of what runs here.

        Args:
            task_ids: Celery's.
            terminate: without it a run that has started goes on, as Celery has it.
            dispatcher: of Celery's events, to announce the end of what waited.
        """
        here = [task_id for task_id in task_ids if terminate and self._live.kill_task(task_id)]
        self._waiting.put(_Revoke(task_ids, terminate, dispatcher))
        return here

    def _work(self) -> None:
        away = threading.Event()  # never set: its wait is a sleep
        while True:
            revoke = self._waiting.get()
            while not self._carried_out(revoke):
                away.wait(AGAIN_SECONDS)

    def _carried_out(self, revoke: _Revoke) -> bool:
        try:
            self._carry_out(revoke)
        except Exception as error:  # what cannot be written down must not end the thread
            if is_away(error):
                log.warning("the database is away; a revoke waits", error=str(error).splitlines()[0])
                return False
            log.exception("a revoke broke", task_ids=revoke.task_ids)
        return True

    def _carry_out(self, revoke: _Revoke) -> None:
        wanted = {Status.QUEUED, Status.RUNNING} if revoke.terminate else {Status.QUEUED}
        with self._database.connect() as connection:
            found = transitions.of_tasks(connection, [UUID(one) for one in revoke.task_ids if _is_uuid(one)])
        for one in [one for one in found if one.status in wanted]:
            with self._database.begin() as connection:
                asked = lifecycle.request_kill(connection, one.execution_id, BY)
            self._dispatcher.dispatch(asked.messages)
            log.info("revoked", execution_id=str(one.execution_id), status=asked.status)
            if asked.status is Status.KILLED and one.status is Status.QUEUED:
                _announce(revoke.dispatcher, str(one.task_id))
        if revoke.terminate:  # what was claimed since it was looked for the first time
            for task_id in revoke.task_ids:
                self._live.kill_task(task_id)


def _announce(dispatcher: Any, task_id: str) -> None:
    """Its message is still in the queue: Flower need not wait until some worker takes it."""
    if dispatcher and dispatcher.enabled:
        dispatcher.send("task-revoked", uuid=task_id, terminated=False, signum=None, expired=False)


def _is_uuid(word: str) -> bool:
    try:
        UUID(word)
    except ValueError:
        return False
    return True


def register_commands(revocations: Revocations) -> None:
    """Replace Celery's commands ``revoke``, ``terminate`` and ``shutdown`` in this process."""

    @control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
    def revoke(state: Any, task_id: Any, terminate: bool = False, **_: Any) -> Any:  # noqa: FBT001, FBT002
        ids = [str(one) for one in maybe_list(task_id) or []]
        dispatcher = state.consumer.event_dispatcher
        here = revocations.revoke(ids, terminate=bool(terminate), dispatcher=dispatcher)
        return {"ok": f"terminate: {', '.join(here)}" if here else f"tasks {', '.join(ids)} flagged as revoked"}

    @control_command(
        name="terminate",
        variadic="task_id",
        args=[("signal", str)],
        signature="<signal> [id1 [id2 [... [idN]]]]",
    )
    def terminate(state: Any, task_id: Any, **_: Any) -> Any:
        """The signal does not matter: a run is ended as Relay ends runs."""
        return revoke(state, task_id, terminate=True)

    @control_command(name="shutdown")
    def shutdown(state: Any, **_: Any) -> None:  # noqa: ARG001 - Celery's signature
        """As TERM, which lets go of the runs; Celery's own would wait for them, for hours, and hear nothing more."""
        os.kill(os.getpid(), signal.SIGTERM)
