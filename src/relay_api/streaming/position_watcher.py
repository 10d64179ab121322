"""Waking those who wait for something in Postgres: one query per tick for all of them, however many there are.

Not LISTEN/NOTIFY: a transaction that notifies takes a lock of the whole cluster at its commit, and every step of
every run would pass through it.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

TICK_SECONDS = 0.2
K = TypeVar("K", bound=Hashable)
log = structlog.get_logger(__name__)


class Watch(Generic[K]):
    """Lets coroutines wait until what belongs to a key is behind them; the tick runs only while somebody waits.

    Args:
        latest: the newest position of each of some keys (in a thread); one that has none may be left out.
        tick_seconds: between two looks.
    """

    def __init__(self, latest: Callable[[Sequence[K]], Mapping[K, Any]], tick_seconds: float = TICK_SECONDS) -> None:
        self._latest = latest
        self._tick_seconds = tick_seconds
        self._waiting: dict[K, set[tuple[Any, asyncio.Future[Any]]]] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def wait(self, key: K, after: Any) -> Any:
        """Return once the key's position is behind ``after``: that position."""
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
                log.warning("could not look for news; trying again", error=str(error).splitlines()[0])
                continue
            for key in keys:
                for after, future in list(self._waiting.get(key, ())):
                    if key in latest and latest[key] > after and not future.done():
                        future.set_result(latest[key])
