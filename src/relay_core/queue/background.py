"""Sending to the queue beside what must not wait for it."""

from collections.abc import Callable, Iterable, Sequence
from queue import Full, Queue
from threading import Thread

import structlog

from relay_core.domain.message import QueueMessage
from relay_core.queue.dispatcher import Dispatcher
from relay_core.store.executions.transitions import Undispatched

log = structlog.get_logger(__name__)

MAX_WAITING = 200
"""Sendings that may wait for a slow queue; further ones are left to the workers' sweep."""
CLOSE_SECONDS = 2.0
"""How long a stop waits for what is being sent."""

Send = Callable[[], None]


class Background:
    """Threads that send, one thing after the other; bounded, so that an outage costs no memory.

    They are daemons: a queue that never answers keeps no process from ending.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._waiting: Queue[Send | None] = Queue(MAX_WAITING)
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def later(self, send: Send) -> None:
        """Have it sent; returns at once."""
        try:
            self._waiting.put_nowait(send)
        except Full:
            log.warning("too many messages wait for the queue; a sweep will send them")

    def close(self) -> None:
        """Finish what is waiting, within a bounded time."""
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
    """A worker's doorbell: no slot and no clock waits for Redis."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._background = Background("dispatch", 1)

    def dispatch(self, messages: Iterable[QueueMessage]) -> None:
        """As the doorbell, at once."""
        if due := list(messages):
            self._background.later(lambda: self._dispatcher.dispatch(due))

    def dispatch_again(self, undispatched: Sequence[Undispatched]) -> int:
        """As the doorbell, on the caller's thread: the clock of messages waits for nothing else."""
        return self._dispatcher.dispatch_again(undispatched)

    def close(self) -> None:
        """Finish what is waiting, within a bounded time."""
        self._background.close()
