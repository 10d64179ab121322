"""Telling Celery's listeners that a run has started, from wherever the run is claimed: in a slot, or beside them."""

import threading
from collections.abc import Callable
from time import time
from typing import Any, Protocol

from celery.exceptions import Ignore
from celery.utils.saferepr import saferepr


class RunFailed(Exception):  # noqa: N818 - Flower shows the name
    """The run ended as `failed`; shown by Flower without a traceback."""


class RunKilled(Exception):  # noqa: N818
    """The run ended as `killed`; shown by Flower as revoked."""


class Teller(Protocol):
    """Knows the task and can send its events."""

    def announce_started(self, ran_seconds: float) -> None:
        """The run is here, and has run for so long already."""


_thread = threading.local()


def tells_for_this_thread(teller: Teller | None) -> None:
    """From now on this thread works at the teller's task."""
    _thread.teller = teller


def announce_started(ran_seconds: float) -> None:
    """Called by the winner of a claim; `ran_seconds` is how long ago somebody else had started the run, else 0."""
    teller: Teller | None = getattr(_thread, "teller", None)
    if teller is not None:
        teller.announce_started(ran_seconds)


def started_at(ran_seconds: float) -> dict[str, float]:
    """The field of an event that says when it was, if that was not just now."""
    return {"timestamp": time() - ran_seconds} if ran_seconds else {}


class Beside:
    """Tells of a run that Celery gave no slot; its listeners see the same task as ever.

    Args:
        task_id: Celery's.
        dispatcher: gives that of Celery's events; None before the worker consumes.
    """

    def __init__(self, task_id: str, dispatcher: Callable[[], Any]) -> None:
        self._task_id = task_id
        self._dispatcher = dispatcher
        self._began = time()

    def announce_started(self, ran_seconds: float) -> None:
        """As of a request."""
        self._began = time() - ran_seconds
        self._send("task-started", **started_at(ran_seconds))

    def carry_out(self, run: Callable[[], None]) -> None:
        """Call it and tell how it ended."""
        tells_for_this_thread(self)
        try:
            run()
        except Ignore:
            return
        except RunKilled:
            self._send("task-revoked", terminated=True, signum="SIGTERM", expired=False)
        except RunFailed as error:
            self._send("task-failed", exception=saferepr(error), traceback=None)
        else:
            self._send("task-succeeded", result=None, runtime=time() - self._began)

    def _send(self, kind: str, **fields: Any) -> None:
        dispatcher = self._dispatcher()
        if dispatcher and dispatcher.enabled:
            dispatcher.send(kind, uuid=self._task_id, **fields)
