"""Send queue messages from separate threads, for callers that must not wait for Redis.

Such callers are API requests, worker slots (each carries out one execution) and periodic threads.
"""

from collections.abc import Callable, Iterable, Sequence
from queue import Full, Queue
from threading import Thread

import structlog

from relay_core.domain.message import QueueMessage
from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.executions.messages import Undispatched

log = structlog.get_logger(__name__)

MAX_WAITING = 200
"""Most calls that may wait for a thread; further calls are dropped. Workers regularly resend lost messages."""
CLOSE_SECONDS = 2.0
"""Seconds that `close` waits for calls that are running or waiting."""

Send = Callable[[], None]


class BackgroundSender:
    """Threads that take calls in the order of `submit` and make them; at most `MAX_WAITING` calls wait.

    The bound keeps memory use constant during an outage of Redis. The threads are daemons, so a Redis that never
    answers does not keep the process from exiting.

    Args:
        name: prefix of the threads' names.
        threads: number of threads.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._waiting: Queue[Send | None] = Queue(MAX_WAITING)
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, send: Send) -> None:
        """Queue a call of ``send`` for a thread and return at once. Errors of ``send`` are logged."""
        try:
            self._waiting.put_nowait(send)
        except Full:
            log.warning("too many messages wait for the queue; a sweep will send them")

    def close(self) -> None:
        """Let the threads make the waiting calls and stop; wait for them at most `CLOSE_SECONDS`."""
        for _ in self._threads:
            try:
                self._waiting.put_nowait(None)
            except Full:
                return
        for thread in self._threads:
            thread.join(CLOSE_SECONDS / len(self._threads))

    def _work(self) -> None:
        while (send := self._waiting.get()) is not None:
            try:
                send()
            except Exception:
                log.exception("a message could not be sent; a sweep will send it")


class BackgroundDispatcher:
    """A dispatcher whose callers do not wait for Redis: separate threads send its messages and revokes.

    Args:
        dispatcher: the dispatcher that the threads use to send.
        threads: number of threads that send in parallel.
    """

    def __init__(self, dispatcher: Dispatcher, threads: int = 1) -> None:
        self._dispatcher = dispatcher
        self._background = BackgroundSender("dispatch", threads)

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Queue the messages for sending and return at once."""
        if due := list(messages):
            self._background.submit(lambda: self._dispatcher.dispatch(due))

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Queue a request to all workers to kill these Celery tasks, and return at once."""
        if due := list(task_ids):
            self._background.submit(lambda: self._dispatcher.revoke(due))

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """Send again, on the caller's thread, the messages that seem to be lost; return their number."""
        return self._dispatcher.dispatch_again(undispatched)

    def close(self) -> None:
        """Send the waiting messages and revokes, for at most `CLOSE_SECONDS`, and stop the threads."""
        self._background.close()
