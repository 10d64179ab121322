"""Sends to the queue on threads of their own, for requests, slots and clocks that must not wait for Redis."""

from collections.abc import Callable, Iterable, Sequence
from queue import Full, Queue
from threading import Thread

import structlog

from relay_core.domain.message import QueueMessage
from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.executions.messages import Undispatched

log = structlog.get_logger(__name__)

MAX_WAITING = 200
"""Most calls that wait for a slow queue; further calls are dropped, and the workers' sweep sends their messages."""
CLOSE_SECONDS = 2.0
"""Seconds that `close` waits for calls that have begun or are waiting."""

Send = Callable[[], None]


class BackgroundSender:
    """Threads that make calls to the queue, in the order given; bounded, so that an outage costs no memory.

    The threads are daemons: a queue that never answers keeps no process from ending.

    Args:
        name: beginning of the names of the threads.
        threads: their number.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._waiting: Queue[Send | None] = Queue(MAX_WAITING)
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, send: Send) -> None:
        """Let a thread call ``send``; returns at once. Errors of ``send`` are logged."""
        try:
            self._waiting.put_nowait(send)
        except Full:
            log.warning("too many messages wait for the queue; a sweep will send them")

    def close(self) -> None:
        """Make the waiting calls and end the threads, within `CLOSE_SECONDS`."""
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
    """A dispatcher whose callers never wait for Redis: messages and revokes are sent by threads of its own.

    Args:
        dispatcher: sends them.
        threads: that send beside each other.
    """

    def __init__(self, dispatcher: Dispatcher, threads: int = 1) -> None:
        self._dispatcher = dispatcher
        self._background = BackgroundSender("dispatch", threads)

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """Send one message for each execution, later; returns at once."""
        if due := list(messages):
            self._background.submit(lambda: self._dispatcher.dispatch(due))

    def revoke(self, task_ids: Sequence[str]) -> None:
        """Tell all workers that these Celery tasks are to end, later; returns at once."""
        if due := list(task_ids):
            self._background.submit(lambda: self._dispatcher.revoke(due))

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """Send messages again that seem to be lost, on the caller's thread; returns how many."""
        return self._dispatcher.dispatch_again(undispatched)

    def close(self) -> None:
        """Send what is waiting, for at most `CLOSE_SECONDS`."""
        self._background.close()
