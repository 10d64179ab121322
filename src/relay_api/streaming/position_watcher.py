"""A watcher that wakes coroutines when a position in Postgres has moved. It polls: one query per tick for all of them.

It does not use LISTEN/NOTIFY, because a transaction that notifies takes a lock of the whole database cluster when it
commits, and every step of every run would have to wait for this lock.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog
from starlette.concurrency import run_in_threadpool

from relay_core.store.outage import SQLAlchemyError

TICK_SECONDS = 0.2
"""Seconds between two queries."""
K = TypeVar("K", bound=Hashable)
log = structlog.get_logger(__name__)


class PositionWatcher(Generic[K]):
    """Lets coroutines wait until the position of a key is beyond a value. It queries only while a coroutine waits.

    Args:
        latest: returns the newest position of each given key; called in a thread. It may omit keys without a position.
        tick_seconds: seconds between two queries.
    """

    def __init__(self, latest: Callable[[Sequence[K]], Mapping[K, Any]], tick_seconds: float = TICK_SECONDS) -> None:
        self._latest = latest
        self._tick_seconds = tick_seconds
        self._waiting: dict[K, set[tuple[Any, asyncio.Future[Any]]]] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def wait(self, key: K, after: Any) -> Any:
        """Wait until the position of ``key`` is greater than ``after``, and return that position."""
        waiter = (after, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, set()).add(waiter)
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            return await waiter[1]
        finally:
            left = self._waiting.get(key, set())
            left.discard(waiter)
            if not left:
                self._waiting.pop(key, None)

    async def _tick(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._tick_seconds)
            keys = list(self._waiting)
            try:
                latest = await run_in_threadpool(self._latest, keys)
            except SQLAlchemyError as error:
                log.warning("could not read new positions; trying again", error=str(error).splitlines()[0])
                continue
            for key in keys:
                for after, future in list(self._waiting.get(key, ())):
                    if key in latest and latest[key] > after and not future.done():
                        future.set_result(latest[key])
